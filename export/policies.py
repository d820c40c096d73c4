"""What a client is told of an input that is flagged."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import tensorflow as tf


def observe(probabilities: tf.Tensor) -> tf.Tensor:
    """The answer as it is: flags are for operators alone."""
    return probabilities


def reject(probabilities: tf.Tensor) -> tf.Tensor:
    """All zeros: no class at all, openly. A row that clients can read, unlike NaN, which JSON does not have."""
    return tf.zeros_like(probabilities)


def uniform(probabilities: tf.Tensor) -> tf.Tensor:
    """All classes alike, as of a model that cannot tell."""
    return tf.ones_like(probabilities) / tf.cast(tf.shape(probabilities)[1], probabilities.dtype)


def decoy(probabilities: tf.Tensor) -> tf.Tensor:
    """The two most probable classes change places: an attack seems to have failed, as surely as it succeeded.

    It says the same every time, so that asking again tells nothing.
    """
    values, classes = tf.math.top_k(probabilities, 2)
    every = tf.range(tf.shape(probabilities)[1])[None]
    with_second = tf.where(tf.equal(every, classes[:, 1:]), values[:, :1], probabilities)
    return tf.where(tf.equal(every, classes[:, :1]), values[:, 1:], with_second)


POLICIES: Mapping[str, Callable[[tf.Tensor], tf.Tensor]] = {
    policy.__name__: policy for policy in (observe, reject, decoy, uniform)
}
"""What makes an answer of the model's probabilities, shape `(batch, num_classes)`, by name."""


def answer(policy: str, probabilities: tf.Tensor, flag: tf.Tensor) -> tf.Tensor:
    """The model's probabilities where nothing is flagged, and what a policy makes of them where something is."""
    return tf.where(flag[:, None], POLICIES[policy](probabilities), probabilities)
