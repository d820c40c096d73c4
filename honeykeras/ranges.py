"""`InputRange`: the values that inputs have, and what follows from them. Needs no TensorFlow."""

from __future__ import annotations

import dataclasses
import reprlib
from collections.abc import Iterator
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from honeykeras import _checks
from honeykeras.errors import InvalidArgumentError

RangeLike: TypeAlias = "InputRange | tuple[npt.ArrayLike, npt.ArrayLike]"
"""What is taken for a range: one, or its two ends."""

# How far rounding may carry float32 values beyond an end, as a share of the end that is further from zero.
_ROUNDING = 1e-6

# An array of NumPy or a tensor.
_Batch = TypeVar("_Batch")


@dataclasses.dataclass(frozen=True)
class InputRange:
    """Least and greatest value of an input, or of each of its features where each has a unit of its own.

    Amplitudes, distances and corruptions are shares of its width.

    Example:

    ```python
    low, high = hk.InputRange(0, 255)                    # images of bytes
    hk.InputRange((0, 18), (1, 99))  # two features: a share, and an age in years
    ```

    Attributes:
        low: The least value: a number, or numbers nested in tuples as the features of an input are.
        high: The greatest value, likewise.

    Raises:
        InvalidArgumentError: If an end is not finite, `low` is not below `high` in float32, or their shapes differ.
    """

    low: Any = 0.0
    high: Any = 1.0

    def __post_init__(self) -> None:
        try:
            low, high = (np.asarray(end, np.float64) for end in (self.low, self.high))
        except (TypeError, ValueError, OverflowError):
            raise _no_range((self.low, self.high)) from None
        if low.shape != high.shape or not low.size:
            raise _no_range((self.low, self.high))
        object.__setattr__(self, "low", _tuples(low.tolist()))
        object.__setattr__(self, "high", _tuples(high.tolist()))
        # Inputs are float32, so the ends must differ there; what is too great for it becomes infinite.
        with np.errstate(over="ignore"):
            narrow_low, narrow_high = self.ends()
        valid = np.isfinite(narrow_low) & np.isfinite(narrow_high) & (narrow_low < narrow_high)
        if not valid.all():
            first = tuple(np.argwhere(~valid)[0].tolist())
            hint = " Leave out a feature that does not vary, or give it a wider range." if first else ""
            raise InvalidArgumentError(f"{_rule(None)} Received: input_range={self.describe(first)}.{hint}")

    @classmethod
    def of(cls, value: Any, input_shape: tuple[int, ...] | None = None) -> InputRange:
        """Returns `value` if it is a range, or makes one of its two ends.

        Args:
            value: What was received.
            input_shape: Shape of one input, which the ends must have if they are no numbers; None allows any.

        Raises:
            InvalidArgumentError: If it is neither.
        """
        if not isinstance(value, InputRange):
            try:
                low, high = value
            except (TypeError, ValueError):
                raise _no_range(value, input_shape) from None
            value = cls(low, high)
        if input_shape is not None and value.shape not in ((), input_shape):
            raise _no_range((value.low, value.high), input_shape)
        return value

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of either end: `()` for two numbers, or the shape of an input."""
        return np.shape(self.low)

    @property
    def width(self) -> np.ndarray:
        """How far the ends are apart, float32."""
        low, high = self.ends()
        return high - low

    @property
    def working(self) -> InputRange:
        """The range that distances are told in: this one, or [0, 1] if each feature has its own.

        A distance over features of different units would mean nothing; over shares of each one's width it does.
        """
        return InputRange() if self.shape else self

    def ends(self, dtype: npt.DTypeLike = np.float32) -> tuple[np.ndarray, np.ndarray]:
        """Both ends as arrays."""
        return np.asarray(self.low, dtype), np.asarray(self.high, dtype)

    @property
    def rescaling(self) -> tuple[Any, Any]:
        """Scale and offset of `keras.layers.Rescaling` from this range to [0, 1], as plain numbers."""
        return (1 / self.width).tolist(), (-self.ends()[0] / self.width).tolist()

    def to_unit(self, x: _Batch) -> _Batch:
        """Takes inputs, shape `(batch, ...)`, an array or a tensor, from this range to [0, 1]."""
        return (x - self.ends()[0]) / self.width if self != InputRange() else x

    def from_unit(self, unit: _Batch) -> _Batch:
        """Takes inputs from [0, 1] to this range."""
        return unit * self.width + self.ends()[0] if self != InputRange() else unit

    def clip(self, x: np.ndarray) -> np.ndarray:
        """Puts what is beyond an end onto it."""
        return np.clip(x, *self.ends())

    def worst(self, least: np.ndarray, greatest: np.ndarray) -> tuple[int, ...] | None:
        """Which feature leaves its range by the greatest share of it, beyond what rounding does.

        Args:
            least: Least value of each feature, or of all if they have one range; NaN is worse than any.
            greatest: Greatest value, likewise.

        Returns:
            The feature's index, which is empty where there is one range for all; None if none leaves it.
        """
        low, high = self.ends(np.float64)
        slack = _ROUNDING * np.maximum(np.abs(low), np.abs(high))
        beyond = np.maximum(low - least, greatest - high)
        # Written so that a NaN is beyond, too.
        if np.all(beyond <= slack):
            return None
        share = np.nan_to_num(beyond / (high - low), nan=np.inf, posinf=np.finfo(np.float64).max)
        return tuple(np.argwhere(share == share.max())[0].tolist())

    def describe(self, feature: tuple[int, ...] = ()) -> str:
        """The range as messages put it: that of one feature where each has its own, and the range where none has."""
        low, high = (end[feature] for end in self.ends(np.float64))
        # A vector's features are numbered as one would, 3 and not (3,).
        place = f" at feature {feature[0] if len(feature) == 1 else feature}" if feature else ""
        return f"[{low:g}, {high:g}]{place}"

    def get_config(self) -> tuple[Any, Any]:
        """Both ends as plain data; `of` takes them back."""
        return self.low, self.high

    def __iter__(self) -> Iterator[Any]:
        return iter((self.low, self.high))

    def __repr__(self) -> str:
        return f"InputRange({reprlib.repr(self.low)}, {reprlib.repr(self.high)})"

    def __str__(self) -> str:
        return repr(self) if self.shape else self.describe()


def quantize(x: np.ndarray, input_range: RangeLike = (0.0, 1.0), levels: int = 256) -> np.ndarray:
    """Rounds to the levels that an image file can hold.

    Adversarial images are to be quantised before anything judges them: whoever sends one sends a file, and a
    detector that spots values between the levels detects an artefact.

    Args:
        x: Values in the input range, any shape; `(batch, ...)` where features have ranges of their own.
        input_range: Least and greatest value, `(low, high)`, or those of each feature.
        levels: How many levels each range is divided into, ends included; at least 2.

    Returns:
        The rounded values, float32.
    """
    levels = _checks.whole_number("levels", levels, 2)
    x = _checks.array("x", x)
    if x.dtype.kind not in "biuf":
        raise InvalidArgumentError(f"`x` must be of numbers. Received: dtype={x.dtype}.")
    x = x.astype(np.float64)
    low, high = InputRange.of(input_range, x.shape[1:]).ends(np.float64)
    steps = np.round((x - low) / (high - low) * (levels - 1))
    return (low + steps * (high - low) / (levels - 1)).astype(np.float32)


def _no_range(received: Any, input_shape: tuple[int, ...] | None = None) -> InvalidArgumentError:
    return InvalidArgumentError(f"{_rule(input_shape)} Received: input_range={reprlib.repr(received)}.")


def _rule(input_shape: tuple[int, ...] | None) -> str:
    of_shape = f" of shape {input_shape}" if input_shape else ""
    return (
        "`input_range` must be two finite numbers (low, high) with low < high in float32, or two sequences of such "
        f"with a value for each feature of an input{of_shape}."
    )


def _tuples(values: Any) -> Any:
    return tuple(map(_tuples, values)) if isinstance(values, list) else values


UNIT = InputRange()
"""The range from 0 to 1."""
