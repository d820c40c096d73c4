"""What a classifier's output means: logits or probabilities, settled in one place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from honeykeras._messages import reason
from honeykeras.errors import MissingDependencyError, ModelError

if keras.config.backend() != "tensorflow":
    raise MissingDependencyError(
        f"Keras must run on TensorFlow. Received: the backend {keras.config.backend()!r}. "
        "Set KERAS_BACKEND=tensorflow before Python starts."
    )

# Operations that pass a tensor on, so that what stands before them is looked at.
_PASSING = ("Identity", "Cast", "Reshape", "Squeeze")

# How many random inputs show whether a model gives probabilities, and how far from one a row of half-precision
# probabilities may sum.
_SAMPLES = 16
_TOLERANCE = 1e-2


class Logits:
    """A function from inputs to the logits of a classifier, for use inside a `tf.function`.

    A model that ends in a softmax is cut before it: the logits are exact. Otherwise the model is run once on random
    inputs: if what it gives are probabilities (no value below zero, every row sums to one), they are replaced by
    their logarithms, which have the same softmax; where a probability has underflown to zero, its gradient is lost.
    Anything else is taken for logits. The model runs in inference mode, and its logits are float32 whatever its
    compute dtype.

    Call arguments:
        x: Inputs, shape `(batch, *input_shape)`, float32.

    Returns:
        Logits, shape `(batch, num_classes)`, float32.

    Attributes:
        num_classes: How many classes the model tells apart.
        gives_probabilities: Whether the model's own output is probabilities.
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
            # Looked at before it is used, so that a model that does not fit is told here and not amid an attack.
            trace = tf.function(lambda x: model(x, training=False), autograph=False).get_concrete_function(
                tf.TensorSpec([None, *input_shape], tf.float32)
            )
        except (ValueError, TypeError, tf.errors.InvalidArgumentError) as error:
            raise _cannot_take(input_shape, error) from None
        output = trace.output_shapes
        classes = output[1] if isinstance(output, tf.TensorShape) and output.rank == 2 else None
        if classes is None or classes < 2 or num_classes not in (None, classes):
            raise _no_classifier(output, num_classes)
        self.num_classes = classes
        # Settled once and for all: were it asked of every batch, one input could change what another's answer means.
        sample = trace(tf.random.stateless_uniform([_SAMPLES, *input_shape], seed=(0, 0))).numpy().astype(np.float32)
        self.gives_probabilities = bool((sample >= 0).all() and (np.abs(sample.sum(axis=1) - 1) < _TOLERANCE).all())

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        return self.of_output(self._model(x, training=False))

    def of_output(self, output: tf.Tensor) -> tf.Tensor:
        """The same of what the model said already, in the graph where it did."""
        before_softmax = softmax_input(output)
        if before_softmax is not None:
            return tf.cast(before_softmax, tf.float32)
        output = tf.cast(output, tf.float32)
        return tf.math.log(tf.maximum(output, np.finfo(np.float32).tiny)) if self.gives_probabilities else output


def predict_labels(model: keras.Model, x: np.ndarray, batch_size: int = 512) -> np.ndarray:
    """The classes that a classifier predicts, -1 where its output is not finite; shape `(batch,)`, int64."""
    # A replica without an input takes one over: not all of TensorFlow's kernels take an empty batch.
    replicas = model.distribute_strategy.num_replicas_in_sync
    filled = np.concatenate([x, np.repeat(x[-1:], replicas, axis=0)]) if 0 < len(x) % batch_size < replicas else x
    try:
        output = model.predict(filled, batch_size=batch_size, verbose=0)
    except (ValueError, TypeError, tf.errors.InvalidArgumentError) as error:
        raise _cannot_take(x.shape[1:], error) from None
    if not isinstance(output, np.ndarray) or output.ndim != 2:
        raise _no_classifier(keras.tree.map_structure(np.shape, output))
    output = output[: len(x)]
    return np.where(np.isfinite(output).all(axis=1), output.argmax(axis=1), -1)


def softmax_input(output: tf.Tensor) -> tf.Tensor | None:
    """What a softmax made a symbolic output of, shape `(batch, classes)`; None if it was no softmax."""
    tensor = output
    while tensor.op.type in _PASSING:
        tensor = tensor.op.inputs[0]
    if tensor.op.type != "Softmax" or tensor.shape[-1] != output.shape[-1]:
        return None
    return tf.reshape(tensor.op.inputs[0], tf.shape(output))


def _no_classifier(output: Any, num_classes: int | None = None) -> ModelError:
    wanted = "(batch, classes), with at least 2 classes" if num_classes is None else f"(batch, {num_classes})"
    return ModelError(f"The model must have one output of shape {wanted}. Received: {output}.")


def _cannot_take(input_shape: Sequence[int], error: Exception) -> ModelError:
    return ModelError(
        f"The model must be a classifier of inputs of shape {tuple(input_shape)}. Received: {reason(error)}"
    )
