"""Data sets that draw anew in each pass, by its number: a training that goes on draws as if it had never stopped."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

# Elements and bytes that a shuffle holds, at most.
_MOST_SHUFFLED = 10_000
_MOST_SHUFFLED_BYTES = 2**27


class PassCounter:
    """Counts the passes over a data set."""

    def __init__(self) -> None:
        # A data pipeline runs on the host and cannot read a variable on a GPU.
        with tf.init_scope(), tf.device("/CPU:0"):
            self._next = tf.Variable(0, dtype=tf.int64, trainable=False)

    def set_next(self, number: int) -> None:
        """Sets which pass the next one is."""
        self._next.assign(number)

    def begin(self) -> tf.Tensor:
        """Begins a pass; returns its number, scalar int64."""
        with tf.device("/CPU:0"):
            return self._next.assign_add(1, read_value=True) - 1


class KeepsPasses(keras.callbacks.Callback):
    """Tells a counter at which epoch a training begins; from there on, it counts itself."""

    def __init__(self, counter: PassCounter) -> None:
        super().__init__()
        self._counter = counter
        self._told = False

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self._told = False

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if not self._told:
            self._counter.set_next(epoch)
            self._told = True


def shuffled(dataset: tf.data.Dataset, seed: int, counter: PassCounter, *, size: int) -> tf.data.Dataset:
    """A data set in another order in each pass, decided by the seed and the number of the pass.

    Args:
        dataset: The data set, not batched.
        seed: The seed.
        counter: Counts the passes.
        size: How many elements there are.

    Returns:
        The same elements. What is not all in memory at once is shuffled as far as 128 MiB reach, 10,000 elements at
        most.
    """
    passes = tf.data.Dataset.from_tensors(0).map(lambda _: counter.begin())
    mixed = passes.flat_map(lambda number: _in_order(dataset, seed, number))
    return mixed.apply(tf.data.experimental.assert_cardinality(size))


def endless(dataset: tf.data.Dataset, seed: int, first: int) -> tf.data.Dataset:
    """Passes over a data set one after the other without end, each in an order of its own.

    Args:
        dataset: The data set, not batched.
        seed: The seed.
        first: The number of the first pass.
    """
    return tf.data.Dataset.counter(first, 1).flat_map(lambda number: _in_order(dataset, seed, number))


def _in_order(dataset: tf.data.Dataset, seed: int, number: tf.Tensor) -> tf.data.Dataset:
    """The order of one pass, in the graph of a pipeline."""
    key = tf.random.fold_in(tf.constant([seed, 0], tf.int64), number)
    drawn = tf.random.stateless_uniform([], key, 0, 2**31 - 1, tf.int32)
    # Of this graph alone. Otherwise the order would depend on what seed the caller has set for TensorFlow.
    tf.random.set_seed(1)
    return dataset.shuffle(_buffer_size(dataset), seed=tf.cast(drawn, tf.int64), reshuffle_each_iteration=False)


def most_shuffled_bytes(dataset: tf.data.Dataset) -> int:
    """How much memory the shuffling of a data set takes, at most."""
    return _buffer_size(dataset) * _bytes(dataset)


def _buffer_size(dataset: tf.data.Dataset) -> int:
    return max(1, min(_MOST_SHUFFLED, _MOST_SHUFFLED_BYTES // _bytes(dataset)))


def _bytes(dataset: tf.data.Dataset) -> int:
    """How large an element is."""
    specs = tf.nest.flatten(dataset.element_spec)
    return sum(spec.dtype.size * int(np.prod([each or 1 for each in spec.shape])) for spec in specs)
