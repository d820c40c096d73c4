"""The viability sweep: its points, its files, and what it finds on digits."""

import dataclasses
import json
import math

import numpy as np
import pytest

import honeykeras as hk
from honeykeras import _progress
from honeykeras.attacks import PGD
from honeykeras.errors import InvalidArgumentError, StorageError
from honeykeras.sweep import SweepPoint

MASTER = bytes(range(32))
SHAPE = (8, 8, 1)
ATTACK = PGD(0.5, steps=5)


@pytest.fixture(scope="module")
def data():
    return hk.data.load("digits").reduced(200)


@pytest.fixture
def trainings(monkeypatch, classifier):
    """The honeypots that were to be trained, None for no honeypot, in order; each gives the same model at once."""
    made = []

    def counted(data, honeypot, **arguments):
        made.append(honeypot)
        return classifier, {}

    monkeypatch.setattr(hk.training, "fit_classifier", counted)
    return made


def run(data, points, folder, **changes):
    arguments = {"master": MASTER, "attacks": [ATTACK], "epochs": 2, "samples": 10, **changes}
    return hk.sweep.run(data, points, folder, **arguments)


def rates(*values):
    """Points of the paper's recipe that differ in the poison rate."""
    recipe, pattern = hk.recipes.PAPER, hk.patterns.Scattered()
    changed = [dataclasses.replace(recipe, poison_rate=value) for value in values]
    return [SweepPoint(each, pattern, "poison_rate", each.poison_rate) for each in changed]


@pytest.fixture(scope="module")
def swept(data, tmp_path_factory):
    """A folder with two finished points, and what was found there."""
    folder = tmp_path_factory.mktemp("sweep")
    return folder, run(data, rates(0.1, 0.3), folder)


class TestPoints:
    @pytest.mark.parametrize("name", ["paper", "balanced", "hardened"])
    def test_one_thing_is_varied_at_a_time(self, name):
        """A point differs from the recipe in what it says it varies, and in no more."""
        own = {**hk.recipes.get(name).get_config(), **default_pattern(name)}
        for point in hk.sweep.points(name, SHAPE):
            found = {**point.recipe.get_config(), **dataclasses.asdict(point.pattern)}
            assert {field for field in own if own[field] != found[field]} <= {point.varied}
            assert found[point.varied] == point.value

    def test_own_value_is_always_among_them(self):
        """What is varied takes the recipe's own value once, even if that was not asked for."""
        points = hk.sweep.points("paper", SHAPE, poison_rates=[0.15], sizes=[0.4], amplitudes=[0.2, 1])
        values = [(point.varied, point.value) for point in points]
        assert values == [
            *(("poison_rate", 0.15), ("poison_rate", 0.3)),
            *(("watermark_size", 0.25), ("watermark_size", 0.4)),
            *(("amplitude", 0.2), ("amplitude", 1.0)),
        ]

    def test_blocks_are_varied_in_their_side(self):
        """Blocks cover everything, so that the size varied is their side, as far as two go into an image."""
        for shape, sizes in {(28, 28, 1): [1, 2, 4, 7], (8, 8, 1): [1, 2, 4], (30,): [1]}.items():
            points = hk.sweep.points("balanced", shape)
            assert [point.value for point in points if point.varied == "block_size"] == sizes

    def test_least_amplitude_is_never_above_the_greatest(self):
        points = hk.sweep.points("balanced", SHAPE, amplitudes=[0.02, 0.1])
        least = {point.value: point.recipe.min_amplitude for point in points if point.varied == "amplitude"}
        assert least == {0.02: 0.02, 0.1: 0.05, 0.3: 0.05}

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"poison_rates": [1.0]}, "`poison_rate` must be a number in"),
            ({"amplitudes": [0.0]}, "`amplitude` must be a number in"),
            ({"sizes": [1.5]}, "`watermark_size` must be a number in"),
            ({"pattern": hk.patterns.Blocks(9)}, "needs images .* of at least that size"),
        ],
    )
    def test_values_must_be_possible(self, changes, message):
        with pytest.raises(InvalidArgumentError, match=message):
            hk.sweep.points("paper", SHAPE, **changes)

    def test_schedules_are_not_varied(self):
        recipe = dataclasses.replace(hk.recipes.PAPER, amplitude=((0, 1.0), (3, 0.5)))
        with pytest.raises(InvalidArgumentError, match=r"`amplitude` must be a number, not a schedule.*Received"):
            hk.sweep.points(recipe, SHAPE)


