"""`Detector`: tells adversarial inputs by the features that a key picks."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from honeykeras import _checks
from honeykeras.detection.calibration import conformal_threshold
from honeykeras.detection.layer import DetectorLayer
from honeykeras.errors import InvalidArgumentError, SecretSerializationError
from honeykeras.keys import WatermarkKey
from honeykeras.watermark import Watermark

# Log-odds by which the threshold stands above the calibration score that sets it, so that an input like that one
# is not flagged by the rounding of another implementation.
_ROUNDING = 1e-9


class Detector:
    """Logistic regression on the features that a key picks, with a calibrated threshold.

    Abdou et al. 2021, HoneyModels, section III-C.3; the calibration is not in the paper. Fitting, calibrating
    and judging must use different images, and adversarial ones must be quantised first.

    Such a detector also learns what adversarial noise looks like anywhere in an image. How much of what it
    finds is owed to the key shows only beside its controls: see `evaluate`.

    Example:

    ```python
    detector = hk.Detector(key)
    detector.fit(clean=x, adversarial=hk.attacks.quantize(x_adv)).calibrate(held_out, max_fpr=0.01)
    detector.flag(queries)
    ```
    """

    def __init__(self, key: WatermarkKey) -> None:
        """Makes a detector for the watermark of `key`."""
        self.key_id = key.key_id
        self.watermark = Watermark(key)
        self._classifier: Pipeline | None = None
        self._threshold: float | None = None

    def fit(self, clean: np.ndarray, adversarial: np.ndarray) -> Detector:
        """Learns to tell adversarial inputs from clean ones.

        Args:
            clean: Clean inputs, shape `(n, *input_shape)`, floating point in the key's input range.
            adversarial: Adversarial inputs that fooled the model, shape `(m, *input_shape)`, likewise.

        Returns:
            The detector itself. A threshold set before no longer holds.

        Raises:
            InvalidArgumentError: If the inputs have the wrong shape, dtype or range, or there are none.
        """
        features = np.concatenate([self._features("clean", clean), self._features("adversarial", adversarial)])
        is_adversarial = np.repeat([0, 1], [len(clean), len(adversarial)])
        classifier = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=2000))
        self._classifier = classifier.fit(features, is_adversarial)
        self._threshold = None
        return self

    def calibrate(self, clean: np.ndarray, max_fpr: float) -> Detector:
        """Sets the threshold so that at most a share `max_fpr` of clean inputs is flagged.

        Args:
            clean: Held-out clean inputs, shape `(n, *input_shape)`, with `n` at least `1 / max_fpr - 1`.
            max_fpr: The false positive rate to keep, in (0, 1).

        Returns:
            The detector itself.

        Raises:
            InvalidArgumentError: If there are too few inputs, or they have the wrong shape, dtype or range.
        """
        self._threshold = conformal_threshold(self._log_odds(clean), max_fpr) + _ROUNDING
        return self

    @property
    def threshold(self) -> float:
        """The score above which an input is flagged."""
        return float(expit(self._calibrated()))

    def score(self, x: np.ndarray) -> np.ndarray:
        """How adversarial each input looks.

        Args:
            x: Inputs, shape `(batch, *input_shape)`, floating point in the key's input range.

        Returns:
            Shape `(batch,)`, float64 in [0, 1].
        """
        return expit(self._log_odds(x))

    def flag(self, x: np.ndarray) -> np.ndarray:
        """Whether each input is taken for adversarial, shape `(batch,)`, bool."""
        return self._log_odds(x) > self._calibrated()

    def layer(self, **kwargs: Any) -> DetectorLayer:
        """The same decision as a Keras layer.

        Args:
            **kwargs: Arguments of `keras.layers.Layer`.
        """
        scaler, regression = self._fitted()[0], self._fitted()[1]
        weights = regression.coef_[0] / scaler.scale_
        bias = float(regression.intercept_[0] - weights @ scaler.mean_)
        return DetectorLayer(self.watermark, weights, bias, self._calibrated(), **kwargs)

    def _features(self, name: str, x: np.ndarray) -> np.ndarray:
        x = _checks.inputs(name, x, self.watermark.input_shape, self.watermark.input_range)
        return self.watermark.extract(x).numpy().astype(np.float64)

    def _fitted(self) -> Pipeline:
        if self._classifier is None:
            raise InvalidArgumentError("The detector must be fitted first. Call `fit` on clean and adversarial inputs.")
        return self._classifier

    def _log_odds(self, x: np.ndarray) -> np.ndarray:
        return self._fitted().decision_function(self._features("x", x))

    def _calibrated(self) -> float:
        if self._threshold is None:
            raise InvalidArgumentError(
                "The detector must be calibrated first. Call `calibrate` on held-out clean inputs."
            )
        return self._threshold

    def __repr__(self) -> str:
        return f"Detector(key_id={self.key_id!r})"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise SecretSerializationError("A Detector cannot be pickled or copied. Fit it where it is needed.")
