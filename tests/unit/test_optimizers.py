"""Optimizers whose variables are there before the first step."""

import keras
import numpy as np

from honeykeras import _optimizers


def test_the_first_step_is_traced_once():
    traced = []

    class Counting(keras.layers.Layer):
        def call(self, x):
            traced.append(x)
            return x

    model = keras.Sequential([keras.Input((4,)), Counting(), keras.layers.Dense(2)])
    model.compile("adam", "mse")
    _optimizers.build(model)
    traced.clear()
    model.fit(np.zeros((8, 4)), np.zeros((8, 2)), verbose=0)
    assert len(traced) == 1


def test_what_is_there_stays():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    model.compile("adam", "mse")
    model.fit(np.ones((8, 4)), np.ones((8, 2)), verbose=0)
    before = [variable.numpy().copy() for variable in model.optimizer.variables]
    _optimizers.build(model)
    assert all(map(np.array_equal, before, model.optimizer.variables))
