"""`Samples`: what detectors are fitted on."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from honeykeras.errors import InvalidArgumentError


@dataclasses.dataclass(frozen=True)
class Samples:
    """Inputs that detectors are fitted on: each kind takes what it needs of them.

    Calibrating and judging must use other inputs.

    Attributes:
        clean: Clean inputs, shape `(n, *input_shape)`, floating point in the key's input range. They may be those that
            the model was trained on.
        held_out: Clean inputs that the model was not trained on, shape `(m, *input_shape)`. Defaults to `clean`.
        adversarial: Adversarial inputs that fooled the model, on the 256 levels of an image file, shape
            `(k, *input_shape)`; what learns from attacks needs them.
    """

    clean: np.ndarray | None = None
    held_out: np.ndarray | None = None
    adversarial: np.ndarray | None = None

    @classmethod
    def of(cls, value: Any) -> Samples:
        """Returns `value` if it is samples; an array stands for clean inputs, and None for no samples."""
        return value if isinstance(value, Samples) else cls(value)

    def unseen(self, kind: str) -> np.ndarray:
        """The clean inputs that the model was not trained on, as far as is known.

        Raises:
            InvalidArgumentError: If there are none, which a detector of that kind needs.
        """
        found = self.clean if self.held_out is None else self.held_out
        if found is None:
            raise InvalidArgumentError(
                f"A detector of the kind {kind!r} must be fitted on clean inputs. Received: none. Give `samples`."
            )
        return found

    def attacked(self, kind: str) -> np.ndarray:
        """The adversarial inputs.

        Raises:
            InvalidArgumentError: If there are none, which a detector of that kind learns from.
        """
        if self.adversarial is None:
            raise InvalidArgumentError(
                f"A detector of the kind {kind!r} must be fitted on adversarial inputs as well. Received: none. Give "
                "`detection.Samples(clean, adversarial=...)`."
            )
        return self.adversarial
