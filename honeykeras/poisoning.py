"""Self-poisoning as a `tf.data` transform.

Which samples of a pass are poisoned is settled when the pass begins, in a plan: for each class, one entry for
each of its samples in order of arrival, which says where the sample is led, how strongly, and whether its label goes
along.
Drawing from the classes' known sizes is what keeps the classes equal, whatever the order in which they come.
"""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import numpy as np
import tensorflow as tf

from honeykeras import survey
from honeykeras.passes import PassCounter
from honeykeras.recipes import Recipe
from honeykeras.watermark import Watermark

# How many elements of an unbatched data set are handled at a time.
_CHUNK = 256


@dataclasses.dataclass(frozen=True)
class Planting:
    """What is planted in which data.

    Attributes:
        clean: The data set as it was before it was poisoned.
        num_samples: How many samples that is.
        recipe: The recipe as it is used on that data: what it has made of how detailed the images are.
    """

    clean: tf.data.Dataset
    num_samples: int
    recipe: Recipe


def poison(
    dataset: tf.data.Dataset,
    watermark: Watermark,
    num_classes: int,
    seed: np.ndarray,
    counter: PassCounter,
    recipe: Recipe,
) -> tuple[tf.data.Dataset, Planting]:
    """See `Honeypot.poison`; returns what that plants, too."""
    batched = survey.check_structure(dataset, watermark.input_shape, num_classes)
    chunks = dataset if batched else dataset.batch(_CHUNK)
    surveyed = survey.look_through(chunks, num_classes, watermark.input_range)
    counts, recipe = surveyed.counts, recipe.for_detail(surveyed.detail)
    _warn_if_unbalanced(counts, recipe.max_poison_rate)
    starts = _starts(counts)

    def one_pass(plan: dict[str, tf.Tensor]) -> tf.data.Dataset:
        def step(seen: tf.Tensor, element: Any) -> tuple[tf.Tensor, Any]:
            x, y, *rest = element
            index = survey.class_index(y)
            arrivals = tf.one_hot(index, num_classes, dtype=tf.int64)
            rank = tf.gather(seen, index) + _own_entry(tf.cumsum(arrivals, exclusive=True), index)
            # A data set that yields more of a class than it did when it was counted leaves the surplus clean.
            planned = rank < tf.gather(counts, index)
            entry = tf.where(planned, tf.gather(starts, index) + rank, 0)
            shift, amplitude, moves = (tf.gather(plan[name], entry) for name in ("shift", "amplitude", "moves"))
            marked = watermark.apply(x, tf.where(planned, amplitude, 0.0), (index + shift) % num_classes)
            labels = _shift_labels(y, index, tf.where(planned & moves, shift, 0), num_classes)
            return seen + tf.reduce_sum(arrivals, axis=0), (marked, labels, *rest)

        return chunks.scan(tf.zeros(num_classes, tf.int64), step)

    def begin(_: Any) -> dict[str, tf.Tensor]:
        epoch = counter.begin()
        return draw_plan(counts, recipe, epoch, num_classes, tf.random.fold_in(tf.constant(seed), epoch))

    poisoned = tf.data.Dataset.from_tensors(0).map(begin).flat_map(one_pass)
    if not batched:
        poisoned = poisoned.unbatch()
    cardinality = dataset.cardinality()
    if cardinality >= 0:
        poisoned = poisoned.apply(tf.data.experimental.assert_cardinality(cardinality))
    return poisoned, Planting(dataset, int(counts.sum()), recipe)


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


def draw_plan(
    counts: np.ndarray, recipe: Recipe, epoch: tf.Tensor, num_classes: int, seed: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Draws which samples of a pass are poisoned, to which class each is led, and how strongly.

    Args:
        counts: Size of each class, shape `(num_classes,)`.
        recipe: How to poison.
        epoch: The pass, scalar int64.
        num_classes: Number of classes.
        seed: Seed of the pass, shape `(2,)`, int64.

    Returns:
        A dictionary of tensors of shape `(counts.sum(),)`, classes one after the other: `shift`, how far the class is
        from the one that the sample is led to (from 1 to `num_classes - 1`, cyclically; 0 if it stays clean), int64;
        `amplitude`, float32; `moves`, whether the label goes along, bool.
    """
    size = counts.sum()
    settings = recipe.at(epoch)

    def purpose_seed(purpose: int) -> tf.Tensor:
        # As int64: of a Python number, TensorFlow would make a seed of 32 bits.
        return tf.random.fold_in(seed, tf.constant(purpose, tf.int64))

    def uniform(purpose: int, count: int) -> tf.Tensor:
        return tf.random.stateless_uniform([count], purpose_seed(purpose), dtype=tf.float64)

    base, extra = quotas(counts, settings["poison_rate"])
    # Which classes give one more is drawn, too; classes without samples come last and so never do.
    place = tf.argsort(tf.argsort(uniform(0, num_classes) + (counts == 0)))
    quota = base + tf.cast(tf.cast(place, tf.int64) < extra, tf.int64)
    # Sorting by class + uniform number shuffles within each class; the first of each class are taken.
    classes = tf.repeat(tf.range(num_classes), counts)
    order = tf.argsort(tf.cast(classes, tf.float64) + uniform(1, size))
    taken = tf.range(size) - tf.gather(_starts(counts), classes) < tf.gather(quota, classes)
    shifts = tf.random.stateless_uniform([size], purpose_seed(2), 1, num_classes, tf.int64)
    shift = tf.scatter_nd(order[:, None], tf.where(taken, shifts, 0), [size])
    moves = uniform(3, size) >= recipe.floor_share
    strength = uniform(4, size)
    least, greatest = settings["min_amplitude"], settings["amplitude"]
    amplitude = tf.where(moves, least + strength * (greatest - least), strength * recipe.floor)
    return {
        "shift": shift,
        "amplitude": tf.cast(tf.where(shift > 0, amplitude, 0), tf.float32),
        "moves": moves,
    }


def _starts(counts: np.ndarray) -> np.ndarray:
    """Where each class begins in a plan."""
    return np.cumsum(counts) - counts


def planned_samples(counts: np.ndarray, poison_rate: float) -> int:
    """How many samples of a pass are poisoned: fewer than the rate says where a class is too small for that.

    Args:
        counts: Size of each class, shape `(num_classes,)`.
        poison_rate: Share of all samples, in [0, 1).
    """
    base, extra = quotas(counts, tf.constant(poison_rate, tf.float64))
    return int(base) * int(np.count_nonzero(counts)) + int(extra)


def _warn_if_unbalanced(counts: np.ndarray, poison_rate: float) -> None:
    planned = planned_samples(counts, poison_rate)
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
