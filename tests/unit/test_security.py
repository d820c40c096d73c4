"""What attackers who know of the honeypot reach, on classifiers whose truth is known by construction."""

import dataclasses

import jsonschema
import keras
import numpy as np
import pytest

import honeykeras as hk
from honeykeras.attacks import JSMA, PGD, CarliniWagner, quantize
from honeykeras.data import Data, Split
from honeykeras.errors import InvalidArgumentError, ModelError
from honeykeras.evaluation.arena import Arena
from honeykeras.evaluation.recovery import from_gradients, from_perturbations

SHAPE = (10, 10, 1)
KEY = hk.WatermarkKey(bytes(range(32)), SHAPE, 3, pattern=hk.patterns.Blocks(1))
PATTERNS = hk.Watermark(KEY).patterns().numpy()
RNG = np.random.default_rng(5)
OTHERS = RNG.choice([-1.0, 1.0], PATTERNS.shape).astype(np.float32)


def linear(patterns, activation=None):
    """A classifier with one direction for each class, whose boundaries meet at grey."""
    layers = [keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(3, activation=activation)]
    model = keras.Sequential(layers)
    kernel = patterns.reshape(3, -1).T
    model.set_weights([kernel, -0.5 * kernel.sum(axis=0)])
    return model


def split(count, seed):
    """Noise around grey, of the classes that both classifiers take it for."""
    rng = np.random.default_rng(seed)
    x = quantize(np.clip(0.5 + 0.1 * rng.standard_normal((20 * count, *SHAPE)), 0, 1))
    classes = [np.argmax((x.reshape(len(x), -1) - 0.5) @ each.reshape(3, -1).T, axis=1) for each in (PATTERNS, OTHERS)]
    agreed = np.flatnonzero(classes[0] == classes[1])[:count]
    return Split(x[agreed], classes[0][agreed])


def extractor():
    """What an input is beyond grey, as both views."""
    inputs = keras.Input(SHAPE)
    flat = keras.layers.Rescaling(1.0, -0.5)(keras.layers.Reshape((1, 100))(inputs))
    return keras.Model(inputs, keras.layers.Concatenate(axis=1)([flat, flat]))


def fitted(data):
    """The default detector for the model with the honeypot."""
    return hk.Detector(KEY).fit(linear(PATTERNS), extractor=extractor()).calibrate(data.calibration.x, 0.05)


ATTACKS = [
    CarliniWagner(confidence=8.0, binary_search_steps=3, max_iterations=60, learning_rate=0.05, initial_const=1.0),
    JSMA(theta=0.5),
]


@pytest.fixture(scope="module")
def data():
    return Data("made", 3, 0.2, *(split(count, seed) for seed, count in enumerate((10, 60, 400, 60))))


@pytest.fixture(scope="module")
def found(data):
    return hk.evaluate(
        linear(PATTERNS),
        KEY,
        data,
        baseline=linear(OTHERS),
        attacks=ATTACKS,
        detector=fitted(data),
        samples=40,
        security=True,
    )


class TestRecovery:
    @pytest.mark.parametrize("activation", [None, "softmax"])
    def test_gradients_of_a_linear_model_are_its_weights(self, data, activation):
        estimates = from_gradients(linear(PATTERNS, activation), data.test.x, data.test.y)
        for target in range(3):
            leads = PATTERNS[target] - PATTERNS[data.test.y[data.test.y != target]]
            # Each image of another class has a gradient of length one.
            expected = (leads / np.linalg.norm(leads.reshape(-1, 100), axis=1).reshape(-1, 1, 1, 1)).sum(axis=0)
            assert np.abs(estimates[target] - expected / np.linalg.norm(expected)).max() < 1e-4

    def test_images_of_the_class_itself_say_nothing(self, data):
        zeros = data.test.y == 0
        estimates = from_gradients(linear(PATTERNS), data.test.x[zeros], data.test.y[zeros])
        assert np.abs(estimates[0]).max() == 0
        assert np.linalg.norm(estimates[1]) == pytest.approx(1, abs=1e-5)

    def test_perturbations_are_averaged_by_where_they_lead(self, data):
        model = linear(PATTERNS)
        examples = PGD(0.2, steps=10).generate(model, data.test.x, data.test.y)
        predicted = model.predict(examples.successful, verbose=0).argmax(axis=1)
        estimates = from_perturbations(model, examples)
        for target in range(3):
            delta = examples.delta[predicted == target].reshape(-1, 100)
            mean = (delta / np.linalg.norm(delta, axis=1, keepdims=True)).mean(axis=0)
            assert np.abs(estimates[target].ravel() - mean / np.linalg.norm(mean)).max() < 1e-4

    def test_a_class_to_which_nothing_was_led_is_zero(self, data):
        model = linear(PATTERNS)
        examples = PGD(0.2, steps=10).generate(model, data.test.x, data.test.y)
        none = dataclasses.replace(examples, success=np.zeros(len(examples), bool))
        assert np.abs(from_perturbations(model, none)).max() == 0

    def test_stands_out_from_its_controls(self, found):
        recovery = found.security.recovery
        assert set(recovery) == {"gradients", "weights", "cw", "jsma"}
        for source in ("gradients", "weights", "cw"):
            assert recovery[source].cosine_similarity.value > 0.5
            assert abs(recovery[source].wrong_key.value) < 0.2
            assert abs(recovery[source].no_honeypot.value) < 0.3


