"""What all detectors share: a statistic, a calibrated threshold, and the same as a layer."""

from __future__ import annotations

import abc
from typing import Any, ClassVar, NoReturn

import keras
import numpy as np
import tensorflow as tf

from honeykeras import _checks
from honeykeras.detection.calibration import conformal_threshold
from honeykeras.detection.layer import DetectorLayer
from honeykeras.errors import InvalidArgumentError, SecretSerializationError
from honeykeras.keys import WatermarkKey
from honeykeras.outputs import predict_labels
from honeykeras.watermark import Watermark

_BATCH_SIZE = 512


class CalibratedDetector(abc.ABC):
    """A detector with a threshold that keeps a false positive rate.

    A subclass gives a statistic in TensorFlow operations, so that Python and an exported graph decide alike.

    Attributes:
        name: What options and reports call this kind of detector.
        key_specific: Whether what it finds is evidence of the key. If not, a wrong key or a model without a honeypot
            may do as well, and only controls show how well.
        needs_adversarial: Whether it is fitted on adversarial inputs, too.
        key_id: The key's public name.
        num_classes: How many classes the key is for.
    """

    name: ClassVar[str]
    key_specific: ClassVar[bool]
    needs_adversarial: ClassVar[bool]

    def __init__(self, key: WatermarkKey) -> None:
        """Makes a detector for the watermark of `key`."""
        self.watermark = Watermark(key)
        self.key_id = key.key_id
        self.num_classes = key.num_classes
        self._model: keras.Model | None = None
        self._secret: np.ndarray | None = None
        self._threshold: float | None = None
        self._run = tf.function(self.statistic, autograph=False, reduce_retracing=True)

    @abc.abstractmethod
    def fit(self, model: keras.Model, *args: Any, **kwargs: Any) -> CalibratedDetector:
        """Prepares the detector for a model. What else it needs differs between kinds."""

    @abc.abstractmethod
    def statistic(self, x: tf.Tensor, outputs: tf.Tensor, secret: tf.Tensor) -> tf.Tensor:
        """How adversarial inputs look, in TensorFlow operations.

        Args:
            x: Shape `(batch, *input_shape)`, float32 in the key's input range.
            outputs: What the classifier says of them, shape `(batch, num_classes)`: logits or probabilities.
            secret: What the detector knows, as one vector, float64.

        Returns:
            Shape `(batch,)`, float64; greater is more adversarial.
        """

    def calibrate(self, clean: np.ndarray, max_fpr: float) -> CalibratedDetector:
        """Sets the threshold so that at most a share `max_fpr` of clean inputs is flagged.

        Args:
            clean: Held-out clean inputs, shape `(n, *input_shape)`, with `n` at least `1 / max_fpr - 1`.
            max_fpr: The false positive rate to keep, in (0, 1).

        Returns:
            The detector itself.

        Raises:
            InvalidArgumentError: If there are too few inputs, or they have the wrong shape, dtype or range.
        """
        threshold = conformal_threshold(self.score(clean), max_fpr)
        # An input like the one that sets it is not to be flagged by the rounding of another implementation.
        self._threshold = threshold + 1e-6 * max(1.0, abs(threshold))
        return self

    @property
    def threshold(self) -> float:
        """The score above which an input is flagged."""
        self._fitted()
        if self._threshold is None:
            raise InvalidArgumentError(
                "The detector must be calibrated first. Call `calibrate` on held-out clean inputs."
            )
        return self._threshold

    @property
    def secret(self) -> np.ndarray:
        """What `statistic` takes as such, one vector, float64: as secret as the key."""
        return self._fitted()[1]

    @property
    def networks(self) -> list[keras.Model]:
        """What `statistic` runs beside the classifier."""
        return []

    def score(self, x: np.ndarray) -> np.ndarray:
        """How adversarial each input looks.

        Args:
            x: Inputs, shape `(batch, *input_shape)`, floating point in the key's input range.

        Returns:
            Shape `(batch,)`, float64; greater is more adversarial.
        """
        model, secret = self._fitted()
        x = self._check("x", x)
        outputs = model.predict(x, batch_size=_BATCH_SIZE, verbose=0)
        parts = [
            self._run(x[start : start + _BATCH_SIZE], outputs[start : start + _BATCH_SIZE], tf.constant(secret)).numpy()
            for start in range(0, len(x), _BATCH_SIZE)
        ]
        return np.concatenate(parts)

    def flag(self, x: np.ndarray) -> np.ndarray:
        """Whether each input is taken for adversarial, shape `(batch,)`, bool."""
        threshold = self.threshold
        return self.score(x) > threshold

    def layer(self, **kwargs: Any) -> DetectorLayer:
        """The same decision as a Keras layer, called on inputs and the classifier's outputs.

        Args:
            **kwargs: Arguments of `keras.layers.Layer`.
        """
        return DetectorLayer(self.statistic, self.secret, self.threshold, self.watermark.input_shape, **kwargs)

    def _set(self, model: keras.Model, secret: np.ndarray) -> None:
        """Ends a fit. A threshold set before no longer holds."""
        self._model, self._secret, self._threshold = model, np.asarray(secret, np.float64), None

    def _check_model(self, model: keras.Model) -> None:
        """Raises `ModelError` unless a model is a classifier such as the key is for."""
        least = np.broadcast_to(self.watermark.input_range.ends()[0], (1, *self.watermark.input_shape))
        predict_labels(model, least, num_classes=self.num_classes)

    def _fitted(self) -> tuple[keras.Model, np.ndarray]:
        if self._model is None or self._secret is None:
            raise InvalidArgumentError("The detector must be fitted first. Call `fit`.")
        return self._model, self._secret

    def _check(self, name: str, x: Any) -> np.ndarray:
        return _checks.inputs(name, x, self.watermark.input_shape, self.watermark.input_range)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(key_id={self.key_id!r})"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise SecretSerializationError("A detector cannot be pickled or copied. Fit it where it is needed.")
