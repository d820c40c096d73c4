"""The boundary attack: a random walk along the decision boundary, by decisions alone."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from honeykeras import _checks
from honeykeras.attacks.by_decision import DecisionSearch
from honeykeras.attacks.by_query import Oracle, QueryAttack
from honeykeras.ranges import RangeLike

# How near to the boundary a walk begins, a share of the way.
_TOLERANCE = 0.01
# After so many tries of a kind, its steps are made longer if more than a share of them fooled the model, or shorter.
_TRIES = 10
_SIDEWARDS, _TOWARDS = 0.5, 0.25
_FACTOR = 1.5
# No step is longer than the way that is left.
_LONGEST = 1.0


class Boundary(QueryAttack):
    """The boundary attack in L2: nearer to the image at random, as far as the model stays fooled (Brendel et al. 2018).

    It begins at a random input that is taken for another class, or rather where the way from there to the image meets
    the boundary, which a bisection tells. Each step goes sidewards, at the same distance from the image, and if that
    still fools the model, towards the image. How far either goes follows how often it fools the model: of the steps
    sidewards half are to (section 2.3 of the paper). Every query counts.
    """

    name: ClassVar[str] = "boundary"

    def __init__(
        self,
        max_queries: int = 5000,
        *,
        sidewards: float = 0.3,
        towards: float = 0.1,
        targeted: bool = False,
        input_range: RangeLike = (0.0, 1.0),
        seed: int = 0,
    ) -> None:
        """Makes the attack.

        Args:
            max_queries: How many times the model is asked about each image, at most.
            sidewards: How far the first steps go sidewards, a share of the distance to the image, in (0, 1].
            towards: The same, of the first steps towards the image.
            targeted: Whether the labels given are to be reached, rather than got away from. Random inputs are
                seldom of a given class; without one to start from, an image comes back as it is.
            input_range: Least and greatest value of an input, or of each of its features.
            seed: Seed of starts and steps.

        Raises:
            InvalidArgumentError: If an argument breaks one of these rules.
        """
        super().__init__(max_queries, targeted=targeted, input_range=input_range, seed=seed)
        self.sidewards = _checks.in_interval("sidewards", sidewards, 0, 1, closed="(]")
        self.towards = _checks.in_interval("towards", towards, 0, 1, closed="(]")

    def search(
        self, ask: Oracle, x: np.ndarray, y: np.ndarray, mask: np.ndarray, draws: list[np.random.Generator]
    ) -> np.ndarray:
        walk = _Walk(self, ask, x, y, mask, draws)
        return walk.run(self.sidewards, self.towards).reshape(x.shape)

    def get_config(self) -> dict[str, Any]:
        return {"sidewards": self.sidewards, "towards": self.towards, **super().get_config()}


class _Walk(DecisionSearch):
    """One run, on a batch."""

    def run(self, sidewards: float, towards: float) -> np.ndarray:
        found, going = self.begin(_TOLERANCE)
        aside, nearer = (_Steps(len(found), length) for length in (sidewards, towards))
        while len(going := going[self.left(going) > 0]):
            beside = self._beside(going, found[going], aside.lengths[going])
            fooled = self.fools(going, beside)
            aside.tried(going, fooled, _SIDEWARDS)
            walking, beside = going[fooled], beside[fooled]
            found[walking] = beside
            ahead = beside + nearer.lengths[walking, None] * (self.x[walking] - beside)
            # A walk whose queries are spent stays where it is.
            asked = self.left(walking) > 0
            fooled = self.fools(walking, ahead)
            nearer.tried(walking[asked], fooled[asked], _TOWARDS)
            found[walking[fooled]] = ahead[fooled]
        return self.beyond(found)

    def _beside(self, images: np.ndarray, at: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Inputs beside others, at no greater distance from the image, in a random direction."""
        away = at - self.x[images]
        squared = np.maximum((away**2).sum(axis=1, keepdims=True), 1e-24)
        noise = np.concatenate([self.normal(image, 1) for image in images])
        noise -= (noise * away).sum(axis=1, keepdims=True) / squared * away
        noise *= np.sqrt(squared) / np.maximum(np.linalg.norm(noise, axis=1, keepdims=True), 1e-12)
        turned = (away + lengths[:, None] * noise) / np.sqrt(1 + lengths[:, None] ** 2)
        return np.clip(self.x[images] + turned, self.low, self.high).astype(np.float32)


class _Steps:
    """How long steps of a kind are, for each image.

    Attributes:
        lengths: Shares of the distance to the image, shape `(images,)`, float32.
    """

    def __init__(self, images: int, length: float) -> None:
        self.lengths = np.full(images, length, np.float32)
        self._tries, self._successes = np.zeros(images, int), np.zeros(images, int)

    def tried(self, images: np.ndarray, fooled: np.ndarray, wanted: float) -> None:
        """Takes to account what came of steps, of which a share is wanted to fool the model."""
        self._tries[images] += 1
        self._successes[images] += fooled
        full = images[self._tries[images] == _TRIES]
        more = self._successes[full] > wanted * _TRIES
        self.lengths[full] = np.minimum(self.lengths[full] * np.where(more, _FACTOR, 1 / _FACTOR), _LONGEST)
        self._tries[full] = self._successes[full] = 0