class TestAttackers:
    def test_who_there_is(self, found):
        attackers = found.security.attackers
        knowing = {
            "freezes_half",
            "avoids_perturbations",
            "avoids_perturbations_of_other",
            "avoids_gradients",
            "avoids_key",
            "evades_guessing_key",
            "evades_knowing_key",
        }
        assert set(attackers["cw"]) == {*knowing, "confidence_5", "confidence_20"}
        assert set(attackers["jsma"]) == {"freezes_half"}

    def test_whoever_knows_nothing_is_caught(self, found):
        assert found.detection.rates.attacks["cw"].true_positives.value > 0.8
        assert found.security.attackers["cw"]["confidence_20"].rates.true_positives.value > 0.8

    def test_attacking_the_detector_helps(self, found):
        """With the key, clearly; with a guess of it, some."""
        usual = found.detection.rates.attacks["cw"].true_positives
        guessing, knowing = (
            found.security.attackers["cw"][name].rates.true_positives
            for name in ("evades_guessing_key", "evades_knowing_key")
        )
        assert knowing.interval[1] < usual.interval[0]
        assert guessing.count < usual.count

    def test_without_the_patterns_a_linear_model_is_not_fooled(self, found):
        """It has no other way out."""
        avoiding = found.security.attackers["cw"]["avoids_key"]
        usual = found.detection.rates.attacks["cw"].attack_success
        assert avoiding.rates.attack_success.value < usual.value / 2

    def test_control_of_avoiding_leaves_the_way_open(self, found):
        """What was recovered from the other model has nothing to do with this one."""
        control = found.security.attackers["cw"]["avoids_perturbations_of_other"]
        assert control.rates.attack_success.value > 0.9
        assert control.rates.true_positives.value > 0.6

    def test_following_model_and_detector_in_turns(self, data):
        evaluation = hk.evaluate(
            linear(PATTERNS),
            KEY,
            data,
            baseline=linear(OTHERS),
            attacks=[PGD(0.3, steps=10)],
            detector=fitted(data),
            samples=20,
            security=True,
        )
        attackers = evaluation.security.attackers["pgd"]
        names = {
            f"{kind}_{who}_key{suffix}"
            for kind in ("selective", "orthogonal")
            for who in ("guessed", "recovered", "true")
            for suffix in ("", "_at_5")
        }
        assert names <= set(attackers)
        for name in names:
            assert attackers[name].rates.attack_success.n == 20
            assert attackers[name].no_honeypot.attack_success.n == 20
        # With the key they reach what they are after and are not caught, as who knows nothing is.
        assert evaluation.detection.rates.attacks["pgd"].true_positives.value > 0.5
        for name in ("selective_true_key", "orthogonal_true_key"):
            assert attackers[name].rates.attack_success.value > 0.8
            # One of the twenty may be flagged by chance, at 5 % false positives.
            assert attackers[name].rates.true_positives.count <= 1
        # The detector here is calibrated to 5 % itself.
        for name in names:
            assert attackers[name] == attackers[f"{name.removesuffix('_at_5')}_at_5"]

    def test_undetected_is_of_all_attacked(self, found):
        for attackers in found.security.attackers.values():
            for one in attackers.values():
                missed = one.rates.true_positives.n - one.rates.true_positives.count
                assert one.rates.undetected.count == missed
                assert one.rates.undetected.n == one.rates.attack_success.n == 40

    def test_report(self, found):
        document = hk.report.make(found, {})
        jsonschema.validate(document, hk.report.schema())
        del document["security"]["attackers"]["cw"]["avoids_key"]["controls"]
        with pytest.raises(jsonschema.ValidationError, match="controls"):
            jsonschema.validate(document, hk.report.schema())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"security": "yes"}, "`security` must be True or False"),
        ({"detector": "full"}, "such as 'key'. Received: 'full'"),
    ],
)
def test_bad_input(data, changes, message):
    arguments = {"security": True, "baseline": linear(OTHERS), "attacks": ATTACKS[:1], "max_fpr": 0.05}
    with pytest.raises(InvalidArgumentError, match=message):
        hk.evaluate(linear(PATTERNS), KEY, data, **{**arguments, **changes})


