"""Hashes by which models are told apart."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import keras


def of_model(model: keras.Model) -> str:
    """SHA-256 over the shapes, dtypes and values of a model's weights, in hexadecimal."""
    return of_arrays(model.get_weights())


def of_arrays(arrays: Iterable[np.ndarray]) -> str:
    """SHA-256 over the shapes, dtypes and values of arrays, in hexadecimal."""
    digest = hashlib.sha256()
    for value in arrays:
        digest.update(f"{value.shape} {value.dtype} ".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()
