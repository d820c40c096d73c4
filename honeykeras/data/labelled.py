"""`Labelled`: what a source gives, before it is cut into parts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf

SPLITS = ("train", "validation", "test")
"""What splits that come with the data are called; all but the first may be missing."""


@dataclasses.dataclass(frozen=True)
class Labelled:
    """Labelled samples, as a source gives them.

    Attributes:
        name: What the data set is called.
        splits: By name, one of `SPLITS`: elements `(x, y)`, batched or not, with labels that are numbers, texts or
            one-hot.
        class_names: What the classes are called, in the order of their indices; None if the labels tell.
        repeats: Whether it is known that every pass gives the same samples. If not, it is tried.
        where: Tells of a split and a number which sample that is, such as the name of its file.
    """

    name: str
    splits: Mapping[str, tf.data.Dataset]
    class_names: Sequence[str] | None = None
    repeats: bool = True
    where: Callable[[str, int], str] = lambda split, number: f"sample {number} of {split}"
