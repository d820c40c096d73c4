"""Orthogonal and Selective PGD: attacks on a classifier and the detector beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy as np
import tensorflow as tf

from honeykeras import _checks
from honeykeras.attacks.base import Attack, Perturbed
from honeykeras.attacks.gradients import usable
from honeykeras.attacks.loops import column, loop_body, run_until_done
from honeykeras.outputs import LogitsFunction
from honeykeras.ranges import RangeLike


class _Walk(NamedTuple):
    """Where each image stands: its input, the least suspicious one that reached the label, and how suspicious it is."""

    x_adv: tf.Tensor
    best: tf.Tensor
    best_statistic: tf.Tensor
    taken: tf.Tensor


class SelectivePGD(Attack):
    """Projected gradient descent that follows the classifier until its label is reached, then the detector.

    Bryniarski et al. 2021, Evading Adversarial Example Detection Defenses with Orthogonal Projected Gradient Descent,
    section 4.1: one loss at a time is followed, so that none drowns the other. Targeted, in the L-infinity ball. Of all
    inputs on the way that reach the label, the one that the detector finds least suspicious is kept.

    Example:

    ```python
    attack = hk.attacks.SelectivePGD(lambda x: detector.class_statistics(x, secret), epsilon=0.3)
    examples = attack.generate(model, x, labels_to_reach)
    ```
    """

    name = "selective_pgd"
    norm = "inf"
    _orthogonal: ClassVar[bool] = False

    def __init__(
        self,
        statistics: Callable[[tf.Tensor], tf.Tensor],
        epsilon: float = 0.3,
        steps: int = 1000,
        step_size: float | None = None,
        *,
        input_range: RangeLike = (0.0, 1.0),
        seed: int = 0,
    ) -> None:
        """Makes the attack.

        Args:
            statistics: What the attacker takes for the detector: from inputs, `(batch, *input_shape)`, to how
                suspicious each would be if it were taken for each class, `(batch, num_classes)`.
            epsilon: Radius of the ball, as for `PGD`.
            steps: How many steps to take; each takes two gradients.
            step_size: How far each goes, in (0, epsilon]. Defaults to a fortieth of the radius.
            input_range: Least and greatest value of an input, `(low, high)`.
            seed: Without effect: nothing here is random.

        Raises:
            InvalidArgumentError: If an argument breaks one of these rules.
        """
        super().__init__(targeted=True, input_range=input_range, seed=seed)
        self._statistics = statistics
        self.epsilon = _checks.in_interval("epsilon", epsilon, 0, np.inf, closed="()")
        self.steps = _checks.whole_number("steps", steps)
        self.step_size = _checks.in_interval(
            "step_size", self.epsilon / 40 if step_size is None else step_size, 0, self.epsilon, closed="(]"
        )

    def perturb(
        self, logits: LogitsFunction, x: tf.Tensor, y: tf.Tensor, mask: tf.Tensor, seeds: tf.Tensor
    ) -> Perturbed:
        low, high = self.bounds

        @loop_body
        def look(x_adv: tf.Tensor, y: tf.Tensor, mask: tf.Tensor) -> tuple[tf.Tensor, ...]:
            with tf.GradientTape(persistent=True) as tape:
                tape.watch(x_adv)
                outputs = logits(x_adv)
                loss = tf.nn.sparse_softmax_cross_entropy_with_logits(y, outputs)
                statistic = tf.gather(tf.cast(self._statistics(x_adv), tf.float32), y, batch_dims=1)
            gradients = (usable(tape.gradient(each, x_adv), mask) for each in (loss, statistic))
            return self.fooled(outputs, y), statistic, *gradients

        def advance(walk: _Walk, given: tuple[tf.Tensor, ...]) -> _Walk:
            x, y, mask = given

            def step(count: tf.Tensor, walk: _Walk) -> tuple[tf.Tensor, _Walk]:
                reached, statistic, of_classifier, of_detector = look(walk.x_adv, y, mask)
                walk = _kept(walk, reached, statistic)
                direction = self._direction(reached, of_classifier, of_detector)
                moved = walk.x_adv - self.step_size * tf.sign(direction)
                delta = tf.clip_by_value(moved - x, -self.epsilon, self.epsilon)
                return count + 1, walk._replace(x_adv=tf.clip_by_value(x + delta, low, high))

            _, walk = tf.while_loop(lambda count, _: count < self.steps, step, (0, walk))
            reached, statistic, *_ = look(walk.x_adv, y, mask)
            return _kept(walk, reached, statistic)._replace(taken=walk.taken + self.steps)

        begin = _Walk(x, x, tf.fill(tf.shape(y), np.float32(np.inf)), tf.zeros_like(y))
        walk = run_until_done(advance, lambda walk: walk.taken < self.steps, begin, (x, y, mask))
        return Perturbed(walk.best, walk.taken + 1, 2 * walk.taken + 2)

    def _direction(self, reached: tf.Tensor, of_classifier: tf.Tensor, of_detector: tf.Tensor) -> tf.Tensor:
        """The gradient to go down, for each image."""
        if self._orthogonal:
            of_classifier, of_detector = _without(of_classifier, of_detector), _without(of_detector, of_classifier)
        return tf.where(column(reached, of_detector), of_detector, of_classifier)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        return {
            "epsilon": self.epsilon,
            "steps": self.steps,
            "step_size": self.step_size,
            "input_range": config["input_range"],
            "seed": config["seed"],
        }


class OrthogonalPGD(SelectivePGD):
    """As `SelectivePGD`, each step orthogonal to the gradient that is not followed (section 4.2)."""

    name = "orthogonal_pgd"
    _orthogonal = True


def _kept(walk: _Walk, reached: tf.Tensor, statistic: tf.Tensor) -> _Walk:
    better = reached & (statistic < walk.best_statistic)
    return walk._replace(
        best=tf.where(column(better, walk.best), walk.x_adv, walk.best),
        best_statistic=tf.where(better, statistic, walk.best_statistic),
    )


def _without(vectors: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
    """What of each entry of a batch is orthogonal to the other's."""
    axes = list(range(1, vectors.shape.rank))
    share = tf.math.divide_no_nan(tf.reduce_sum(vectors * others, axes), tf.reduce_sum(tf.square(others), axes))
    return vectors - column(share, vectors) * others
