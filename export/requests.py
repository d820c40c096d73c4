"""What becomes of a request before a model sees it.

Kernels trust their inputs: some end the process on a tensor of another rank, or on an empty one. So each signature
first states in its graph what it takes, and whatever else arrives is answered with an error. All artifacts do so with
the same operations, so that an error does not tell one from another.
"""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from honeykeras.ranges import InputRange

_PNG = np.frombuffer(b"\x89PNG\r\n\x1a\n", np.uint8)
_JPEG = np.frombuffer(b"\xff\xd8\xff", np.uint8)
# Signature, length and name of the first chunk, then width and height, four bytes each, greatest first.
_PNG_HEADER_BYTES = 24
_BIG_ENDIAN = np.array([2**24, 2**16, 2**8, 1], np.int64)


def checked(tensor: tf.Tensor, *shape: int) -> tf.Tensor:
    """A batch of elements of a shape; an error, where it has another shape or is empty.

    Args:
        tensor: What arrived. Its static shape may say more than is true of it.
        *shape: The shape of one element.
    """
    tensor = tf.ensure_shape(tensor, [None, *shape])
    with tf.control_dependencies([_must(tf.shape(tensor)[0] > 0, "A request must hold at least one input")]):
        return tf.identity(tensor)


def numbers(x: tf.Tensor, input_shape: tuple[int, ...], input_range: InputRange | None) -> tf.Tensor:
    """Inputs as a model takes them.

    Each input is mended on its own, so that one does not spoil the answers to others.

    Args:
        x: What arrived as `(batch, *input_shape)`, float32.
        input_shape: Shape of one input.
        input_range: What values are clipped to; what is no number becomes the least. None leaves all as it is.
    """
    x = checked(x, *input_shape)
    if input_range is None:
        return x
    low, high = input_range.ends()
    return tf.where(tf.math.is_nan(x), low, tf.clip_by_value(x, low, high))


def images(content: tf.Tensor, input_shape: tuple[int, ...], input_range: InputRange) -> tf.Tensor:
    """Images of PNG or JPEG files that have the size of inputs, in the range of inputs.

    Args:
        content: What arrived as the files' content, `(batch,)`, string.
        input_shape: Shape of one input.
        input_range: Where 0 and 255 are taken to.
    """
    height, width, channels = input_shape

    def decode(content: tf.Tensor) -> tf.Tensor:
        # A small file can hold an image that fills the memory: it is decoded if its header says the right size.
        same_size = tf.reduce_all(tf.equal(_image_size(content), [height, width]))
        with tf.control_dependencies([_must(same_size, f"Images must have {height} x {width} pixels")]):
            image = tf.io.decode_image(content, channels=channels, expand_animations=False)
        return tf.ensure_shape(image, input_shape)

    # Kernels that decode are the CPU's alone; scaling is not.
    pixels = tf.map_fn(decode, checked(content), fn_output_signature=tf.TensorSpec(input_shape, tf.uint8))
    return input_range.from_unit(tf.cast(pixels, tf.float32) / 255)


def examples(serialized: tf.Tensor, input_shape: tuple[int, ...]) -> tf.Tensor:
    """Inputs of serialized `tf.train.Example`s, each with a feature `inputs`.

    Args:
        serialized: What arrived as such, `(batch,)`, string.
        input_shape: Shape of one input.
    """
    feature = tf.io.FixedLenFeature([math.prod(input_shape)], tf.float32)
    flat = tf.io.parse_example(checked(serialized), {"inputs": feature})["inputs"]
    return tf.reshape(flat, [-1, *input_shape])


def _image_size(content: tf.Tensor) -> tf.Tensor:
    """Height and width that the header of a PNG or JPEG file says, int64."""
    # Shorter files are filled up with zeros.
    header = tf.io.decode_raw(content, tf.uint8, fixed_length=_PNG_HEADER_BYTES)
    is_png, is_jpeg = (tf.reduce_all(tf.equal(header[: len(magic)], magic)) for magic in (_PNG, _JPEG))

    def of_png() -> tf.Tensor:
        sizes = tf.reshape(tf.cast(header[-8:], tf.int64), [2, 4])
        return tf.reverse(tf.linalg.matvec(sizes, _BIG_ENDIAN), [0])

    def of_jpeg() -> tf.Tensor:
        return tf.cast(tf.io.extract_jpeg_shape(content)[:2], tf.int64)

    with tf.control_dependencies([_must(is_png | is_jpeg, "Images must be PNG or JPEG files")]):
        return tf.cond(is_png, of_png, of_jpeg)


def _must(condition: tf.Tensor, rule: str) -> tf.Operation:
    return tf.debugging.Assert(condition, [rule])
