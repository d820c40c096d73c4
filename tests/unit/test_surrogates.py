"""Plain models that the library trains itself, to attack images on."""

import numpy as np
import pytest
import tensorflow as tf

from honeykeras import surrogates
from honeykeras.hardening import Samples
from honeykeras.outputs import predict_labels
from honeykeras.ranges import InputRange


def samples_of(x, y, input_range=(0.0, 1.0), classes=10):
    dataset = tf.data.Dataset.from_tensor_slices((x, y))
    return Samples(dataset, len(x), x.shape[1:], InputRange.of(input_range, x.shape[1:]), classes, np.zeros(2), 0)


@pytest.fixture
def few_steps(monkeypatch):
    monkeypatch.setattr(surrogates, "STEPS", 40)


def test_know_the_data_and_differ(few_steps, digits):
    one, other = surrogates.train(samples_of(digits.train.x, digits.train.y), 7)
    for model in (one, other):
        assert (predict_labels(model, digits.test.x) == digits.test.y).mean() > 0.7
    assert not np.allclose(one.get_weights()[0], other.get_weights()[0])
    again, _ = surrogates.train(samples_of(digits.train.x, digits.train.y), 7)
    np.testing.assert_allclose(
        one.predict(digits.test.x, verbose=0), again.predict(digits.test.x, verbose=0), atol=1e-3
    )


def test_in_another_range_and_of_features(few_steps):
    """Classes that differ in one feature, of inputs that are no images."""
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2
    x = rng.uniform(0, 255, (200, 12)).astype(np.float32)
    x[:, 3] = 200 * y
    for model in surrogates.train(samples_of(x, y, (0.0, 255.0), 2), 0):
        assert (predict_labels(model, x) == y).mean() > 0.95
