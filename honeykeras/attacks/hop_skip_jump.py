"""HopSkipJump: along the decision boundary, by decisions alone."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from honeykeras.attacks.by_decision import DecisionSearch
from honeykeras.attacks.by_query import Oracle, QueryAttack
from honeykeras.ranges import RangeLike

# How many queries the first estimate rests on, and any later one at most.
_FIRST_ESTIMATE = 100
_MOST_ESTIMATE = 10_000
# How far the first estimate looks, a share of the range.
_FIRST_REACH = 0.1


class HopSkipJump(QueryAttack):
    """HopSkipJump in L2: the nearest input that fools the model, from its decisions (Chen et al. 2020, algorithm 2).

    From a random input that is taken for another class, it goes to the boundary by bisection, estimates there where the
    boundary faces, and hops on from there. Every query counts, those of the bisection too.
    """

    name: ClassVar[str] = "hop_skip_jump"

    def __init__(
        self,
        max_queries: int = 2500,
        *,
        targeted: bool = False,
        input_range: RangeLike = (0.0, 1.0),
        seed: int = 0,
    ) -> None:
        """Makes the attack.

        Args:
            max_queries: How many times the model is asked about each image, at most.
            targeted: Whether the labels given are to be reached, rather than got away from. Random inputs are
                seldom of a given class; without one to start from, an image comes back as it is.
            input_range: Least and greatest value of an input, or of each of its features.
            seed: Seed of starts and estimates.

        Raises:
            InvalidArgumentError: If an argument breaks one of these rules.
        """
        super().__init__(max_queries, targeted=targeted, input_range=input_range, seed=seed)

    def search(
        self, ask: Oracle, x: np.ndarray, y: np.ndarray, mask: np.ndarray, draws: list[np.random.Generator]
    ) -> np.ndarray:
        return _Hops(self, ask, x, y, mask, draws).run().reshape(x.shape)


class _Hops(DecisionSearch):
    """One run, on a batch."""

    def run(self) -> np.ndarray:
        features = self.x.shape[1]
        # How near to the boundary a bisection gets, a share of the way (section 4.2 of the paper).
        theta = 1 / (features * math.sqrt(features))
        found, going = self.begin(theta)
        hop = 0
        while len(going := going[self.left(going) > _FIRST_ESTIMATE // 2]):
            hop += 1
            distance = np.linalg.norm(found[going] - self.x[going], axis=1)
            reach = theta * features * distance if hop > 1 else np.full(len(going), _FIRST_REACH)
            towards = self._estimate(going, found[going], np.maximum(reach, 1e-6), hop)
            landed = self._jump(going, found[going], towards, distance / math.sqrt(hop))
            found[going] = self.bisect(going, landed, theta)
        return self.beyond(found)

    def _estimate(self, images: np.ndarray, at: np.ndarray, reach: np.ndarray, hop: int) -> np.ndarray:
        """Where the boundary faces, from decisions around points on it: unit vectors (section 3.2, equation 16)."""
        wanted = min(round(_FIRST_ESTIMATE * math.sqrt(hop)), _MOST_ESTIMATE)
        towards = np.zeros_like(at)
        for place, image in enumerate(images):
            count = min(wanted, max(0, int(self.left(images[place : place + 1])[0]) - 1))
            noise = self.normal(image, count)
            noise /= np.maximum(np.linalg.norm(noise, axis=1, keepdims=True), 1e-12)
            queries = np.clip(at[place] + reach[place] * noise, self.low, self.high)
            noise = (queries - at[place]) / reach[place]
            decisions = 2.0 * self.fools(np.full(count, image), queries) - 1
            mean = decisions.mean() if count else 0.0
            # All alike: there is no baseline to take off.
            weights = decisions if abs(mean) == 1 else decisions - mean
            towards[place] = weights @ noise
        return towards / np.maximum(np.linalg.norm(towards, axis=1, keepdims=True), 1e-12)

    def _jump(self, images: np.ndarray, at: np.ndarray, towards: np.ndarray, step: np.ndarray) -> np.ndarray:
        """As far as each step goes and still fools the model, halved until it does."""
        landed = at.copy()
        step = step.copy()
        missing = np.arange(len(images))
        while len(missing := missing[(self.left(images[missing]) > 0) & (step[missing] > 1e-6)]):
            tried = np.clip(at[missing] + step[missing, None] * towards[missing], self.low, self.high)
            fooled = self.fools(images[missing], tried)
            landed[missing[fooled]] = tried[fooled]
            step[missing] /= 2
            missing = missing[~fooled]
        return landed
