"""Random patterns of signs, as somebody draws who looks at nothing: blocks and stripes, one for each input."""

from __future__ import annotations

import math

import tensorflow as tf

# Sides of blocks, as shares of an image's longer side.
_SIDES = (1 / 14, 1 / 7, 1 / 4)


def noise(shape: tuple[int, ...], seed: tf.Tensor) -> tf.Tensor:
    """A sign for each feature by itself, of a shape, float32.

    Args:
        shape: Shape of one input.
        seed: Shape `(2,)`, integers.
    """
    return tf.where(tf.random.stateless_uniform(shape, seed) < 0.5, -1.0, 1.0)


def stripes(shape: tuple[int, ...], seed: tf.Tensor, axis: int = 0) -> tf.Tensor:
    """Signs that are the same all along one axis of an image: 0 gives columns, 1 rows."""
    line = tuple(1 if place == axis else size for place, size in enumerate(shape))
    return tf.broadcast_to(noise(line, seed), shape)


def blocks(shape: tuple[int, ...], seed: tf.Tensor, share: float) -> tf.Tensor:
    """Signs that are the same on blocks, a share of an image's longer side wide, which begin anywhere."""
    height, width, channels = shape
    size = max(1, round(share * max(height, width)))
    drawn, moved = tf.unstack(tf.random.split(seed))
    signs = noise((math.ceil(height / size) + 1, math.ceil(width / size) + 1, channels), drawn)
    spread = tf.repeat(tf.repeat(signs, size, axis=0), size, axis=1)
    start = tf.random.stateless_uniform([2], moved, 0, size, tf.int32)
    return tf.ensure_shape(spread[start[0] : start[0] + height, start[1] : start[1] + width], shape)


def mixed(shape: tuple[int, ...], count: int | tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Patterns of all kinds, blocks of several sizes and stripes either way; inputs that are no images get noise.

    All are drawn at once: a training draws some with each step.

    Args:
        shape: Shape of one input.
        count: How many.
        seed: Shape `(2,)`, integers.

    Returns:
        Shape `(count, *shape)`, float32 in {-1, +1}.
    """
    drawn, chosen, moved = tf.unstack(tf.random.split(seed, 3))
    signs = noise((count, *shape), drawn)
    if len(shape) != 3:
        return signs
    sides = shape[:2]
    squares = [max(1, round(share * max(sides))) for share in _SIDES]
    # How far apart signs begin along either side, and how far a pattern may be moved: one sign all along is not.
    sizes = tf.constant([*([size, size] for size in squares), [sides[0], 1], [1, sides[1]]])
    moves = tf.constant([*([size, size] for size in squares), [1, 1], [1, 1]])
    kinds = tf.random.stateless_uniform([count], chosen, 0, len(squares) + 2, tf.int32)
    spread = tf.cast(tf.gather(moves, kinds), tf.float32) * tf.random.stateless_uniform([count, 2], moved)
    for side, length in enumerate(sides):
        places = (tf.range(length) + tf.cast(spread[:, side, None], tf.int32)) // tf.gather(sizes, kinds)[:, side, None]
        signs = tf.gather(signs, places, axis=1 + side, batch_dims=1)
    return tf.ensure_shape(signs, (None, *shape))
