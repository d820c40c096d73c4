"""Reading the key off a model: what an attacker gets by averaging perturbations, or gradients.

Averages over images leave what images share: the way to a class that the honeypot gave the model.
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from honeykeras.attacks import AdversarialExamples
from honeykeras.outputs import Logits, predict_labels
from honeykeras.ranges import UNIT, InputRange

_BATCH_SIZE = 256


def from_perturbations(model: keras.Model, examples: AdversarialExamples) -> np.ndarray:
    """Estimates of the patterns: for each class, the mean direction of the perturbations that led there.

    Args:
        model: The classifier that was attacked.
        examples: What an attack made.

    Returns:
        Shape `(num_classes, *input_shape)`, float32, in widths of the input range; zero for a class to which nothing
        was led.
    """
    # Of all, as there may be no successful ones, and no model takes an empty batch.
    led_to = predict_labels(model, examples.x_adv)
    directions = _unit((examples.x_adv - examples.x) / examples.input_range.width)
    classes = range(int(model.output_shape[-1]))
    return _unit(np.stack([directions[examples.success & (led_to == target)].sum(axis=0) for target in classes]))


def from_gradients(
    model: keras.Model, x: np.ndarray, y: np.ndarray | None = None, *, input_range: InputRange = UNIT
) -> np.ndarray:
    """Estimates of the patterns: for each class, the mean direction in which inputs of the others get there fastest.

    Args:
        model: The classifier.
        x: Inputs, shape `(n, *input_shape)`.
        y: The classes to get away from, shape `(n,)`; None stands for all but the one to reach.
        input_range: Least and greatest value of an input.

    Returns:
        Shape `(num_classes, *input_shape)`, float32, in widths of the input range.
    """
    logits = Logits(model, x.shape[1:])
    classes = logits.num_classes
    away = np.full([len(x), classes], 1 / classes, np.float32) if y is None else np.eye(classes, dtype=np.float32)[y]

    @tf.function(autograph=False, reduce_retracing=True)
    def total_direction(x: tf.Tensor, away: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(x)
            lead = tf.reduce_sum(logits(x) * (tf.one_hot(target, classes) - away))
        axes = list(range(1, len(x.shape)))
        from_others = tf.cast(tf.argmax(away, axis=1) != target, tf.float32) if y is not None else 1.0
        directions = tf.math.l2_normalize(tape.gradient(lead, x) * input_range.width, axes)
        return tf.tensordot(from_others * tf.ones(tf.shape(x)[0]), directions, 1)

    estimates = np.zeros([classes, *x.shape[1:]], np.float32)
    for start in range(0, len(x), _BATCH_SIZE):
        batch = tf.constant(x[start : start + _BATCH_SIZE]), tf.constant(away[start : start + _BATCH_SIZE])
        for target in range(classes):
            estimates[target] += total_direction(*batch, tf.constant(target, tf.int64)).numpy()
    return _unit(estimates)


def _unit(vectors: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(vectors.reshape(len(vectors), -1), axis=1)
    return vectors / np.maximum(norms, 1e-12).reshape(-1, *[1] * (vectors.ndim - 1)).astype(np.float32)
