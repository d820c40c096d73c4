"""What a classifier's output means: logits or probabilities, settled in one place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from honeykeras._messages import reason, shortened
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


class LogitsFunction(Protocol):
    """A function from inputs, shape `(batch, *input_shape)`, to logits, shape `(batch, num_classes)`, float32.

    Attributes:
        num_classes: How many classes there are.
    """

    num_classes: int

    def __call__(self, x: tf.Tensor) -> tf.Tensor: ...


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
            output = trace.structured_outputs
            if not _is_classifier(output, num_classes):
                raise _no_classifier(output, num_classes)
            if not _depends(trace.outputs[0], trace.inputs[0]):
                raise ModelError("The model's output must depend on its input. Received: one that is constant.")
            # Settled once and for all: were it asked of every batch, one input could change what another's answer is.
            sample = trace(tf.random.stateless_uniform([_SAMPLES, *input_shape], seed=(0, 0))).numpy()
            if len(sample) != _SAMPLES:
                raise _no_classifier(sample, num_classes)
        except ModelError:
            raise
        except Exception as error:  # A model is anybody's code.
            raise _cannot_take(input_shape, error) from error
        sample = sample.astype(np.float32)
        self._graph = trace.graph
        self.num_classes = output.shape[1]
        self.gives_probabilities = bool((sample >= 0).all() and (np.abs(sample.sum(axis=1) - 1) < _TOLERANCE).all())

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        return self.of_output(self._model(x, training=False))

    def check_gradient(self) -> None:
        """Raises `ModelError` unless logits have a gradient with respect to inputs."""
        try:
            with self._graph.as_default():
                (found,) = tf.gradients(self._graph.outputs, self._graph.inputs[0])
        except LookupError:  # TensorFlow's, for an operation that has none.
            found = None
        if found is None:
            raise ModelError(
                "The model must have a gradient from its output to its input, which attacks follow. Received: one made "
                "of operations that have none, such as argmax."
            )

    def of_output(self, output: tf.Tensor) -> tf.Tensor:
        """The same of what the model said already, in the graph where it did."""
        before_softmax = softmax_input(output)
        if before_softmax is not None:
            return tf.cast(before_softmax, tf.float32)
        output = tf.cast(output, tf.float32)
        return tf.math.log(tf.maximum(output, np.finfo(np.float32).tiny)) if self.gives_probabilities else output


def other_logits(logits: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Logits, shape `(batch, classes)`, that leave one class of each input out: its own is minus infinity."""
    return tf.where(tf.one_hot(y, logits.shape[1], True, False), -np.inf, logits)


def predict_labels(
    model: keras.Model, x: np.ndarray, batch_size: int = 512, num_classes: int | None = None
) -> np.ndarray:
    """The classes that a classifier predicts.

    Args:
        model: The classifier.
        x: Inputs, shape `(batch, *input_shape)`, float32.
        batch_size: How many inputs at a time.
        num_classes: If given, the number of classes that the model must have.

    Returns:
        Shape `(batch,)`, int64; -1 where the model's output is not finite.

    Raises:
        ModelError: If the model cannot take such inputs, or is no such classifier.
    """
    try:
        output = predict(model, x, batch_size)
    except Exception as error:  # A model is anybody's code.
        raise _cannot_take(x.shape[1:], error) from error
    if not isinstance(output, np.ndarray) or len(output) != len(x) or not _is_classifier(output, num_classes):
        raise _no_classifier(output, num_classes)
    return np.where(np.isfinite(output).all(axis=1), output.argmax(axis=1), -1)


def predict(model: keras.Model, x: np.ndarray, batch_size: int = 512) -> Any:
    """What a model says of inputs, as `model.predict`, but quicker for few: without callbacks and a data pipeline.

    Args:
        model: The model.
        x: Inputs, shape `(batch, *input_shape)`, float32.
        batch_size: How many inputs at a time.

    Returns:
        The model's output, as arrays.
    """
    replicas = model.distribute_strategy.num_replicas_in_sync
    if replicas == 1 and len(x):
        parts = [model.predict_on_batch(x[start : start + batch_size]) for start in range(0, len(x), batch_size)]
        return keras.tree.map_structure(lambda *each: np.concatenate(each), *parts)
    # A replica without an input takes one over: not all of TensorFlow's kernels take an empty batch.
    filled = np.concatenate([x, np.repeat(x[-1:], replicas, axis=0)]) if 0 < len(x) % batch_size < replicas else x
    output = model.predict(filled, batch_size=batch_size, verbose=0)
    return keras.tree.map_structure(lambda each: each[: len(x)], output)


def softmax_input(output: tf.Tensor) -> tf.Tensor | None:
    """What a softmax made a symbolic output of, shape `(batch, classes)`; None if it was no softmax."""
    tensor = output
    while tensor.op.type in _PASSING:
        tensor = tensor.op.inputs[0]
    if tensor.op.type != "Softmax" or tensor.shape[-1] != output.shape[-1]:
        return None
    return tf.reshape(tensor.op.inputs[0], tf.shape(output))


def _is_classifier(output: Any, num_classes: int | None) -> bool:
    """Whether an output is one tensor or array of floats, a row for each input and a column for each class."""
    if not hasattr(output, "shape") or not tf.as_dtype(output.dtype).is_floating:
        return False
    shape = tf.TensorShape(output.shape)
    return shape.rank == 2 and (shape[1] or 0) >= 2 and num_classes in (None, shape[1])


def _depends(output: tf.Tensor, given: tf.Tensor) -> bool:
    """Whether a tensor of a graph is computed from another one."""
    seen, pending = set(), [output.op]
    while pending:
        op = pending.pop()
        if op is given.op:
            return True
        if op not in seen:
            seen.add(op)
            pending.extend(tensor.op for tensor in op.inputs)
    return False


def _no_classifier(output: Any, num_classes: int | None = None) -> ModelError:
    wanted = "(batch, classes), with at least 2 classes" if num_classes is None else f"(batch, {num_classes})"
    received = keras.tree.map_structure(_described, output)
    return ModelError(
        f"The model must have one output of shape {wanted}, floating point. Received: {shortened(str(received))}."
    )


def _described(output: Any) -> str:
    if not hasattr(output, "dtype"):
        return type(output).__name__
    return f"{tuple(output.shape)}, {tf.as_dtype(output.dtype).name}"


def _cannot_take(input_shape: Sequence[int], error: Exception) -> ModelError:
    return ModelError(
        f"The model must be a classifier of inputs of shape {tuple(input_shape)}. Received: {reason(error)}"
    )
