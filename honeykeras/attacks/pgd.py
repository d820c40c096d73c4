"""Projected gradient descent."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from honeykeras import _checks
from honeykeras.attacks.base import Attack
from honeykeras.errors import InvalidArgumentError
from honeykeras.outputs import Logits


class PGD(Attack):
    """Projected gradient descent in the L-infinity ball, untargeted (Madry et al. 2018, section 2.1).

    The step and the projection are CleverHans' (`fast_gradient_method`, `clip_eta`). Two things differ from its
    `projected_gradient_descent`: the loop over the steps is compiled rather than run in Python, and the random
    start is drawn by a stateless generator, so that a seed repeats it.

    Example:

    ```python
    x_adv = hk.attacks.PGD(epsilon=0.3).generate(model, x, y)
    ```
    """

    name = "pgd"

    def __init__(
        self,
        epsilon: float = 0.3,
        steps: int = 40,
        step_size: float | None = None,
        *,
        random_start: bool = True,
        input_range: tuple[float, float] = (0.0, 1.0),
        seed: int = 0,
    ) -> None:
        """Makes the attack.

        Args:
            epsilon: Radius of the ball, in input units, above 0.
            steps: How many steps to take.
            step_size: How far each step goes, in input units, in (0, epsilon]. Defaults to `2.5 * epsilon /
                steps`, at most `epsilon`.
            random_start: Whether to start from a random point of the ball, instead of from the input.
            input_range: Least and greatest value of an input, `(low, high)`.
            seed: Seed of the random start.

        Raises:
            InvalidArgumentError: If an argument breaks one of these rules.
        """
        super().__init__(input_range=input_range, seed=seed)
        self.epsilon = _checks.in_interval("epsilon", epsilon, 0, np.inf, closed="()")
        self.steps = _checks.whole_number("steps", steps)
        default = min(2.5 * self.epsilon / self.steps, self.epsilon)
        self.step_size = _checks.in_interval(
            "step_size", default if step_size is None else step_size, 0, self.epsilon, closed="(]"
        )
        if not isinstance(random_start, bool):
            raise InvalidArgumentError(
                f"`random_start` must be True or False. Received: random_start={random_start!r}."
            )
        self.random_start = random_start

    def perturb(self, logits: Logits, x: tf.Tensor, y: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        # CleverHans takes a second to import, and needs to be there only when an attack runs.
        from cleverhans.tf2.attacks.fast_gradient_method import fast_gradient_method
        from cleverhans.tf2.utils import clip_eta

        low, high = self.input_range
        x_adv = x
        if self.random_start:
            start = tf.random.stateless_uniform(tf.shape(x), seed, -self.epsilon, self.epsilon)
            x_adv = tf.clip_by_value(x + start, low, high)

        def step(index: tf.Tensor, x_adv: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            moved = fast_gradient_method(logits, x_adv, self.step_size, np.inf, clip_min=low, clip_max=high, y=y)
            projected = tf.clip_by_value(x + clip_eta(moved - x, np.inf, self.epsilon), low, high)
            return index + 1, tf.ensure_shape(projected, x.shape)

        _, x_adv = tf.while_loop(lambda index, _: index < self.steps, step, (0, x_adv))
        return x_adv

    def get_config(self) -> dict[str, Any]:
        return {
            "epsilon": self.epsilon,
            "steps": self.steps,
            "step_size": self.step_size,
            "random_start": self.random_start,
            **super().get_config(),
        }
