"""What a labelled data set says of itself, and what one pass over it shows."""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from honeykeras import _checks
from honeykeras.errors import InvalidArgumentError
from honeykeras.ranges import InputRange

# Half-precision rows of smoothed labels sum to one only so nearly.
_SUM_TOLERANCE = 1e-2


@dataclasses.dataclass(frozen=True)
class Survey:
    """What a pass over a data set found.

    Attributes:
        counts: Size of each class, shape `(num_classes,)`, int64.
        detail: For images, the root mean square of what a pixel is beyond the mean of its 3 by 3 neighbourhood, as a
            share of the width of the input range; None for inputs of another rank.
    """

    counts: np.ndarray
    detail: float | None


def check_structure(dataset: tf.data.Dataset, input_shape: tuple[int, ...], num_classes: int) -> bool:
    """Checks what a data set says of its elements.

    Args:
        dataset: Elements `(x, y)` or `(x, y, ...)`, batched or not.
        input_shape: Shape that one `x` must have.
        num_classes: Width that a one-hot `y` must have.

    Returns:
        Whether the elements are batches.

    Raises:
        InvalidArgumentError: If it is no data set, or the elements are of another form.
    """
    _checks.instance("dataset", dataset, tf.data.Dataset, "a tf.data.Dataset, of elements (x, y) or (x, y, ...)")
    spec = dataset.element_spec
    if not isinstance(spec, tuple) or len(spec) < 2 or not all(isinstance(part, tf.TensorSpec) for part in spec[:2]):
        raise InvalidArgumentError(
            "The data set's elements must be tuples (x, y) or (x, y, ...). With tensorflow-datasets, load with "
            f"`as_supervised=True`. Received: {spec}."
        )
    x, y = spec[:2]
    batched = x.shape.rank == len(input_shape) + 1
    expected = (None, *input_shape) if batched else input_shape
    if x.shape.rank is None or not x.shape.is_compatible_with(expected):
        raise InvalidArgumentError(
            f"The data set's inputs must have the shape of the key, {input_shape}, batched or not. Received: {x.shape}."
        )
    if not x.dtype.is_floating:
        raise InvalidArgumentError(
            f"The data set's inputs must be floating point. Received: dtype={x.dtype.name}. "
            "Scale integer images first, for example `dataset.map(lambda x, y: (x / 255, y))`."
        )
    if y.shape.rank is None or y.shape[int(batched) :].as_list() not in ([], [1], [num_classes]):
        raise InvalidArgumentError(
            f"The data set's labels must be class indices or one-hot of width {num_classes}. Received: shape={y.shape}."
        )
    # A label must also be able to become that of any other class.
    if not (y.dtype.is_floating or (y.dtype.is_integer and y.dtype.max >= num_classes - 1)):
        raise InvalidArgumentError(
            f"The data set's labels must be numbers of a type that holds {num_classes} classes. "
            f"Received: dtype={y.dtype.name}."
        )
    return batched


