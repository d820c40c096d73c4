"""`DecisionSearch`: what attacks share that learn from a model's decisions alone."""

from __future__ import annotations

import math

import numpy as np

from honeykeras.attacks.by_query import Oracle, QueryAttack

# How many random inputs are tried to start from, at most.
_STARTS = 100

# How much further what is found is moved, a share of the way.
_HAIR = 1e-4


class DecisionSearch:
    """One run of such an attack, on a batch. Images are held flat, shape `(n, features)`, and named by their places.

    Attributes:
        x: The inputs to fool the model with, flat.
        low, high: The range of each value.
    """

    def __init__(
        self,
        attack: QueryAttack,
        ask: Oracle,
        x: np.ndarray,
        y: np.ndarray,
        mask: np.ndarray,
        draws: list[np.random.Generator],
    ) -> None:
        """Begins a run; the arguments are those of `QueryAttack.search`, and the attack itself."""
        self.x = x.reshape(len(x), math.prod(x.shape[1:]))
        self.low, self.high = attack.bounds
        self._attack, self._ask, self._shape, self._y, self._draws = attack, ask, x.shape, y, draws
        self._mask = mask.reshape(self.x.shape)

    def left(self, images: np.ndarray) -> np.ndarray:
        """How many queries are left for each image."""
        return self._attack.max_queries - self._ask.queries[images]

    def fools(self, images: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Whether inputs are what the attack wants; no, where no query is left to ask with."""
        fooled = np.zeros(len(images), bool)
        # An image's n-th query here is asked if there are n left; those of one image come together.
        asked = np.arange(len(images)) - np.searchsorted(images, images) < self.left(images)
        logits = self._ask(images[asked], x[asked].reshape(-1, *self._shape[1:]).astype(np.float32))
        if asked.any():
            fooled[asked] = self._attack.lead(logits, self._y[images[asked]]) > 0
        return fooled

    def normal(self, image: int, count: int) -> np.ndarray:
        """Normal noise where the image may change, shape `(count, features)`, float32."""
        return self._draws[image].standard_normal((count, self.x.shape[1]), np.float32) * self._mask[image]

    def begin(self, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
        """Starts for all images: on the way to a random input that fools the model, where it begins to.

        Args:
            tolerance: How near to that place, a share of the way.

        Returns:
            The inputs to go on from, shape `(n, features)`, and the images that are to go on, as places: neither those
            that fool the model as they are, nor those for which no random input does.
        """
        everyone = np.arange(len(self.x))
        found, going = self.x.copy(), everyone[~self.fools(everyone, self.x)]
        start, begun = self._random_inputs(going)
        going = going[begun]
        found[going] = self.bisect(going, start[begun], tolerance)
        return found, going

    def _random_inputs(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Random inputs that fool the model, one for each image, and where there is one."""
        start, begun = self.x[images].copy(), np.zeros(len(images), bool)
        for _ in range(_STARTS):
            missing = np.flatnonzero(~begun & (self.left(images) > 0))
            if not len(missing):
                break
            chosen = images[missing]
            drawn = np.stack([self._draws[i].uniform(self.low, self.high, self.x.shape[1]) for i in chosen])
            tried = np.where(self._mask[chosen], drawn, self.x[chosen]).astype(np.float32)
            fooled = self.fools(chosen, tried)
            start[missing[fooled]], begun[missing[fooled]] = tried[fooled], True
        return start, begun

    def bisect(self, images: np.ndarray, outside: np.ndarray, tolerance: float) -> np.ndarray:
        """The inputs nearest to the images, on the way to ones that fool the model, that still do."""
        inside = self.x[images]
        near, far = np.zeros(len(images)), np.ones(len(images))
        while len(open_ := np.flatnonzero((far - near > tolerance) & (self.left(images) > 0))):
            middle = (near[open_] + far[open_]) / 2
            tried = inside[open_] + middle[:, None] * (outside[open_] - inside[open_])
            fooled = self.fools(images[open_], tried)
            far[open_[fooled]], near[open_[~fooled]] = middle[fooled], middle[~fooled]
        return (inside + far[:, None] * (outside - inside)).astype(np.float32)

    def beyond(self, found: np.ndarray) -> np.ndarray:
        """What was found, a hair further away: on a boundary, rounding decides, and that differs between batches."""
        return np.clip(self.x + (1 + _HAIR) * (found - self.x), self.low, self.high).astype(np.float32)
