"""Nothing in the library seeds, or draws from, the random state of whoever calls it."""

import random

import keras
import numpy as np
import pytest
import tensorflow as tf

import honeykeras as hk
import honeykeras.model_sources
import honeykeras.preflight

KEY = hk.WatermarkKey(bytes(range(32)), (8, 8, 1), 10)


def draw():
    """What the global generators give next."""
    return (
        random.random(),  # noqa: S311
        np.random.random(),
        float(tf.random.uniform([])),
        float(keras.random.uniform([])),
        keras.random.SeedGenerator().initial_seed if hasattr(keras.random.SeedGenerator(), "initial_seed") else None,
    )


def fit_detector(digits, model):
    hk.Detector(KEY).fit(model, digits.train.x, steps=2).calibrate(digits.calibration.x, 0.1)


def train(digits, model):
    hk.training.train(digits.reduced(200), hk.Honeypot(KEY), epochs=1, seed=4)


def preflight(digits, model):
    hk.preflight.preflight(digits, hk.model_sources.get(None), hk.recipes.BALANCED, epochs=1)


def add_branch(digits, model):
    hk.models.add_branch(model, seed=4)


def attack(digits, model):
    short = {
        **{name: {"max_queries": 100} for name in ("nes", "square", "boundary", "hop_skip_jump")},
        "cw": {"binary_search_steps": 1, "max_iterations": 20},
    }
    for name in hk.attacks.names():
        hk.attacks.get(name, **short.get(name, {})).generate(model, digits.test.x[:2], digits.test.y[:2])


def corrupt(digits, model):
    hk.corruptions.corrupt(digits.test.x[:5], "gaussian_noise")


@pytest.mark.filterwarnings("ignore:The smallest class")
@pytest.mark.parametrize(
    "use", [fit_detector, train, preflight, add_branch, attack, corrupt], ids=lambda use: use.__name__
)
def test_is_left_alone(use, digits, classifier):
    keras.utils.set_random_seed(11)
    expected = draw()
    keras.utils.set_random_seed(11)
    use(digits, classifier)
    assert draw() == expected


def test_evaluation_leaves_it_alone(digits, classifier):
    keras.utils.set_random_seed(11)
    expected = draw()
    keras.utils.set_random_seed(11)
    hk.evaluate(
        classifier,
        KEY,
        digits,
        baseline=classifier,
        attacks=[hk.attacks.PGD(0.3, steps=2)],
        detector=hk.Detector(KEY).fit(classifier, digits.train.x, steps=2).calibrate(digits.calibration.x, 0.1),
        samples=10,
    )
    assert draw() == expected


def test_seed_decides_nevertheless(digits):
    first, second = (hk.models.small_cnn((8, 8, 1), 10, seed=seed).get_weights() for seed in (5, 5))
    assert all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))
    other = hk.models.small_cnn((8, 8, 1), 10, seed=6).get_weights()
    assert not np.array_equal(first[0], other[0])
