"""`Watermark`: what a key draws, as TensorFlow operations on batches."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
import tensorflow as tf

from honeykeras.errors import InvalidArgumentError, SecretSerializationError
from honeykeras.keys import WatermarkKey


class Watermark:
    """The pattern of a key, and what can be done with it.

    Abdou et al. 2021, HoneyModels, section III-C. All methods work eagerly and inside a `tf.function`, on whole
    batches. A watermark is as secret as its key: its values are constants of whatever graph it is traced into.

    Example:

    ```python
    watermark = hk.Watermark(key)
    marked = watermark.apply(images, amplitude=1.0)
    watermark.cosine_similarity(marked - images)  # close to 1
    ```
    """

    def __init__(self, key: WatermarkKey) -> None:
        """Draws the watermark of `key`."""
        self.key_id = key.key_id
        self.input_shape = key.input_shape
        self.input_range = key.input_range
        # NumPy on purpose: a tensor would belong to the graph or device it is made in.
        (self._pattern,) = key.draw_patterns()
        self._features = np.flatnonzero(self._pattern)

    @property
    def num_features(self) -> int:
        """How many features carry the watermark."""
        return len(self._features)

    def apply(self, x: tf.Tensor, amplitude: float | tf.Tensor) -> tf.Tensor:
        """Adds the pattern to each input and clips to the input range.

        At an amplitude of the range's full width this overwrites the key's features with the range's end, as
        the paper's recipe does; below that it is a perturbation, which the paper's overwriting is not.

        Args:
            x: Shape `(batch, *input_shape)`, floating point in the input range.
            amplitude: How far each feature is moved, in input units: a scalar, or one value for each input, of
                shape `(batch,)`. Zero leaves an input as it is.

        Returns:
            The watermarked inputs, of the shape and dtype of `x`.
        """
        x = self._check("x", x)
        amplitude = tf.cast(amplitude, x.dtype)
        if amplitude.shape.rank:
            amplitude = tf.reshape(amplitude, [-1] + [1] * len(self.input_shape))
        return tf.clip_by_value(x + amplitude * tf.cast(self._pattern, x.dtype), *self.input_range)

    def extract(self, x: tf.Tensor) -> tf.Tensor:
        """Gathers the key's features.

        Args:
            x: Shape `(batch, *input_shape)`.

        Returns:
            Shape `(batch, num_features)`, dtype of `x`.
        """
        x = self._check("x", x)
        return tf.gather(tf.reshape(x, [-1, self._pattern.size]), self._features, axis=1)

    def scatter(self, values: np.ndarray) -> np.ndarray:
        """The opposite of `extract`, for one value of each of the key's features.

        Args:
            values: Shape `(num_features,)`.

        Returns:
            Shape `(features,)`: the values where the key's features are in a flattened input, zero elsewhere.
        """
        flat = np.zeros(self._pattern.size, np.asarray(values).dtype)
        flat[self._features] = values
        return flat

    def cosine_similarity(self, delta: tf.Tensor) -> tf.Tensor:
        """How much of the watermark an attack reconstructed (section III-C.3).

        Args:
            delta: What the attack added, `x_adv - x`, shape `(batch, *input_shape)`. Not the adversarial image
                itself: clean images resemble many a pattern.

        Returns:
            Cosine of the angle between each delta and the watermark, shape `(batch,)`, float32 in [-1, 1]; zero
            for a delta of zero.
        """
        delta = tf.reshape(tf.cast(self._check("delta", delta), tf.float32), [-1, self._pattern.size])
        unit = self._pattern.ravel() / np.linalg.norm(self._pattern)
        return tf.linalg.matvec(tf.math.l2_normalize(delta, axis=1), unit)

    def _check(self, name: str, x: tf.Tensor) -> tf.Tensor:
        x = tf.convert_to_tensor(x)
        if not x.shape.is_compatible_with([None, *self.input_shape]) or not x.dtype.is_floating:
            expected = f"(batch, {', '.join(map(str, self.input_shape))})"
            raise InvalidArgumentError(
                f"`{name}` must be floating point of shape {expected}. Received: {x.dtype.name} of shape {x.shape}."
            )
        return x

    def __repr__(self) -> str:
        return f"Watermark(key_id={self.key_id!r}, num_features={self.num_features})"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise SecretSerializationError(
            "A Watermark cannot be pickled or copied. Build it from its key where it is needed."
        )
