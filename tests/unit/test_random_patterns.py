"""Random patterns of signs."""

import numpy as np
import pytest
import tensorflow as tf

from honeykeras import random_patterns


def seeds(count, first=0):
    return tf.stack([tf.fill([count], 7), first + tf.range(count)], axis=1)


@pytest.mark.parametrize("shape", [(28, 28, 1), (10, 14, 3), (4, 4, 1)])
def test_there_are_blocks_of_several_sizes_and_stripes_either_way(shape):
    signs = tf.function(lambda seeds: random_patterns.mixed(shape, seeds))(seeds(200)).numpy()
    assert signs.shape == (200, *shape)
    assert set(np.unique(signs)) == {-1, 1}
    assert abs(signs.mean()) < 0.1
    columns, rows = ((np.diff(signs, axis=axis) == 0).all(axis=(1, 2, 3)) for axis in (1, 2))
    # A small image's blocks may be all of it.
    for kind in (columns, rows):
        assert 20 <= kind.sum() <= 120


def test_each_seed_has_its_own_and_the_same_again():
    ten, again, others = (random_patterns.mixed((8, 8, 1), seeds(10, first)).numpy() for first in (0, 0, 10))
    assert np.array_equal(ten, again)
    assert len(np.unique(ten.reshape(10, -1), axis=0)) == 10
    assert not np.array_equal(ten, others)


def test_inputs_that_are_no_images_get_noise():
    signs = random_patterns.mixed((50,), seeds(20)).numpy()
    assert signs.shape == (20, 50)
    assert abs(signs.mean()) < 0.15
