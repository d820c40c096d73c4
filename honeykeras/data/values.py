"""Labelled samples from values: arrays, data sets, and what a user's function returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from honeykeras import _checks
from honeykeras.data.labelled import SPLITS, Labelled
from honeykeras.errors import DatasetError

_CLASS_NAMES = "class_names"


def from_value(name: str, value: Any) -> Labelled:
    """What a function may return.

    Args:
        name: What the data set is called.
        value: `(x, y)`, arrays; `((x_train, y_train), (x_test, y_test))`, as Keras' data sets have it; a
            `tf.data.Dataset` of `(x, y)`; or a dictionary of such by the names of splits, and perhaps `class_names`.

    Raises:
        DatasetError: If it is nothing of that.
    """
    class_names = None
    if isinstance(value, Mapping):
        class_names = value.get(_CLASS_NAMES)
        splits = {split: each for split, each in value.items() if split != _CLASS_NAMES}
    elif isinstance(value, Sequence) and len(value) == 2 and all(isinstance(each, Sequence) for each in value):
        splits = dict(zip(("train", "test"), value, strict=True))
    else:
        splits = {"train": value}
    strange = [split for split in splits if split not in SPLITS]
    if strange or not splits:
        raise DatasetError(
            f"{name} must return splits called {', '.join(SPLITS)}. Received: {_checks.shown(list(splits))}."
        )
    arrays = {split: each for split, each in splits.items() if not isinstance(each, tf.data.Dataset)}
    labelled = from_arrays(name, arrays)
    return Labelled(
        name,
        {
            split: each if isinstance(each, tf.data.Dataset) else labelled.splits[split]
            for split, each in splits.items()
        },
        class_names=_texts(name, class_names),
        repeats=len(arrays) == len(splits),
    )


def from_arrays(name: str, splits: Mapping[str, Any]) -> Labelled:
    """Arrays `(x, y)` by the names of splits."""
    return Labelled(name, {split: _dataset(name, split, pair) for split, pair in splits.items()})


def _dataset(name: str, split: str, pair: Any) -> tf.data.Dataset:
    if not isinstance(pair, Sequence) or len(pair) != 2:
        raise DatasetError(
            f"{name} must give arrays (x, y), a tf.data.Dataset of such pairs, or a dictionary of such splits. "
            f"Received: {type(pair).__name__} for {split}."
        )
    x, y = _checks.array(f"{name}: x", pair[0]), pair[1]
    y = np.asarray(y, str) if _is_text(y) else _checks.array(f"{name}: y", y)
    if x.ndim < 2 or len(x) != len(y) or not len(x):
        raise DatasetError(
            f"{name} must have as many labels as samples, at least one. Received: x of shape {x.shape} and y of shape "
            f"{y.shape} in {split}."
        )
    if y.dtype.kind == "f" and y.ndim == 1 and np.array_equal(y, np.floor(y)):
        y = y.astype(np.int64)
    if y.dtype.kind == "U":
        y = np.char.encode(y, "utf-8")
    return tf.data.Dataset.from_tensor_slices((x, y))


def _is_text(values: Any) -> bool:
    """Whether an array holds texts as objects, as pandas does."""
    values = np.asarray(values) if hasattr(values, "dtype") else np.empty(0)
    return values.dtype.kind == "O" and all(isinstance(value, str) for value in values.ravel())


def _texts(name: str, names: Any) -> tuple[str, ...] | None:
    if names is None:
        return None
    if isinstance(names, str) or not isinstance(names, Sequence) or not all(isinstance(each, str) for each in names):
        raise DatasetError(f"{name} must give `{_CLASS_NAMES}` as a list of texts. Received: {_checks.shown(names)}.")
    return tuple(names)
