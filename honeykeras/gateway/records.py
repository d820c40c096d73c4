"""`Record`: what happened to a request, for who writes it down, counts it or shows it."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Mapping
from typing import Protocol

import numpy as np

from honeykeras.gateway.backend import Model
from honeykeras.gateway.reactions import Reaction


@dataclasses.dataclass(frozen=True)
class Record:
    """A request that was answered.

    Attributes:
        time: When, in seconds since 1970.
        client: Who asked.
        model: Which model was asked.
        version: Which version answered.
        signature: Which signature.
        inputs: What was asked, by name.
        outputs: What was told, by name.
        scores: The detector's, shape `(n,)`.
        flags: Which inputs it flagged, shape `(n,)`.
        reactions: What became of each answer; in the shadow, what would have.
        shadow: Whether the answers are the model's whatever the reactions are.
        policy: The policy's version.
        queries: How many inputs the client had sent by then.
        statistic: The evidence against it, and the bound; None where there is none.
        bound: See there.
        accusation: Whether this request led to an accusation.
        accused: Whether the client is accused.
        seconds: How long the answer took.
    """

    time: float
    client: str
    model: Model
    version: int
    signature: str
    inputs: Mapping[str, np.ndarray]
    outputs: Mapping[str, np.ndarray]
    scores: np.ndarray
    flags: np.ndarray
    reactions: list[Reaction]
    shadow: bool
    policy: int
    queries: int
    statistic: float | None
    bound: float | None
    accusation: bool
    accused: bool
    seconds: float

    @functools.cached_property
    def request_hash(self) -> str:
        """SHA-256 of the inputs, shortened: by it a request is found again in the log of requests."""
        digest = hashlib.sha256()
        for name, value in sorted(self.inputs.items()):
            content = b"".join(value.ravel().tolist()) if value.dtype == object else value.tobytes()
            digest.update(f"{name}/{value.shape}/".encode() + content)
        return digest.hexdigest()[:16]


class Watcher(Protocol):
    """Who is told of each request that was answered, and of each that was not. It must not keep anybody waiting."""

    def answered(self, record: Record) -> None:
        """A request was answered."""

    def refused(self, model: str, signature: str, code: str, seconds: float) -> None:
        """A request was not, for a reason that gRPC calls so."""
