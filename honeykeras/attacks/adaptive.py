"""Attackers who know of the honeypot: attacks that keep off directions, and models that have a detector in them.

Carlini and Wagner 2017, Adversarial Examples Are Not Easily Detected: a defence is to be judged against attacks that
are made for it. How much these attackers know is up to what they are given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from honeykeras.attacks.base import Attack
from honeykeras.attacks.carlini_wagner import CarliniWagner, Given
from honeykeras.attacks.pgd import PGD
from honeykeras.errors import InvalidArgumentError
from honeykeras.outputs import Logits

# Where the range of inputs or the attack's ball cuts a perturbation off, it is no longer orthogonal to what was
# avoided. Taking turns comes close to both.
_TURNS = 5
# Directions nearly in the span of others, as a share of the greatest singular value, would be noise.
_RANK_TOLERANCE = 1e-3


def avoiding(attack: Attack, directions: np.ndarray) -> Attack:
    """The same attack, with perturbations that keep off directions: orthogonal to them, as far as the range allows.

    Args:
        attack: `PGD` or `CarliniWagner`, which it leaves as it is.
        directions: Shape `(n, *input_shape)`, in widths of the input range. Those of zero are ignored.

    Returns:
        The attack. Its settings are those of `attack`; the directions, which may be secret, are not among them.

    Raises:
        InvalidArgumentError: If there is no such version of the attack.
    """
    if type(attack) not in _AVOIDING:
        raise InvalidArgumentError(
            f"`attack` must be one of {sorted(kind.__name__ for kind in _AVOIDING)} to keep off directions. "
            f"Received: {attack}."
        )
    return _AVOIDING[type(attack)](_Complement(directions), **attack.get_config())


class Guarded(keras.Model):
    """A classifier whose answer for a class is worth the less, the more a detector would make of it.

    Attacks on it look for inputs that the classifier takes for another class and the detector for clean: model and
    detector are attacked together.
    """

    def __init__(
        self,
        model: keras.Model,
        statistics: Callable[[tf.Tensor], tf.Tensor],
        threshold: float,
        weight: float,
        input_shape: tuple[int, ...],
    ) -> None:
        """Joins a classifier and a detector.

        Args:
            model: The classifier.
            statistics: Function from inputs to the detector's statistic for each class that might be predicted, shape
                `(batch, num_classes)`.
            threshold: The statistic above which an input would be flagged.
            weight: By how many logits a class falls for each unit of its statistic above the threshold.
            input_shape: Shape of one input.
        """
        super().__init__(name="guarded")
        self._logits = Logits(model, input_shape)
        self._statistics, self._threshold, self._weight = statistics, threshold, weight
        # Keras tracks it, so that an attack that was compiled sees whether the weights are still the same.
        self._model = model

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        excess = tf.nn.relu(tf.cast(self._statistics(x), tf.float32) - self._threshold)
        return self._logits(x) - self._weight * excess


class _Complement:
    """What is orthogonal to directions."""

    def __init__(self, directions: np.ndarray) -> None:
        flat = np.asarray(directions, np.float64).reshape(len(directions), -1)
        norms = np.linalg.norm(flat, axis=1, keepdims=True)
        # Of one length each, so that a faint one is avoided as much as a strong one.
        _, strengths, basis = np.linalg.svd(flat[norms[:, 0] > 0] / norms[norms[:, 0] > 0], full_matrices=False)
        self._basis = basis[strengths > _RANK_TOLERANCE * strengths.max(initial=0)].astype(np.float32)

    def of(self, vectors: tf.Tensor) -> tf.Tensor:
        """Takes the directions out of vectors, shape `(batch, *input_shape)`."""
        flat = tf.reshape(vectors, [-1, self._basis.shape[1]])
        part = tf.matmul(tf.matmul(flat, self._basis, transpose_b=True), self._basis)
        return tf.reshape(flat - part, tf.shape(vectors))

    def around(self, x: tf.Tensor, x_adv: tf.Tensor, limit: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
        """Takes the directions out of perturbations `x_adv - x`, and stays where `limit` takes inputs to."""
        for _ in range(_TURNS):
            x_adv = limit(x + self.of(x_adv - x))
        return tf.ensure_shape(x_adv, x.shape)

    def of_gradient(self, logits: Callable[[tf.Tensor], tf.Tensor]) -> Callable[[tf.Tensor], tf.Tensor]:
        """The same function, with the directions taken out of its gradient."""

        @tf.custom_gradient
        def watched(x: tf.Tensor) -> tuple[tf.Tensor, Any]:
            return tf.identity(x), self.of

        return lambda x: logits(watched(x))


class _AvoidingPGD(PGD):
    def __init__(self, complement: _Complement, **settings: Any) -> None:
        super().__init__(**settings)
        self._complement = complement

    def _step(
        self, logits: Callable[[tf.Tensor], tf.Tensor], x_adv: tf.Tensor, x: tf.Tensor, y: tf.Tensor, mask: tf.Tensor
    ) -> tf.Tensor:
        moved = super()._step(self._complement.of_gradient(logits), x_adv, x, y, mask)
        return self._complement.around(x, moved, lambda z: self._into_ball(x, z))


class _AvoidingCarliniWagner(CarliniWagner):
    def __init__(self, complement: _Complement, **settings: Any) -> None:
        super().__init__(**settings)
        self._complement = complement

    def _to_candidate(self, modifier: tf.Tensor, given: Given) -> tf.Tensor:
        candidate = super()._to_candidate(modifier, given)
        return self._complement.around(given.start, candidate, lambda z: tf.clip_by_value(z, *self.bounds))


_AVOIDING: dict[type[Attack], type[Any]] = {PGD: _AvoidingPGD, CarliniWagner: _AvoidingCarliniWagner}
