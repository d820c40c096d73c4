"""The detector as a Keras layer."""

from __future__ import annotations

from typing import Any, NoReturn

import keras
import numpy as np
import tensorflow as tf

from honeykeras.errors import SecretSerializationError
from honeykeras.watermark import Watermark


class DetectorLayer(keras.layers.Layer):
    """Scores and flags inputs, as the `Detector` that made it does.

    It has no variables: what it holds is secret and must not end up in a weights file. For the same reason a
    model that contains it cannot be saved.

    Call arguments:
        x: Inputs, shape `(batch, *input_shape)`, floating point.

    Returns:
        A dictionary: `score`, shape `(batch,)`, float32 in [0, 1], and `flag`, shape `(batch,)`, bool.
    """

    def __init__(self, watermark: Watermark, weights: np.ndarray, bias: float, threshold: float, **kwargs: Any) -> None:
        """Makes the layer; `Detector.layer` is how to get one.

        Args:
            watermark: Gathers the features.
            weights: Log-odds for each feature, shape `(num_features,)`, float64.
            bias: Log-odds for an input whose features are all zero.
            threshold: Log-odds above which an input is flagged.
            **kwargs: Arguments of `keras.layers.Layer`.
        """
        super().__init__(trainable=False, **kwargs)
        self._watermark = watermark
        self._coefficients = weights
        self._bias = bias
        self._threshold = threshold

    def call(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        # In double precision, on some hundred features, so that the decision is scikit-learn's own.
        features = tf.cast(self._watermark.extract(x), tf.float64)
        log_odds = tf.linalg.matvec(features, self._coefficients) + self._bias
        return {"score": tf.cast(tf.sigmoid(log_odds), tf.float32), "flag": log_odds > self._threshold}

    def get_config(self) -> NoReturn:
        raise SecretSerializationError(
            "A DetectorLayer holds a secret and cannot be saved in the clear. Save the model without it, and build "
            "the layer from the key where it is needed."
        )
