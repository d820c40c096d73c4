"""Random patterns of signs."""

import numpy as np
import pytest
import tensorflow as tf

from honeykeras import random_patterns

SEED = (7, 0)


@pytest.mark.parametrize("shape", [(28, 28, 1), (10, 14, 3), (4, 4, 1)])
def test_there_are_blocks_of_several_sizes_and_stripes_either_way(shape):
    signs = tf.function(lambda count: random_patterns.mixed(shape, count, SEED))(tf.constant(200)).numpy()
    assert signs.shape == (200, *shape)
    assert set(np.unique(signs)) == {-1, 1}
    assert abs(signs.mean()) < 0.1
    columns, rows = ((np.diff(signs, axis=axis) == 0).all(axis=(1, 2, 3)) for axis in (1, 2))
    # A small image's blocks may be all of it.
    for kind in (columns, rows):
        assert 20 <= kind.sum() <= 120


@pytest.mark.parametrize("size", [2, 4])
def test_blocks_begin_anywhere(size):
    """Where signs change along a side tells where a grid begins."""
    signs = random_patterns.mixed((28, 28, 1), 2000, SEED).numpy()[..., 0]
    changes = [np.flatnonzero((np.diff(each, axis=1) != 0).any(axis=0)) + 1 for each in signs]
    gaps = [np.gcd.reduce(np.diff(places)) if len(places) > 2 else 0 for places in changes]
    starts = {int(places[0] % size) for places, gap in zip(changes, gaps, strict=True) if gap == size}
    assert starts == set(range(size))


def test_each_is_its_own_and_the_same_again():
    ten, again, others = (random_patterns.mixed((8, 8, 1), 10, seed).numpy() for seed in (SEED, SEED, (7, 1)))
    assert np.array_equal(ten, again)
    assert len(np.unique(ten.reshape(10, -1), axis=0)) == 10
    assert not np.array_equal(ten, others)


def test_inputs_that_are_no_images_get_noise():
    signs = random_patterns.mixed((50,), 20, SEED).numpy()
    assert signs.shape == (20, 50)
    assert abs(signs.mean()) < 0.15
