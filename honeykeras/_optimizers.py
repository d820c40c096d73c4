"""Optimizers whose variables are there before the first step."""

from __future__ import annotations

import keras


def build(model: keras.Model) -> None:
    """Makes the variables of a model's optimizer, unless they are there.

    Keras leaves them to the first step, which TensorFlow traces twice for it.

    Args:
        model: A compiled model that has its weights.
    """
    if not model.optimizer.built:
        with model.distribute_strategy.scope():
            model.optimizer.build(model.trainable_variables)
