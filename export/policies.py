"""What a client is told of an input that is flagged."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import tensorflow as tf


def observe(outputs: tf.Tensor) -> tf.Tensor:
    """The answer as it is: flags are for operators alone."""
    return outputs


def reject(outputs: tf.Tensor) -> tf.Tensor:
    """All zeros: no class at all, openly. A row that clients can read, unlike NaN, which JSON does not have."""
    return tf.zeros_like(outputs)


def uniform(outputs: tf.Tensor) -> tf.Tensor:
    """All classes alike, as of a model that cannot tell; so they are as logits, too."""
    return tf.ones_like(outputs) / tf.cast(tf.shape(outputs)[1], outputs.dtype)


def decoy(outputs: tf.Tensor) -> tf.Tensor:
    """The two most probable classes change places: an attack seems to have failed, as surely as it succeeded.

    It says the same every time, so that asking again tells nothing.
    """
    values, classes = tf.math.top_k(outputs, 2)
    every = tf.range(tf.shape(outputs)[1])[None]
    with_second = tf.where(tf.equal(every, classes[:, 1:]), values[:, :1], outputs)
    return tf.where(tf.equal(every, classes[:, :1]), values[:, 1:], with_second)


POLICIES: Mapping[str, Callable[[tf.Tensor], tf.Tensor]] = {
    policy.__name__: policy for policy in (observe, reject, decoy, uniform)
}
"""What makes an answer of the model's logits or probabilities, shape `(batch, num_classes)`, by name."""


def answer(policy: str, outputs: tf.Tensor, flag: tf.Tensor) -> tf.Tensor:
    """What the model says where nothing is flagged, and what a policy makes of it where something is."""
    return tf.where(flag[:, None], POLICIES[policy](outputs), outputs)