def default_pattern(name):
    family = hk.patterns.FAMILIES[hk.recipes.get(name).family]
    return dataclasses.asdict(family.for_inputs(SHAPE))


class TestFound:
    def test_controls_are_beside_every_figure(self, swept, data):
        """Each attack has wrong keys and the model without a honeypot, which is one and the same for all points."""
        _, results = swept
        for result in results:
            found = result.reconstruction["pgd"]
            assert all(math.isfinite(x.value) for x in (found.cosine_similarity, found.wrong_key, found.no_honeypot))
            assert 0 < found.n <= 10
            assert result.clean_accuracy.n == result.baseline_clean_accuracy.n == len(data.test)
        first, second = results
        assert first.baseline_clean_accuracy == second.baseline_clean_accuracy
        assert first.reconstruction["pgd"].no_honeypot == second.reconstruction["pgd"].no_honeypot
        assert first.clean_accuracy != second.clean_accuracy

    def test_poisoned_is_what_classes_allow(self, swept):
        """Every class gives equally many, so that the share is close to the rate, and never above it."""
        for result in swept[1]:
            assert 0.9 * result.value < result.poisoned.value <= result.value

    def test_repeats(self, swept, data, tmp_path):
        """The same settings give the same figures, up to the rounding of parallel sums."""
        folder, _ = swept
        run(data, rates(0.1), tmp_path)
        (path,) = tmp_path.glob("*.json")
        first, again = (json.loads((place / path.name).read_text()) for place in (folder, tmp_path))
        assert first["settings"] == again["settings"]
        cosines = [each["figures"]["reconstruction"]["pgd"]["cosine_similarity"]["value"] for each in (first, again)]
        assert cosines[0] == pytest.approx(cosines[1], abs=0.02)
        counts = [each["figures"]["clean_accuracy"]["count"] for each in (first, again)]
        assert counts[0] == pytest.approx(counts[1], abs=2)

    def test_nothing_secret_is_kept(self, swept, data):
        folder, _ = swept
        key = hk.WatermarkKey(MASTER, data.input_shape, data.num_classes, pattern=hk.patterns.Scattered())
        for path in folder.glob("*.json"):
            assert json.loads(path.read_text())["settings"]["key_id"] == key.key_id
            assert MASTER.hex() not in path.read_text()


