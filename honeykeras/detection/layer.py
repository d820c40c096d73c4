"""The detector as a Keras layer."""

from __future__ import annotations

import math
import uuid
from typing import Any, NoReturn

import keras
import numpy as np
import tensorflow as tf

from honeykeras.errors import InvalidArgumentError, SecretSerializationError
from honeykeras.watermark import Watermark

_REFUSAL = (
    "A DetectorLayer holds a secret and cannot be saved in the clear. Save the model without it, and build the layer "
    "from the key where it is needed."
)


class DetectorLayer(keras.layers.Layer):
    """Scores and flags inputs, as the `Detector` that made it does.

    What it holds is secret, and must end up in no file. So it is in no weight that Keras would save, and in no
    constant that a traced graph would show, but in a resource that no object graph reaches: a model that contains
    the layer cannot be saved or exported.

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
        # In double precision, whatever the policy, so that the decision is scikit-learn's own.
        super().__init__(trainable=False, autocast=False, dtype="float32", **kwargs)
        self._expected_shape = watermark.input_shape
        self._secret = _Secret(np.concatenate([watermark.scatter(weights), [bias, threshold]]))

    def call(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        if not x.shape.is_compatible_with([None, *self._expected_shape]) or not tf.as_dtype(x.dtype).is_floating:
            raise InvalidArgumentError(
                f"`x` must be floating point of shape (batch, {', '.join(map(str, self._expected_shape))}). "
                f"Received: {x.dtype} of shape {x.shape}."
            )
        weights, bias, threshold = tf.split(self._secret.read(), [-1, 1, 1])
        features = tf.reshape(tf.cast(x, tf.float64), [-1, math.prod(self._expected_shape)])
        log_odds = tf.linalg.matvec(features, weights) + bias
        return {"score": tf.cast(tf.sigmoid(log_odds), tf.float32), "flag": log_odds > threshold}

    def get_config(self) -> NoReturn:
        raise SecretSerializationError(_REFUSAL)

    def _trackable_children(self, *args: Any, **kwargs: Any) -> NoReturn:
        # Where TensorFlow comes by to save or to export a model.
        raise SecretSerializationError(_REFUSAL)


class _Secret:
    """A vector in a resource of this process.

    A `tf.Variable` would not do: Keras finds every variable that an exported function reads, and writes it out.
    """

    def __init__(self, values: np.ndarray) -> None:
        self._shape = values.shape
        with tf.init_scope(), tf.device("/CPU:0"):
            self._handle = tf.raw_ops.VarHandleOp(dtype=tf.float64, shape=values.shape, shared_name=uuid.uuid4().hex)
            tf.raw_ops.AssignVariableOp(resource=self._handle, value=tf.constant(values, tf.float64))

    def read(self) -> tf.Tensor:
        return tf.ensure_shape(tf.raw_ops.ReadVariableOp(resource=self._handle, dtype=tf.float64), self._shape)
