"""HopSkipJump: along the decision boundary, by decisions alone."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from honeykeras.attacks.by_query import Oracle, QueryAttack
from honeykeras.ranges import RangeLike

# How many random inputs are tried to start from, at most.
_STARTS = 100
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
        if not len(x):
            return x
        return _Hops(self, ask, x, y, mask, draws).run()


class _Hops:
    """One run, on a batch. Images are held flat, shape `(n, features)`."""

    def __init__(
        self,
        attack: HopSkipJump,
        ask: Oracle,
        x: np.ndarray,
        y: np.ndarray,
        mask: np.ndarray,
        draws: list[np.random.Generator],
    ) -> None:
        self._attack, self._ask, self._shape, self._draws = attack, ask, x.shape, draws
        self._x, self._y, self._mask = x.reshape(len(x), -1), y, mask.reshape(len(x), -1)
        self._low, self._high = attack.bounds
        features = self._x.shape[1]
        # How near to the boundary a bisection gets, a share of the way (section 4.2 of the paper).
        self._theta = 1 / (features * math.sqrt(features))

    def run(self) -> np.ndarray:
        everyone = np.arange(len(self._x))
        found, fooled = self._x.copy(), self._fools(everyone, self._x)
        going = everyone[~fooled]
        start, begun = self._starts(going)
        going, start = going[begun], start[begun]
        found[going] = self._bisect(going, start)
        hop = 0
        while len(going := going[self._left(going) > _FIRST_ESTIMATE // 2]):
            hop += 1
            distance = np.linalg.norm(found[going] - self._x[going], axis=1)
            reach = self._theta * self._x.shape[1] * distance if hop > 1 else np.full(len(going), _FIRST_REACH)
            towards = self._estimate(going, found[going], np.maximum(reach, 1e-6), hop)
            landed = self._jump(going, found[going], towards, distance / math.sqrt(hop))
            found[going] = self._bisect(going, landed)
        return found.reshape(self._shape)

    def _left(self, images: np.ndarray) -> np.ndarray:
        """How many queries are left for each image."""
        return self._attack.max_queries - self._ask.queries[images]

    def _fools(self, images: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Whether inputs are what the attack wants; no, where no query is left to ask with."""
        fooled = np.zeros(len(images), bool)
        # An image's n-th query here is asked if there are n left; those of one image come together.
        asked = np.arange(len(images)) - np.searchsorted(images, images) < self._left(images)
        logits = self._ask(images[asked], x[asked].reshape(-1, *self._shape[1:]).astype(np.float32))
        if asked.any():
            fooled[asked] = self._attack.lead(logits, self._y[images[asked]]) > 0
        return fooled

    def _starts(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Random inputs that fool the model, one for each image, and where there is one."""
        start, begun = self._x[images].copy(), np.zeros(len(images), bool)
        for _ in range(_STARTS):
            missing = np.flatnonzero(~begun & (self._left(images) > 0))
            if not len(missing):
                break
            chosen = images[missing]
            drawn = np.stack([self._draws[i].uniform(self._low, self._high, self._x.shape[1]) for i in chosen])
            tried = np.where(self._mask[chosen], drawn, self._x[chosen]).astype(np.float32)
            fooled = self._fools(chosen, tried)
            start[missing[fooled]], begun[missing[fooled]] = tried[fooled], True
        return start, begun

    def _bisect(self, images: np.ndarray, outside: np.ndarray) -> np.ndarray:
        """The inputs nearest to the images, on the way to ones that fool the model, that still do."""
        inside = self._x[images]
        near, far = np.zeros(len(images)), np.ones(len(images))
        while len(open_ := np.flatnonzero((far - near > self._theta) & (self._left(images) > 0))):
            middle = (near[open_] + far[open_]) / 2
            tried = inside[open_] + middle[:, None] * (outside[open_] - inside[open_])
            fooled = self._fools(images[open_], tried)
            far[open_[fooled]], near[open_[~fooled]] = middle[fooled], middle[~fooled]
        return (inside + far[:, None] * (outside - inside)).astype(np.float32)

    def _estimate(self, images: np.ndarray, at: np.ndarray, reach: np.ndarray, hop: int) -> np.ndarray:
        """Where the boundary faces, from decisions around points on it: unit vectors (section 3.2, equation 16)."""
        wanted = min(round(_FIRST_ESTIMATE * math.sqrt(hop)), _MOST_ESTIMATE)
        towards = np.zeros_like(at)
        for place, image in enumerate(images):
            count = min(wanted, max(0, int(self._left(images[place : place + 1])[0]) - 1))
            noise = self._draws[image].standard_normal((count, at.shape[1]), np.float32) * self._mask[image]
            noise /= np.maximum(np.linalg.norm(noise, axis=1, keepdims=True), 1e-12)
            queries = np.clip(at[place] + reach[place] * noise, self._low, self._high)
            noise = (queries - at[place]) / reach[place]
            decisions = 2.0 * self._fools(np.full(count, image), queries) - 1
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
        while len(missing := missing[(self._left(images[missing]) > 0) & (step[missing] > 1e-6)]):
            tried = np.clip(at[missing] + step[missing, None] * towards[missing], self._low, self._high)
            fooled = self._fools(images[missing], tried)
            landed[missing[fooled]] = tried[fooled]
            step[missing] /= 2
            missing = missing[~fooled]
        return landed
