"""The evaluation on classifiers whose truth is known by construction."""

import math

import jsonschema
import keras
import numpy as np
import pytest

import honeykeras as hk
from honeykeras.attacks import PGD, quantize
from honeykeras.data import Data, Split
from honeykeras.errors import InvalidArgumentError, ModelError
from honeykeras.evaluation import budgets, correctly_classified

SHAPE = (20, 20, 1)
KEY = hk.WatermarkKey(bytes(range(32)), SHAPE, 2, pattern=hk.patterns.Scattered(0.05, signed=True))


def linear(direction):
    """A classifier that decides by the sign of an input's product with a direction."""
    model = keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(2)])
    weights = np.stack([-direction.ravel(), direction.ravel()], axis=1)
    model.set_weights([weights, np.array([1, -1]) * 0.5 * direction.sum()])
    return model


# Without a random start, which would stay wherever a linear model has no gradient.
ATTACK = PGD(0.3, steps=10, random_start=False)
PATTERN = hk.Watermark(KEY).patterns().numpy()[0]
OTHER = np.random.default_rng(1).choice([-1.0, 1.0], SHAPE) * (np.random.default_rng(2).random(SHAPE) < 0.05)


def split(count, seed, directions=(PATTERN, OTHER)):
    """Random images of the first class for both classifiers, not too close to either boundary.

    Of one class, so that every attack moves the same way: the detector is linear.
    """
    rng = np.random.default_rng(seed)
    x = quantize(rng.random((20 * count, *SHAPE)))
    products = [(x.reshape(len(x), -1) - 0.5) @ direction.ravel() for direction in directions]
    first = np.flatnonzero(np.max(products, axis=0) < -0.3)[:count]
    return Split(x[first], np.zeros(count, np.int64))


@pytest.fixture(scope="module")
def data():
    return Data("made", 2, 0.1, *(split(count, seed) for seed, count in enumerate((10, 300, 500, 600))))


@pytest.fixture(scope="module")
def planted(data):
    """Attacks on the model draw the watermark, by construction."""
    return hk.evaluate(linear(PATTERN), KEY, data, baseline=linear(OTHER), attacks=[ATTACK], max_fpr=0.05, samples=300)


@pytest.fixture(scope="module")
def not_planted(data):
    """The negative control: a model like the baseline, which never saw the key."""
    return hk.evaluate(linear(OTHER), KEY, data, baseline=linear(OTHER), attacks=[ATTACK], max_fpr=0.05, samples=300)


def in_range(bounds, model):
    """The same classifier for inputs of another range."""
    low, width = bounds.ends()[0], bounds.width
    return keras.Sequential(
        [keras.Input(SHAPE), keras.layers.Rescaling((1 / width).tolist(), (-low / width).tolist()), model]
    )


RANGES = {
    "bytes": hk.InputRange(0, 255),
    "around zero": hk.InputRange(-1, 1),
    "of each feature": hk.InputRange(np.zeros(SHAPE), np.random.default_rng(3).uniform(1, 100, SHAPE)),
}


@pytest.mark.parametrize("name", RANGES)
def test_any_input_range(name, data, planted):
    """What is found does not hang on the unit of inputs."""
    bounds = RANGES[name]
    key = hk.WatermarkKey(bytes(range(32)), SHAPE, 2, pattern=KEY.pattern, input_range=bounds)
    pattern = hk.Watermark(key).patterns().numpy()[0]
    parts = [split(count, seed, (pattern, OTHER)) for seed, count in enumerate((10, 300, 500, 600))]
    moved = Data("made", 2, 0.1, *parts).rescaled(bounds)
    attack = PGD(0.3 * float(bounds.working.width), steps=10, random_start=False, input_range=bounds)
    model, baseline = in_range(bounds, linear(pattern)), in_range(bounds, linear(OTHER))
    found = hk.evaluate(model, key, moved, baseline=baseline, attacks=[attack], max_fpr=0.05, samples=300)
    assert found.viability.clean_accuracy.value == 1
    assert found.reconstruction["pgd"].cosine_similarity.interval[0] > 0.8
    assert found.detection.rates.true_positives.value > 0.9
    assert found.detection.exceeds_controls
    assert found.detection.corruptions.keys() == planted.detection.corruptions.keys()
    for example in found.examples["pgd"]:
        assert 0 <= example.x_adv.min() < example.x_adv.max() <= 1
    assert hk.report.make(found, {})["examples"]["pgd"]


