"""`TrapdoorDetector`: signatures of a model's neurons, to compare with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from honeykeras.detection.base import CalibratedDetector
from honeykeras.detection.samples import Samples
from honeykeras.errors import ModelError
from honeykeras.outputs import predict_labels

_BATCH_SIZE = 512

# Strengths at which patterns are tried, as shares of the input range, and the share of inputs that must follow one.
_AMPLITUDES = (1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
_FOLLOWING = 0.9

# Inputs that signatures are means over, in all classes together and in each, at most and at least.
_MOST_MARKED, _LEAST_MARKED = 4000, 20

# Clean inputs of a class that its own mean and deviation take.
_LEAST_CLEAN = 10

# What may stand between a classifier's last multiplications and its output.
_PASSING = ("AddV2", "Add", "BiasAdd", "Identity", "Cast", "Reshape", "Squeeze", "Softmax", "Log", "Maximum")


class TrapdoorDetector(CalibratedDetector):
    """Shan et al.'s detector: whether an input moves the model's neurons as a watermark does.

    The signature of a class is the mean of the activations before the model's last layer, over clean inputs that carry
    the pattern of that class. An input is judged by the cosine of its own activations with the signature of the class
    that the model predicts.

    Shan et al. 2020, Gotta Catch 'Em All: Using Honeypots to Catch Adversarial Attacks on Neural Networks, section 5,
    has a threshold for each class; here cosines are normalised by those of clean inputs of the class, and one
    threshold is calibrated for all. The trapdoors are this package's watermarks, as faint as the model still follows
    them, since it was trained with no others.

    What it finds is no evidence of the key: that model and pattern go together is shown by wrong keys alone.
    """

    name: ClassVar[str] = "trapdoor"
    key_specific: ClassVar[bool] = False
    needs_adversarial: ClassVar[bool] = False

    def fit(
        self, model: keras.Model, samples: Samples | np.ndarray | None = None, *, seed: int = 0, verbose: int = 0
    ) -> TrapdoorDetector:
        """Takes the signatures.

        Args:
            model: The classifier whose queries are judged. Its last layer must be dense, or a sum of dense ones.
            samples: Clean inputs, shape `(n, *input_shape)`, floating point in the key's input range; held-out ones
                if there are any.
            seed: Changes nothing: nothing is random in it.
            verbose: Changes nothing: it takes no time.

        Returns:
            The detector itself. A threshold set before no longer holds.

        Raises:
            InvalidArgumentError: If the inputs have the wrong shape, dtype or range.
            ModelError: If the model is no classifier of the key's inputs and classes, has no such last layer, or hides
                it, as one from a SavedModel does.
        """
        self._check_model(model)
        clean = self._check("samples", Samples.of(samples).unseen(self.name))
        activations = _Activations(model)
        classes = np.arange(self.num_classes)
        amplitude = self._amplitude(model, clean)
        each = clean[: max(_MOST_MARKED // self.num_classes, _LEAST_MARKED)]
        signatures = np.stack(
            [
                activations.predict(self.watermark.apply(each, amplitude, np.full(len(each), target)).numpy()).mean(0)
                for target in classes
            ]
        )
        signatures /= np.maximum(np.linalg.norm(signatures, axis=1, keepdims=True), 1e-12)
        found = activations.predict(clean)
        cosines = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12) @ signatures.T
        predicted = predict_labels(model, clean)
        own = [cosines[predicted == target, target] for target in classes]
        # A class that clean inputs hardly have goes by all of them.
        usual = [each if len(each) >= _LEAST_CLEAN else cosines[:, target] for target, each in enumerate(own)]
        centers = [values.mean() for values in usual]
        scales = [max(values.std(), 1e-6) for values in usual]
        self._activations = activations
        self._set(model, np.concatenate([signatures.ravel(), centers, scales]))
        return self

    def check_fits(self, model: keras.Model) -> None:
        _Activations(model)(tf.zeros([1, *self.watermark.input_shape]))

    def build_networks(self, model: keras.Model, config: Mapping[str, Any]) -> None:
        self._activations = _Activations(model)

    def statistic(self, x: tf.Tensor, outputs: tf.Tensor, secret: tf.Tensor) -> tf.Tensor:
        classes = self.num_classes
        signatures = tf.reshape(secret[: -2 * classes], [classes, -1])
        centers, scales = secret[-2 * classes : -classes], secret[-classes:]
        found = tf.math.l2_normalize(tf.cast(self._activations(x), tf.float64), axis=1)
        predicted = tf.argmax(outputs, axis=1)
        cosines = tf.reduce_sum(found * tf.gather(signatures, predicted), axis=1)
        return (cosines - tf.gather(centers, predicted)) / tf.gather(scales, predicted)

    def _amplitude(self, model: keras.Model, clean: np.ndarray) -> float:
        """The least strength at which the model follows the patterns; the greatest if it follows none."""
        clean = clean[:_BATCH_SIZE]
        targets = np.arange(len(clean)) % self.num_classes
        for amplitude in _AMPLITUDES:
            marked = self.watermark.apply(clean, amplitude, targets).numpy()
            if np.mean(predict_labels(model, marked) == targets) >= _FOLLOWING:
                return amplitude
        return _AMPLITUDES[-1]


class _Activations:
    """What a classifier's last multiplications take, side by side, shape `(batch, neurons)`, float32."""

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        # A graph even where it is called outside of one: operations are to be walked.
        self._run = tf.function(self._walk, autograph=False, reduce_retracing=True)

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        return self._run(x)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The same of many inputs, float64."""
        parts = [self(x[start : start + _BATCH_SIZE]).numpy() for start in range(0, len(x), _BATCH_SIZE)]
        return np.concatenate(parts).astype(np.float64)

    def _walk(self, x: tf.Tensor) -> tf.Tensor:
        output = self._model(x, training=False)
        found, rest = [], [output]
        while rest:
            op = rest.pop().op
            if op.type == "MatMul":
                found.append(tf.cast(op.inputs[0], tf.float32))
            elif op.type in _PASSING:
                rest.extend(op.inputs)
        if not found:
            raise ModelError(
                "The model must end in dense layers for signatures of its neurons, and be a Keras model rather than "
                f"one from a SavedModel. Received: an output of {output.op.type!r}."
            )
        return tf.concat(found, axis=1)
