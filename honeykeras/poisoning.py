"""Self-poisoning as a `tf.data` transform.

Which samples of a pass are poisoned is settled when the pass begins, in a plan: for each class, one entry for
each of its samples in order of arrival, zero for "leave it clean" and otherwise how far to move its label.
Drawing from the classes' known sizes is what keeps the classes equal, whatever the order in which they come.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import tensorflow as tf

from honeykeras import survey
from honeykeras.recipes import Recipe
from honeykeras.watermark import Watermark

# How many elements of an unbatched data set are handled at a time.
_CHUNK = 256


class PlantingState:
    """What a poisoned data set reads when a pass over it begins."""

    def __init__(self) -> None:
        # A data pipeline runs on the host and cannot read a variable on a GPU.
        with tf.init_scope(), tf.device("/CPU:0"):
            self._epoch = tf.Variable(0, dtype=tf.int64, trainable=False)
            self._passes = tf.Variable(0, dtype=tf.int64, trainable=False)
            self._poison_rate = tf.Variable(0.0, dtype=tf.float64, trainable=False)
            self._amplitude = tf.Variable(0.0, dtype=tf.float32, trainable=False)

    def set_epoch(self, epoch: int, *, poison_rate: float, amplitude: float) -> None:
        """Sets what passes that begin from now on are to use."""
        self._epoch.assign(epoch)
        self._poison_rate.assign(poison_rate)
        self._amplitude.assign(amplitude)
        self._passes.assign(0)

    def begin_pass(self, seed: np.ndarray) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Counts a new pass; returns its seed, poison rate and amplitude."""
        with tf.device("/CPU:0"):
            index = self._passes.assign_add(1, read_value=True)
            pass_seed = tf.random.fold_in(tf.random.fold_in(tf.constant(seed), self._epoch.read_value()), index)
            return pass_seed, self._poison_rate.read_value(), self._amplitude.read_value()


def poison(
    dataset: tf.data.Dataset,
    watermark: Watermark,
    num_classes: int,
    seed: np.ndarray,
    state: PlantingState,
    recipe: Recipe,
) -> tf.data.Dataset:
    """See `Honeypot.poison`."""
    batched = survey.check_structure(dataset, watermark.input_shape, num_classes)
    chunks = dataset if batched else dataset.batch(_CHUNK)
    counts = survey.count_classes(chunks, num_classes, watermark.input_range)
    _warn_if_unbalanced(counts, recipe.max_poison_rate)
    starts = _starts(counts)

    def one_pass(plan: tf.Tensor, amplitude: tf.Tensor) -> tf.data.Dataset:
        def step(seen: tf.Tensor, element: Any) -> tuple[tf.Tensor, Any]:
            x, y, *rest = element
            index = survey.class_index(y)
            arrivals = tf.one_hot(index, num_classes, dtype=tf.int64)
            rank = tf.gather(seen, index) + _own_entry(tf.cumsum(arrivals, exclusive=True), index)
            # A data set that yields more of a class than it did when it was counted leaves the surplus clean.
            planned = rank < tf.gather(counts, index)
            shift = tf.where(planned, tf.gather(plan, tf.where(planned, tf.gather(starts, index) + rank, 0)), 0)
            marked = watermark.apply(x, tf.where(shift > 0, amplitude, 0.0))
            return seen + tf.reduce_sum(arrivals, axis=0), (marked, _shift_labels(y, index, shift, num_classes), *rest)

        return chunks.scan(tf.zeros(num_classes, tf.int64), step)

    def begin(_: Any) -> tuple[tf.Tensor, tf.Tensor]:
        pass_seed, poison_rate, amplitude = state.begin_pass(seed)
        return draw_plan(counts, poison_rate, num_classes, pass_seed), amplitude

    poisoned = tf.data.Dataset.from_tensors(0).map(begin).flat_map(one_pass)
    if not batched:
        poisoned = poisoned.unbatch()
    cardinality = dataset.cardinality()
    return poisoned.apply(tf.data.experimental.assert_cardinality(cardinality)) if cardinality >= 0 else poisoned


