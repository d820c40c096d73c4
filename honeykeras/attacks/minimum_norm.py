"""Attacks that look for the nearest input that fools a model, with tens of gradients: DDN and FMN."""

from __future__ import annotations

import abc
import math
from typing import Any, ClassVar, NamedTuple

import numpy as np
import tensorflow as tf

from honeykeras import _checks
from honeykeras.attacks.base import Attack, Perturbed
from honeykeras.attacks.gradients import usable, within
from honeykeras.attacks.loops import column, loop_body, run_until_done
from honeykeras.outputs import LogitsFunction, other_logits
from honeykeras.ranges import RangeLike

# What step sizes and FMN's `gamma` fall to.
_LAST_STEP, _LAST_GAMMA = 0.01, 0.001


class Seen(NamedTuple):
    """What one pass through the model tells of each input.

    Attributes:
        fooled: Whether it fools the model, shape `(batch,)`, bool.
        lead: By how many logits the model still says what it should not, shape `(batch,)`; negative where it is fooled.
        gradient: Of what is to grow, shape of the inputs; zero where it is not finite or may not change.
    """

    fooled: tf.Tensor
    lead: tf.Tensor
    gradient: tf.Tensor


class Walk(NamedTuple):
    """Where each image stands.

    Attributes:
        delta: What is added to it, shape of the inputs.
        budget: How large that may be, shape `(batch,)`.
        best: The smallest that fooled the model, shape of the inputs; zero as long as none did.
        best_size: How large that is, infinite as long as none did.
        taken: How many steps were made, int64.
    """

    delta: tf.Tensor
    budget: tf.Tensor
    best: tf.Tensor
    best_size: tf.Tensor
    taken: tf.Tensor


