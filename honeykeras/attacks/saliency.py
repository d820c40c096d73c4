"""The best pair of features by a saliency map, found without a table of all pairs."""

from __future__ import annotations

import numpy as np
import tensorflow as tf


def best_pair(alpha: tf.Tensor, beta: tf.Tensor, domain: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Finds the pair p < q that maximises `-(alpha_p + alpha_q) * (beta_p + beta_q)`, exactly as float32 has it.

    Only pairs with `alpha_p + alpha_q > 0` and `beta_p + beta_q < 0` count; of equal ones, the first in the order
    of (p, q). A feature whose alpha or beta is not finite is in no pair. TensorFlow rounds scores below the least
    normal float32 to 0, so that derivatives of 1e-19 and less make ties.

    Sums and products of positive floats never fall when a term grows, so to replace a feature of a pair by one that
    is no worse in both alpha and beta never lowers the score. Hence the best score, and the best that each feature
    can be part of, need a partner from among those features only that have fewer than two such betters: a handful,
    where there may be millions of pairs.

    Args:
        alpha: What each feature does for the target, shape `(batch, features)`, float32.
        beta: What it does for all other classes, in the same shape.
        domain: Which features may be chosen, in the same shape, bool.

    Returns:
        p and q, shape `(batch,)`, int32, and whether there is such a pair at all, shape `(batch,)`, bool. If not, p
        and q mean nothing.
    """
    usable = domain & tf.math.is_finite(alpha) & tf.math.is_finite(beta)
    gain, loss = tf.where(usable, alpha, -np.inf), tf.where(usable, -beta, -np.inf)
    everything = tf.broadcast_to(tf.range(gain.shape[1]), tf.shape(gain))
    partners = _undominated(gain, loss)
    # Of these, the partners in a best pair are two as a rule; only they need be tried with every feature.
    partners = _chosen(partners, _is_greatest(_best_scores(gain, loss, partners, partners)))
    best = _best_scores(gain, loss, everything, partners)
    p = _first(_is_greatest(best))
    q = _first(_is_greatest(_best_scores(gain, loss, everything, p[:, None])))
    return p, q, tf.reduce_max(best, axis=1) > -np.inf


def _best_scores(gain: tf.Tensor, loss: tf.Tensor, features: tf.Tensor, partners: tf.Tensor) -> tf.Tensor:
    """The best score of each of some features with any of some partners; minus infinity where they make no pair.

    Args:
        gain: Alpha of every feature, shape `(batch, all features)`; minus infinity for those not to choose.
        loss: Minus beta, likewise.
        features: Some features of each image, shape `(batch, features)`, int32.
        partners: Others or the same, shape `(batch, partners)`, int32.

    Returns:
        Shape `(batch, features)`, float32.
    """
    feature_gain, feature_loss = (tf.gather(values, features, batch_dims=1) for values in (gain, loss))

    def try_partner(index: tf.Tensor, best: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        partner = partners[:, index, None]
        gains, losses = (
            of_feature + tf.gather(values, partner, batch_dims=1)
            for of_feature, values in ((feature_gain, gain), (feature_loss, loss))
        )
        is_pair = (gains > 0) & (losses > 0) & (features != partner)
        return index + 1, tf.maximum(best, tf.where(is_pair, gains * losses, -np.inf))

    # One partner after another, so that memory stays in proportion to the number of features.
    _, best = tf.while_loop(
        lambda index, _: index < tf.shape(partners)[1], try_partner, (0, tf.fill(tf.shape(features), -np.inf))
    )
    return best


def _undominated(gain: tf.Tensor, loss: tf.Tensor) -> tf.Tensor:
    """The features that fewer than two others outdo, shape `(batch, most of them)`, int32."""
    order = tf.argsort(gain, direction="DESCENDING")
    loss = tf.gather(loss, order, batch_dims=1)
    return _chosen(order, loss > _second_greatest_before(loss))


def _chosen(features: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
    """Some of the features of each image, shape `(batch, most of them)`, int32.

    Where an image has fewer, feature 0 fills the row: to try one partner more changes no maximum.
    """
    return tf.ragged.boolean_mask(features, chosen).to_tensor()


def _second_greatest_before(values: tf.Tensor) -> tf.Tensor:
    """For each value the second greatest of those before it in its row, or minus infinity."""

    def shift(values: tf.Tensor, by: int) -> tf.Tensor:
        return tf.pad(values[:, :-by], [[0, 0], [by, 0]], constant_values=-np.inf)

    greatest, second, span = shift(values, 1), tf.fill(tf.shape(values), -np.inf), 1
    # Of the `span` values before each; the span doubles until it covers the row.
    while span < values.shape[1]:
        before, second_before = shift(greatest, span), shift(second, span)
        second = tf.maximum(tf.minimum(greatest, before), tf.maximum(second, second_before))
        greatest = tf.maximum(greatest, before)
        span *= 2
    return second


def _is_greatest(values: tf.Tensor) -> tf.Tensor:
    """Which values are the greatest of their row."""
    return values == tf.reduce_max(values, axis=1, keepdims=True)


def _first(flags: tf.Tensor) -> tf.Tensor:
    """The index of the first flag of each row that is set, shape `(batch,)`, int32; `tf.argmax` does not promise it."""
    features = flags.shape[1]
    return tf.reduce_min(tf.where(flags, tf.range(features), features - 1), axis=1)
