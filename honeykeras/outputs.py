"""What a classifier's output means: logits or probabilities, settled in one place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from honeykeras.errors import ModelError

LogitsFunction = Callable[[tf.Tensor], tf.Tensor]

# Operations that pass a tensor on, so that what stands before them is looked at.
_PASSING = ("Identity", "Cast")


def logits_function(model: keras.Model, num_classes: int | None = None) -> LogitsFunction:
    """Returns a function from inputs to logits, for use inside a `tf.function`.

    A model that ends in a softmax is cut before it: the logits are exact. Any other output that holds
    probabilities (no value below zero, every row sums to one) is replaced by its logarithm, which has the same
    softmax; where a probability has underflown to zero, its gradient is lost. Anything else is taken for
    logits. The model runs in inference mode, and its logits are float32 whatever its compute dtype.

    Args:
        model: Any Keras classifier with one input and one output of shape `(batch, classes)`.
        num_classes: If given, the number of classes the output must have.

    Returns:
        The function. Called on inputs `(batch, ...)` it returns logits `(batch, classes)`, float32. It raises
        `ModelError`, while it is traced, if the model has another kind of output.
    """

    def logits(x: tf.Tensor) -> tf.Tensor:
        output = _call(model, x, num_classes)
        before_softmax = _softmax_input(output)
        if before_softmax is not None:
            return tf.cast(before_softmax, tf.float32)
        output = tf.cast(output, tf.float32)
        row_sums = tf.reduce_sum(output, axis=1)
        are_probabilities = tf.reduce_all(output >= 0) & tf.reduce_all(tf.abs(row_sums - 1) < 1e-3)
        return tf.cond(
            are_probabilities, lambda: tf.math.log(tf.maximum(output, np.finfo(np.float32).tiny)), lambda: output
        )

    return logits


def predict_labels(model: keras.Model, x: np.ndarray, batch_size: int = 512) -> np.ndarray:
    """The class that a model predicts for each input, shape `(batch,)`, int64."""
    try:
        output = model.predict(x, batch_size=batch_size, verbose=0)
    except (ValueError, tf.errors.InvalidArgumentError) as error:
        raise ModelError(f"The model cannot take inputs of shape {x.shape[1:]}: {_first_line(error)}") from None
    if not isinstance(output, np.ndarray) or output.ndim != 2 or output.shape[1] < 2:
        raise _unfit(np.shape(output), None)
    return output.argmax(axis=1)


def _call(model: keras.Model, x: tf.Tensor, num_classes: int | None) -> tf.Tensor:
    try:
        output = model(x, training=False)
    except (ValueError, tf.errors.InvalidArgumentError) as error:
        raise ModelError(f"The model cannot take inputs of shape {tuple(x.shape[1:])}: {_first_line(error)}") from None
    shape = getattr(output, "shape", None)
    if shape is None or len(shape) != 2 or shape[1] is None or shape[1] < 2:
        raise _unfit(shape, num_classes)
    if num_classes is not None and shape[1] != num_classes:
        raise _unfit(shape, num_classes)
    return output


def _softmax_input(output: tf.Tensor) -> tf.Tensor | None:
    tensor = output
    while tensor.op.type in _PASSING:
        (tensor,) = tensor.op.inputs
    return tensor.op.inputs[0] if tensor.op.type == "Softmax" else None


def _unfit(shape: Any, num_classes: int | None) -> ModelError:
    classes = "classes" if num_classes is None else f"{num_classes}"
    return ModelError(f"The model must have one output of shape (batch, {classes}), at least 2. Received: {shape}.")


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
