"""The attack of Carlini and Wagner."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from honeykeras import _checks
from honeykeras.attacks.base import Attack, Perturbed
from honeykeras.attacks.gradients import usable
from honeykeras.attacks.loops import column, loop_body, run_until_done
from honeykeras.outputs import LogitsFunction
from honeykeras.ranges import RangeLike

# How often a search looks at its progress, and by which share the loss must have fallen since for it to go on. The
# authors look half as often, at the loss of a whole batch; image by image, one search ends while others go on.
_CHECKS = 20
_PROGRESS = 1e-4

# Adam's decay rates and the term that keeps its step finite (Kingma and Ba 2015, algorithm 1).
_MOMENTUM, _VELOCITY, _TINY = 0.9, 0.999, 1e-8

_LARGEST_CONST = 1e10


class _Descent(NamedTuple):
    """Adam at work, and what it has found; the first four have the shape of `x`, the others are `(batch,)`."""

    modifier: tf.Tensor
    momentum: tf.Tensor
    velocity: tf.Tensor
    best: tf.Tensor
    best_distance: tf.Tensor
    found: tf.Tensor
    lowest_loss: tf.Tensor


class _Search(NamedTuple):
    """Where the binary search for the constant stands; all `(batch,)`."""

    number: tf.Tensor
    iteration: tf.Tensor
    const: tf.Tensor
    lower: tf.Tensor
    upper: tf.Tensor
    checked_loss: tf.Tensor
    iterations_taken: tf.Tensor


class Given(NamedTuple):
    """What does not change; the first three have the shape of `x`, the others `(batch, classes)`."""

    origin: tf.Tensor
    start: tf.Tensor
    mask: tf.Tensor
    one_hot: tf.Tensor
    exclude: tf.Tensor


class CarliniWagner(Attack):
    """The L2 attack of Carlini and Wagner (2017, section VI-A), which looks for the nearest adversarial input.

    Adam minimises `distance**2 + const * max(0, margin + confidence)` over `tanh`-space, and a binary search finds the
    constant. Each image has a constant, a search and an end of its own, so that nothing depends on its batch, and it
    leaves the batch when its searches are done. An input that is adversarial already comes back as it is, and so
    does one for which nothing is found.

    CleverHans' `carlini_wagner_l2` is not used, for it has three faults: it does not run on Keras 3 (it calls
    `optimizer.variables()`); once that is mended, it sets the learning rate to zero with the optimizer's other
    variables; and its batches are coupled by a constant of the shape of `x`. It also takes labels for targets,
    whatever `targeted` says.

    Example:

    ```python
    x_adv = hk.attacks.CarliniWagner(confidence=5).generate(model, x, y).x_adv
    ```
    """

    name = "cw"

    def __init__(
        self,
        confidence: float = 0.0,
        *,
        binary_search_steps: int = 5,
        max_iterations: int = 1000,
        learning_rate: float = 0.01,
        initial_const: float = 1e-3,
        abort_early: bool = True,
        targeted: bool = False,
        input_range: RangeLike = (0.0, 1.0),
        seed: int = 0,
    ) -> None:
        """Makes the attack.

        Args:
            confidence: By how much the wrong class must lead, in logits, at least 0.
            binary_search_steps: How many constants are tried.
            max_iterations: How many steps Adam takes at most for each constant.
            learning_rate: Adam's, in `tanh`-space, above 0.
            initial_const: The constant to start from, above 0; it grows tenfold until one succeeds. Distances are in
                widths of the input range, so that it means the same for every range.
            abort_early: Whether to go on to the next constant when the loss has stopped falling.
            targeted: Whether the labels given are to be reached, rather than got away from.
            input_range: Least and greatest value of an input, `(low, high)`, or of each of its features.
            seed: Without effect: nothing here is random.

        Raises:
            InvalidArgumentError: If an argument breaks one of these rules.
        """
        super().__init__(targeted=targeted, input_range=input_range, seed=seed)
        self.confidence = _checks.in_interval("confidence", confidence, 0, np.inf, closed="[)")
        self.binary_search_steps = _checks.whole_number("binary_search_steps", binary_search_steps)
        self.max_iterations = _checks.whole_number("max_iterations", max_iterations)
        self.learning_rate = _checks.in_interval("learning_rate", learning_rate, 0, np.inf, closed="()")
        self.initial_const = _checks.in_interval("initial_const", initial_const, 0, _LARGEST_CONST, closed="(]")
        self.abort_early = _checks.flag("abort_early", abort_early)

    def perturb(
        self, logits: LogitsFunction, x: tf.Tensor, y: tf.Tensor, mask: tf.Tensor, seeds: tf.Tensor
    ) -> Perturbed:
        low, high = self.bounds
        origin = tf.atanh((x - (low + high) / 2) / ((high - low) / 2) * 0.999999)
        one_hot = tf.one_hot(y, logits.num_classes)
        start = tf.where(mask, self._to_input(origin), x)
        given = Given(origin, start, mask, one_hot, tf.where(one_hot > 0, -np.inf, 0.0))
        already = self._margin(logits(x), given) < -self.confidence

        def each(value: float) -> tf.Tensor:
            return tf.fill(tf.shape(y), tf.constant(value, tf.float32))

        still, none = tf.zeros_like(x), tf.zeros_like(y)
        descent = _Descent(
            modifier=still,
            momentum=still,
            velocity=still,
            best=still,
            best_distance=each(np.inf),
            found=tf.zeros_like(already),
            lowest_loss=each(np.inf),
        )
        search = _Search(
            number=tf.where(already, tf.constant(self.binary_search_steps, tf.int64), none),
            iteration=none,
            const=each(self.initial_const),
            lower=each(0.0),
            upper=each(np.inf),
            checked_loss=each(np.inf),
            iterations_taken=none,
        )

        def advance(state: tuple[_Descent, _Search], given: Given) -> tuple[_Descent, _Search]:
            descent, search = state
            return self._settle(self._descend(logits, descent, search, given), search)

        descent, search = run_until_done(
            advance, lambda state: state[1].number < self.binary_search_steps, (descent, search), given
        )
        # What has not moved stays as it was to the bit, which `tanh` would round.
        x_adv = tf.where(descent.best != 0, self._to_candidate(descent.best, given), x)
        # The input itself was looked at before the first iteration.
        return Perturbed(x_adv, search.iterations_taken + 1, search.iterations_taken)

    @property
    def _check_every(self) -> int:
        return math.ceil(self.max_iterations / _CHECKS)

    def _descend(self, logits: LogitsFunction, descent: _Descent, search: _Search, given: Given) -> _Descent:
        """Adam's steps until progress is looked at next."""
        width = self.bounds[1] - self.bounds[0]

        @loop_body
        def evaluate(modifier: tf.Tensor, const: tf.Tensor, given: Given) -> tuple[tf.Tensor, ...]:
            with tf.GradientTape() as tape:
                tape.watch(modifier)
                x_adv = self._to_candidate(modifier, given)
                margin = self._margin(logits(x_adv), given)
                difference = (x_adv - given.start) / width
                distance = tf.reduce_sum(tf.square(difference), axis=list(range(1, difference.shape.rank)))
                loss = distance + const * tf.nn.relu(margin + self.confidence)
            return margin, distance, loss, usable(tape.gradient(loss, modifier), given.mask)

        def step(count: tf.Tensor, descent: _Descent) -> tuple[tf.Tensor, _Descent]:
            modifier, momentum, velocity, best, best_distance, found, lowest_loss = descent
            margin, distance, loss, gradient = evaluate(modifier, search.const, given)
            left = search.iteration + count < self.max_iterations
            succeeds = left & (margin < -self.confidence)
            nearer = succeeds & (distance < best_distance)
            momentum += (1 - _MOMENTUM) * (gradient - momentum)
            velocity += (1 - _VELOCITY) * (tf.square(gradient) - velocity)
            time = tf.cast(search.iteration + count + 1, tf.float32)
            rate = self.learning_rate * tf.sqrt(1 - _VELOCITY**time) / (1 - _MOMENTUM**time)
            rate = column(tf.where(left, rate, 0.0), modifier)
            return count + 1, _Descent(
                modifier=modifier - rate * momentum / (tf.sqrt(velocity) + _TINY),
                momentum=momentum,
                velocity=velocity,
                best=tf.where(column(nearer, best), modifier, best),
                best_distance=tf.where(nearer, distance, best_distance),
                found=found | succeeds,
                lowest_loss=tf.minimum(lowest_loss, loss),
            )

        _, descent = tf.while_loop(
            lambda count, _: count < self._check_every, step, (tf.constant(0, tf.int64), descent)
        )
        return descent

    def _to_candidate(self, modifier: tf.Tensor, given: Given) -> tf.Tensor:
        """The inputs that a move in `tanh`-space leads to."""
        # To a feature that may not change, the way into `tanh`-space and back would do a little.
        return tf.where(given.mask, self._to_input(given.origin + modifier), given.start)

    def _settle(self, descent: _Descent, search: _Search) -> tuple[_Descent, _Search]:
        """Ends the searches that are done or get nowhere, and sets out with their next constant."""
        iteration = tf.minimum(search.iteration + self._check_every, self.max_iterations)
        ends = iteration == self.max_iterations
        if self.abort_early:
            # Written so that a loss that is not a number ends it, too.
            ends |= ~(descent.lowest_loss <= (1 - _PROGRESS) * search.checked_loss)
        upper = tf.where(ends & descent.found, search.const, search.upper)
        lower = tf.where(ends & ~descent.found, search.const, search.lower)
        tenfold = tf.minimum(search.const * 10, _LARGEST_CONST)
        next_const = tf.where(tf.math.is_inf(upper), tenfold, (lower + upper) / 2)
        resets = column(ends, descent.modifier)
        return (
            descent._replace(
                modifier=tf.where(resets, 0.0, descent.modifier),
                momentum=tf.where(resets, 0.0, descent.momentum),
                velocity=tf.where(resets, 0.0, descent.velocity),
                found=descent.found & ~ends,
                lowest_loss=tf.where(ends, np.inf, descent.lowest_loss),
            ),
            _Search(
                number=search.number + tf.cast(ends, tf.int64),
                iteration=tf.where(ends, tf.zeros_like(iteration), iteration),
                const=tf.where(ends, next_const, search.const),
                lower=lower,
                upper=upper,
                checked_loss=tf.where(ends, np.inf, descent.lowest_loss),
                iterations_taken=search.iterations_taken + iteration - search.iteration,
            ),
        )

    def _to_input(self, z: tf.Tensor) -> tf.Tensor:
        low, high = self.bounds
        # Clipped, as the sum may round to beyond the ends.
        return tf.clip_by_value(tf.tanh(z) * ((high - low) / 2) + (low + high) / 2, low, high)

    def _margin(self, outputs: tf.Tensor, given: Given) -> tf.Tensor:
        """By how much the model still says what it should not, in logits; NaN where they are not finite."""
        margin = tf.reduce_sum(given.one_hot * outputs, axis=1) - tf.reduce_max(outputs + given.exclude, axis=1)
        return -margin if self.targeted else margin

    def get_config(self) -> dict[str, Any]:
        return {
            "confidence": self.confidence,
            "binary_search_steps": self.binary_search_steps,
            "max_iterations": self.max_iterations,
            "learning_rate": self.learning_rate,
            "initial_const": self.initial_const,
            "abort_early": self.abort_early,
            **super().get_config(),
        }
