"""The Jacobian-based saliency map attack."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from honeykeras import _checks
from honeykeras.attacks.base import Attack, Perturbed
from honeykeras.attacks.loops import loop_body, run_until_done
from honeykeras.attacks.saliency import best_pair
from honeykeras.errors import InvalidArgumentError
from honeykeras.outputs import LogitsFunction, other_logits
from honeykeras.ranges import RangeLike

# The searches there are, and how many gradients each takes a step.
_GRADIENTS = {"pairs": 2, "top2": 1}


class _State(NamedTuple):
    """How far each image has come.

    Attributes:
        x_adv: Shape of the inputs.
        used: Which features have been changed, shape `(batch, features)`, bool.
        target: The class to reach, shape `(batch,)`, int64; -1 until the clean input has been seen.
        queries: How many times the model was run, shape `(batch,)`, int64.
        gradients: How many gradients were taken, shape `(batch,)`, int64.
        running: Whether there is more to do, shape `(batch,)`, bool.
    """

    x_adv: tf.Tensor
    used: tf.Tensor
    target: tf.Tensor
    queries: tf.Tensor
    gradients: tf.Tensor
    running: tf.Tensor


class JSMA(Attack):
    """The Jacobian-based saliency map attack (Papernot et al. 2016, algorithms 2 and 3).

    A step changes two features by `theta`. With alpha the derivative of the target's logit by a feature, and beta
    that of the sum of all other logits, it takes the pair (p, q) that maximises `-(alpha_p + alpha_q) * (beta_p +
    beta_q)` where the first sum is above 0 and the second below; for a `theta` below 0, the other way round. An
    image is done when it fools the model, after `floor(features * gamma / 2)` steps, or when no such pair is left.

    As in CleverHans 3.1.0, a feature already at the end of the range that `theta` leads to is not considered, and
    none is changed twice. Departures from the paper: it drops features when they have come to the end of the range,
    which is the same where `theta` spans it. And it always has a target: here, unless the attack is `targeted`, the
    target is the class of the greatest logit on the clean input, the label aside, and any class but the label ends
    the search. A feature whose derivatives are not finite is not considered.

    The search `"top2"` is that of ART's `SaliencyMapMethod`, for comparison: it takes the two features of the
    greatest alpha (the least, for a `theta` below 0), whatever their beta. They may be changed again until they are
    at the end of the range, and the search goes on while the share of changed features is at most `gamma`, so that
    it may end up to two features above.

    What is counted: one query for the input and one after each step, except the last that `gamma` allows, whose
    outcome decides nothing; and two gradients, `"top2"` one, for every time that features were looked for.

    Example:

    ```python
    x_adv = hk.attacks.JSMA(gamma=0.1).generate(model, x, y).x_adv
    ```
    """

    name = "jsma"
    norm = "0"

    def __init__(
        self,
        theta: float = 1.0,
        gamma: float = 0.145,
        *,
        search: str = "pairs",
        targeted: bool = False,
        input_range: RangeLike = (0.0, 1.0),
        seed: int = 0,
    ) -> None:
        """Makes the attack.

        Args:
            theta: What is added to a feature that is changed: not 0, and no more than the width of the input range
                either way. In input units, or a share of each feature's width where features have ranges of their own.
            gamma: The greatest share of features to change, in (0, 1].
            search: How the features are chosen, `"pairs"` or `"top2"`.
            targeted: Whether the labels given are to be reached, rather than got away from.
            input_range: Least and greatest value of an input, `(low, high)`, or of each of its features.
            seed: Changes nothing: there is nothing random in the attack.

        Raises:
            InvalidArgumentError: If an argument breaks one of these rules.
        """
        super().__init__(targeted=targeted, input_range=input_range, seed=seed)
        width = self.bounds[1] - self.bounds[0]
        self.theta = _checks.in_interval("theta", theta, -width, width)
        if self.theta == 0:
            raise InvalidArgumentError(f"`theta` must not be 0. Received: theta={theta!r}.")
        self.gamma = _checks.in_interval("gamma", gamma, 0, 1, closed="(]")
        self.search = _checks.one_of("search", search, _GRADIENTS)

    def perturb(
        self, logits: LogitsFunction, x: tf.Tensor, y: tf.Tensor, mask: tf.Tensor, seeds: tf.Tensor
    ) -> Perturbed:
        mask = _flat(mask)

        @loop_body
        def differentiate(x_adv: tf.Tensor, target: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, ...]:
            with tf.GradientTape(persistent=True) as tape:
                tape.watch(x_adv)
                outputs = logits(x_adv)
                target = tf.where(target < 0, tf.argmax(other_logits(outputs, y), axis=1), target)
                wanted = tf.gather(outputs, target, batch_dims=1)
                total = tf.reduce_sum(outputs, axis=1)
            alpha = self._derivative(tape, wanted, x_adv)
            if self.search == "pairs":
                return outputs, target, alpha, self._derivative(tape, total, x_adv) - alpha
            return outputs, target, alpha

        def step(state: _State, given: tuple[tf.Tensor, tf.Tensor]) -> _State:
            y, mask = given
            found = differentiate(state.x_adv, state.target, y)
            outputs, target, alpha = found[:3]
            domain = mask & self._movable(_flat(state.x_adv))
            pairs = self.search == "pairs"
            chosen = _pair(alpha, found[3], domain & ~state.used) if pairs else _top_two(alpha, domain)
            fooled = self.fooled(outputs, y)
            chosen &= ~fooled[:, None]
            used = state.used | chosen
            taken = tf.where(fooled, tf.zeros_like(y), _GRADIENTS[self.search])
            return _State(
                self._move(state.x_adv, chosen),
                used,
                target,
                state.queries + 1,
                state.gradients + taken,
                tf.reduce_any(chosen, axis=1) & self._may_go_on(used),
            )

        unused, zero = tf.zeros_like(mask), tf.zeros_like(y)
        start = _State(x, unused, y if self.targeted else zero - 1, zero, zero, self._may_go_on(unused))
        end = run_until_done(step, lambda state: state.running, start, (y, mask))
        return Perturbed(end.x_adv, end.queries, end.gradients)

    def _derivative(self, tape: tf.GradientTape, of: tf.Tensor, x_adv: tf.Tensor) -> tf.Tensor:
        """What the move of each feature does for a logit, shape `(batch, features)`: turned for a negative theta."""
        return math.copysign(1, self.theta) * _flat(tape.gradient(of, x_adv))

    def _may_go_on(self, used: tf.Tensor) -> tf.Tensor:
        """Whether `gamma` allows for another step, shape `(batch,)`, bool."""
        features = used.shape[1]
        count = tf.math.count_nonzero(used, axis=1)
        if self.search == "top2":
            return tf.cast(count, tf.float64) / features <= self.gamma
        # Rounded first: 100 features times 0.58 are 58, not the 57.99 that floating point makes of them.
        return count < 2 * math.floor(round(features * self.gamma / 2, 9))

    def _movable(self, x_adv: tf.Tensor) -> tf.Tensor:
        """Which features are not at the end of the range that `theta` moves them to."""
        low, high = self.bounds
        return x_adv < high if self.theta > 0 else x_adv > low

    def _move(self, x_adv: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
        """Adds `theta` to the chosen features, within the range."""
        moved = tf.clip_by_value(x_adv + self.theta, *self.bounds)
        return tf.where(tf.reshape(chosen, tf.shape(x_adv)), moved, x_adv)

    def get_config(self) -> dict[str, Any]:
        return {"theta": self.theta, "gamma": self.gamma, "search": self.search, **super().get_config()}


def _flat(tensor: tf.Tensor) -> tf.Tensor:
    """A batch with its features in one dimension."""
    return tf.reshape(tensor, [-1, math.prod(tensor.shape[1:])])


def _pair(alpha: tf.Tensor, beta: tf.Tensor, domain: tf.Tensor) -> tf.Tensor:
    """The best pair as a mask, shape `(batch, features)`, bool; no feature where there is none."""
    p, q, exists = best_pair(alpha, beta, domain)
    features = tf.range(alpha.shape[1])
    return ((features == p[:, None]) | (features == q[:, None])) & exists[:, None]


def _top_two(alpha: tf.Tensor, domain: tf.Tensor) -> tf.Tensor:
    """The two features with the greatest alpha, or what there is of them, as such a mask."""
    usable = domain & tf.math.is_finite(alpha)
    features = alpha.shape[1]
    two = tf.math.top_k(tf.where(usable, alpha, -np.inf), min(2, features)).indices
    return tf.reduce_any(tf.one_hot(two, features, True, False), axis=1) & usable
