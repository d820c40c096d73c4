"""`Task`: what workers do with chunks of a data set."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping

import numpy as np

Chunk = Mapping[str, np.ndarray]
"""Arrays by name, of one length."""


class Task(abc.ABC):
    """What is done with chunks. It goes to workers as it is, and holds nothing secret."""

    @abc.abstractmethod
    def open(self) -> Callable[[int, Chunk], None]:
        """Opens what it needs, once a worker; returns what takes a chunk, and writes what becomes of it."""

    @abc.abstractmethod
    def is_done(self, number: int) -> bool:
        """Whether what becomes of a chunk was written before."""
