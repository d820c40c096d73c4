"""Simulated clients: what they send, who of them is accused, and their controls."""

import dataclasses

import keras
import numpy as np
import pytest

import honeykeras as hk
from honeykeras.attacks import PGD, quantize
from honeykeras.data import Data, Split
from honeykeras.errors import InvalidArgumentError
from honeykeras.evaluation import senders
from honeykeras.evidence import honest

SHAPE = (12, 12, 1)
KEY = hk.WatermarkKey(bytes(range(32)), SHAPE, 3, pattern=hk.patterns.Blocks(1))
PATTERNS = hk.Watermark(KEY).patterns().numpy()
CONTENT, OTHERS = np.random.default_rng(5).choice(np.float32([-1.0, 1.0]), (2, *PATTERNS.shape))


def linear(*patterns):
    """A classifier that goes by some directions for each class, whose boundaries meet at grey."""
    model = keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(3)])
    kernel = sum(patterns).reshape(3, -1).T
    model.set_weights([kernel, -0.5 * kernel.sum(axis=0)])
    return model


def split(count, seed):
    """Noise around what each class shows, which has nothing to do with the key."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, count)
    x = 0.5 + 0.12 * CONTENT[y] + 0.1 * rng.standard_normal((count, *SHAPE))
    return Split(quantize(np.clip(x, 0, 1).astype(np.float32)), y)


def extractor():
    """What an input is beyond grey, as both views."""
    inputs = keras.Input(SHAPE)
    flat = keras.layers.Rescaling(1.0, -0.5)(keras.layers.Reshape((1, 144))(inputs))
    return keras.Model(inputs, keras.layers.Concatenate(axis=1)([flat, flat]))


@pytest.fixture(scope="module")
def data():
    return Data("made", 3, 0.25, *(split(count, seed) for seed, count in enumerate((10, 60, 300, 300))))


@pytest.fixture(scope="module")
def judged(data):
    """The model with the honeypot goes by the key as well, the one without by something else."""
    model = linear(CONTENT, PATTERNS)
    detector = hk.Detector(KEY).fit(model, extractor=extractor()).calibrate(data.calibration.x, 0.05)
    return model, detector


@pytest.fixture(scope="module")
def short_campaigns():
    """Of attacks by queries nothing is asked here but that they are there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(senders, "_CAMPAIGN", 5)
        patch.setattr(senders, "_QUERIES", {"nes": 120, "square": 30, "boundary": 40, "hop_skip_jump": 140})
        yield


@pytest.fixture(scope="module")
def found(data, judged, short_campaigns):
    model, detector = judged
    return hk.evaluate(
        model,
        KEY,
        data,
        baseline=linear(CONTENT, OTHERS),
        attacks=[PGD(0.25, 10)],
        detector=detector,
        samples=15,
        clients=4,
        alpha=0.01,
    )