class MinimumNorm(Attack):
    """An attack that walks along the boundary of a class, and keeps the smallest perturbation that crossed it.

    What may be changed is bounded by a budget for each image, which shrinks after a step that fools the model and grows
    after one that does not. A subclass says how.
    """

    # Whether directions that lead out of the range count, although nothing comes of them. Counted, they use up the
    # budget, and images with much black are then never brought over the boundary.
    _counts_beyond_range: ClassVar[bool] = False

    def __init__(
        self,
        steps: int = 100,
        gamma: float = 0.05,
        *,
        targeted: bool = False,
        input_range: RangeLike = (0.0, 1.0),
        seed: int = 0,
    ) -> None:
        """Makes the attack.

        Args:
            steps: How many steps to take; each takes one gradient.
            gamma: By which share the budget shrinks or grows, in (0, 1).
            targeted: Whether the labels given are to be reached, rather than got away from.
            input_range: Least and greatest value of an input, `(low, high)`, or of each of its features.
            seed: Without effect: nothing here is random.

        Raises:
            InvalidArgumentError: If an argument breaks one of these rules.
        """
        super().__init__(targeted=targeted, input_range=input_range, seed=seed)
        self.steps = _checks.whole_number("steps", steps)
        self.gamma = _checks.in_interval("gamma", gamma, 0, 1, closed="()")

    @abc.abstractmethod
    def size(self, delta: tf.Tensor) -> tf.Tensor:
        """How large perturbations are, shape `(batch,)`."""

    @abc.abstractmethod
    def first_budget(self, x: tf.Tensor) -> tf.Tensor:
        """The budgets to begin with, shape `(batch,)`."""

    @abc.abstractmethod
    def next_budget(self, walk: Walk, seen: Seen, gamma: tf.Tensor) -> tf.Tensor:
        """The budgets after a step, shape `(batch,)`, before they are bounded by what an image allows.

        Args:
            walk: Where the images stand, the best perturbations up to date.
            seen: What the model said.
            gamma: By which share a budget changes now.
        """

    @abc.abstractmethod
    def project(self, delta: tf.Tensor, budget: tf.Tensor) -> tf.Tensor:
        """Perturbations, brought to or into their budgets."""

    @abc.abstractmethod
    def loss(self, logits: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        """What is to grow, shape `(batch,)`, before `targeted` turns it round."""

    def lead(self, logits: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        """By how many logits a class leads all others, shape `(batch,)`."""
        own = tf.reduce_sum(tf.one_hot(y, logits.shape[1]) * logits, axis=1)
        return own - tf.reduce_max(other_logits(logits, y), axis=1)

    def perturb(
        self, logits: LogitsFunction, x: tf.Tensor, y: tf.Tensor, mask: tf.Tensor, seeds: tf.Tensor
    ) -> Perturbed:
        low, high = self.bounds
        width = high - low
        sign = -1.0 if self.targeted else 1.0

        @loop_body
        def look(x_adv: tf.Tensor, y: tf.Tensor, mask: tf.Tensor) -> tuple[tf.Tensor, ...]:
            with tf.GradientTape() as tape:
                tape.watch(x_adv)
                outputs = logits(x_adv)
                loss = sign * self.loss(outputs, tf.maximum(y, 0))
            gradient = tape.gradient(loss, x_adv)
            followed = mask if self._counts_beyond_range else mask & within(gradient, x_adv, self.bounds)
            return self.fooled(outputs, y), sign * self.lead(outputs, y), usable(gradient, followed)

        def advance(walk: Walk, given: tuple[tf.Tensor, ...]) -> Walk:
            x, y, mask = given
            most = self.size(tf.where(mask, tf.maximum(x - low, high - x), 0.0) / width)

            def step(count: tf.Tensor, walk: Walk) -> tuple[tf.Tensor, Walk]:
                seen = Seen(*look(x + width * walk.delta, y, mask))
                size = self.size(walk.delta)
                better = seen.fooled & (size <= walk.best_size)
                walk = walk._replace(
                    best=tf.where(column(better, x), walk.delta, walk.best),
                    best_size=tf.where(better, size, walk.best_size),
                )
                cosine = (1 + tf.cos(math.pi * tf.cast(count, tf.float32) / self.steps)) / 2
                budget = self.next_budget(walk, seen, _LAST_GAMMA + (self.gamma - _LAST_GAMMA) * cosine)
                budget = tf.minimum(tf.where(tf.math.is_nan(budget), walk.budget, budget), most)
                step_size = _LAST_STEP + (1 - _LAST_STEP) * cosine
                moved = self.project(walk.delta + step_size * _of_length(seen.gradient, 1.0), budget)
                delta = (tf.clip_by_value(x + width * moved, low, high) - x) / width
                return count + 1, walk._replace(delta=delta, budget=budget)

            _, walk = tf.while_loop(lambda count, _: count < self.steps, step, (tf.constant(0, tf.int64), walk))
            return walk._replace(taken=walk.taken + self.steps)

        still = tf.zeros_like(x)
        already = tf.cast(self.fooled(logits(x), y), tf.int64) * self.steps
        begin = Walk(still, self.first_budget(x), still, tf.fill(tf.shape(y), np.float32(np.inf)), already)
        walk = run_until_done(advance, lambda walk: walk.taken < self.steps, begin, (x, y, mask))
        # What has not moved stays as it was to the bit.
        x_adv = tf.where(walk.best != 0, tf.clip_by_value(x + width * walk.best, low, high), x)
        taken = walk.taken - already
        # The input itself was looked at before the first step.
        return Perturbed(x_adv, taken + 1, taken)

    def get_config(self) -> dict[str, Any]:
        return {"steps": self.steps, "gamma": self.gamma, **super().get_config()}


class DDN(MinimumNorm):
    """Decoupled direction and norm: the nearest input in L2 that fools the model (Rony et al. 2019, algorithm 1).

    Each step goes along the gradient of the cross-entropy, onto a sphere that shrinks where the model is fooled and
    grows where it is not. Distances are in widths of the input range. Where a gradient is zero the image stays where it
    is; the authors move it at random.

    Example:

    ```python
    x_adv = hk.attacks.DDN(steps=50).generate(model, x, y).x_adv
    ```
    """

    name = "ddn"
    _counts_beyond_range = True

    def size(self, delta: tf.Tensor) -> tf.Tensor:
        return _l2(delta)

    def first_budget(self, x: tf.Tensor) -> tf.Tensor:
        return tf.ones(tf.shape(x)[0])

    def next_budget(self, walk: Walk, seen: Seen, gamma: tf.Tensor) -> tf.Tensor:
        # It alone does not anneal this.
        return walk.budget * tf.where(seen.fooled, 1 - self.gamma, 1 + self.gamma)

    def project(self, delta: tf.Tensor, budget: tf.Tensor) -> tf.Tensor:
        return _of_length(delta, budget)

    def loss(self, logits: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        return tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits)


class _FMN(MinimumNorm):
    """Fast minimum norm (Pintor et al. 2021, algorithm 1), in the norm of a subclass.

    Each step goes along the gradient of the lead of another class in logits, and back into a ball. Before the model is
    first fooled, the ball's radius is the distance to the boundary, were the model linear; then it shrinks where the
    model is fooled and grows where it is not, by less and less. Distances are in widths of the input range.
    """

    # What distances to the boundary are measured by, the dual of the norm.
    _dual: ClassVar[float]

    def first_budget(self, x: tf.Tensor) -> tf.Tensor:
        return tf.fill(tf.shape(x)[:1], np.float32(np.inf))

    def next_budget(self, walk: Walk, seen: Seen, gamma: tf.Tensor) -> tf.Tensor:
        slope = tf.norm(_flat(seen.gradient), self._dual, axis=1)
        # And a hair beyond: rounding would leave some on the boundary for ever.
        to_boundary = (self.size(walk.delta) + tf.math.divide_no_nan(tf.abs(seen.lead), slope)) * (1 + _LAST_GAMMA)
        searching = tf.where(tf.math.is_finite(walk.best_size), walk.budget * (1 + gamma), to_boundary)
        return tf.where(seen.fooled, tf.minimum(walk.budget * (1 - gamma), walk.best_size), searching)

    def loss(self, logits: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        return -self.lead(logits, y)


class FMNL2(_FMN):
    """Fast minimum norm in L2: the least Euclidean distance (Pintor et al. 2021, algorithm 1).

    Example:

    ```python
    x_adv = hk.attacks.FMNL2(steps=50).generate(model, x, y).x_adv
    ```
    """

    name = "fmn_l2"
    _dual = 2

    def size(self, delta: tf.Tensor) -> tf.Tensor:
        return _l2(delta)

    def project(self, delta: tf.Tensor, budget: tf.Tensor) -> tf.Tensor:
        return _of_length(delta, tf.minimum(budget, _l2(delta)))


class FMNLinf(_FMN):
    """Fast minimum norm in L-infinity: the least change of the feature that changes most (Pintor et al. 2021).

    Example:

    ```python
    x_adv = hk.attacks.FMNLinf(steps=50).generate(model, x, y).x_adv
    ```
    """

    name = "fmn_linf"
    norm = "inf"
    _dual = 1

    def size(self, delta: tf.Tensor) -> tf.Tensor:
        return tf.reduce_max(tf.abs(_flat(delta)), axis=1)

    def project(self, delta: tf.Tensor, budget: tf.Tensor) -> tf.Tensor:
        radius = column(budget, delta)
        return tf.clip_by_value(delta, -radius, radius)


class FMNL0(_FMN):
    """Fast minimum norm in L0: the fewest features changed, each as far as need be (Pintor et al. 2021).

    Example:

    ```python
    x_adv = hk.attacks.FMNL0(steps=50).generate(model, x, y).x_adv
    ```
    """

    name = "fmn_l0"
    norm = "0"

    def size(self, delta: tf.Tensor) -> tf.Tensor:
        return tf.math.count_nonzero(_flat(delta), axis=1, dtype=tf.float32)

    def first_budget(self, x: tf.Tensor) -> tf.Tensor:
        return tf.ones(tf.shape(x)[0])

    def next_budget(self, walk: Walk, seen: Seen, gamma: tf.Tensor) -> tf.Tensor:
        # In whole features, and by one at least.
        fewer = tf.minimum(tf.minimum(walk.budget - 1, tf.floor(walk.budget * (1 - gamma))), walk.best_size)
        more = tf.maximum(walk.budget + 1, tf.floor(walk.budget * (1 + gamma)))
        return tf.maximum(tf.where(seen.fooled, fewer, more), 1.0)

    def project(self, delta: tf.Tensor, budget: tf.Tensor) -> tf.Tensor:
        # Exactly as many, whatever ties there are.
        order = tf.argsort(tf.abs(_flat(delta)), axis=1, direction="DESCENDING", stable=True)
        rank = tf.cast(tf.argsort(order, axis=1, stable=True), tf.float32)
        return tf.where(tf.reshape(rank < budget[:, None], tf.shape(delta)), delta, 0.0)


def _flat(x: tf.Tensor) -> tf.Tensor:
    return tf.reshape(x, [-1, math.prod(x.shape[1:])])


def _l2(x: tf.Tensor) -> tf.Tensor:
    return tf.norm(_flat(x), axis=1)


def _of_length(x: tf.Tensor, length: tf.Tensor | float) -> tf.Tensor:
    """Stretches each entry of a batch to an L2 length; what has none stays as it is."""
    factor = tf.math.divide_no_nan(length, _l2(x))
    return x * column(factor, x)