class TestPlanted:
    def test_accuracies(self, planted):
        assert planted.viability.clean_accuracy.value == 1
        assert planted.viability.baseline_clean_accuracy.value == 1
        assert planted.viability.clean_accuracy.n == 600

    def test_reconstruction_stands_out_from_its_controls(self, planted):
        found = planted.reconstruction["pgd"]
        assert found.cosine_similarity.interval[0] > 0.8
        assert abs(found.wrong_key.value) < 0.2
        assert abs(found.no_honeypot.value) < 0.2
        assert found.n == planted.detection.rates.attacks["pgd"].true_positives.n

    def test_detection_stands_out_from_its_controls(self, planted):
        detection = planted.detection
        assert detection.rates.true_positives.value > 0.9
        assert detection.exceeds_controls

    def test_rate_of_false_positives_is_kept_in_all_arms(self, planted):
        detection = planted.detection
        for arm in (detection.rates, *detection.wrong_keys, detection.no_honeypot):
            assert arm.false_positives.n == 600
            assert arm.false_positives.value < 0.1

    def test_wrong_keys_are_eight_and_averaged(self, planted):
        detection = planted.detection
        rates = [arm.true_positives.value for arm in detection.wrong_keys]
        assert len(rates) == 8
        assert detection.wrong_key.true_positives.value == pytest.approx(np.mean(rates))
        assert detection.wrong_key.true_positives.n == detection.rates.true_positives.n


def test_attack_of_another_range_is_refused(data):
    with pytest.raises(InvalidArgumentError, match=r"must be for the inputs of the data set.*\[0, 1\]"):
        hk.evaluate(linear(PATTERN), KEY, data, baseline=linear(OTHER), attacks=[PGD(3, input_range=(0, 255))])


def test_without_a_honeypot_nothing_is_claimed(not_planted):
    assert not not_planted.detection.exceeds_controls


def test_attack_that_never_succeeds_is_a_finding(data):
    result = hk.evaluate(linear(PATTERN), KEY, data, baseline=linear(OTHER), attacks=[PGD(1e-6, steps=1)], samples=50)
    assert result.detection.rates.attacks["pgd"].attack_success.value == 0
    assert result.detection.rates.true_positives.n == 0
    assert math.isnan(result.reconstruction["pgd"].cosine_similarity.value)
    assert not result.detection.exceeds_controls
    document = hk.report.make(result, {})
    jsonschema.validate(document, hk.report.schema())
    assert document["detection"]["overall"]["true_positive_rate"] is None


def test_repeats(data, planted):
    again = hk.evaluate(linear(PATTERN), KEY, data, baseline=linear(OTHER), attacks=[ATTACK], max_fpr=0.05, samples=300)
    assert again == planted


class TestCorrectlyClassified:
    def test_only_what_the_model_gets_right(self, data):
        wrong_labels = Split(data.test.x, 1 - np.arange(len(data.test)) % 2)
        right = correctly_classified(linear(PATTERN), wrong_labels, samples=50)
        assert len(right) == 50
        assert np.array_equal(right.x, data.test.x[1:100:2])
        assert np.array_equal(right.y, wrong_labels.y[1:100:2])

    def test_quantised(self, data):
        right = correctly_classified(linear(PATTERN), Split(data.test.x * 0.999, data.test.y), samples=50)
        assert np.array_equal(right.x, quantize(right.x))


