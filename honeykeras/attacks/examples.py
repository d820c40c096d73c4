"""What attacks give: adversarial examples, and whether they fool the model."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import numpy.typing as npt

from honeykeras import _checks
from honeykeras.outputs import predict_labels


@dataclasses.dataclass(frozen=True)
class AdversarialExamples:
    """Inputs, and what an attack made of them.

    Attributes:
        x: The inputs, shape `(n, ...)`, float32 in `input_range`.
        x_adv: The same after the attack, float32 in `input_range`.
        y: The labels that the attack was to get away from, or to reach if `targeted`; shape `(n,)`, int64.
        success: Whether `x_adv` does so, shape `(n,)`, bool. Where the model's answer is not finite, it does not.
        queries: How many times the attack ran the model on each image, shape `(n,)`, int64.
        gradients: How many gradients it took of that, shape `(n,)`, int64.
        targeted: Whether `y` was to be reached.
        input_range: Least and greatest value of an input, `(low, high)`, or of each of its features.
    """

    x: np.ndarray
    x_adv: np.ndarray
    y: np.ndarray
    success: np.ndarray
    queries: np.ndarray
    gradients: np.ndarray
    targeted: bool = False
    input_range: _checks.InputRange = (0.0, 1.0)

    def __len__(self) -> int:
        return len(self.x)

    @property
    def successful(self) -> np.ndarray:
        """The adversarial examples that fool the model."""
        return self.x_adv[self.success]

    @property
    def delta(self) -> np.ndarray:
        """What the attack added to those."""
        return self.successful - self.x[self.success]

    def quantize(self, model: keras.Model, levels: int = 256) -> AdversarialExamples:
        """Rounds `x_adv` to the levels of an image file, and asks the model again what it makes of it.

        Args:
            model: The classifier that was attacked.
            levels: How many levels the input range is divided into, ends included.

        Returns:
            The same examples with `x_adv` rounded and `success` judged anew.
        """
        x_adv = quantize(self.x_adv, self.input_range, levels)
        predicted = predict_labels(model, x_adv)
        success = (predicted >= 0) & ((predicted == self.y) == self.targeted)
        return dataclasses.replace(self, x_adv=x_adv, success=success)


def quantize(
    x: np.ndarray, input_range: tuple[npt.ArrayLike, npt.ArrayLike] = (0.0, 1.0), levels: int = 256
) -> np.ndarray:
    """Rounds to the levels that an image file can hold.

    Adversarial images are to be quantised before anything judges them: whoever sends one sends a file, and a
    detector that spots values between the levels detects an artefact.

    Args:
        x: Values in the input range, any shape; `(batch, ...)` where features have ranges of their own.
        input_range: Least and greatest value, `(low, high)`, or those of each feature.
        levels: How many levels each range is divided into, ends included.

    Returns:
        The rounded values, float32.
    """
    x = np.asarray(x, np.float64)
    low, high = (np.asarray(end) for end in _checks.input_range(input_range, x.shape[1:]))
    _checks.whole_number("levels", levels, 2)
    steps = np.round((x - low) / (high - low) * (levels - 1))
    return (low + steps * (high - low) / (levels - 1)).astype(np.float32)