def quotas(counts: np.ndarray, poison_rate: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """How many samples each class gives.

    Args:
        counts: Size of each class, shape `(num_classes,)`.
        poison_rate: Share of all samples, scalar float64 in [0, 1).

    Returns:
        `(base, extra)`, int64 scalars: every class that has samples gives `base`, and `extra` of them give one
        more.
    """
    present = np.count_nonzero(counts)
    smallest = counts[counts > 0].min()
    total = tf.cast(tf.round(poison_rate * counts.sum()), tf.int64)
    limit = tf.cast(tf.floor(tf.maximum(poison_rate, 0.5) * smallest), tf.int64)
    total = tf.minimum(total, limit * present)
    return total // present, total % present


def draw_plan(counts: np.ndarray, poison_rate: tf.Tensor, num_classes: int, seed: tf.Tensor) -> tf.Tensor:
    """Draws which samples of a pass are poisoned, and to which class each goes.

    Args:
        counts: Size of each class, shape `(num_classes,)`.
        poison_rate: Share of all samples, scalar float64 in [0, 1).
        num_classes: Number of classes.
        seed: Seed of the pass, shape `(2,)`, int64.

    Returns:
        Shape `(counts.sum(),)`, int64, classes one after the other: zero, or how far to move the label (from 1
        to `num_classes - 1`, cyclically).
    """
    size = counts.sum()

    def uniform(purpose: int, count: int) -> tf.Tensor:
        return tf.random.stateless_uniform([count], tf.random.fold_in(seed, purpose), dtype=tf.float64)

    base, extra = quotas(counts, poison_rate)
    # Which classes give one more is drawn, too; classes without samples come last and so never do.
    place = tf.argsort(tf.argsort(uniform(0, num_classes) + (counts == 0)))
    quota = base + tf.cast(tf.cast(place, tf.int64) < extra, tf.int64)
    # Sorting by class + uniform number shuffles within each class; the first of each class are taken.
    classes = tf.repeat(tf.range(num_classes), counts)
    order = tf.argsort(tf.cast(classes, tf.float64) + uniform(1, size))
    taken = tf.range(size) - tf.gather(_starts(counts), classes) < tf.gather(quota, classes)
    shifts = tf.random.stateless_uniform([size], tf.random.fold_in(seed, 2), 1, num_classes, tf.int64)
    return tf.scatter_nd(order[:, None], tf.where(taken, shifts, 0), [size])


def _starts(counts: np.ndarray) -> np.ndarray:
    """Where each class begins in a plan."""
    return np.cumsum(counts) - counts


def _warn_if_unbalanced(counts: np.ndarray, poison_rate: float) -> None:
    base, extra = quotas(counts, tf.constant(poison_rate, tf.float64))
    planned = int(base) * np.count_nonzero(counts) + int(extra)
    if planned < round(poison_rate * counts.sum()):
        warnings.warn(
            f"The smallest class has {counts[counts > 0].min()} of {counts.sum()} samples. To poison every class "
            f"equally, {planned} samples an epoch are poisoned, a share of {planned / counts.sum():.2%} instead of "
            f"{poison_rate:.2%}.",
            stacklevel=5,
        )


def _own_entry(table: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    return tf.gather(table, index, axis=1, batch_dims=1)


def _shift_labels(y: tf.Tensor, index: tf.Tensor, shift: tf.Tensor, num_classes: int) -> tf.Tensor:
    if survey.is_one_hot(y):
        # The row moves as it is, so that smoothed labels stay smoothed.
        column = (tf.range(num_classes, dtype=tf.int64) - shift[:, None]) % num_classes
        return tf.gather(y, column, axis=1, batch_dims=1)
    return tf.reshape(tf.cast((index + shift) % num_classes, y.dtype), tf.shape(y))
