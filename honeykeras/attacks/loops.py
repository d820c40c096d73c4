"""Compiled loops: their bodies, and images that leave as soon as they are done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import tensorflow as tf

# Smaller batches are filled up to this with copies. For very small ones the kernels of convolutions and products sum in
# another order, and hundreds of steps make of the last bit another outcome; from here on, what was measured is bitwise
# the same for an image in whatever company.
_SMALLEST = 16

State = TypeVar("State")
Given = TypeVar("Given")


def loop_body(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles what a loop does with the model, forward and backward, as a function apart.

    Inlined into the graph of a loop, some gradients miss TensorFlow's faster kernels: oneDNN's for max pooling is
    chosen only where the forward pass was seen first, and a loop has no first. That cost a third of the speed of a
    small convolutional net on a CPU.
    """
    return tf.function(function, autograph=False, experimental_attributes={"_noinline": True})


def repeat(function: Callable[[tf.Tensor], tf.Tensor], times: tf.Tensor | int, start: tf.Tensor) -> tf.Tensor:
    """What a function makes of a tensor that is put into it so many times; compiled as `loop_body` says."""
    body = loop_body(function)
    _, found = tf.while_loop(lambda count, _: count < times, lambda count, at: (count + 1, body(at)), (0, start))
    return found


def run_until_done(
    advance: Callable[[State, Given], State],
    running: Callable[[State], tf.Tensor],
    state: State,
    given: Given,
) -> State:
    """Advances the images of a batch again and again, those alone that are not done.

    Args:
        advance: Takes the state and what is given for some images, and returns their next state. It runs in graph
            mode, and what becomes of one image must not depend on the others.
        running: Which images of a state are not done, shape `(batch,)`, bool.
        state: What changes: a nest of tensors whose first dimension is the batch.
        given: What stays the same: another such nest.

    Returns:
        The state of all images when the last is done.
    """

    def pack(state: State) -> tuple[State]:
        left = tf.where(running(state))
        count = tf.shape(left)[0]
        filled = tf.concat([left, tf.repeat(left[:1], tf.maximum(_SMALLEST - count, 0), axis=0)], axis=0)
        part = advance(*tf.nest.map_structure(lambda whole: tf.gather_nd(whole, filled), (state, given)))
        return (
            tf.nest.map_structure(
                lambda whole, new: tf.tensor_scatter_nd_update(whole, left, new[:count]), state, part
            ),
        )

    (state,) = tf.while_loop(lambda state: tf.reduce_any(running(state)), pack, (state,))
    return state


def column(values: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """Shapes one value an image, `(batch,)`, so that it broadcasts over the features of `like`."""
    return tf.reshape(values, [-1] + [1] * (like.shape.rank - 1))
