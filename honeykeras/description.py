"""`Description`: what is public about a key, and about all that is made with it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from honeykeras import _checks, patterns
from honeykeras.errors import InvalidArgumentError
from honeykeras.ranges import UNIT, InputRange

# Far more than any image has, and few enough for a pattern to fit into memory.
_MAX_FEATURES = 2**24
# Far more than any classifier has.
_MAX_CLASSES = 2**20
# Few enough for arrays of NumPy and TensorFlow, with axes of their own.
_MAX_AXES = 16
# What a key file has room for.
_MAX_RANGES = 2**16


@dataclasses.dataclass(frozen=True)
class Description:
    """The inputs that a key is for, and the family of patterns that it draws from.

    Attributes:
        input_shape: Shape of one input, without the batch, for example `(28, 28, 1)` or `(30,)`.
        num_classes: Number of classes, at least 2.
        pattern: The family of patterns.
        input_range: Least and greatest value of an input, or of each of its features.

    Raises:
        InvalidArgumentError: If one breaks a rule.
    """

    input_shape: tuple[int, ...]
    num_classes: int
    pattern: patterns.Family
    input_range: InputRange = UNIT

    def __post_init__(self) -> None:
        shape = _checks.shape("input_shape", self.input_shape)
        if math.prod(shape) > _MAX_FEATURES or len(shape) > _MAX_AXES:
            raise InvalidArgumentError(
                f"`input_shape` must have at most {_MAX_FEATURES} features, along at most {_MAX_AXES} axes. "
                f"Received: input_shape={_checks.shown(shape)}."
            )
        classes = _checks.whole_number("num_classes", self.num_classes, 2, _MAX_CLASSES)
        pattern = self.pattern
        if not isinstance(pattern, patterns.Family):
            raise InvalidArgumentError(
                "`pattern` must be a family of `honeykeras.patterns`, such as Blocks(2) or Scattered(), or None. "
                f"Received: pattern={_checks.shown(pattern)}."
            )
        pattern.check(shape)
        input_range = InputRange.of(self.input_range, shape)
        if math.prod(input_range.shape) > _MAX_RANGES:
            raise InvalidArgumentError(
                f"`input_range` must be two numbers for inputs of more than {_MAX_RANGES} features. "
                f"Received: one range for each of {math.prod(input_range.shape)}."
            )
        checked = {"input_shape": shape, "num_classes": classes, "pattern": pattern, "input_range": input_range}
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    def get_config(self) -> dict[str, Any]:
        """The description as plain data; `from_config` takes it back.

        Its canonical JSON is part of every derivation from a key, so fields that are added to the format later must be
        left out here while they have the value that keys of today imply.
        """
        return {
            "input_shape": list(self.input_shape),
            "num_classes": self.num_classes,
            "input_range": list(self.input_range),
            "watermark": patterns.to_config(self.pattern),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Description:
        """The description that `get_config` gave.

        Raises:
            InvalidArgumentError: If it is none, or has other fields.
        """
        fields = {"input_shape", "num_classes", "input_range", "watermark"}
        if set(config) != fields:
            raise InvalidArgumentError(f"its fields must be {sorted(fields)}. Received: {sorted(config)}.")
        return cls(
            config["input_shape"],
            config["num_classes"],
            patterns.from_config(config["watermark"]),
            InputRange.of(config["input_range"]),
        )
