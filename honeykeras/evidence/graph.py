"""The sum of all that is new, in TensorFlow operations: for ledgers that live where the model does."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from honeykeras.evidence.rules import Rules
from honeykeras.evidence.sums import NOTHING


class State(NamedTuple):
    """What `Sums` holds, as tensors.

    Attributes:
        by_class: Shape `(num_classes, dimensions)`, float32.
        projection: Scalar, float64.
        weight: Scalar, float64.
        count: Scalar, int64.
    """

    by_class: tf.Tensor
    projection: tf.Tensor
    weight: tf.Tensor
    count: tf.Tensor


def begin(num_classes: int, dimensions: int) -> State:
    """The state of who has sent nothing yet."""
    zero = tf.zeros([], tf.float64)
    return State(tf.zeros([num_classes, dimensions]), zero, zero, tf.zeros([], tf.int64))


def add(
    state: State, classes: tf.Tensor, views: tf.Tensor, projections: tf.Tensor, rules: Rules
) -> tuple[State, tf.Tensor]:
    """Adds views, one after the other, as `Sums.add` does.

    Args:
        state: What there is.
        classes: Shape `(n,)`, int64.
        views: Shape `(n, dimensions)`, float32.
        projections: Shape `(n,)`, float64.
        rules: As for `Sums.add`.

    Returns:
        What there is now, and the statistic beyond what is allowed as it was after each view, shape `(n,)`, float64.
    """
    products = tf.where(classes[:, None] == classes, tf.matmul(views, views, transpose_b=True), 0)
    earlier = tf.linalg.band_part(products, -1, 0) - tf.linalg.band_part(products, 0, 0)
    met = tf.reduce_sum(tf.gather(state.by_class, classes) * views, axis=1) + tf.reduce_sum(earlier, axis=1)
    grown = tf.cast(2 * met + tf.linalg.diag_part(products), tf.float64)
    before = tf.cast(tf.reduce_sum(tf.square(state.by_class)), tf.float64)
    lengths = tf.sqrt(tf.maximum(before + tf.cumsum(grown), 0))
    totals = state.projection + tf.cumsum(projections)
    weights = state.weight + tf.cumsum(tf.cast(tf.norm(views, axis=1), tf.float64))
    excess = tf.maximum(tf.abs(totals) - rules.allowed(weights, tf.maximum), 0)
    by_class = state.by_class + tf.math.unsorted_segment_sum(views, classes, state.by_class.shape[0])
    count = tf.size(classes, tf.int64)
    after = State(
        by_class,
        state.projection + tf.reduce_sum(projections),
        tf.concat([[state.weight], weights], 0)[-1],
        state.count + count,
    )
    return after, tf.where(lengths > NOTHING, excess / tf.maximum(lengths, NOTHING), 0)