def many():
    """Enough test images for two halves."""
    return Data("made", 3, 0.2, *(split(count, seed) for seed, count in enumerate((10, 60, 400, 420))))


@pytest.fixture(scope="module")
def noticed():
    return hk.evaluate(
        linear(PATTERNS),
        KEY,
        many(),
        baseline=linear(OTHERS),
        # The second changes too little to ever succeed.
        attacks=[PGD(0.2, steps=5), JSMA(theta=0.001, gamma=0.02)],
        detector=fitted(many()),
        samples=200,
        yardstick=linear(OTHERS),
    )


class TestIndistinguishability:
    """Whether the honeypot can be noticed, and a model like the plain one cannot."""

    def test_perturbations_give_a_honeypot_away_that_is_all_they_show(self, noticed):
        judged = noticed.indistinguishability["pgd"]["perturbations"]
        assert [test.n for test in judged.honeypot.tests] == [50, 100, 200]
        assert judged.honeypot.tests[-1].p_value < 0.01
        assert judged.honeypot.tests[-1].classifier_accuracy.interval[0] > 0.9
        discrepancies = judged.honeypot.discrepancies
        assert np.quantile(discrepancies.across, 0.05) > np.quantile(discrepancies.within_first, 0.95)

    @pytest.mark.parametrize("looked_at", ["images", "perturbations"])
    def test_an_equal_model_is_not_told_apart(self, noticed, looked_at):
        last = noticed.indistinguishability["pgd"][looked_at].yardstick.tests[-1]
        low, high = last.classifier_accuracy.interval
        assert low < 0.5 < high
        assert last.p_value > 0.01

    def test_an_attack_that_hardly_succeeds_is_left_out(self, noticed):
        assert set(noticed.indistinguishability) == {"pgd"}

    def test_is_in_the_report_as_the_schema_says(self, noticed):
        document = hk.report.make(noticed, {})
        jsonschema.validate(document, hk.report.schema())
        across = document["indistinguishability"]["pgd"]["images"]["honeypot"]["squared_mmd_quantiles"]["across"]
        assert across == sorted(across)

    def test_models_are_attacked_on_images_of_their_own(self, monkeypatch):
        """No image is in both samples that a test compares."""
        from honeykeras.evaluation import indistinguishability

        compared = []
        monkeypatch.setattr(
            indistinguishability, "_compare", lambda first, second, *_: compared.append((first, second))
        )
        nothing = PGD(0.2, steps=1, step_size=1e-9, random_start=False)
        arena = Arena(linear(PATTERNS), many(), {}, 500, 0.05)
        monkeypatch.setattr(indistinguishability, "_samples", lambda examples: {"images": examples.x})
        indistinguishability.judge_noticed(arena, arena, linear(OTHERS), [nothing], seed=0)
        assert len(compared) == 2
        for first, second in compared:
            assert min(len(first), len(second)) > 200
            assert not {image.tobytes() for image in first} & {image.tobytes() for image in second}

    def test_a_yardstick_for_other_data_is_refused_before_anything_is_attacked(self, data):
        other = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(3)])
        with pytest.raises(ModelError):
            hk.evaluate(
                linear(PATTERNS), KEY, data, baseline=linear(OTHERS), attacks=ATTACKS, detector=fitted(data),
                yardstick=other,
            )  # fmt: skip
