"""`Attack`: one call shape for all attacks."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from honeykeras import _checks
from honeykeras.outputs import Logits, predict_labels


class Attack(abc.ABC):
    """A gradient-based attack on a Keras classifier.

    A subclass names itself, keeps its settings as attributes, returns them from `get_config`, and writes one
    method, `perturb`, in TensorFlow operations on a batch. It is compiled once for a model; batches of other
    sizes, later calls and weights that have moved on do not compile it again.

    Attributes:
        name: What reports and the command line call the attack.
        input_range: Least and greatest value of an input, `(low, high)`; adversarial inputs stay within.
        seed: Seed of all that is random in the attack. The same seed gives the same result.
    """

    name: ClassVar[str]

    def __init__(self, *, input_range: tuple[float, float] = (0.0, 1.0), seed: int = 0) -> None:
        self.input_range = _checks.input_range(input_range)
        self.seed = _checks.seed(seed)
        self._compiled: _Compiled | None = None

    @abc.abstractmethod
    def perturb(self, logits: Logits, x: tf.Tensor, y: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Makes one batch adversarial; runs inside a `tf.function` without AutoGraph.

        Args:
            logits: Function from inputs to the model's logits.
            x: Shape `(batch, ...)`, float32 in the input range.
            y: The labels to get away from, shape `(batch,)`, int64.
            seed: Seed for this batch, shape `(2,)`, int64.

        Returns:
            Adversarial inputs, of the shape and range of `x`.
        """

    def generate(
        self,
        model: keras.Model,
        x: np.ndarray,
        y: np.ndarray | None = None,
        *,
        batch_size: int = 256,
        verbose: int = 0,
    ) -> np.ndarray:
        """Makes adversarial examples.

        Args:
            model: The classifier to attack; its output may be logits or probabilities.
            x: Inputs, shape `(batch, ...)`, floating point in the input range.
            y: The labels to get away from: class indices of shape `(batch,)`, or one-hot rows. Defaults to what
                the model predicts.
            batch_size: How many inputs are attacked at a time.
            verbose: 1 shows a progress bar, 0 nothing.

        Returns:
            Adversarial examples, shape of `x`, float32 in the input range. Not every one need succeed, and they
            are not quantised: see `quantize`.

        Raises:
            InvalidArgumentError: If `x` or `y` has the wrong shape, dtype or range.
            ModelError: If the model cannot take `x`, or is no classifier.
        """
        x = _checks.inputs("x", x, None, self.input_range)
        compiled = self._compile(model, x.shape[1:])
        y = predict_labels(model, x) if y is None else _checks.labels("y", y, len(x), compiled.logits.num_classes)
        batch_size = _checks.whole_number("batch_size", batch_size)
        x_adv = np.empty_like(x)
        progress = keras.utils.Progbar(len(x), verbose=verbose, unit_name="image") if verbose else None
        for number, start in enumerate(range(0, len(x), batch_size)):
            batch = slice(start, start + batch_size)
            x_adv[batch] = compiled.attack(x[batch], y[batch], np.array([self.seed, number], np.int64))
            if progress:
                progress.update(min(start + batch_size, len(x)))
        return x_adv

    def get_config(self) -> dict[str, Any]:
        """The attack's settings as plain data; `from_config` takes them back."""
        return {"input_range": self.input_range, "seed": self.seed}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Attack:
        """The attack that `get_config` described."""
        return cls(**config)

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in self.get_config().items())
        return f"{type(self).__name__}({settings})"

    def _compile(self, model: keras.Model, input_shape: tuple[int, ...]) -> _Compiled:
        """Compiles the attack on a model, or returns what was compiled last if nothing has changed since."""
        # The identities of the variables tell when a model was rebuilt under the same name.
        state = repr((input_shape, self.get_config(), [id(weight) for weight in model.weights]))
        if self._compiled is None or self._compiled.model is not model or self._compiled.state != state:
            logits = Logits(model, input_shape)
            signature = [
                tf.TensorSpec([None, *input_shape], tf.float32),
                tf.TensorSpec([None], tf.int64),
                tf.TensorSpec([2], tf.int64),
            ]
            attack = tf.function(
                lambda x, y, seed: self.perturb(logits, x, y, seed), input_signature=signature, autograph=False
            )
            self._compiled = _Compiled(model, state, logits, attack)
        return self._compiled


@dataclasses.dataclass(frozen=True)
class _Compiled:
    """An attack, as it was set, on a model, as it was built."""

    model: keras.Model
    state: str
    logits: Logits
    attack: Callable[..., tf.Tensor]


def quantize(x: np.ndarray, input_range: tuple[float, float] = (0.0, 1.0), levels: int = 256) -> np.ndarray:
    """Rounds to the levels that an image file can hold.

    Adversarial images are to be quantised before anything judges them: whoever sends one sends a file, and a
    detector that spots values between the levels detects an artefact.

    Args:
        x: Values in the input range, any shape.
        input_range: Least and greatest value, `(low, high)`.
        levels: How many levels the range is divided into, ends included.

    Returns:
        The rounded values, float32.
    """
    low, high = _checks.input_range(input_range)
    _checks.whole_number("levels", levels, 2)
    steps = np.round((np.asarray(x, np.float64) - low) / (high - low) * (levels - 1))
    return (low + steps * (high - low) / (levels - 1)).astype(np.float32)