class TestFiles:
    def test_recipes_own_point_is_trained_once(self, data, tmp_path, trainings):
        """The point that is in all three series is made once, and the control is one training for all."""
        points = hk.sweep.points("paper", SHAPE, poison_rates=[], sizes=[], amplitudes=[])
        results = run(data, points, tmp_path, epochs=1)
        assert [point.varied for point in points] == ["poison_rate", "watermark_size", "amplitude"]
        assert [honeypot is None for honeypot in trainings] == [True, False]
        assert len({result.clean_accuracy for result in results}) == 1

    def test_all_points_at_hand_train_nothing(self, swept, data, trainings):
        folder, results = swept
        assert run(data, rates(0.1, 0.3), folder) == results
        assert not trainings

    def test_goes_on_after_an_interruption(self, data, tmp_path, trainings):
        """Finished points and the control are not trained again."""

        class Interrupted(PGD):
            left = 3

            def generate(self, *args, **arguments):
                self.left -= 1
                if self.left < 0:
                    raise KeyboardInterrupt
                return super().generate(*args, **arguments)

        points = rates(0.1, 0.2, 0.3, 0.4)
        with pytest.raises(KeyboardInterrupt):
            run(data, points, tmp_path, epochs=1, attacks=[Interrupted(0.5, steps=5)])
        # The control, two points, and the one that was lost.
        assert len(trainings) == 4
        assert len(list(tmp_path.glob("*.json"))) == 2
        trainings.clear()
        results = run(data, points, tmp_path, epochs=1)
        assert [honeypot.recipe.poison_rate for honeypot in trainings] == [0.3, 0.4]
        assert [result.value for result in results] == [0.1, 0.2, 0.3, 0.4]
        assert len({result.baseline_clean_accuracy for result in results}) == 1

    @pytest.mark.parametrize(
        "changes",
        [
            {"epochs": 3},
            {"seed": 1},
            {"samples": 9},
            {"batch_size": 64},
            {"attacks": [PGD(0.3, steps=4)]},
            {"master": bytes(32)},
            {"data": hk.data.load("digits").reduced(199)},
        ],
        ids=lambda changes: next(iter(changes)),
    )
    def test_other_settings_are_another_point(self, swept, data, monkeypatch, changes):
        """A point made with other settings is never taken for this one."""

        def trained(*args, **arguments):
            raise RuntimeError("trains")

        monkeypatch.setattr(hk.training, "fit_classifier", trained)
        # Where the control is the same and at hand, it is attacked before the first point is trained.
        monkeypatch.setattr(PGD, "generate", trained)
        with pytest.raises(RuntimeError, match="trains"):
            run(changes.get("data", data), rates(0.1), swept[0], **{k: v for k, v in changes.items() if k != "data"})

    @pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"settings": {}, "figures": {}}', "other settings"])
    def test_unusable_file_is_one_clear_error(self, swept, data, tmp_path, trainings, content):
        """Told before anything is trained, and the file stays as it is."""
        folder, _ = swept
        first, second = sorted(folder.glob("*.json"))
        content = second.read_text() if content == "other settings" else content
        (tmp_path / first.name).write_text(content)
        with pytest.raises(StorageError, match=r"must hold a point of this sweep. Received: .*Delete the file"):
            run(data, rates(0.1, 0.3), tmp_path)
        assert not trainings
        assert (tmp_path / first.name).read_text() == content

    def test_given_baseline_is_not_trained(self, data, classifier, tmp_path, trainings):
        """A control at hand is used as it is, and nothing else is kept in its place."""
        (result,) = run(data, rates(0.3), tmp_path, epochs=1, baseline=classifier)
        assert [honeypot.key.num_classes for honeypot in trainings] == [10]
        right = np.argmax(classifier.predict(data.test.x, verbose=0), axis=1) == data.test.y
        assert result.baseline_clean_accuracy.count == right.sum()
        assert not list(tmp_path.glob("*.keras"))

    def test_progress_is_shown_if_asked_for(self, swept, data, capsys, monkeypatch):
        monkeypatch.setattr(_progress, "_DELAY", 0.0)
        for verbose, shown in ((0, ""), (1, "2/2")):
            run(data, rates(0.1, 0.3), swept[0], verbose=verbose)
            assert shown in capsys.readouterr().err

    def test_result_is_a_line(self, swept):
        line = str(swept[1][0])
        assert line.startswith("paper, poison_rate=0.1: accuracy ")
        assert "wrong key" in line


class TestBadInput:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"attacks": []}, "at least one attack, and none twice"),
            ({"attacks": [PGD(targeted=True)]}, "must not be targeted"),
            ({"points": []}, "`points` must hold at least one point"),
            ({"epochs": 0}, "`epochs` must be a whole number of at least 1"),
            ({"samples": 0}, "`samples` must be a whole number of at least 1"),
            ({"seed": -1}, "`seed` must be a whole number"),
            ({"master": b"short"}, "`master` must be 32 bytes"),
            ({"points": [SweepPoint(hk.recipes.BALANCED, hk.patterns.Scattered(), "a", 1)]}, "of the family 'blocks'"),
        ],
    )
    def test_one_clear_error(self, data, tmp_path, trainings, changes, message):
        with pytest.raises(InvalidArgumentError) as raised:
            run(data, changes.pop("points", rates(0.1)), tmp_path, **changes)
        assert message in str(raised.value)
        assert not trainings

    @pytest.mark.parametrize("train_samples", [0, 201, 1.5])
    def test_reduced_to_what_there_is(self, data, train_samples):
        with pytest.raises(InvalidArgumentError, match=r"`train_samples` must be a whole number from 1 to 200"):
            data.reduced(train_samples)
