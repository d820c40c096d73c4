"""What a client is told of an input that is flagged."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import tensorflow as tf

from honeykeras import names

PERIOD = 1.0
"""The length of the intervals of `mislead`, in units of logits: short enough that an attack meets several, long enough
that most of its steps are within one."""
TIE = 1e-3
"""That far at least the first class stays before the second."""
LEAST = 1e-30
ROUNDING = 1e-3


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


def mislead(outputs: tf.Tensor) -> tf.Tensor:
    """The label stays, and how sure the model is of it goes up where it goes down.

    The margin of the first class before the second is turned round within intervals of a fixed length, so that who
    climbs by scores climbs the wrong way (Chen et al. 2022, Adversarial Attack on Attackers). Who looks at labels sees
    nothing, and a clean input that is flagged by mistake keeps its label.
    """
    values, classes = tf.math.top_k(outputs, 2)
    first, second = values[:, :1], values[:, 1:]
    total = first + second
    sums_to_one = tf.abs(tf.reduce_sum(outputs, axis=1, keepdims=True) - 1) < ROUNDING
    are_probabilities = sums_to_one & tf.reduce_all(outputs >= 0, axis=1, keepdims=True)
    least = tf.constant(LEAST, outputs.dtype)
    ratio = tf.math.log(tf.maximum(first, least)) - tf.math.log(tf.maximum(second, least))
    margin = tf.where(are_probabilities, ratio, first - second)
    turned = tf.maximum((2 * tf.floor(margin / PERIOD) + 1) * PERIOD - margin, TIE)
    share = tf.where(are_probabilities, tf.sigmoid(turned) * total, (total + turned) / 2)
    every = tf.range(tf.shape(outputs)[1])[None]
    with_second = tf.where(tf.equal(every, classes[:, 1:]), total - share, outputs)
    return tf.where(tf.equal(every, classes[:, :1]), share, with_second)


DEFAULT = names.POLICIES[0]
"""The one that nobody sees who looks at labels, and that leaves a clean input's label as it is."""

POLICIES: Mapping[str, Callable[[tf.Tensor], tf.Tensor]] = {
    policy.__name__: policy for policy in (mislead, observe, reject, decoy, uniform)
}
"""What makes an answer of the model's logits or probabilities, shape `(batch, num_classes)`, by name."""


def answer(policy: str, outputs: tf.Tensor, flag: tf.Tensor) -> tf.Tensor:
    """What the model says where nothing is flagged, and what a policy makes of it where something is."""
    return tf.where(flag[:, None], POLICIES[policy](outputs), outputs)
