"""`Watermark`: what a key draws, as TensorFlow operations on batches."""

from __future__ import annotations

import math
from typing import Any, NoReturn

import numpy as np
import tensorflow as tf

from honeykeras import _checks
from honeykeras.description import Description
from honeykeras.errors import InvalidArgumentError, SecretSerializationError
from honeykeras.keys import WatermarkKey


class Watermark:
    """The patterns of a key, and what can be done with them.

    Abdou et al. 2021, HoneyModels, section III-C. All methods work eagerly and inside a `tf.function`, on whole
    batches. A watermark is as secret as its key: its values are constants of whatever graph it is traced into.

    Depending on the key's family there is one pattern for all classes, or one for each. In the second case the
    methods need to know the classes that inputs are led to, as `target`.

    Example:

    ```python
    watermark = hk.Watermark(key)
    marked = watermark.apply(images, amplitude=0.1, target=labels)
    watermark.cosine_similarity(marked - images, labels)  # close to 1
    ```
    """

    def __init__(self, key: WatermarkKey) -> None:
        """Draws the watermark of `key`."""
        _checks.instance("key", key, WatermarkKey, "a WatermarkKey")
        self._begin(key.key_id, key.description, key.draw_codes())

    @classmethod
    def from_codes(cls, key_id: str, description: Description, codes: np.ndarray) -> Watermark:
        """The watermark of a key that is not at hand.

        Args:
            key_id: The key's public name.
            description: What is public about the key.
            codes: The codes of its patterns, as `WatermarkKey.draw_codes` gives them.
        """
        watermark = cls.__new__(cls)
        watermark._begin(key_id, description, codes)
        return watermark

    def _begin(self, key_id: str, description: Description, codes: np.ndarray) -> None:
        self.key_id, self.description = key_id, description
        self.input_shape, self.input_range = description.input_shape, description.input_range
        self._family = description.pattern
        # NumPy on purpose: a tensor would belong to the graph or device it is made in.
        self._codes = codes

    @property
    def all_codes(self) -> np.ndarray:
        """The codes of all patterns, shape `(num_patterns, *code_shape)`, float32: as secret as the key."""
        return self._codes

    @property
    def num_patterns(self) -> int:
        """How many patterns there are: one, or one for each class."""
        return len(self._codes)

    def patterns(self, target: tf.Tensor | None = None) -> tf.Tensor:
        """The patterns that lead to classes.

        Args:
            target: The classes, shape `(batch,)`. None stands for all patterns, one by one.

        Returns:
            Shape `(batch, *input_shape)`, float32 in {-1, 0, +1}.
        """
        codes = self._codes if target is None else self.codes(target)
        return self._family.expand(tf.convert_to_tensor(codes), self.input_shape)

    def codes(self, target: tf.Tensor) -> tf.Tensor:
        """The codes of those patterns in the space of the key's family, shape `(batch, *code_shape)`."""
        target = self._check_target(target)
        return tf.gather(self._codes, target if self.num_patterns > 1 else tf.zeros_like(target))

    @property
    def code_size(self) -> int:
        """How many dimensions the space of the key's family has."""
        return self._codes[0].size

    def expand(self, codes: tf.Tensor) -> tf.Tensor:
        """Spreads flat codes, shape `(batch, code_size)`, over inputs: shape `(batch, *input_shape)`."""
        return self._family.expand(tf.reshape(codes, [-1, *self._codes.shape[1:]]), self.input_shape)

    def project(self, x: tf.Tensor) -> tf.Tensor:
        """What an input is in the space of the key's family, shape `(batch, *code_shape)`."""
        return self._family.project(x)

    def apply(self, x: tf.Tensor, amplitude: float | tf.Tensor, target: tf.Tensor | None = None) -> tf.Tensor:
        """Adds a pattern to each input and clips to the input range.

        At an amplitude of the range's full width this overwrites the pattern's features with the range's end, as
        the paper's recipe does; below that it is a perturbation, which the paper's overwriting is not.

        Args:
            x: Shape `(batch, *input_shape)`, floating point in the input range.
            amplitude: How far each feature is moved, as a share of the width of the input range: a scalar, or one
                value for each input, of shape `(batch,)`. Zero leaves an input as it is.
            target: The class that each input is led to, shape `(batch,)`. Not needed where there is one pattern.

        Returns:
            The watermarked inputs, of the shape and dtype of `x`.
        """
        x = self._check("x", x)
        amplitude = tf.convert_to_tensor(
            amplitude if tf.is_tensor(amplitude) else _checks.array("amplitude", amplitude)
        )
        if not (amplitude.dtype.is_floating or amplitude.dtype.is_integer) or (amplitude.shape.rank or 0) > 1:
            raise InvalidArgumentError(
                "`amplitude` must be a number, or one for each input. "
                f"Received: {amplitude.dtype.name} of shape {amplitude.shape}."
            )
        amplitude = tf.cast(amplitude, x.dtype)
        if amplitude.shape.rank:
            amplitude = tf.reshape(amplitude, [-1] + [1] * len(self.input_shape))
        low, high = self.input_range.ends(x.dtype.as_numpy_dtype)
        pattern = tf.cast(self.patterns(self._targets(target)), x.dtype)
        return tf.clip_by_value(x + amplitude * (high - low) * pattern, low, high)

    def extract(self, x: tf.Tensor) -> tf.Tensor:
        """Gathers the key's features.

        Args:
            x: Shape `(batch, *input_shape)`.

        Returns:
            Shape `(batch, num_features)`, dtype of `x`.
        """
        x = self._check("x", x)
        return tf.gather(tf.reshape(x, [-1, math.prod(self.input_shape)]), self._features, axis=1)

    def scatter(self, values: np.ndarray) -> np.ndarray:
        """The opposite of `extract`, for one value of each of the key's features.

        Args:
            values: Shape `(num_features,)`.

        Returns:
            Shape `(features,)`: the values where the key's features are in a flattened input, zero elsewhere.
        """
        flat = np.zeros(math.prod(self.input_shape), np.asarray(values).dtype)
        flat[self._features] = values
        return flat

    @property
    def num_features(self) -> int:
        """How many features carry the watermark."""
        return len(self._features)

    def cosine_similarity(self, delta: tf.Tensor, target: tf.Tensor | None = None) -> tf.Tensor:
        """How much of the watermark an attack reconstructed (section III-C.3).

        Args:
            delta: What the attack added, `x_adv - x`, shape `(batch, *input_shape)`. Not the adversarial image
                itself: clean images resemble many a pattern.
            target: The class that each input was led to: the one that the model now predicts. Shape `(batch,)`. Not
                needed where there is one pattern.

        Returns:
            Cosine of the angle between each delta and the pattern of its class, shape `(batch,)`, float32 in
            [-1, 1]; zero for a delta of zero.
        """
        delta = tf.cast(self._check("delta", delta), tf.float32) / self.input_range.width
        return cosine(delta, self.patterns(self._targets(target)))

    @property
    def _features(self) -> np.ndarray:
        with tf.init_scope():
            return np.flatnonzero(np.abs(self.patterns().numpy()).max(axis=0))

    def _targets(self, target: tf.Tensor | None) -> tf.Tensor:
        if target is not None:
            return target
        if self.num_patterns > 1:
            raise InvalidArgumentError(
                f"`target` must say to which class each input is led: this key has {self.num_patterns} patterns, one "
                "for each class. Received: None."
            )
        return tf.zeros([1], tf.int64)

    def _check_target(self, target: Any) -> tf.Tensor:
        target = tf.convert_to_tensor(target if tf.is_tensor(target) else _checks.array("target", target))
        if target.shape.rank not in (None, 1) or not target.dtype.is_integer:
            raise InvalidArgumentError(
                "`target` must hold class indices, of shape (batch,). "
                f"Received: {target.dtype.name} of shape {target.shape}."
            )
        return target

    def _check(self, name: str, x: tf.Tensor) -> tf.Tensor:
        x = tf.convert_to_tensor(x if tf.is_tensor(x) else _checks.array(name, x))
        if not x.shape.is_compatible_with([None, *self.input_shape]) or not x.dtype.is_floating:
            expected = f"(batch, {', '.join(map(str, self.input_shape))})"
            raise InvalidArgumentError(
                f"`{name}` must be floating point of shape {expected}. Received: {x.dtype.name} of shape {x.shape}."
            )
        return x

    def __repr__(self) -> str:
        return f"Watermark(key_id={self.key_id!r}, num_patterns={self.num_patterns})"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise SecretSerializationError(
            "A Watermark cannot be pickled or copied. Build it from its key where it is needed."
        )


def cosine(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Cosine of the angle between each of two batches' entries, shape `(batch,)`; zero where either is zero."""
    axes = list(range(1, len(a.shape)))
    return tf.reduce_sum(tf.math.l2_normalize(a, axes) * tf.math.l2_normalize(b, axes), axes)
