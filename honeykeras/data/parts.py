"""`Data`: a data set in four disjoint parts, each in memory or read as it is needed."""

from __future__ import annotations

import abc
import dataclasses
import functools
import math
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from honeykeras import _checks, _progress
from honeykeras.errors import InvalidArgumentError
from honeykeras.keys import WatermarkKey
from honeykeras.ranges import UNIT, InputRange, RangeLike

_BATCH_SIZE = 256


class Part(abc.ABC):
    """Labelled samples.

    Attributes:
        x: Shape `(n, *input_shape)`, float32 in the data set's input range. Of a `StreamedSplit`, this reads all into
            memory; all else does not.
        y: Class indices, shape `(n,)`, int64.
    """

    x: np.ndarray
    y: np.ndarray

    @property
    @abc.abstractmethod
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one `x`."""

    @abc.abstractmethod
    def __len__(self) -> int: ...

    @abc.abstractmethod
    def dataset(self) -> tf.data.Dataset:
        """The samples as a data set of `(x, y)`, not batched, in an order that does not change."""

    @property
    @abc.abstractmethod
    def inputs(self) -> np.ndarray | tf.data.Dataset:
        """All `x` as detectors take them: as an array, or as batches that are read as they are needed."""

    @abc.abstractmethod
    def batches(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The samples in the order of `dataset`, as arrays `(x, y)` of some hundred."""

    @abc.abstractmethod
    def mixed(self, wanted: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The samples as `batches` gives them, in an order that has nothing to do with their classes.

        Args:
            wanted: How many will be taken, as far as is known; more can be.
        """

    def head(self, count: int, max_bytes: int | None = None, verbose: int = 0) -> Split:
        """The first samples of `mixed`, in memory.

        Args:
            count: How many; all, if there are no more.
            max_bytes: If given, how large their `x` may be in all. One is always there.
            verbose: 1 shows a progress bar where that takes long, 0 nothing.
        """
        size = 4 * math.prod(self.input_shape)
        count = min(count, len(self), count if max_bytes is None else max(1, max_bytes // size))
        x, y = np.empty((count, *self.input_shape), np.float32), np.empty(count, np.int64)
        filled = 0
        with _progress.bar("Reading", count, "sample", verbose) as progress:
            for images, labels in self.mixed(count):
                taken = slice(filled, min(filled + len(images), count))
                filled = taken.stop
                x[taken], y[taken] = images[: taken.stop - taken.start], labels[: taken.stop - taken.start]
                progress.update(taken.stop - taken.start)
                if filled == count:
                    break
        return Split(x, y)

    @abc.abstractmethod
    def rescaled(self, source: InputRange, target: InputRange) -> Part:
        """The same samples in another range."""


@dataclasses.dataclass(frozen=True, eq=False)
class Split(Part):
    """Samples in memory. Where they are few of many, the first are taken: `load` has them in random order.

    Attributes:
        x: Inputs, shape `(n, *input_shape)`, float32 in the data set's input range.
        y: Class indices, shape `(n,)`, int64.
    """

    x: np.ndarray
    y: np.ndarray

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.x.shape[1:]

    def __len__(self) -> int:
        return len(self.x)

    def dataset(self) -> tf.data.Dataset:
        return tf.data.Dataset.from_tensor_slices((self.x, self.y))

    @property
    def inputs(self) -> np.ndarray:
        return self.x

    def batches(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, len(self.x), _BATCH_SIZE):
            yield self.x[start : start + _BATCH_SIZE], self.y[start : start + _BATCH_SIZE]

    def mixed(self, wanted: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return self.batches()

    def rescaled(self, source: InputRange, target: InputRange) -> Split:
        return Split(target.clip(target.from_unit(source.to_unit(self.x))), self.y)


@dataclasses.dataclass(frozen=True, eq=False)
class StreamedSplit(Part):
    """Samples that are read as they are needed.

    Attributes:
        samples: Elements `(x, y)`, not batched, float32 in the data set's input range and int64; the same in each pass,
            in the same order.
        size: How many there are.
        is_mixed: Whether that order has nothing to do with classes.
    """

    samples: tf.data.Dataset
    size: int
    is_mixed: bool = False

    @property
    def input_shape(self) -> tuple[int, ...]:
        return tuple(self.samples.element_spec[0].shape)

    def __len__(self) -> int:
        return self.size

    @property
    def x(self) -> np.ndarray:  # type: ignore[override]
        return np.concatenate([x for x, _ in self.batches()])

    @property
    def y(self) -> np.ndarray:  # type: ignore[override]
        labels = self.samples.map(lambda _, y: y).batch(_BATCH_SIZE)
        return np.concatenate(list(labels.as_numpy_iterator()))

    @property
    def inputs(self) -> tf.data.Dataset:
        return _inputs_of(self.samples, self.size)

    def dataset(self) -> tf.data.Dataset:
        return self.samples

    def batches(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return self.samples.batch(_BATCH_SIZE).prefetch(2).as_numpy_iterator()

    def mixed(self, wanted: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        if self.is_mixed:
            yield from self.batches()
            return
        # Data is often sorted by class. So each pass takes some from all over it, which their numbers decide; the first
        # as many as are wanted, and if that was not enough, each further one as many again as there were.
        numbered = self.samples.enumerate()
        low, high = 0.0, min(1.0, wanted / self.size)
        while low < 1:
            chosen = numbered.filter(lambda number, _, low=low, high=high: _drawn_in(number, low, high))
            yield from chosen.map(lambda _, sample: sample).batch(_BATCH_SIZE).prefetch(2).as_numpy_iterator()
            low, high = high, min(1.0, 2 * high)

    def rescaled(self, source: InputRange, target: InputRange) -> StreamedSplit:
        low, high = target.ends()
        samples = self.samples.map(
            lambda x, y: (tf.clip_by_value(target.from_unit(source.to_unit(x)), low, high), y),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        return StreamedSplit(samples, self.size, self.is_mixed)


def _inputs_of(samples: tf.data.Dataset, count: int) -> tf.data.Dataset:
    """The inputs of so many samples, in batches, of which TensorFlow then knows how many there are."""
    batches = samples.map(lambda x, _: x).batch(_BATCH_SIZE).prefetch(2)
    return batches.apply(tf.data.experimental.assert_cardinality(math.ceil(count / _BATCH_SIZE)))


def _drawn_in(number: tf.Tensor, low: float, high: float) -> tf.Tensor:
    drawn = tf.random.stateless_uniform([], tf.stack([number, 0]), dtype=tf.float64)
    return (drawn >= low) & (drawn < high)


@dataclasses.dataclass(frozen=True)
class Data:
    """A data set for training, attacking and judging, in four disjoint parts.

    Attributes:
        name: What the data set is called.
        num_classes: Number of classes.
        epsilon: The radius of the L-infinity ball that attacks on it customarily use, in units of
            `input_range.working`.
        train: What the classifier is trained on.
        detector: What the detector is trained on.
        calibration: Clean images that the detector's threshold is set on.
        test: What everything is judged on.
        input_range: Least and greatest value of an input.
        class_names: What the classes are called, in the order of their indices; None where they have numbers alone.
        source: What it was loaded from; None if it was not loaded.
        digest: A name for all samples and labels and how they are cut, 16 hexadecimal digits, whatever their order;
            None if it was not taken.
    """

    name: str
    num_classes: int
    epsilon: float
    train: Part
    detector: Part
    calibration: Part
    test: Part
    input_range: InputRange = UNIT
    class_names: tuple[str, ...] | None = None
    source: str | None = None
    digest: str | None = None

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one image."""
        return self.train.input_shape

    def reduced(self, train_samples: int) -> Data:
        """The data set with no more than so many training images, chosen at random, in memory, and all else as it is.

        Args:
            train_samples: How many, at most as many as there are.

        Raises:
            InvalidArgumentError: If it is no such number.
        """
        count = _checks.whole_number("train_samples", train_samples, 1, len(self.train))
        return dataclasses.replace(self, train=self.train.head(count))

    def rescaled(self, input_range: RangeLike) -> Data:
        """The same images for a model whose inputs have another range, as one that takes bytes or [-1, 1].

        Args:
            input_range: Least and greatest value of an input, or of each of its features.

        Raises:
            InvalidArgumentError: If it is no range of such images.
        """
        target = InputRange.of(input_range, self.input_shape)
        if target == self.input_range:
            return self
        return dataclasses.replace(
            self,
            epsilon=self.epsilon * float(target.working.width / self.input_range.working.width),
            train=self.train.rescaled(self.input_range, target),
            detector=self.detector.rescaled(self.input_range, target),
            calibration=self.calibration.rescaled(self.input_range, target),
            test=self.test.rescaled(self.input_range, target),
            input_range=target,
        )

    def for_key(self, key: WatermarkKey) -> Data:
        """The same images in the range of a key.

        Raises:
            InvalidArgumentError: If the key is not for images and classes such as these.
        """
        data = self.rescaled(key.input_range) if key.input_shape == self.input_shape else self
        data.check_key(key)
        return data

    def samples(self) -> tf.data.Dataset:
        """The samples of all parts, one after the other."""
        return functools.reduce(tf.data.Dataset.concatenate, (part.dataset() for part in self._parts))

    def everything(self) -> tf.data.Dataset:
        """The inputs of all parts, in batches."""
        return _inputs_of(self.samples(), sum(map(len, self._parts)))

    @property
    def _parts(self) -> tuple[Part, ...]:
        return self.train, self.detector, self.calibration, self.test

    def check_key(self, key: WatermarkKey) -> None:
        """Raises `InvalidArgumentError` unless `key` is for images and classes such as these."""
        _checks.instance("key", key, WatermarkKey, "a WatermarkKey")
        expected = self.input_shape, self.num_classes, self.input_range
        if (key.input_shape, key.num_classes, key.input_range) != expected:
            raise InvalidArgumentError(
                f"The key must be for inputs of shape {self.input_shape} in {self.input_range} and {self.num_classes} "
                f"classes, as {self.name} has. Received: {key}, for inputs in {key.input_range}. `Data.rescaled` "
                "changes the range of a data set."
            )
