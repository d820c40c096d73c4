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


def mixed(shape: tuple[int, ...], seeds: tf.Tensor) -> tf.Tensor:
    """Patterns of all kinds in turn; inputs that are no images get noise.

    Args:
        shape: Shape of one input.
        seeds: One for each input, shape `(batch, 2)`, integers.

    Returns:
        Shape `(batch, *shape)`, float32 in {-1, +1}.
    """
    return tf.map_fn(lambda seed: _one(shape, seed), seeds, fn_output_signature=tf.TensorSpec(shape, tf.float32))


def _one(shape: tuple[int, ...], seed: tf.Tensor) -> tf.Tensor:
    if len(shape) != 3:
        return noise(shape, seed)
    kind_seed, seed = tf.unstack(tf.random.split(seed))
    kinds = [
        *(lambda share=share: blocks(shape, seed, share) for share in _SIDES),
        *(lambda axis=axis: stripes(shape, seed, axis) for axis in (0, 1)),
    ]
    kind = tf.random.stateless_uniform([], kind_seed, 0, len(kinds), tf.int32)
    return tf.ensure_shape(tf.switch_case(kind, kinds), shape)
