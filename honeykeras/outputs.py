"""What a classifier's output means: logits or probabilities, settled in one place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from honeykeras.errors import ModelError

# Operations that pass a tensor on, so that what stands before them is looked at.
_PASSING = ("Identity", "Cast")


class Logits:
    """A function from inputs to the logits of a classifier, for use inside a `tf.function`.

    A model that ends in a softmax is cut before it: the logits are exact. Any other output that holds
    probabilities (no value below zero, every row sums to one) is replaced by its logarithm, which has the same
    softmax; where a probability has underflown to zero, its gradient is lost. Anything else is taken for
    logits. The model runs in inference mode, and its logits are float32 whatever its compute dtype.

    Call arguments:
        x: Inputs, shape `(batch, *input_shape)`, float32.

    Returns:
        Logits, shape `(batch, num_classes)`, float32.

    Attributes:
        num_classes: How many classes the model tells apart.
    """

    def __init__(self, model: keras.Model, input_shape: Sequence[int], num_classes: int | None = None) -> None:
        """Looks at a model.

        Args:
            model: Any Keras classifier with one input and one output of shape `(batch, classes)`.
            input_shape: Shape of one input, without the batch.
            num_classes: If given, the number of classes that the model must have.

        Raises:
            ModelError: If the model cannot take such inputs, or is no such classifier.
        """
        self._model = model
        try:
            # Traced for its shape alone, so that a model that does not fit is told here and not amid an attack.
            trace = tf.function(lambda x: model(x, training=False), autograph=False)
            output = trace.get_concrete_function(tf.TensorSpec([None, *input_shape], tf.float32)).output_shapes
        except (ValueError, TypeError, tf.errors.InvalidArgumentError) as error:
            raise _cannot_take(input_shape, error) from None
        classes = output[1] if isinstance(output, tf.TensorShape) and output.rank == 2 else None
        if classes is None or classes < 2 or num_classes not in (None, classes):
            raise _no_classifier(output, num_classes)
        self.num_classes = classes

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        output = self._model(x, training=False)
        before_softmax = _softmax_input(output)
        if before_softmax is not None:
            return tf.cast(before_softmax, tf.float32)
        output = tf.cast(output, tf.float32)
        row_sums = tf.reduce_sum(output, axis=1)
        are_probabilities = tf.reduce_all(output >= 0) & tf.reduce_all(tf.abs(row_sums - 1) < 1e-3)
        return tf.where(are_probabilities, tf.math.log(tf.maximum(output, np.finfo(np.float32).tiny)), output)


def predict_labels(model: keras.Model, x: np.ndarray, batch_size: int = 512) -> np.ndarray:
    """The class that a classifier predicts for each input, shape `(batch,)`, int64."""
    try:
        output = model.predict(x, batch_size=batch_size, verbose=0)
    except (ValueError, TypeError, tf.errors.InvalidArgumentError) as error:
        raise _cannot_take(x.shape[1:], error) from None
    if not isinstance(output, np.ndarray) or output.ndim != 2:
        raise _no_classifier(keras.tree.map_structure(np.shape, output))
    return output.argmax(axis=1)


def _softmax_input(output: tf.Tensor) -> tf.Tensor | None:
    tensor = output
    while tensor.op.type in _PASSING:
        (tensor,) = tensor.op.inputs
    return tensor.op.inputs[0] if tensor.op.type == "Softmax" else None


def _no_classifier(output: Any, num_classes: int | None = None) -> ModelError:
    wanted = "(batch, classes), with at least 2 classes" if num_classes is None else f"(batch, {num_classes})"
    return ModelError(f"The model must have one output of shape {wanted}. Received: {output}.")


def _cannot_take(input_shape: Sequence[int], error: Exception) -> ModelError:
    reason = str(error).strip().splitlines()[0]
    return ModelError(f"The model must be a classifier of inputs of shape {tuple(input_shape)}. Received: {reason}")
