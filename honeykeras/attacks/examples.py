"""What attacks give: adversarial examples, and whether they fool the model."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np

from honeykeras.outputs import predict_labels
from honeykeras.ranges import UNIT, InputRange, quantize


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
        input_range: Least and greatest value of an input, or of each of its features.
    """

    x: np.ndarray
    x_adv: np.ndarray
    y: np.ndarray
    success: np.ndarray
    queries: np.ndarray
    gradients: np.ndarray
    targeted: bool = False
    input_range: InputRange = UNIT

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

    def distance(self, norm: str) -> np.ndarray:
        """How far the attack moved each input.

        Args:
            norm: `"2"`, the Euclidean distance; `"inf"`, the change of the feature that changed most; `"0"`, how many
                features changed.

        Returns:
            Shape `(n,)`, float64; but for `"0"` in units of `input_range.working`.
        """
        moved = self.input_range.to_unit(self.x_adv).astype(np.float64) - self.input_range.to_unit(self.x)
        delta = moved.reshape(len(moved), -1) * float(self.input_range.working.width)
        if norm == "0":
            return np.count_nonzero(delta, axis=1).astype(np.float64)
        return np.linalg.norm(delta, float(norm), axis=1)

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