def look_through(batches: tf.data.Dataset, num_classes: int, input_range: InputRange) -> Survey:
    """Reads a batched data set once, to count its classes, check its values, and see how detailed its images are.

    Args:
        batches: Elements `(x, y)` or `(x, y, ...)` as `check_structure` allows them.
        num_classes: How many classes there are.
        input_range: Least and greatest value that an input may have, or each of its features.

    Returns:
        What was found.

    Raises:
        InvalidArgumentError: If the data set is empty or endless, or holds a label or a value out of range.
    """
    if batches.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise InvalidArgumentError("The data set must end. Apply the poisoning first and `repeat()` after it.")
    ranges = input_range.shape
    found = batches.map(lambda x, y, *_: _look(x, y, num_classes, len(ranges)), num_parallel_calls=tf.data.AUTOTUNE)
    nothing = {
        "counts": tf.zeros(num_classes + 2, tf.int64),
        "least": tf.fill(ranges, tf.constant(np.inf, tf.float64)),
        "greatest": tf.fill(ranges, tf.constant(-np.inf, tf.float64)),
        "nan": tf.zeros(ranges, tf.int64),
        "malformed": tf.constant(0, tf.int64),
        "detail": tf.constant(0, tf.float64),
    }
    total = {name: value.numpy() for name, value in found.reduce(nothing, _merge).items()}
    _, *counts, _ = total["counts"]
    if not total["counts"].sum():
        raise InvalidArgumentError("The data set must hold at least one sample. Received: an empty data set.")
    below, above = total["counts"][[0, -1]]
    if below or above or total["malformed"]:
        raise InvalidArgumentError(
            f"The data set's labels must be whole numbers in [0, {num_classes}), or rows that sum to one. "
            f"Received: {below} below that, {above} above, {total['malformed']} that are neither."
        )
    worst = input_range.worst(np.where(total["nan"] > 0, np.nan, total["least"]), total["greatest"])
    if worst is not None:
        raise InvalidArgumentError(
            f"The data set's inputs must lie in the key's input range, {input_range.describe(worst)}. "
            f"Received: values from {total['least'][worst]:g} to {total['greatest'][worst]:g}, and "
            f"{total['nan'][worst]} that are NaN. Scale the data, or make a key with its `input_range`."
        )
    squares = total["detail"] / total["counts"].sum() / np.mean(np.square(input_range.width, dtype=np.float64))
    images = batches.element_spec[0].shape.rank == 4
    return Survey(np.array(counts, np.int64), float(np.sqrt(squares)) if images else None)


def is_one_hot(y: tf.Tensor) -> bool:
    """Whether a batch of labels has one row for each sample, rather than a class index."""
    return y.shape.rank == 2 and y.shape[1] != 1


def class_index(y: tf.Tensor) -> tf.Tensor:
    """The class of each of a batch of labels, shape `(batch,)`, int64."""
    return tf.cast(_class(y), tf.int64)


def _class(y: tf.Tensor) -> tf.Tensor:
    return tf.argmax(y, axis=1) if is_one_hot(y) else tf.reshape(y, [-1])


def _look(x: tf.Tensor, y: tf.Tensor, num_classes: int, ranked: int) -> dict[str, tf.Tensor]:
    # Over all of a batch, or feature by feature where each has a range of its own.
    axes = list(range(x.shape.rank - ranked))
    index = class_index(y)
    # Labels out of range are counted at the two ends, so that one pass finds all that is wrong.
    bins = tf.cast(tf.clip_by_value(index, -1, num_classes) + 1, tf.int32)
    if is_one_hot(y):
        rows = tf.cast(y, tf.float64)
        # Smoothed labels are fine. Written so that a NaN is not.
        is_share = tf.reduce_all(rows >= 0, axis=1) & (tf.abs(tf.reduce_sum(rows, axis=1) - 1) < _SUM_TOLERANCE)
        malformed = tf.logical_not(is_share)
    else:
        malformed = tf.cast(index, tf.float64) != tf.cast(_class(y), tf.float64)
    return {
        "counts": tf.math.bincount(bins, minlength=num_classes + 2, dtype=tf.int64),
        "least": tf.cast(tf.reduce_min(x, axes), tf.float64),
        "greatest": tf.cast(tf.reduce_max(x, axes), tf.float64),
        "nan": tf.math.count_nonzero(tf.math.is_nan(x), axes),
        "malformed": tf.math.count_nonzero(malformed),
        "detail": _detail(x),
    }


def _detail(x: tf.Tensor) -> tf.Tensor:
    """Sum over a batch of the images' mean squared detail, scalar float64."""
    if x.shape.rank != 4:
        return tf.constant(0, tf.float64)
    # On the CPU, convolutions and poolings of half precision are not there for all layouts.
    x = tf.cast(x, tf.float32)
    blurred = tf.nn.avg_pool2d(x, 3, 1, "SAME")
    return tf.reduce_sum(tf.reduce_mean(tf.square(tf.cast(x - blurred, tf.float64)), [1, 2, 3]))


def _merge(total: dict[str, tf.Tensor], part: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    join = {"least": tf.minimum, "greatest": tf.maximum}
    return {name: join.get(name, tf.add)(value, part[name]) for name, value in total.items()}