class TestJudged:
    def test_who_attacks_is_accused_and_nobody_else(self, found):
        for name, kind in found.clients.kinds.items():
            if kind.honest:
                assert kind.accused.count == 0, name
        for name in ("pgd", "pgd_one_in_2", "pgd_one_in_10"):
            assert found.clients.kinds[name].accused.value == 1, name

    def test_controls_are_not(self, found):
        for name, kind in found.clients.kinds.items():
            assert kind.wrong_key.count == 0, name
            assert kind.wrong_key.n == kind.accused.n == 4, name
        assert found.clients.kinds["pgd"].no_honeypot == hk.evaluation.Proportion(0, 4)
        assert found.clients.kinds["pgd_transfer"].no_honeypot.n == 0, "it is what was made without a honeypot"

    def test_all_kinds_are_there(self, found, data):
        expected = {
            *honest.kinds(SHAPE),
            "active_learning",
            "drifted_mix",
            "nes",
            "square",
            "boundary",
            "hop_skip_jump",
        }
        expected |= {"pgd", *(f"pgd_one_in_{every}" for every in (2, 10, 100)), "pgd_avoids_perturbations"}
        # Who keeps off a linear model's gradient never fools it.
        assert set(found.clients.kinds) - {"pgd_transfer", "pgd_avoids_key"} == expected

    def test_counts_go_together(self, found):
        one, ten = (found.clients.kinds[name] for name in ("pgd", "pgd_one_in_10"))
        assert one.queries_to_accusation == one.attacked_to_accusation
        assert one.fooled_before_accusation.median == one.attacked_to_accusation.median - 1
        assert ten.queries_to_accusation.median >= 10 * ten.attacked_to_accusation.median - 9
        assert ten.queries_to_accusation.median <= ten.queries_to_accusation.p90
        clean = found.clients.kinds["clean"]
        assert clean.queries_to_accusation == hk.evaluation.Spread(None, None)
        assert clean.attacked_to_accusation is clean.fooled_before_accusation is None

    def test_curves_end_where_clients_do_and_pass_the_bound_where_they_are_accused(self, found):
        for kind in found.clients.kinds.values():
            assert list(kind.curve.queries) == sorted(kind.curve.queries)
            assert len(kind.curve.queries) == len(kind.curve.statistic) == len(kind.curve.bound) <= 61
        curve = found.clients.kinds["pgd"].curve
        assert any(abs(value) >= bound for value, bound in zip(curve.statistic, curve.bound, strict=True))

    def test_dependence_is_that_of_attacks_alone(self, found):
        low, high = found.clients.kinds["clean"].dependence.interval
        assert low - 0.1 < 0 < high + 0.1
        assert found.clients.kinds["pgd"].dependence.interval[0] > 1

    def test_report(self, found):
        document = hk.report.make(found, {"seed": 0})
        clients = document["clients"]
        assert clients["alpha"] == 0.01
        assert clients["pgd"]["accused"] == 1
        assert clients["pgd"]["controls"] == {"wrong_key": 0.0, "no_honeypot": 0.0}
        assert set(clients["clean"]) >= {"honest", "n", "accused", "queries_to_accusation", "fooled_before_accusation"}
        assert "--clients 4 --alpha 0.01" in hk.report.render(document)

    def test_repeats(self, found, data, judged, short_campaigns):
        model, detector = judged
        again = hk.evaluate(
            model, KEY, data, baseline=linear(CONTENT, OTHERS), attacks=[PGD(0.25, 10)], detector=detector, samples=15,
            clients=4, alpha=0.01,
        )  # fmt: skip
        assert again.clients == found.clients

    def test_not_asked_for(self, data, judged):
        found = hk.evaluate(
            judged[0],
            KEY,
            data,
            baseline=linear(CONTENT, OTHERS),
            attacks=[PGD(0.25, 2)],
            detector=judged[1],
            samples=5,
        )
        assert found.clients is None

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"clients": -1}, "clients"),
            ({"clients": 1.5}, "clients"),
            ({"alpha": 0}, "alpha"),
            ({"detector": "trapdoor", "clients": 1}, "extractor only"),
        ],
        ids=str,
    )
    def test_bad_input(self, data, judged, changes, message):
        arguments = {"baseline": linear(CONTENT, OTHERS), "attacks": [PGD(0.25, 2)], "detector": judged[1], **changes}
        with pytest.raises(InvalidArgumentError, match=message):
            hk.evaluate(judged[0], KEY, data, **arguments)

    def test_attack_of_an_honest_name(self, data, judged):
        class Clean(PGD):
            name = "clean"

        arguments = {"baseline": linear(CONTENT, OTHERS), "attacks": [Clean(0.25, 2)], "detector": judged[1]}
        with pytest.raises(InvalidArgumentError, match="and not one of alpha, margin, clean"):
            hk.evaluate(judged[0], KEY, data, clients=1, **arguments)


