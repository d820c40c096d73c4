"""The default recipe on real data: what it plants is there, and its controls show none of it."""

import keras
import pytest

import honeykeras as hk
from honeykeras.model_sources import Classifier


@pytest.fixture(scope="module")
def key(digits):
    return hk.WatermarkKey(bytes(range(32)), digits.input_shape, digits.num_classes)


def dense(data, *, seed, steps):
    """A network that is quick to train."""
    keras.utils.set_random_seed(seed)
    layers = [keras.layers.Flatten(), keras.layers.Dense(256, "relu"), keras.layers.Dense(data.num_classes)]
    model = keras.Sequential([keras.Input(data.input_shape), *layers])
    model.compile(keras.optimizers.Adam(2e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return Classifier(model)


@pytest.fixture(scope="module")
def found(digits, key):
    """One training with the honeypot, one without, on the digits; PGD on both, the default detector."""
    trained = hk.training.train(digits, hk.Honeypot(key), epochs=40, batch_size=64, seed=0, build=dense)
    detector = hk.Detector(key).fit(trained.model, digits.train.x, steps=200).calibrate(digits.calibration.x, 0.01)
    return hk.evaluate(
        trained.model,
        key,
        digits,
        baseline=trained.baseline,
        attacks=[hk.attacks.PGD(epsilon=digits.epsilon)],
        detector=detector,
        samples=200,
    )


def test_detection_stands_out_from_wrong_keys_and_from_a_plain_model(found):
    assert found.detection.exceeds_controls
    assert found.detection.rates.true_positives.interval[0] > 0.7


def test_images_attacked_elsewhere_are_no_evidence(found):
    assert found.detection.transfer.true_positives.interval[1] < found.detection.rates.true_positives.interval[0]


def test_attacks_draw_the_watermark(found):
    cosines = found.reconstruction["pgd"]
    assert cosines.cosine_similarity.interval[0] > 0.3
    assert cosines.wrong_key.interval[1] < 0.1
    assert cosines.no_honeypot.interval[1] < 0.1


def test_accuracy_is_kept(found):
    """No more than the interval of a test set of this size allows."""
    assert found.viability.clean_accuracy.interval[1] >= found.viability.baseline_clean_accuracy.value


def test_benign_corruptions_are_judged(found):
    assert set(found.detection.corruptions) == set(hk.corruptions.names((8, 8, 1)))
    preserving = [one for one in found.detection.corruptions.values() if one.accuracy.value > 0.95]
    assert preserving
    assert max(one.flagged.value for one in preserving) < 0.1
