"""`Backend`: where a gateway has its answers from."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from honeykeras.gateway.tensors import Signature


class Model(NamedTuple):
    """Which model is meant: by its name, and a version's number or label if it is not the one that is served.

    Attributes:
        name: Its name.
        version: The version's number.
        label: The version's label.
    """

    name: str
    version: int | None = None
    label: str | None = None


class Answer(NamedTuple):
    """What a signature gave, and which version of the model.

    Attributes:
        version: The version's number.
        outputs: Arrays by name.
    """

    version: int
    outputs: Mapping[str, np.ndarray]


class State(NamedTuple):
    """How a version of a model stands.

    Attributes:
        version: Its number.
        state: What TensorFlow Serving calls it, such as `AVAILABLE`.
        code: The name of gRPC's status, `OK` where nothing is wrong.
        message: What is wrong.
    """

    version: int
    state: str
    code: str = "OK"
    message: str = ""


class Backend(abc.ABC):
    """Where a gateway has its answers from: models in its own process, or a server of models.

    What is asked wrongly, or has no answer, raises `RequestError`.
    """

    @abc.abstractmethod
    async def start(self) -> None:
        """Makes ready."""

    @abc.abstractmethod
    async def close(self) -> None:
        """Lets go, once nothing more is asked."""

    @abc.abstractmethod
    async def signatures(self, model: Model) -> Mapping[str, Signature]:
        """All signatures of a version of a model, the operator's included, by name."""

    @abc.abstractmethod
    async def run(self, model: Model, signature: str, inputs: Mapping[str, np.ndarray]) -> Answer:
        """Asks a signature. The inputs are what it takes."""

    @abc.abstractmethod
    async def states(self, model: Model) -> list[State]:
        """How the versions of a model stand."""

    @abc.abstractmethod
    async def is_healthy(self) -> bool:
        """Whether there are answers to be had."""
