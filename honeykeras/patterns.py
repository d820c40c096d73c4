"""Families of patterns: how a key turns into a watermark on the features of an input.

A family is frozen, public data; the secret it is drawn with comes from the key. A new family is a new class
here, listed in `FAMILIES` under a new name: key files already written name theirs and keep their meaning.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import numpy as np

from honeykeras import _checks
from honeykeras.errors import InvalidArgumentError


class KeyStream(Protocol):
    """A source of secret randomness, made by a key for one purpose."""

    def words(self, count: int) -> np.ndarray:
        """The next `count` uniformly distributed words, uint64."""


@dataclasses.dataclass(frozen=True)
class Scattered:
    """One pattern on scattered single features: the paper's family.

    Abdou et al. 2021, HoneyModels, section III-C.1.

    Attributes:
        watermark_size: Share of the input's features that carry the watermark, in (0, 1]. At least one feature
            is used.
        signed: Whether the pattern's values are +1 and -1, drawn from the key, instead of +1 throughout as in
            the paper.
    """

    name: ClassVar[str] = "scattered"

    watermark_size: float = 0.25
    signed: bool = False

    def __post_init__(self) -> None:
        size = _checks.in_interval("watermark_size", self.watermark_size, 0, 1, closed="(]")
        object.__setattr__(self, "watermark_size", size)
        if not isinstance(self.signed, bool):
            raise InvalidArgumentError(f"`signed` must be True or False. Received: signed={self.signed!r}.")

    def draw(self, features: KeyStream, values: KeyStream, input_shape: tuple[int, ...]) -> np.ndarray:
        """Draws the pattern.

        Args:
            features: The key's stream for "which features".
            values: The key's stream for "which pattern".
            input_shape: Shape of one input, without the batch.

        Returns:
            Patterns of shape `(1, *input_shape)`, float32, each value one of -1, 0 (not part of the watermark)
            and +1.
        """
        total = math.prod(input_shape)
        size = max(1, round(self.watermark_size * total))
        chosen = random_permutation(features, total)[:size]
        signs = np.where(values.words(size) >> np.uint64(63), 1.0, -1.0) if self.signed else 1.0
        pattern = np.zeros(total, np.float32)
        pattern[chosen] = signs
        return pattern.reshape(1, *input_shape)


Family = Scattered

FAMILIES: Mapping[str, type[Family]] = {family.name: family for family in (Scattered,)}


def to_config(family: Family) -> dict[str, Any]:
    """The family as plain data, for a key file."""
    return {"family": family.name, **dataclasses.asdict(family)}


def from_config(config: Mapping[str, Any]) -> Family:
    """The family that `to_config` described.

    Raises:
        InvalidArgumentError: If the family, or one of its fields, is not known here.
    """
    fields = dict(config)
    name = fields.pop("family", None)
    if name not in FAMILIES:
        raise InvalidArgumentError(f"`family` must be one of {sorted(FAMILIES)}. Received: family={name!r}.")
    known = {field.name for field in dataclasses.fields(FAMILIES[name])}
    if set(fields) != known:
        raise InvalidArgumentError(
            f"The family {name!r} must have the fields {sorted(known)}. Received: {sorted(map(str, fields))}."
        )
    return FAMILIES[name](**fields)


def random_permutation(stream: KeyStream, count: int) -> np.ndarray:
    """A uniformly random order of `range(count)`.

    Ordering independent 64-bit words has no modulo bias: given that no two are equal, every order is equally
    likely. In the rare case that two are, all are drawn again.
    """
    while True:
        words = stream.words(count)
        if len(np.unique(words)) == count:
            return np.argsort(words)
