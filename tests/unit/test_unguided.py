"""Attacks that look at nothing."""

import keras
import numpy as np
import pytest

from honeykeras.attacks import PGD, Noise, RandomBlocks, Stripes
from honeykeras.errors import ModelError

KINDS = [Noise, Stripes, RandomBlocks]
each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


def drawn(kind, shape):
    """The signs that two grey inputs of a shape are given."""
    model = keras.Sequential([keras.Input(shape), keras.layers.Flatten(), keras.layers.Dense(2)])
    x = np.full((2, *shape), 0.5, np.float32)
    examples = kind(0.25).generate(model, x, model.predict(x, verbose=0).argmax(axis=1))
    assert np.allclose(np.abs(examples.x_adv - x), 0.25)
    return np.sign(examples.x_adv - x)


@pytest.mark.parametrize("shape", [(14, 14, 1), (8, 6, 3)])
def test_patterns(shape):
    for kind in KINDS:
        signs = drawn(kind, shape)
        assert not np.array_equal(*signs), "each input has its own"
        assert abs(signs.mean()) < 0.6
    columns = drawn(Stripes, shape)
    assert np.array_equal(columns, np.broadcast_to(columns[:, :1], columns.shape))
    assert not np.array_equal(drawn(Noise, shape)[:, 0], drawn(Noise, shape)[:, 1])


def test_blocks_are_of_a_seventh():
    for signs in drawn(RandomBlocks, (28, 28, 1)):
        for axis in (0, 1):
            changes = np.flatnonzero(np.diff(signs, axis=axis).any(axis=(1 - axis, 2)))
            assert len(changes) >= 4
            assert len(set(changes % 4)) == 1


@each_kind
def test_of_vectors(kind):
    assert drawn(kind, (30,)).shape == (2, 30)


@each_kind
def test_fools_by_chance_and_for_nothing(kind, classifier, right):
    faint, loud = (kind(epsilon).generate(classifier, *right) for epsilon in (0.02, 0.6))
    assert faint.success.mean() < loud.success.mean()
    assert loud.success.any()
    assert not loud.gradients.any()
    assert (loud.queries == 1).all()


@each_kind
def test_need_no_gradient(kind):
    rounded = keras.layers.Lambda(lambda x: keras.ops.cast(keras.ops.cast(9 * x, "int32"), "float32"))
    model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), rounded])
    x = np.full((5, 4, 4, 1), 0.5, np.float32)
    with pytest.raises(ModelError, match="must have a gradient"):
        PGD(0.25).generate(model, x, np.zeros(5, int))
    assert kind(0.25).generate(model, x, np.zeros(5, int)).x_adv.shape == x.shape


@each_kind
def test_a_seed_repeats_it_in_whatever_batches(kind, classifier, right):
    x, y = right
    whole = kind(0.3, seed=3).generate(classifier, x, y).x_adv
    parts = kind(0.3, seed=3).generate(classifier, x, y, batch_size=7).x_adv
    assert np.array_equal(whole, parts)
    assert not np.array_equal(whole, kind(0.3, seed=4).generate(classifier, x, y).x_adv)
