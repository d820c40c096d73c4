"""The Square attack: random squares, kept where they help."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from honeykeras import _checks
from honeykeras.attacks.by_query import Oracle, QueryAttack
from honeykeras.ranges import RangeLike

# Of 10,000 queries, after how many the share of an image that a square covers is halved (section 3.3 of the paper).
_HALVED_AFTER = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


class Square(QueryAttack):
    """Square, in the L-infinity ball (Andriushchenko et al. 2020, Square Attack, algorithms 1 and 2).

    It begins with vertical stripes, and then gives one square after the other new signs, which stay where the model's
    lead shrinks. An image is left alone as soon as it fools the model. Inputs of another rank are taken for an image of
    one row.
    """

    name: ClassVar[str] = "square"
    norm = "inf"

    def __init__(
        self,
        epsilon: float = 0.3,
        max_queries: int = 5000,
        *,
        p_init: float = 0.8,
        targeted: bool = False,
        input_range: RangeLike = (0.0, 1.0),
        seed: int = 0,
    ) -> None:
        """Makes the attack.

        Args:
            epsilon: Radius of the L-infinity ball, as for `PGD`.
            max_queries: How many times the model is asked about each image, at most.
            p_init: The share of an image that the first squares cover, in (0, 1].
            targeted: Whether the labels given are to be reached, rather than got away from.
            input_range: Least and greatest value of an input, or of each of its features.
            seed: Seed of stripes and squares.

        Raises:
            InvalidArgumentError: If an argument breaks one of these rules.
        """
        super().__init__(max_queries, targeted=targeted, input_range=input_range, seed=seed)
        self.epsilon = _checks.in_interval("epsilon", epsilon, 0, np.inf, closed="()")
        self.p_init = _checks.in_interval("p_init", p_init, 0, 1, closed="(]")

    def search(
        self, ask: Oracle, x: np.ndarray, y: np.ndarray, mask: np.ndarray, draws: list[np.random.Generator]
    ) -> np.ndarray:
        low, high = self.bounds
        shape = x.shape[1:] if x.ndim == 4 else (1, math.prod(x.shape[1:]), 1)
        clean, allowed = x.reshape(-1, *shape), mask.reshape(-1, *shape)

        def moved(images: np.ndarray, signs: np.ndarray) -> np.ndarray:
            delta = np.where(allowed[images], self.epsilon * signs, 0)
            return np.clip(clean[images] + delta, low, high).astype(np.float32).reshape(-1, *x.shape[1:])

        going = np.arange(len(x))
        signs = np.stack([_signs(draw, (1, *shape[1:])) for draw in draws]) if len(x) else np.empty((0, *shape))
        signs = np.broadcast_to(signs, clean.shape).copy()
        best = np.full(len(x), -np.inf)
        unmoved = self.lead(ask(going, x), y) > 0
        found = np.where(unmoved.reshape(-1, *[1] * (x.ndim - 1)), x, moved(going, signs))
        going = going[~unmoved]
        best[going] = self.lead(ask(going, found[going]), y[going])
        while len(going := going[(best[going] <= 0) & (ask.queries[going] < self.max_queries)]):
            tried = signs[going]
            for place, image in enumerate(going):
                side = self._side(ask.queries[image], shape)
                window = tuple(_window(draws[image], length, side) for length in shape[:2])
                tried[place][window] = _signs(draws[image], (1, 1, shape[2]))
            candidates = moved(going, tried)
            leads = self.lead(ask(going, candidates), y[going])
            better = leads > best[going]
            taken = going[better]
            signs[taken], found[taken], best[taken] = tried[better], candidates[better], leads[better]
        return found

    def _side(self, asked: int, shape: tuple[int, ...]) -> int:
        """The side of a square after so many queries."""
        halvings = sum(10_000 * asked > after * self.max_queries for after in _HALVED_AFTER)
        return max(1, round(math.sqrt(self.p_init * 0.5**halvings * shape[0] * shape[1])))

    def get_config(self) -> dict[str, Any]:
        return {"epsilon": self.epsilon, "p_init": self.p_init, **super().get_config()}


def _signs(draw: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return 2 * draw.integers(0, 2, shape).astype(np.float32) - 1


def _window(draw: np.random.Generator, length: int, side: int) -> slice:
    """A random stretch of a side, or all of it if it is shorter."""
    start = draw.integers(0, max(1, length - side + 1))
    return slice(start, start + side)