def test_other_detectors_stand_beside_their_controls(data):
    """On a model whose every attack draws the watermark: the detector of one's choice and others, same images."""
    result = hk.evaluate(
        linear(PATTERN),
        KEY,
        data,
        baseline=linear(OTHER),
        attacks=[ATTACK],
        baseline_detectors=("trapdoor",),
        max_fpr=0.05,
        samples=100,
    )
    found = result.baselines["trapdoor"]
    assert set(result.baselines) == {"trapdoor"}
    for arm in (found.rates, found.wrong_key, found.no_honeypot):
        assert arm.attacks["pgd"].true_positives.n == 100
        assert arm.false_positives.value < 0.12
    assert not found.key_specific


def test_examples_are_successes(data, planted):
    (example,) = planted.examples["pgd"]  # The data has one class.
    assert (example.label, example.predicted, example.flagged) == (0, 1, True)
    assert example.x.shape == example.x_adv.shape == SHAPE
    # The radius, and what rounding to 8 bits adds.
    assert 0 < np.abs(example.x_adv - example.x).max() <= 0.3 + 0.5 / 255


def test_model_without_neurons_to_look_at_is_told_before_attacks(data, monkeypatch):
    pooled = keras.Sequential([keras.Input(SHAPE), keras.layers.Conv2D(2, 3), keras.layers.GlobalAveragePooling2D()])
    monkeypatch.setattr(PGD, "generate", lambda *args, **kwargs: pytest.fail("The models were attacked."))
    with pytest.raises(ModelError, match="must end in dense layers"):
        hk.evaluate(pooled, KEY, data, baseline=linear(OTHER), attacks=[ATTACK], baseline_detectors=["trapdoor"])


class TestBadInput:
    def judge(self, data, **changes):
        arguments = {"baseline": linear(OTHER), "attacks": [PGD(0.3, steps=2)], "samples": 50, **changes}
        return hk.evaluate(arguments.pop("model", linear(PATTERN)), arguments.pop("key", KEY), data, **arguments)

    @pytest.mark.parametrize(
        ("changes", "error", "message"),
        [
            ({"attacks": []}, InvalidArgumentError, "at least one attack, and none twice"),
            ({"attacks": [PGD(0.1), PGD(0.2)]}, InvalidArgumentError, "at least one attack, and none twice"),
            ({"baseline_detectors": ("paper",)}, InvalidArgumentError, "nor that of `detector`, 'paper'"),
            ({"baseline_detectors": ("no",)}, InvalidArgumentError, "`baseline_detectors` must be one of"),
            ({"samples": 0}, InvalidArgumentError, "must be a whole number of at least 1"),
            ({"max_fpr": 1.2}, InvalidArgumentError, "`max_fpr` must be a number in (0, 1)"),
            ({"max_fpr": 1e-4}, InvalidArgumentError, "on at least 9999 clean inputs. Received: 500"),
            (
                {"key": hk.WatermarkKey.generate(SHAPE, 3)},
                InvalidArgumentError,
                "20, 20, 1) in [0, 1] and 2 classes, as made has",
            ),
            ({"key": hk.WatermarkKey.generate((5,), 2)}, InvalidArgumentError, "The key must be for inputs of shape"),
            ({"model": linear(-PATTERN)}, ModelError, "must get some images right"),
            ({"model": hk.models.small_cnn((64, 64, 1), 2)}, ModelError, "must be a classifier of inputs of shape"),
        ],
    )
    def test_one_clear_error(self, data, changes, error, message):
        with pytest.raises(error) as raised:
            self.judge(data, **changes)
        assert message in str(raised.value)


