"""Attacks that follow a model and a detector one at a time, on models whose truth is known."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from honeykeras.attacks import PGD, OrthogonalPGD, SelectivePGD
from honeykeras.errors import InvalidArgumentError

KINDS = [SelectivePGD, OrthogonalPGD]
each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
FEATURES = 40
DRAW = np.random.default_rng(0)
WEIGHTS = DRAW.normal(size=(FEATURES, 3)).astype(np.float32)
SUSPICIOUS = DRAW.normal(size=(FEATURES, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def model():
    made = keras.Sequential([keras.Input((FEATURES,)), keras.layers.Dense(3)])
    # The boundaries meet at grey.
    made.set_weights([WEIGHTS, -0.5 * WEIGHTS.sum(axis=0)])
    return made


@pytest.fixture(scope="module")
def inputs(model):
    x = DRAW.uniform(0.4, 0.6, (20, FEATURES)).astype(np.float32)
    return x, (model.predict(x, verbose=0).argmax(axis=1) + 1) % 3


def statistics(x):
    return tf.cast((x - 0.5) @ SUSPICIOUS, tf.float64)


def suspicion(examples):
    return np.take_along_axis(statistics(examples.x_adv).numpy(), examples.y[:, None], axis=1)[:, 0]


@each_kind
def test_reaches_the_label_and_is_hardly_suspicious(kind, model, inputs):
    x, targets = inputs
    usual = PGD(0.2, targeted=True).generate(model, x, targets)
    examples = kind(statistics, 0.2, 300).generate(model, x, targets)
    assert usual.success.all()
    assert examples.success.all()
    assert (examples.y == targets).all()
    assert np.abs(examples.x_adv - x).max() <= 0.2 + 1e-6
    assert (suspicion(examples) < suspicion(usual)).all()
    assert suspicion(examples).mean() < suspicion(usual).mean() - 3
    assert (examples.gradients == 602).all()


def test_of_the_detector_alone_there_would_be_no_more_to_gain(model, inputs):
    """A linear detector's least statistic in the ball is known; what reaches the label besides comes near to it."""
    x, targets = inputs
    least = statistics(x).numpy()[np.arange(20), targets] - 0.2 * np.abs(SUSPICIOUS).sum(axis=0)[targets]
    found = suspicion(SelectivePGD(statistics, 0.2, 500).generate(model, x, targets))
    assert (found >= least - 1e-4).all()
    assert (found - least).mean() < 0.4 * np.abs(least).mean()


def test_steps_of_one_are_orthogonal_to_the_gradient_of_the_other():
    attack = OrthogonalPGD(statistics)
    one, other = (tf.constant(DRAW.normal(size=(2, 5)).astype(np.float32)) for _ in range(2))
    reached = tf.constant([True, False])
    direction = attack._direction(reached, one, other).numpy()
    assert direction[0] @ one.numpy()[0] == pytest.approx(0, abs=1e-5)
    assert direction[1] @ other.numpy()[1] == pytest.approx(0, abs=1e-5)
    selective = SelectivePGD(statistics)._direction(reached, one, other).numpy()
    assert np.array_equal(selective, [other.numpy()[0], one.numpy()[1]])


@each_kind
def test_what_reaches_nothing_stays_as_it_is(kind, model, inputs):
    x, targets = inputs
    examples = kind(statistics, 1e-4, 20).generate(model, x, targets)
    assert not examples.success.any()
    assert np.array_equal(examples.x_adv, x)


@each_kind
def test_only_features_that_may_change_do(kind, model, inputs):
    x, targets = inputs
    mask = np.arange(FEATURES) % 2 == 0
    examples = kind(statistics, 0.4, 100).generate(model, x, targets, mask=mask)
    assert examples.success.any()
    assert np.array_equal(examples.x_adv[:, ~mask], x[:, ~mask])


@each_kind
def test_settings(kind, model, inputs):
    attack = kind(statistics, 0.2, 30, 0.01, seed=4)
    assert attack.targeted
    again = kind(statistics, **attack.get_config())
    assert again.get_config() == attack.get_config()
    batches = [attack.generate(model, *inputs, batch_size=size).x_adv for size in (3, 20)]
    # Batches of other sizes may be multiplied by other kernels.
    np.testing.assert_allclose(*batches, rtol=0, atol=1e-6)


@pytest.mark.parametrize("settings", [{"epsilon": 0}, {"steps": 0}, {"step_size": 1.0}])
def test_bad_settings(settings):
    with pytest.raises(InvalidArgumentError, match=f"`{next(iter(settings))}`"):
        SelectivePGD(statistics, **settings)
