"""NES: a gradient estimated from a model's scores."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from honeykeras import _checks
from honeykeras.attacks.by_query import Oracle, QueryAttack
from honeykeras.ranges import RangeLike


class NES(QueryAttack):
    """Natural evolution strategies: projected gradient descent along a gradient that is estimated from scores.

    Ilyas et al. 2018, Black-box adversarial attacks with limited queries and information, section 2.1: antithetic pairs
    of normal noise around the image, weighted by what the model says of each. An image is left alone as soon as it
    fools the model.
    """

    name: ClassVar[str] = "nes"
    norm = "inf"

    def __init__(
        self,
        epsilon: float = 0.3,
        max_queries: int = 5000,
        *,
        samples_per_step: int = 50,
        sigma: float = 0.01,
        step_size: float | None = None,
        targeted: bool = False,
        input_range: RangeLike = (0.0, 1.0),
        seed: int = 0,
    ) -> None:
        """Makes the attack.

        Args:
            epsilon: Radius of the L-infinity ball, as for `PGD`.
            max_queries: How many times the model is asked about each image, at most.
            samples_per_step: How many queries an estimate rests on; even.
            sigma: Standard deviation of the noise, in input units.
            step_size: How far each step goes, in (0, epsilon]. Defaults to a tenth of `epsilon`.
            targeted: Whether the labels given are to be reached, rather than got away from.
            input_range: Least and greatest value of an input, or of each of its features.
            seed: Seed of the noise.

        Raises:
            InvalidArgumentError: If an argument breaks one of these rules.
        """
        super().__init__(max_queries, targeted=targeted, input_range=input_range, seed=seed)
        self.epsilon = _checks.in_interval("epsilon", epsilon, 0, np.inf, closed="()")
        self.samples_per_step = 2 * (_checks.whole_number("samples_per_step", samples_per_step, 2) // 2)
        self.sigma = _checks.in_interval("sigma", sigma, 0, np.inf, closed="()")
        self.step_size = _checks.in_interval(
            "step_size", self.epsilon / 10 if step_size is None else step_size, 0, self.epsilon, closed="(]"
        )

    def search(
        self, ask: Oracle, x: np.ndarray, y: np.ndarray, mask: np.ndarray, draws: list[np.random.Generator]
    ) -> np.ndarray:
        low, high = self.bounds
        least, greatest = np.maximum(x - self.epsilon, low), np.minimum(x + self.epsilon, high)
        found = x.copy()
        going = np.arange(len(x))
        going = going[self.lead(ask(going, found), y) <= 0]
        # An estimate, and the look at where it led.
        while len(going := going[ask.queries[going] + self.samples_per_step + 1 <= self.max_queries]):
            half = self.samples_per_step // 2
            noise = np.stack([draws[i].standard_normal((half, *x.shape[1:]), np.float32) for i in going])
            noise = np.concatenate([noise, -noise], axis=1)
            queries = np.clip(found[going, None] + self.sigma * noise, low, high).reshape(-1, *x.shape[1:])
            images = np.repeat(going, self.samples_per_step)
            leads = self.lead(ask(images, queries), y[images]).reshape(len(going), -1)
            leads = np.where(np.isfinite(leads), leads, 0).astype(np.float32)
            gradient = np.einsum("ns,ns...->n...", leads, noise)
            step = np.where(mask[going], self.step_size * np.sign(gradient), 0)
            found[going] = np.clip(found[going] + step, least[going], greatest[going])
            going = going[self.lead(ask(going, found[going]), y[going]) <= 0]
        return found

    def get_config(self) -> dict[str, Any]:
        return {
            "epsilon": self.epsilon,
            "samples_per_step": self.samples_per_step,
            "sigma": self.sigma,
            "step_size": self.step_size,
            **super().get_config(),
        }
