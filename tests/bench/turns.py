"""Several ways to do the same, in turns, so that what else the machine does meets all of them."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np


class Outcome(NamedTuple):
    """What an attack gave, and how many gradients it took for an image on average, if it can be told."""

    x_adv: np.ndarray
    gradients: float | None = None


Way = Callable[[np.ndarray, np.ndarray], Outcome | None]


@dataclasses.dataclass
class Turns:
    """What the turns of one way took, and what came of the last."""

    wall: list[float] = dataclasses.field(default_factory=list)
    processor: list[float] = dataclasses.field(default_factory=list)
    outcome: Outcome | None = None

    @property
    def seconds(self) -> float:
        return statistics.median(self.wall)

    def over(self, other: Turns) -> float:
        """The median over the rounds of the ratio to what another way took in the same round."""
        return _ratio(self.wall, other.wall)

    def processor_over(self, other: Turns) -> float:
        """The same of the processor's time, which other processes disturb least."""
        return _ratio(self.processor, other.processor)


def take_turns(ways: dict[str, Way], x: np.ndarray, y: np.ndarray, rounds: int, warm_up: int = 0) -> dict[str, Turns]:
    """Runs all ways once a round; before that, each once on the first `warm_up` images, uncounted, to compile."""
    for way in ways.values() if warm_up else ():
        way(x[:warm_up], y[:warm_up])
    turns = {name: Turns() for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            started, processor_started = time.perf_counter(), time.process_time()
            turns[name].outcome = way(x, y)
            turns[name].wall.append(time.perf_counter() - started)
            turns[name].processor.append(time.process_time() - processor_started)
    return turns


class Judged(NamedTuple):
    """The share of images that do what they should, and how far those are from the clean ones on average."""

    success: float
    l2: float
    l0: float


def judge(model: keras.Model, outcome: Outcome, x: np.ndarray, y: np.ndarray, targeted: bool = False) -> Judged:
    """Judges all ways alike: by the model's own answers to what they gave."""
    success = (model.predict_on_batch(outcome.x_adv).argmax(axis=1) == y) == targeted
    delta = (outcome.x_adv - x).reshape(len(x), -1)[success]
    if not success.any():
        return Judged(0.0, np.nan, np.nan)
    return Judged(success.mean(), np.linalg.norm(delta, axis=1).mean(), np.count_nonzero(delta, axis=1).mean())


def _ratio(times: list[float], others: list[float]) -> float:
    return statistics.median(time / other for time, other in zip(times, others, strict=True))
