"""Data sets, scaled, quantised and split into parts that share no image."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from honeykeras import _checks
from honeykeras._messages import first_line
from honeykeras.errors import DatasetError, InvalidArgumentError
from honeykeras.keys import WatermarkKey
from honeykeras.ranges import UNIT, InputRange, RangeLike, quantize


@dataclasses.dataclass(frozen=True)
class Split:
    """Images and their labels.

    Attributes:
        x: Shape `(n, height, width, channels)`, float32 in the data set's input range, on 256 levels, as an image file
            has them.
        y: Class indices, shape `(n,)`, int64.
    """

    x: np.ndarray
    y: np.ndarray

    def __len__(self) -> int:
        return len(self.x)

    def dataset(self) -> tf.data.Dataset:
        """The split as a data set of `(image, label)`, in order."""
        return tf.data.Dataset.from_tensor_slices((self.x, self.y))

    def head(self, count: int) -> Split:
        """The first so many samples, in memory; all, if there are no more."""
        return Split(self.x[:count], self.y[:count])


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
        needs_branch: Whether a small convolutional classifier sees a faint watermark in such images only by a branch
            (`models.add_branch`).
        input_range: Least and greatest value of an input.
        class_names: What the classes are called, in the order of their indices; None where they have numbers alone.
    """

    name: str
    num_classes: int
    epsilon: float
    train: Split
    detector: Split
    calibration: Split
    test: Split
    needs_branch: bool = False
    input_range: InputRange = UNIT
    class_names: tuple[str, ...] | None = None

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one image."""
        return self.train.x.shape[1:]

    def reduced(self, train_samples: int) -> Data:
        """The data set with no more than its first so many training images, and all else as it is.

        Parts that `load` made are in random order, so these are a random sample.

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

        def moved(part: Split) -> Split:
            return Split(target.clip(target.from_unit(self.input_range.to_unit(part.x))), part.y)

        return dataclasses.replace(
            self,
            epsilon=self.epsilon * float(target.working.width / self.input_range.working.width),
            train=moved(self.train),
            detector=moved(self.detector),
            calibration=moved(self.calibration),
            test=moved(self.test),
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


def load(name: str, *, seed: int = 0) -> Data:
    """Loads a data set.

    `"digits"` ships with scikit-learn; `"mnist"` and `"cifar10"` come through tensorflow-datasets, which
    downloads them if they are not prepared yet (its `TFDS_DATA_DIR` says where).

    Args:
        name: One of `names()`.
        seed: Decides which images go to which part. The test part of MNIST and CIFAR-10 is always theirs.

    Returns:
        The data set, split.

    Raises:
        InvalidArgumentError: If there is no such data set.
        DatasetError: If it cannot be loaded.
    """
    return _LOADERS[_checks.one_of("dataset", name, names())](_checks.seed(seed))


def names() -> list[str]:
    """The names of the data sets that there are."""
    return list(_LOADERS)


def _digits(seed: int) -> Data:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    x = quantize((images / 16).reshape(-1, 8, 8, 1))
    train, detector, calibration, test = _divide(Split(x, labels.astype(np.int64)), (300, 300, 397), seed)
    return Data("digits", 10, 0.3, train, detector, calibration, test)


def _from_tfds(name: str, num_classes: int, epsilon: float, needs_branch: bool) -> Callable[[int], Data]:
    def load_parts(seed: int) -> Data:
        train, detector, calibration = _divide(_tfds_split(name, "train"), (2000, 5000), seed)
        test = _tfds_split(name, "test")
        return Data(name, num_classes, epsilon, train, detector, calibration, test, needs_branch)

    return load_parts


def _tfds_split(name: str, part: str) -> Split:
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    try:
        images, labels = tfds.as_numpy(tfds.load(name, split=part, as_supervised=True, batch_size=-1))
    except Exception as error:  # tensorflow-datasets raises whatever its storage and its downloader do.
        raise DatasetError(
            f"tensorflow-datasets cannot load {name!r}: {first_line(error)} "
            "Set TFDS_DATA_DIR to a folder where it is prepared, or make sure that it can be downloaded."
        ) from error
    return Split(quantize(images / np.float32(255)), labels.astype(np.int64))


def _divide(split: Split, sizes: tuple[int, ...], seed: int) -> list[Split]:
    """Cuts off parts of the given sizes at random; the first of the result is what remains."""
    order = np.random.default_rng(seed).permutation(len(split))
    ends = len(split) - np.cumsum((0, *sizes[::-1]))[::-1]
    bounds = [0, *ends]
    parts = [order[start:end] for start, end in itertools.pairwise(bounds)]
    return [Split(split.x[part], split.y[part]) for part in parts]


_LOADERS: dict[str, Callable[[int], Data]] = {
    "digits": _digits,
    "mnist": _from_tfds("mnist", 10, 0.3, needs_branch=False),
    "cifar10": _from_tfds("cifar10", 10, 8 / 255, needs_branch=True),
}