class TestWhatGetsPast:
    @pytest.fixture(scope="class")
    @staticmethod
    def compared(data):
        found = hk.evaluate(
            linear(PATTERN),
            KEY,
            data,
            baseline=linear(OTHER),
            # Nothing moves it.
            adversarial=linear(1e-9 * OTHER),
            attacks=[ATTACK],
            max_fpr=0.05,
            samples=40,
        )
        return found

    def test_by_attacker(self, compared):
        assert set(compared.compared) == {"pgd", "noise", "stripes", "blocks", "square", "transfer"}
        for found in compared.compared.values():
            assert found.counted.honeypot.undetected.n == found.counted.honeypot.attack_success.n == 40
        # All of it lies within its own radius.
        assert compared.compared["pgd"].counted.honeypot == compared.detection.rates.attacks["pgd"]
        # Who has the plain model has it.
        transfer = compared.compared["transfer"].counted
        assert transfer.plain is None
        assert transfer.honeypot.attack_success == compared.detection.transfer.attacks["pgd"].attack_success

    def test_beside_other_models(self, compared):
        assert compared.compared["pgd"].counted.plain.value > 0.9
        assert compared.adversarial_accuracy is not None
        for found in compared.compared.values():
            assert found.counted.adversarial.n > 0

    def test_without_an_adversarially_trained_one(self, planted):
        assert planted.adversarial_accuracy is None
        assert all(found.counted.adversarial is None for found in planted.compared.values())
        document = hk.report.make(planted, {})
        jsonschema.validate(document, hk.report.schema())
        assert document["compared"]["stripes"]["adversarial"] is None
        assert "adversarial_clean_accuracy" not in document["viability"]

    def test_report(self, compared):
        document = hk.report.make(compared, {})
        jsonschema.validate(document, hk.report.schema())
        assert document["compared"]["pgd"]["plain"]["fooled_rate"] > 0.9
        assert document["viability"]["adversarial_clean_accuracy"] == compared.adversarial_accuracy.value

    def test_curves(self, data):
        """Each model at shares of the radius, and what looks for the smallest change within shares of its budget."""
        evaluation = hk.evaluate(
            linear(PATTERN),
            KEY,
            data,
            baseline=linear(OTHER),
            attacks=[ATTACK, hk.attacks.DDN(steps=30)],
            max_fpr=0.05,
            samples=30,
            curves=True,
        )
        found = evaluation.compared
        for name, shares in (("pgd", budgets.NARROWER), ("noise", budgets.NARROWER), ("ddn", budgets.SHARES)):
            each = found[name]
            assert [point.budget for point in each.curve[: len(shares)]] == [share * each.budget for share in shares]
            for who in (lambda point: point.honeypot.attack_success, lambda point: point.plain):
                successes = [who(point).count for point in each.curve]
                assert successes == sorted(successes)
            assert each.counted.honeypot.undetected.count <= each.counted.honeypot.attack_success.count
        assert found["pgd"].budget == ATTACK.epsilon
        assert found["pgd"].curve[0].plain.count < found["pgd"].curve[-1].plain.count
        assert found["ddn"].norm == "2"
        assert found["ddn"].budget == budgets.customary(data, "2")
        document = hk.report.make(evaluation, {})
        jsonschema.validate(document, hk.report.schema())
        assert [point["budget"] for point in document["compared"]["ddn"]["curve"]] == [
            point.budget for point in found["ddn"].curve
        ]


@pytest.mark.parametrize(
    ("shape", "epsilon", "expected"),
    [
        ((28, 28, 1), 0.3, {"inf": 0.3, "2": 2.0, "0": 113}),
        ((32, 32, 3), 8 / 255, {"inf": 8 / 255, "2": 0.5, "0": 445}),
        ((5,), 0.1, {"inf": 0.1, "2": 0.06, "0": 1}),
    ],
)
def test_customary_budgets(shape, epsilon, expected):
    """As they are usual for MNIST and CIFAR-10, and in any range the same."""
    part = Split(np.zeros((4, *shape), np.float32), np.array([0, 1, 0, 1]))
    data = Data("made", 2, epsilon, part, part, part, part)
    assert {norm: budgets.customary(data, norm) for norm in expected} == pytest.approx(expected)
    wide = data.rescaled((0, 255))
    assert budgets.customary(wide, "2") == pytest.approx(255 * expected["2"])
    assert budgets.customary(wide, "0") == expected["0"]