class TestHonest:
    @pytest.fixture
    def x(self):
        return np.random.default_rng(0).random((50, 10, 14, 3), np.float32)

    @pytest.mark.parametrize("kind", honest.kinds((10, 14, 3)))
    def test_sends_inputs(self, x, kind):
        made = honest.sessions(x, kind, seed=1)
        for session in made:
            assert session.shape[1:] == x.shape[1:]
            assert session.dtype == np.float32
            assert 0 <= session.min() <= session.max() <= 1
        again = honest.sessions(x, kind, seed=1)
        assert all(np.array_equal(a, b) for a, b in zip(made, again, strict=True))

    @pytest.mark.parametrize("kind", honest.kinds((6,)))
    def test_tables(self, kind):
        x = np.random.default_rng(0).random((30, 6), np.float32)
        assert all(session.shape[1:] == (6,) for session in honest.sessions(x, kind))

    def test_explainers_hide_cells_and_leave_the_rest(self, x):
        lime, occlusion = (honest.sessions(x, kind)[0] for kind in ("lime", "occlusion"))
        mean = quantize(x[0].mean(axis=(0, 1), keepdims=True))
        for session, least, most in ((lime, 0.35, 0.65), (occlusion[1:], 0.95, 1.0)):
            kept = np.abs(session - x[0]).max(axis=-1) <= 1 / 255
            hidden = np.abs(session - mean).max(axis=-1) <= 1 / 255
            assert (kept | hidden).all()
            assert least < kept.mean() < most
        assert len(occlusion) == 50

    def test_sizes_of_coalitions_are_those_of_shapley(self, x):
        session = honest.sessions(x, "kernel_shap")[0]
        kept = (np.abs(session - x[0]).max(axis=-1) <= 1 / 255).mean(axis=(1, 2))
        assert (kept < 0.3).any()
        assert (kept > 0.7).any()
        assert (np.abs(kept - 0.5) > 0.2).mean() > 0.5

    def test_video_moves_little(self, x):
        x = np.kron(np.random.default_rng(0).random((1, 5, 5, 1)), np.ones((1, 4, 4, 1))).astype(np.float32)
        (session,) = honest.sessions(x, "video")
        steps = np.abs(np.diff(session, axis=0)).mean(axis=(1, 2, 3))
        assert np.median(steps) < 0.1


class TestStreams:
    @pytest.fixture
    def seen(self, data, judged):
        return hk.evidence.Observer(judged[1], data.calibration.x).observe(data.test.x[:60])

    def test_mixed_is_one_in_so_many_and_none_twice(self, seen):
        stream = senders._mixed(seen, 10, 5, np.random.default_rng(0))
        assert len(stream.seen) == 50
        assert np.array_equal(np.flatnonzero(stream.fooled), np.arange(4, 50, 5))
        assert np.array_equal(stream.attacked, stream.fooled)
        assert len(np.unique(stream.seen.views, axis=0)) == 50

    def test_sessions_stay_together(self, seen):
        fooled = np.zeros(60, bool)
        fooled[[9, 39, 59]] = True
        stream = senders._in_sessions(seen, [10, 30, 20], np.random.default_rng(1), fooled=fooled, most=60)
        assert stream.attacked[0]
        begins = np.flatnonzero(stream.attacked)
        assert np.array_equal(np.flatnonzero(stream.fooled), [*(begins[1:] - 1), 59])

    def test_two_classes(self, seen):
        stream = senders._two_classes(seen, np.random.default_rng(0))
        assert len(np.unique(stream.seen.classes)) == 2

    def test_least_sure_comes_first(self, seen):
        confidence = np.random.default_rng(0).random(60)
        stream = senders._least_sure_first(seen, confidence, np.random.default_rng(1))
        assert np.array_equal(stream.seen.views, seen.views[np.argsort(confidence)])


def test_value_is_frozen(found):
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.clients.alpha = 1
