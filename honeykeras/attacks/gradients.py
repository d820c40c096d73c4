"""Which part of a gradient attacks follow."""

from __future__ import annotations

import tensorflow as tf


def usable(gradient: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """A gradient, zero where it is not finite or `mask`, bool, does not let the feature change."""
    return tf.where(mask & tf.math.is_finite(gradient), gradient, 0.0)


def within(gradient: tf.Tensor, x: tf.Tensor, bounds: tuple[float, float]) -> tf.Tensor:
    """Whether each feature of inputs can follow a gradient, and is not at that end of the range; bool, shape of `x`."""
    low, high = bounds
    return tf.where(gradient > 0, x < high, x > low)
