"""The detector as a Keras layer."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any, NoReturn

import keras
import numpy as np
import tensorflow as tf

from honeykeras.errors import InvalidArgumentError, SecretSerializationError

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
        outputs: What the classifier says of them, shape `(batch, num_classes)`.

    Returns:
        A dictionary: `score`, shape `(batch,)`, float32, and `flag`, shape `(batch,)`, bool.
    """

    def __init__(
        self,
        statistic: Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor],
        secret: np.ndarray,
        threshold: float,
        input_shape: tuple[int, ...],
        **kwargs: Any,
    ) -> None:
        """Makes the layer; a detector's `layer` is how to get one.

        Args:
            statistic: Makes scores of inputs, outputs and the secret.
            secret: What the detector knows, as one vector, float64.
            threshold: The score above which an input is flagged.
            input_shape: Shape of one input, without the batch.
            **kwargs: Arguments of `keras.layers.Layer`.
        """
        # Its own precision, whatever the policy, so that the decision is the detector's.
        super().__init__(trainable=False, autocast=False, dtype="float32", **kwargs)
        self._expected_shape = input_shape
        self._statistic = statistic
        self._secret = _Secret(np.concatenate([secret, [threshold]]))

    def call(self, x: tf.Tensor, outputs: tf.Tensor) -> dict[str, tf.Tensor]:
        if not x.shape.is_compatible_with([None, *self._expected_shape]) or not tf.as_dtype(x.dtype).is_floating:
            raise InvalidArgumentError(
                f"`x` must be floating point of shape (batch, {', '.join(map(str, self._expected_shape))}). "
                f"Received: {x.dtype} of shape {x.shape}."
            )
        secret = self._secret.read()
        score = self._statistic(tf.cast(x, tf.float32), outputs, secret[:-1])
        return {"score": tf.cast(score, tf.float32), "flag": score > secret[-1]}

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
