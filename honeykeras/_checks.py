"""Rules that more than one module asks of its arguments."""

from __future__ import annotations

import contextlib
import math
import numbers
import operator
import reprlib
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from honeykeras.errors import InvalidArgumentError

# It imports this module.
if TYPE_CHECKING:
    from honeykeras.ranges import InputRange

# Nothing that is counted has more.
_MAX_INTEGER = 2**63 - 1


def shown(value: Any) -> str:
    """`value` as messages repeat it: short, whatever it is."""
    try:
        text = reprlib.repr(value)
    except ValueError:  # Python writes no number of thousands of digits.
        text = f"a too long {type(value).__name__}"
    return text if len(text) <= 100 else f"{text[:97]}..."


def in_interval(name: str, value: Any, low: float, high: float, *, closed: str = "[]") -> float:
    """Returns `value` as a float if it lies between `low` and `high`.

    Args:
        name: What the message calls the value.
        value: What was received.
        low: The lower end.
        high: The upper end, possibly infinite.
        closed: The brackets of the interval, as in `"[)"`.

    Raises:
        InvalidArgumentError: If it is no number, or lies elsewhere; NaN lies nowhere.
    """
    number = math.nan
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        # An integer may be beyond all floats.
        with contextlib.suppress(OverflowError):
            number = float(value)
    above = number >= low if closed[0] == "[" else number > low
    below = number <= high if closed[1] == "]" else number < high
    if not (above and below):
        interval = f"{closed[0]}{low:g}, {high:g}{closed[1]}"
        raise InvalidArgumentError(f"`{name}` must be a number in {interval}. Received: {name}={shown(value)}.")
    return number


def whole_number(name: str, value: Any, least: int = 1, most: int | None = None) -> int:
    """Returns `value` if it is a whole number of at least `least`, and at most `most`."""
    limit = _MAX_INTEGER if most is None else most
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not least <= value <= limit:
        bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise InvalidArgumentError(f"`{name}` must be a whole number {bounds}. Received: {name}={shown(value)}.")
    return int(value)


def flag(name: str, value: Any) -> bool:
    """Returns `value` if it is true or false."""
    if not isinstance(value, (bool, np.bool_)):
        raise InvalidArgumentError(f"`{name}` must be True or False. Received: {name}={value!r}.")
    return bool(value)


def one_of(name: str, value: Any, choices: Collection[str]) -> str:
    """Returns `value` if it is one of the names in `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise InvalidArgumentError(f"`{name}` must be one of {list(choices)}. Received: {name}={shown(value)}.")
    return value


def seed(value: Any) -> int:
    """Returns `value` if it is a seed that Keras takes, too."""
    return whole_number("seed", value, 0, 2**32 - 1)


def shape(name: str, value: Any) -> tuple[int, ...]:
    """Returns `value` as the shape of one input."""
    try:
        sizes = tuple(operator.index(size) for size in value)
    except TypeError:
        sizes = ()
    if not sizes or any(size < 1 for size in sizes):
        raise InvalidArgumentError(
            f"`{name}` must be one or more whole numbers of at least 1, without the batch. "
            f"Received: {name}={shown(value)}."
        )
    return sizes


def instance(name: str, value: Any, kind: type[Any], called: str) -> None:
    """Raises an error if `value` is of another type. It is not repeated: it may be a secret in the wrong place.

    Args:
        name: What the message calls the value.
        value: What was received.
        kind: The type.
        called: The type as messages put it, with its article, as in `"a WatermarkKey"`.
    """
    if not isinstance(value, kind):
        raise InvalidArgumentError(f"`{name}` must be {called}. Received: one of the type {type(value).__name__}.")


def array(name: str, value: Any) -> np.ndarray:
    """Returns `value` as an array, if it is one, or nested as one is."""
    try:
        made = np.asarray(value)
    except Exception:  # NumPy asks the value, which may be anything.
        made = None
    if made is None or made.dtype == object:
        raise InvalidArgumentError(
            f"`{name}` must be an array, or lists that are of one length at each level. Received: {shown(value)}."
        )
    return made


def inputs(name: str, x: Any, input_shape: Sequence[int] | None, bounds: InputRange) -> np.ndarray:
    """Returns `x` as a float32 batch, or says what of shape, dtype or range is wrong with it.

    What rounding has put beyond an end of the range is put on it.
    """
    x = array(name, x)
    input_shape = input_shape or bounds.shape or None
    if x.ndim < 2 or (input_shape is not None and x.shape[1:] != tuple(input_shape)):
        expected = "(batch, ...)" if input_shape is None else f"(batch, {', '.join(map(str, input_shape))})"
        raise InvalidArgumentError(f"`{name}` must have shape {expected}. Received: shape={x.shape}.")
    if not x.size:
        raise InvalidArgumentError(f"`{name}` must hold at least one sample, and one value. Received: shape={x.shape}.")
    if not np.issubdtype(x.dtype, np.floating):
        raise InvalidArgumentError(
            f"`{name}` must be floating point, in the input range. Received: dtype={x.dtype}. "
            "Scale integer images first, for example x / 255."
        )
    x = x.astype(np.float32, copy=False)
    low, high = bounds.ends()
    axes = tuple(range(x.ndim - low.ndim))
    least, greatest = x.min(axis=axes), x.max(axis=axes)
    worst = bounds.worst(least, greatest)
    if worst is not None:
        raise InvalidArgumentError(
            f"`{name}` must lie in {bounds.describe(worst)}. Received: values in [{least[worst]:g}, "
            f"{greatest[worst]:g}]. Scale the data, or state its range as `input_range`."
        )
    return x if np.all(low <= least) and np.all(greatest <= high) else bounds.clip(x)


def labels(name: str, y: Any, count: int, num_classes: int | None = None) -> np.ndarray:
    """Returns `y` as int64 class indices of shape `(count,)`; one-hot labels are reduced to indices."""
    y = array(name, y)
    if y.dtype.kind not in "iuf":
        raise InvalidArgumentError(f"`{name}` must hold class indices or one-hot rows. Received: dtype={y.dtype}.")
    if y.ndim == 2 and y.shape[1] == (num_classes or y.shape[1]) > 1:
        y = y.argmax(axis=1)
    elif y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.shape != (count,):
        raise InvalidArgumentError(
            f"`{name}` must hold one label for each of the {count} samples. Received: shape={y.shape}."
        )
    if not np.array_equal(y, np.floor(y)):
        raise InvalidArgumentError(f"`{name}` must hold class indices or one-hot rows. Received: dtype={y.dtype}.")
    y = y.astype(np.int64)
    if count and (y.min() < 0 or (num_classes is not None and y.max() >= num_classes)):
        raise InvalidArgumentError(
            f"`{name}` must lie in [0, {num_classes}). Received: labels from {y.min()} to {y.max()}."
        )
    return y


def mask(value: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Returns `value`, for one sample or for a batch, as a bool array of the batch's shape; None stands for all."""
    mask = np.ones(shape[1:], bool) if value is None else array("mask", value)
    if mask.dtype != bool or mask.shape not in (shape, shape[1:]):
        raise InvalidArgumentError(
            f"`mask` must be bool, of shape {shape[1:]} or {shape}. Received: dtype={mask.dtype}, shape={mask.shape}."
        )
    return np.broadcast_to(mask, shape)
