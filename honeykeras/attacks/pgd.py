"""Projected gradient descent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from honeykeras import _checks
from honeykeras.attacks.base import Attack, Perturbed
from honeykeras.attacks.gradients import usable
from honeykeras.attacks.loops import column, repeat, run_until_done
from honeykeras.errors import InvalidArgumentError
from honeykeras.outputs import LogitsFunction
from honeykeras.ranges import RangeLike

_NORMS = {"inf": np.inf, "2": 2}


# After how many steps an early stop is looked for; each look is a forward pass, a third of a step.
_JUDGE_EVERY = 5


class _Candidate(NamedTuple):
    """Adversarial inputs, whether each fools the model, and by what loss, shape `(batch,)`."""

    x_adv: tf.Tensor
    fooled: tf.Tensor
    loss: tf.Tensor


class _Climb(NamedTuple):
    """Where a start has led, and what it has cost: queries and gradients, shape `(batch, 2)`, int32."""

    found: _Candidate
    cost: tf.Tensor


class PGD(Attack):
    """Projected gradient descent in the L-infinity or L2 ball (Madry et al. 2018, section 2.1).

    The step and the projection are CleverHans' (`fast_gradient_method`, `clip_eta`). What differs from its
    `projected_gradient_descent`: the loop over the steps is compiled rather than run in Python; the random start
    is drawn by a stateless generator, so that a seed repeats it; and of several restarts and the input itself,
    what is kept is what fools the model, and of that what has the greatest loss.

    Example:

    ```python
    x_adv = hk.attacks.PGD(epsilon=0.3).generate(model, x, y).x_adv
    ```
    """

    name = "pgd"

    def __init__(
        self,
        epsilon: float = 0.3,
        steps: int = 40,
        step_size: float | None = None,
        *,
        norm: str = "inf",
        random_start: bool = True,
        restarts: int = 1,
        early_stop: bool = False,
        targeted: bool = False,
        input_range: RangeLike = (0.0, 1.0),
        seed: int = 0,
    ) -> None:
        """Makes the attack.

        Args:
            epsilon: Radius of the ball, above 0: in input units, or a share of each feature's width where features
                have ranges of their own.
            steps: How many steps to take.
            step_size: How far each step goes, likewise, in (0, epsilon]. Defaults to `2.5 * epsilon /
                steps`, at most `epsilon`.
            norm: What the ball is measured in, `"inf"` or `"2"`.
            random_start: Whether to start from a random point of the ball, instead of from the input.
            restarts: How many times to start. More than one need a random start.
            early_stop: Whether an image is left alone as soon as it fools the model, instead of going on to a greater
                loss. As many succeed, in less time, but less clearly.
            targeted: Whether the labels given are to be reached, rather than got away from.
            input_range: Least and greatest value of an input, `(low, high)`, or of each of its features.
            seed: Seed of the random starts.

        Raises:
            InvalidArgumentError: If an argument breaks one of these rules.
        """
        super().__init__(targeted=targeted, input_range=input_range, seed=seed)
        self.epsilon = _checks.in_interval("epsilon", epsilon, 0, np.inf, closed="()")
        self.steps = _checks.whole_number("steps", steps)
        default = min(2.5 * self.epsilon / self.steps, self.epsilon)
        self.step_size = _checks.in_interval(
            "step_size", default if step_size is None else step_size, 0, self.epsilon, closed="(]"
        )
        self.norm = _checks.one_of("norm", norm, _NORMS)
        self.random_start = _checks.flag("random_start", random_start)
        self.restarts = _checks.whole_number("restarts", restarts)
        self.early_stop = _checks.flag("early_stop", early_stop)
        if self.restarts > 1 and not self.random_start:
            raise InvalidArgumentError(
                f"`restarts` must be 1 without a random start: each would go the same way. Received: {restarts}."
            )

    def perturb(
        self, logits: LogitsFunction, x: tf.Tensor, y: tf.Tensor, mask: tf.Tensor, seeds: tf.Tensor
    ) -> Perturbed:
        # Below 0 where the model's answer is not finite; TensorFlow takes no such label, and the loss is NaN with any.
        y = tf.maximum(y, 0)
        fooled, loss = self._judge(logits, x, y)
        best = _Candidate(x, fooled, loss)

        def restart(number: tf.Tensor, best: _Candidate, cost: tf.Tensor) -> tuple[tf.Tensor, _Candidate, tf.Tensor]:
            starts_from = seeds + tf.stack([tf.bitwise.left_shift(number, 32), 0])
            found, further_cost = self._climb(logits, best, (x, y, mask), starts_from)
            return number + 1, _better(best, found), cost + further_cost

        # The input itself has been judged.
        cost = tf.tile([[1, 0]], [tf.shape(y)[0], 1])
        _, best, cost = tf.while_loop(
            lambda number, *_: number < self.restarts, restart, (tf.constant(0, tf.int64), best, cost)
        )
        return Perturbed(best.x_adv, *tf.unstack(tf.cast(cost, tf.int64), axis=1))

    def _climb(
        self, logits: LogitsFunction, best: _Candidate, given: tuple[tf.Tensor, ...], seeds: tf.Tensor
    ) -> tuple[_Candidate, tf.Tensor]:
        """One start and the steps from there: what came of it, and what it cost in queries and gradients."""
        x, _, mask = given
        low, high = self.bounds
        start = tf.clip_by_value(x + self._random(mask, seeds), low, high) if self.random_start else x
        judge_every = _JUDGE_EVERY if self.early_stop else self.steps

        def advance(state: _Climb, given: tuple[tf.Tensor, ...]) -> _Climb:
            x, y, mask = given
            taken = state.cost[0, 1]
            steps = tf.minimum(judge_every, self.steps - taken)

            def step(x_adv: tf.Tensor) -> tf.Tensor:
                return self._step(logits, x_adv, x, y, mask)

            x_adv = repeat(step, steps, state.found.x_adv)
            found = _Candidate(x_adv, *self._judge(logits, x_adv, y))
            return _Climb(found, state.cost + tf.stack([steps + 1, steps]))

        def running(state: _Climb) -> tf.Tensor:
            unfinished = state.cost[:, 1] < self.steps
            return unfinished & ~state.found.fooled if self.early_stop else unfinished

        # With early stop, what has been fooled before is not attacked again.
        climb = _Climb(best._replace(x_adv=start), tf.zeros([tf.shape(x)[0], 2], tf.int32))
        climb = run_until_done(advance, running, climb, given)
        started = climb.cost[:, 1] > 0
        return _choose(started, climb.found, best), climb.cost

    def _step(
        self, logits: Callable[[tf.Tensor], tf.Tensor], x_adv: tf.Tensor, x: tf.Tensor, y: tf.Tensor, mask: tf.Tensor
    ) -> tf.Tensor:
        # CleverHans takes a second to import, and needs to be there only when an attack runs.
        from cleverhans.tf2.attacks.fast_gradient_method import fast_gradient_method

        low, high = self.bounds
        norm = _NORMS[self.norm]

        @tf.custom_gradient
        def following(z: tf.Tensor) -> tuple[tf.Tensor, Any]:
            # A feature that may not change has no gradient, nor has one where the model's is not finite.
            return tf.identity(z), lambda gradient: usable(gradient, mask)

        moved = fast_gradient_method(
            lambda z: logits(following(z)),
            x_adv,
            self.step_size,
            norm,
            clip_min=low,
            clip_max=high,
            y=y,
            targeted=self.targeted,
        )
        return self._into_ball(x, moved)

    def _into_ball(self, x: tf.Tensor, x_adv: tf.Tensor) -> tf.Tensor:
        """Projects onto the ball around the inputs, within the range of inputs."""
        from cleverhans.tf2.utils import clip_eta

        delta = clip_eta(x_adv - x, _NORMS[self.norm], self.epsilon)
        return tf.ensure_shape(tf.clip_by_value(x + delta, *self.bounds), x.shape)

    def _random(self, mask: tf.Tensor, seeds: tf.Tensor) -> tf.Tensor:
        """Points drawn uniformly from the ball, in the features that may change."""
        shape = mask.shape[1:]

        def from_cube(arguments: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
            mask, seed = arguments
            return tf.where(mask, tf.random.stateless_uniform(shape, seed, -self.epsilon, self.epsilon), 0.0)

        def from_ball(arguments: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
            mask, seed = arguments
            direction_seed, radius_seed = tf.unstack(tf.random.split(seed))
            direction = tf.where(mask, tf.random.stateless_normal(shape, direction_seed), 0.0)
            features = tf.maximum(tf.math.count_nonzero(mask, dtype=tf.float32), 1.0)
            radius = self.epsilon * tf.random.stateless_uniform([], radius_seed) ** (1 / features)
            return tf.math.divide_no_nan(radius * direction, tf.norm(direction))

        # Image by image, so that what is drawn for one does not depend on its batch.
        draw = from_cube if self.norm == "inf" else from_ball
        return tf.map_fn(draw, (mask, seeds), fn_output_signature=tf.TensorSpec(shape, tf.float32))

    def _judge(self, logits: LogitsFunction, x_adv: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Whether each input fools the model, and by what loss."""
        outputs = logits(x_adv)
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(y, outputs)
        return self.fooled(outputs, y), -loss if self.targeted else loss

    def get_config(self) -> dict[str, Any]:
        return {
            "epsilon": self.epsilon,
            "steps": self.steps,
            "step_size": self.step_size,
            "norm": self.norm,
            "random_start": self.random_start,
            "restarts": self.restarts,
            "early_stop": self.early_stop,
            **super().get_config(),
        }


def _better(one: _Candidate, other: _Candidate) -> _Candidate:
    """Of two candidates for each input, the one to keep."""
    return _choose(tf.where(one.fooled == other.fooled, other.loss > one.loss, other.fooled), other, one)


def _choose(flags: tf.Tensor, one: _Candidate, other: _Candidate) -> _Candidate:
    return tf.nest.map_structure(lambda a, b: tf.where(column(flags, a), a, b), one, other)
