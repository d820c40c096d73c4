"""Benign corruptions: what happens to inputs without an adversary.

After the corruptions of MNIST-C (Mu and Gilmer 2019) and CIFAR-10-C (Hendrycks and Dietterich 2019), at strengths
that leave a classifier most of its accuracy. A detector that flags them confuses wear with attack.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from honeykeras import _checks
from honeykeras.ranges import InputRange, RangeLike, quantize

# A corruption takes images in [0, 1], shape (batch, height, width, channels), and a seed, shape (2,).
_Corruption = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]

_BATCH_SIZE = 512


def gaussian_noise(x: tf.Tensor, seed: tf.Tensor, sigma: float = 0.05) -> tf.Tensor:
    """Adds normally distributed noise of standard deviation `sigma`, a share of the input range."""
    return x + sigma * tf.random.stateless_normal(tf.shape(x), seed)


def salt_and_pepper(x: tf.Tensor, seed: tf.Tensor, share: float = 0.02) -> tf.Tensor:
    """Sets a share of the features to either end of the range."""
    u = tf.random.stateless_uniform(tf.shape(x), seed)
    return tf.where(u < share / 2, tf.zeros_like(x), tf.where(u > 1 - share / 2, tf.ones_like(x), x))


def blur(x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Convolves with the binomial kernel of 3 by 3."""
    kernel = np.outer([1, 2, 1], [1, 2, 1]).astype(np.float32) / 16
    filters = tf.tile(kernel[:, :, None, None], [1, 1, tf.shape(x)[-1], 1])
    padded = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], "SYMMETRIC")
    return tf.nn.depthwise_conv2d(padded, filters, [1, 1, 1, 1], "VALID")


def jpeg(x: tf.Tensor, seed: tf.Tensor, quality: int = 75) -> tf.Tensor:
    """Compresses as JPEG."""

    def compress(image: tf.Tensor) -> tf.Tensor:
        channels = [tf.image.adjust_jpeg_quality(image[..., i : i + 1], quality) for i in range(x.shape[-1])]
        return tf.image.adjust_jpeg_quality(image, quality) if x.shape[-1] in (1, 3) else tf.concat(channels, -1)

    return tf.map_fn(compress, x)


def brightness(x: tf.Tensor, seed: tf.Tensor, amount: float = 0.1) -> tf.Tensor:
    """Makes everything brighter by `amount`, a share of the input range."""
    return x + amount


def contrast(x: tf.Tensor, seed: tf.Tensor, factor: float = 0.7) -> tf.Tensor:
    """Draws each image's values together, around their mean."""
    mean = tf.reduce_mean(x, axis=tf.range(1, tf.rank(x)), keepdims=True)
    return mean + factor * (x - mean)


def shift(x: tf.Tensor, seed: tf.Tensor, pixels: int = 1) -> tf.Tensor:
    """Moves each image by `pixels` to the right and down; the edge is repeated."""
    return tf.pad(x, [[0, 0], [pixels, 0], [pixels, 0], [0, 0]], "SYMMETRIC")[:, :-pixels, :-pixels]


_FOR_ALL: Mapping[str, _Corruption] = {"gaussian_noise": gaussian_noise, "salt_and_pepper": salt_and_pepper}
_FOR_IMAGES: Mapping[str, _Corruption] = {
    "blur": blur,
    "jpeg": jpeg,
    "brightness": brightness,
    "contrast": contrast,
    "shift": shift,
}


@functools.lru_cache
def _compiled(name: str, input_shape: tuple[int, ...]) -> _Corruption:
    """A corruption for batches of any size, traced once: clients are simulated one after the other."""
    specs = [tf.TensorSpec((None, *input_shape)), tf.TensorSpec([2], tf.int64)]
    return tf.function({**_FOR_ALL, **_FOR_IMAGES}[name], input_signature=specs, autograph=False)


def names(input_shape: tuple[int, ...]) -> list[str]:
    """The corruptions that there are for inputs of a shape: all for images, the noises for others."""
    return list(_FOR_ALL) + (list(_FOR_IMAGES) if len(input_shape) == 3 else [])


def corrupt(x: np.ndarray, name: str, *, input_range: RangeLike = (0.0, 1.0), seed: int = 0) -> np.ndarray:
    """Applies a corruption, and quantises to 256 levels.

    Args:
        x: Inputs, shape `(batch, *input_shape)`, float32 in `input_range`.
        name: One of `names(input_shape)`.
        input_range: Least and greatest value of an input, or two sequences of those of its features.
        seed: Decides the noise.

    Returns:
        The corrupted inputs, of the shape and dtype of `x`.

    Raises:
        InvalidArgumentError: If there is no such corruption for inputs of that shape.
    """
    x = _checks.array("x", x)
    name = _checks.one_of("name", name, names(x.shape[1:]))
    bounds = InputRange.of(input_range, x.shape[1:])
    seed = _checks.seed(seed)
    apply = _compiled(name, x.shape[1:])
    unit = bounds.to_unit(np.asarray(x, np.float32))
    parts = [
        apply(unit[start : start + _BATCH_SIZE], tf.constant([seed, start], tf.int64)).numpy()
        for start in range(0, len(unit), _BATCH_SIZE)
    ]
    return bounds.from_unit(quantize(np.clip(np.concatenate(parts), 0, 1)))
