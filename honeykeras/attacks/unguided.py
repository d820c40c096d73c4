"""Attacks that look at nothing: random noise, stripes and blocks."""

from __future__ import annotations

import abc
import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from honeykeras import _checks, random_patterns
from honeykeras.attacks.base import Attack, Perturbed
from honeykeras.outputs import Logits, LogitsFunction
from honeykeras.ranges import RangeLike

# How many pixels a side of a block has, as a share of an image's.
_BLOCK = 1 / 7


class Unguided(Attack):
    """An attack that moves each feature by the radius, up or down at random, in a pattern that a subclass draws.

    No gradient is taken and no answer looked at: what these reach, whoever attacks has for nothing, on a model that
    nobody knows. Inputs of another rank than images are taken for an image of one row.
    """

    norm = "inf"

    def __init__(
        self,
        epsilon: float = 0.3,
        *,
        targeted: bool = False,
        input_range: RangeLike = (0.0, 1.0),
        seed: int = 0,
    ) -> None:
        """Makes the attack.

        Args:
            epsilon: Radius of the L-infinity ball, as for `PGD`.
            targeted: Whether the labels given are to be reached, rather than got away from.
            input_range: Least and greatest value of an input, `(low, high)`, or of each of its features.
            seed: Seed of the patterns.

        Raises:
            InvalidArgumentError: If an argument breaks one of these rules.
        """
        super().__init__(targeted=targeted, input_range=input_range, seed=seed)
        self.epsilon = _checks.in_interval("epsilon", epsilon, 0, np.inf, closed="()")

    @abc.abstractmethod
    def signs(self, shape: tuple[int, int, int], seed: tf.Tensor) -> tf.Tensor:
        """The signs of one image.

        Args:
            shape: Height, width and channels.
            seed: Shape `(2,)`, int64.

        Returns:
            Shape `shape`, float32 in {-1, +1}.
        """

    def perturb(
        self, logits: LogitsFunction, x: tf.Tensor, y: tf.Tensor, mask: tf.Tensor, seeds: tf.Tensor
    ) -> Perturbed:
        features = x.shape[1:]
        shape = tuple(features) if len(features) == 3 else (1, math.prod(features), 1)
        signs = tf.map_fn(
            lambda seed: tf.reshape(self.signs(shape, seed), features),
            seeds,
            fn_output_signature=tf.TensorSpec(features, tf.float32),
        )
        already = self.fooled(logits(x), y)
        moves = mask & ~tf.reshape(already, [-1, *[1] * len(features)])
        x_adv = tf.where(moves, tf.clip_by_value(x + self.epsilon * signs, *self.bounds), x)
        return Perturbed(x_adv, tf.ones_like(y), tf.zeros_like(y))

    def get_config(self) -> dict[str, Any]:
        return {"epsilon": self.epsilon, **super().get_config()}

    def _look(self, model: keras.Model, input_shape: tuple[int, ...]) -> Logits:
        # One without a gradient will do.
        return Logits(model, input_shape)


class Noise(Unguided):
    """Each feature by itself.

    Example:

    ```python
    x_adv = hk.attacks.Noise(epsilon=0.3).generate(model, x, y).x_adv
    ```
    """

    name = "noise"

    def signs(self, shape: tuple[int, int, int], seed: tf.Tensor) -> tf.Tensor:
        return random_patterns.noise(shape, seed)


class Stripes(Unguided):
    """Columns: what Square begins with (Andriushchenko et al. 2020, section 3.4).

    Example:

    ```python
    x_adv = hk.attacks.Stripes(epsilon=0.3).generate(model, x, y).x_adv
    ```
    """

    name = "stripes"

    def signs(self, shape: tuple[int, int, int], seed: tf.Tensor) -> tf.Tensor:
        return random_patterns.stripes(shape, seed)


class RandomBlocks(Unguided):
    """Blocks of a seventh of an image's side, which begin anywhere.

    Example:

    ```python
    x_adv = hk.attacks.RandomBlocks(epsilon=0.3).generate(model, x, y).x_adv
    ```
    """

    name = "blocks"

    def signs(self, shape: tuple[int, int, int], seed: tf.Tensor) -> tf.Tensor:
        return random_patterns.blocks(shape, seed, _BLOCK)
