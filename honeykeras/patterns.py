"""Families of patterns: how a key turns into watermarks on the features of an input.

A family is frozen, public data; the secret it is drawn with comes from the key. What is drawn is a code for each
pattern: few values, which the family spreads over an input (`expand`), and which it reads off an input (`project`).
The space of codes is where all keys of a family live, and so where a score has to be normalised to say something of
one key rather than of any.

A new family is a new class here, listed in `FAMILIES` under a new name: key files already written name theirs and
keep their meaning.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from honeykeras import _checks
from honeykeras.errors import InvalidArgumentError

# Keys can be made and read without it.
if TYPE_CHECKING:
    import tensorflow as tf

# How many values a pattern of an image has, unless a family states otherwise: so many that chance has little of a
# pattern, and few enough for photographs to be seen as blocks of several pixels.
_VALUES = 800


class KeyStream(Protocol):
    """A source of secret randomness, made by a key for one purpose."""

    def words(self, count: int) -> np.ndarray:
        """The next `count` uniformly distributed words, uint64."""


@dataclasses.dataclass(frozen=True)
class Blocks:
    """One pattern for each class: random signs, constant on blocks, over the whole input.

    The pattern of a class is what leads a model to that class. Blocks survive pooling, and with full support there
    are no positions to leak. Not in the paper, whose scattered pixels a convolutional model does not see at an
    amplitude that attacks use.

    Attributes:
        block_size: Side of a block, in pixels, where inputs are images `(height, width, channels)`; each channel has
            signs of its own. Inputs of another rank have a sign for each feature, and a size of 1.
    """

    name: ClassVar[str] = "blocks"

    block_size: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "block_size", _checks.whole_number("block_size", self.block_size))

    @classmethod
    def for_inputs(cls, input_shape: tuple[int, ...]) -> Blocks:
        """The family with the size of blocks that suits inputs of a shape: patterns of images have some 800 values."""
        return cls(max(1, round(math.sqrt(math.prod(input_shape) / _VALUES))) if len(input_shape) == 3 else 1)

    def check(self, input_shape: tuple[int, ...]) -> None:
        """Raises `InvalidArgumentError` unless inputs of a shape have such blocks."""
        if self.block_size > 1 and (len(input_shape) != 3 or self.block_size > max(input_shape[:2])):
            raise InvalidArgumentError(
                "A `block_size` above 1 needs images (height, width, channels) of at least that size. "
                f"Received: block_size={self.block_size}, input_shape={input_shape}."
            )

    def code_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of one code."""
        if len(input_shape) != 3:
            return input_shape
        height, width, channels = input_shape
        return -(-height // self.block_size), -(-width // self.block_size), channels

    def draw(
        self, features: KeyStream, values: KeyStream, input_shape: tuple[int, ...], num_classes: int
    ) -> np.ndarray:
        """Draws codes of shape `(num_classes, *code_shape)`, float32, each value -1 or +1. See `Scattered.draw`."""
        shape = (num_classes, *self.code_shape(input_shape))
        return np.where(values.words(math.prod(shape)) >> np.uint64(63), 1, -1).astype(np.float32).reshape(shape)

    def expand(self, codes: tf.Tensor, input_shape: tuple[int, ...]) -> tf.Tensor:
        """Spreads codes over inputs. See `Scattered.expand`."""
        if self.block_size == 1:
            return codes
        import tensorflow as tf

        height, width, _ = input_shape
        rows = tf.repeat(codes, self.block_size, axis=1)[:, :height]
        return tf.repeat(rows, self.block_size, axis=2)[:, :, :width]

    def project(self, x: tf.Tensor) -> tf.Tensor:
        """Reads codes off inputs. See `Scattered.project`."""
        size = self.block_size
        if size == 1:
            return x
        import tensorflow as tf

        height, width = x.shape[1:3]
        # Blocks begin at the top left; what remains of one at the far edges counts as much as a whole one.
        edges = [[0, 0], [0, -height % size], [0, -width % size], [0, 0]]
        total, covered = (
            tf.nn.avg_pool2d(tf.pad(part, edges), size, size, "VALID") for part in (x, tf.ones_like(x[:1, :, :, :1]))
        )
        return total / covered


@dataclasses.dataclass(frozen=True)
class Scattered:
    """One pattern for all classes, on scattered single features: the paper's family.

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

    @classmethod
    def for_inputs(cls, input_shape: tuple[int, ...]) -> Scattered:
        """The paper's choice, whatever the inputs."""
        return cls()

    def check(self, input_shape: tuple[int, ...]) -> None:
        """Raises nothing: any input has features to scatter over."""

    def code_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of one code: that of an input."""
        return input_shape

    def draw(
        self, features: KeyStream, values: KeyStream, input_shape: tuple[int, ...], num_classes: int
    ) -> np.ndarray:
        """Draws the codes.

        Args:
            features: The key's stream for "which features".
            values: The key's stream for "which pattern".
            input_shape: Shape of one input, without the batch.
            num_classes: Number of classes.

        Returns:
            Codes of shape `(patterns, *code_shape)`, float32, each value one of -1, 0 (not part of the watermark) and
            +1, with one pattern for all classes or one for each.
        """
        total = math.prod(input_shape)
        size = max(1, round(self.watermark_size * total))
        chosen = random_permutation(features, total)[:size]
        signs = np.where(values.words(size) >> np.uint64(63), 1.0, -1.0) if self.signed else 1.0
        code = np.zeros(total, np.float32)
        code[chosen] = signs
        return code.reshape(1, *input_shape)

    def expand(self, codes: tf.Tensor, input_shape: tuple[int, ...]) -> tf.Tensor:
        """Spreads codes over inputs.

        Args:
            codes: Shape `(batch, *code_shape)`.
            input_shape: Shape of one input, without the batch.

        Returns:
            Patterns, shape `(batch, *input_shape)`.
        """
        return codes

    def project(self, x: tf.Tensor) -> tf.Tensor:
        """Reads codes off inputs: of a pattern, its code.

        Args:
            x: Shape `(batch, *input_shape)`.

        Returns:
            Shape `(batch, *code_shape)`.
        """
        return x


Family = Blocks | Scattered

FAMILIES: Mapping[str, type[Family]] = {family.name: family for family in (Blocks, Scattered)}


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
