"""The Jacobian-based saliency map attack, written as it is defined and without regard to its cost."""

from __future__ import annotations

import math

import keras
import numpy as np
import tensorflow as tf


def jsma(model: keras.Model, x: np.ndarray, target: np.ndarray, theta: float, gamma: float) -> np.ndarray:
    """Algorithms 2 and 3 of Papernot et al. 2016 on logits, for `theta` above 0 and inputs in [0, 1].

    A feature leaves the domain once it is used. Of pairs with equal scores, the first counts.
    """
    derivatives = _derivatives(model, target)
    x_adv = x.reshape(len(x), -1).copy()
    domain, running = x_adv < 1, np.ones(len(x), bool)
    for _ in range(math.floor(x_adv.shape[1] * gamma / 2)):
        predicted, alpha, beta = derivatives(x_adv.reshape(x.shape))
        running &= predicted != target
        for image in np.flatnonzero(running):
            pair = _best_pair(alpha[image], beta[image], domain[image])
            if pair is None:
                running[image] = False
                continue
            x_adv[image, pair] = np.minimum(x_adv[image, pair] + np.float32(theta), 1)
            domain[image, pair] = False
    return x_adv.reshape(x.shape)


def _best_pair(alpha: np.ndarray, beta: np.ndarray, domain: np.ndarray) -> list[int] | None:
    gain, loss = alpha[:, None] + alpha, beta[:, None] + beta
    allowed = (gain > 0) & (loss < 0) & domain[:, None] & domain & ~np.eye(len(domain), dtype=bool)
    if not allowed.any():
        return None
    return list(np.unravel_index(np.where(allowed, -gain * loss, -np.inf).argmax(), gain.shape))


def _derivatives(model: keras.Model, target: np.ndarray):
    """A function to what the model predicts, and the derivatives of the target's logit and of all others' sum."""
    is_target = tf.one_hot(target, model.output_shape[1])

    @tf.function
    def differentiate(x):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(x)
            logits = model(x, training=False)
            wanted, others = tf.reduce_sum(logits * is_target), tf.reduce_sum(logits * (1 - is_target))
        return tf.argmax(logits, axis=1), tape.gradient(wanted, x), tape.gradient(others, x)

    def run(x: np.ndarray) -> tuple[np.ndarray, ...]:
        predicted, alpha, beta = (result.numpy() for result in differentiate(tf.constant(x)))
        return predicted, alpha.reshape(len(x), -1), beta.reshape(len(x), -1)

    return run
