"""Signatures of neurons, on models whose neurons are known by construction."""

import keras
import numpy as np
import pytest

import honeykeras as hk
from honeykeras.detection import TrapdoorDetector
from honeykeras.errors import InvalidArgumentError, ModelError
from honeykeras.models import add_branch

SHAPE = (12, 12, 1)
KEY = hk.WatermarkKey(bytes(range(32)), SHAPE, 3)
PATTERNS = hk.Watermark(KEY).patterns().numpy().reshape(3, -1).T


def follows(patterns, *, softmax=False):
    """A classifier whose neurons each answer to one pattern, and little to all else."""
    inputs = keras.Input(SHAPE)
    neurons = keras.layers.Dense(4, activation="relu")
    outputs = keras.layers.Dense(3, activation="softmax" if softmax else None)
    model = keras.Model(inputs, outputs(neurons(keras.layers.Flatten()(inputs))))
    # The last neuron is always on, so that clean inputs move some neuron, too.
    neurons.set_weights([np.c_[patterns, np.zeros(144)], np.array([0, 0, 0, 3.0])])
    outputs.set_weights([np.r_[np.eye(3), np.zeros((1, 3))], np.zeros(3)])
    return model


def images(count, seed):
    return np.random.default_rng(seed).uniform(0.3, 0.7, (count, *SHAPE)).astype(np.float32)


def marked(count, seed):
    return hk.Watermark(KEY).apply(images(count, seed), 0.15, np.arange(count) % 3).numpy()


@pytest.mark.parametrize("softmax", [False, True])
def test_finds_what_moves_the_neurons(softmax):
    model = follows(PATTERNS, softmax=softmax)
    detector = TrapdoorDetector(KEY).fit(model, images(600, 0)).calibrate(images(1000, 1), 0.05)
    assert detector.flag(marked(200, 2)).mean() > 0.9
    assert detector.flag(images(1000, 3)).mean() < 0.08


def test_is_no_evidence_of_the_key():
    """The control: with the signatures of a wrong key, it finds far less on the same images."""
    model = follows(PATTERNS)
    wrong = TrapdoorDetector(KEY.wrong_key(0)).fit(model, images(600, 0)).calibrate(images(1000, 1), 0.05)
    right = TrapdoorDetector(KEY).fit(model, images(600, 0)).calibrate(images(1000, 1), 0.05)
    assert wrong.score(marked(200, 2)).mean() < right.score(marked(200, 2)).mean()
    assert not TrapdoorDetector.key_specific


def test_layer_decides_alike():
    model = follows(PATTERNS)
    detector = TrapdoorDetector(KEY).fit(model, images(600, 0)).calibrate(images(1000, 1), 0.05)
    x = np.concatenate([images(50, 3), marked(50, 2)])
    found = detector.layer()(x, model(x))
    assert np.allclose(found["score"], detector.score(x), atol=1e-4)
    assert np.array_equal(found["flag"], detector.flag(x))


def test_sees_past_a_branch():
    """The reference classifier with a branch has two last layers; both are looked at."""
    model = add_branch(hk.models.small_cnn(SHAPE, 3))
    detector = TrapdoorDetector(KEY).fit(model, images(60, 0))
    assert detector.score(images(5, 1)).shape == (5,)
    assert detector._activations.predict(images(5, 1)).shape == (5, 128 + 64)


def test_model_without_dense_layers():
    model = keras.Sequential([keras.Input(SHAPE), keras.layers.Conv2D(3, 3), keras.layers.GlobalAveragePooling2D()])
    with pytest.raises(ModelError, match="must end in dense layers"):
        TrapdoorDetector(KEY).fit(model, images(30, 0))


def test_wrong_inputs():
    with pytest.raises(InvalidArgumentError, match="`samples`"):
        TrapdoorDetector(KEY).fit(follows(PATTERNS), np.zeros((3, 5), np.float32))


def test_compiles_once():
    detector = TrapdoorDetector(KEY).fit(follows(PATTERNS), images(600, 0))
    for count in (600, 100, 37):
        detector.score(images(count, 1))
    assert detector._run.experimental_get_tracing_count() <= 2
