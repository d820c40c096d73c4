"""`SuperDeepFool`: the nearest input in L2 that fools a model, by steps to the boundary and back under the input."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from honeykeras import _checks
from honeykeras.attacks.base import Attack, Perturbed
from honeykeras.attacks.gradients import usable, within
from honeykeras.attacks.loops import loop_body, run_until_done
from honeykeras.outputs import LogitsFunction, other_logits
from honeykeras.ranges import RangeLike

# A linear model's boundary is passed by so much of the way, and so many logits, as rounding would stop before it.
_OVERSHOOT, _HAIR = 0.02, 1e-4
# In the end the way is halved so often.
_BISECTIONS = 10


class _Seen(NamedTuple):
    """What the model tells of each input.

    Attributes:
        fooled: Whether it fools the model, shape `(batch,)`.
        leads: By how many logits each class that is to win does so, shape `(batch, classes)`, the greatest first.
        gradients: Of each of these, shape `(batch, classes, features)`, zero where they are of no use.
    """

    fooled: tf.Tensor
    leads: tf.Tensor
    gradients: tf.Tensor


class _Walk(NamedTuple):
    """Where each image stands.

    Attributes:
        delta: What is added to it, shape `(batch, features)`, in widths of the input range.
        projected: Whether that is as near as the boundary allows, were it the plane that was last met.
        best: The smallest that fooled the model, zero as long as none did.
        best_size: How large that is, infinite as long as none did.
        taken: How many steps were made, int64.
        done: Whether there is nothing more to do.
    """

    delta: tf.Tensor
    projected: tf.Tensor
    best: tf.Tensor
    best_size: tf.Tensor
    taken: tf.Tensor
    done: tf.Tensor


class SuperDeepFool(Attack):
    """The nearest input in L2 that fools the model, where it lies straight over the boundary (Abroshan et al. 2024).

    Algorithm 2, SDF. DeepFool's steps (Moosavi-Dezfooli et al. 2016, algorithm 2) lead to the boundary, each as far as
    it lies were the model linear, to whichever class is nearest. What they add is then projected on the boundary's
    normal, from where steps lead to the boundary again, until what is projected fools the model. In the end the way is
    halved some times. Distances are in widths of the input range; what leads out of it is left out of gradients.

    What is counted: a query and a gradient for each class that a step looks at, and a query each time the way is
    halved.

    Example:

    ```python
    x_adv = hk.attacks.SuperDeepFool().generate(model, x, y).x_adv
    ```
    """

    name = "sdf"

    def __init__(
        self,
        steps: int = 20,
        candidates: int = 3,
        *,
        targeted: bool = False,
        input_range: RangeLike = (0.0, 1.0),
        seed: int = 0,
    ) -> None:
        """Makes the attack.

        Args:
            steps: How many steps to take at most.
            candidates: How many classes each step looks at, those with the greatest logits; of a targeted attack, it is
                always one.
            targeted: Whether the labels given are to be reached, rather than got away from.
            input_range: Least and greatest value of an input, `(low, high)`, or of each of its features.
            seed: Without effect: nothing here is random.

        Raises:
            InvalidArgumentError: If an argument breaks one of these rules.
        """
        super().__init__(targeted=targeted, input_range=input_range, seed=seed)
        self.steps = _checks.whole_number("steps", steps)
        self.candidates = _checks.whole_number("candidates", candidates)

    def perturb(
        self, logits: LogitsFunction, x: tf.Tensor, y: tf.Tensor, mask: tf.Tensor, seeds: tf.Tensor
    ) -> Perturbed:
        low, high = self.bounds
        width, form = high - low, [-1, *x.shape[1:]]
        ways = 1 if self.targeted else min(self.candidates, logits.num_classes - 1)

        def moved(x: tf.Tensor, delta: tf.Tensor) -> tf.Tensor:
            return tf.clip_by_value(x + width * tf.reshape(delta, form), low, high)

        @loop_body
        def look(x_adv: tf.Tensor, y: tf.Tensor, mask: tf.Tensor) -> tuple[tf.Tensor, ...]:
            copies = tf.repeat(x_adv, ways, axis=0)
            with tf.GradientTape() as tape:
                tape.watch(copies)
                outputs = logits(copies)
                winning, losing = self._classes(outputs[::ways], tf.maximum(y, 0), ways)
                leads = tf.gather(outputs, winning, batch_dims=1) - tf.gather(outputs, losing, batch_dims=1)
            gradient = tape.gradient(leads, copies)
            followed = usable(gradient, tf.repeat(mask, ways, axis=0) & within(gradient, copies, self.bounds))
            gradients = tf.reshape(width * followed, [-1, ways, math.prod(x.shape[1:])])
            return self.fooled(outputs[::ways], y), tf.reshape(leads, [-1, ways]), gradients

        def advance(walk: _Walk, given: tuple[tf.Tensor, ...]) -> _Walk:
            x, y, mask = given
            seen = _Seen(*look(moved(x, walk.delta), y, mask))
            size = tf.norm(walk.delta, axis=1)
            better = seen.fooled & (size < walk.best_size)
            delta = tf.where(seen.fooled[:, None], _projected(walk.delta, seen), walk.delta + _to_boundary(seen))
            taken = walk.taken + 1
            return _Walk(
                tf.reshape(moved(x, delta) - x, tf.shape(delta)) / width,
                seen.fooled,
                tf.where(better[:, None], walk.delta, walk.best),
                tf.where(better, size, walk.best_size),
                taken,
                (seen.fooled & walk.projected) | (taken >= self.steps),
            )

        still = tf.zeros([tf.shape(x)[0], math.prod(x.shape[1:])])
        already = self.fooled(logits(x), y)
        nothing = tf.fill(tf.shape(y), np.float32(np.inf))
        begin = _Walk(still, tf.zeros_like(already), still, nothing, tf.zeros_like(y), already)
        walk = run_until_done(advance, lambda walk: ~walk.done, begin, (x, y, mask))

        def halve(least: tf.Tensor, most: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            middle = (least + most) / 2
            fooled = self.fooled(logits(moved(x, middle[:, None] * walk.best)), y)
            return tf.where(fooled, least, middle), tf.where(fooled, middle, most)

        _, share = tf.while_loop(
            lambda *_: True, halve, (tf.zeros_like(nothing), tf.ones_like(nothing)), maximum_iterations=_BISECTIONS
        )
        best = share[:, None] * walk.best
        # What has not moved stays as it was to the bit.
        x_adv = tf.where(tf.reshape(best, tf.shape(x)) != 0, moved(x, best), x)
        gradients = ways * walk.taken
        halved = tf.where(tf.math.is_finite(walk.best_size), tf.constant(_BISECTIONS, tf.int64), 0)
        # The input itself was looked at before the first step.
        return Perturbed(x_adv, 1 + gradients + halved, gradients)

    def _classes(self, outputs: tf.Tensor, y: tf.Tensor, ways: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Which classes are to win and to lose, shape `(batch * ways,)`, int64, the nearest to winning first."""
        greatest = tf.cast(tf.reshape(tf.math.top_k(other_logits(outputs, y), ways).indices, [-1]), tf.int64)
        return (y, greatest) if self.targeted else (greatest, tf.repeat(y, ways))

    def get_config(self) -> dict[str, Any]:
        return {"steps": self.steps, "candidates": self.candidates, **super().get_config()}


def _to_boundary(seen: _Seen) -> tf.Tensor:
    """The step over the nearest boundary, were the model linear, shape `(batch, features)`."""
    slopes = tf.reduce_sum(tf.square(seen.gradients), axis=2)
    far = tf.abs(seen.leads) + _HAIR
    nearest = tf.argmin(tf.where(slopes > 0, far / tf.sqrt(slopes), np.inf), axis=1)
    length = (1 + _OVERSHOOT) * tf.math.divide_no_nan(far, slopes)
    return _at(nearest, length)[:, None] * _at(nearest, seen.gradients)


def _projected(delta: tf.Tensor, seen: _Seen) -> tf.Tensor:
    """Perturbations, projected on the normal of the boundary to the class that wins."""
    normal = seen.gradients[:, 0]
    share = tf.math.divide_no_nan(tf.reduce_sum(delta * normal, axis=1), tf.reduce_sum(tf.square(normal), axis=1))
    return share[:, None] * normal


def _at(place: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    return tf.gather(values, place, batch_dims=1)
