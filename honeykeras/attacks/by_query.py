"""`QueryAttack`: attacks that have a model's answers alone, and `Oracle`, whom they ask."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from honeykeras import _checks
from honeykeras.attacks.base import Attack, Perturbed
from honeykeras.outputs import Logits, LogitsFunction
from honeykeras.ranges import RangeLike

# At most so many inputs are asked about at a time.
_BATCH_SIZE = 1024

Answer = Callable[[np.ndarray], np.ndarray]
"""From inputs, shape `(n, ...)`, float32, to the model's logits, shape `(n, classes)`."""

Watch = Callable[[np.ndarray, np.ndarray], None]
"""Is told of queries: on which image each one works, shape `(n,)`, and the queries, shape `(n, ...)`."""


class Oracle:
    """Answers an attack's queries, and counts them.

    Attributes:
        queries: How many were asked for each image, shape `(images,)`, int64.
    """

    def __init__(self, answer: Answer, images: int, watch: Watch | None = None) -> None:
        """Makes an oracle.

        Args:
            answer: The model.
            images: How many images are attacked.
            watch: Is told of all queries, in the order in which they are asked.
        """
        self.queries = np.zeros(images, np.int64)
        self._answer, self._watch = answer, watch

    def __call__(self, images: np.ndarray, x: np.ndarray) -> np.ndarray:
        """What the model says.

        Args:
            images: On which of the images each query works, shape `(n,)`, int64.
            x: The queries, shape `(n, ...)`, float32.

        Returns:
            Logits, shape `(n, classes)`, float32.
        """
        np.add.at(self.queries, images, 1)
        if self._watch is not None and len(x):
            self._watch(images, x)
        parts = [self._answer(x[start : start + _BATCH_SIZE]) for start in range(0, len(x), _BATCH_SIZE)]
        return np.concatenate(parts) if parts else np.empty((0, 1), np.float32)


class QueryAttack(Attack):
    """An attack that asks a model and takes no gradient.

    A subclass names itself, as any `Attack`, and writes `search`. It runs in Python, all images of a batch side by
    side; the model alone is compiled.

    Attributes:
        max_queries: How many times the model is asked about each image, at most.
    """

    def __init__(
        self,
        max_queries: int,
        *,
        targeted: bool = False,
        input_range: RangeLike = (0.0, 1.0),
        seed: int = 0,
    ) -> None:
        super().__init__(targeted=targeted, input_range=input_range, seed=seed)
        self.max_queries = _checks.whole_number("max_queries", max_queries, 2)

    @abc.abstractmethod
    def search(
        self, ask: Oracle, x: np.ndarray, y: np.ndarray, mask: np.ndarray, draws: list[np.random.Generator]
    ) -> np.ndarray:
        """Looks for adversarial inputs.

        What becomes of an input must not depend on the others.

        Args:
            ask: Answers queries.
            x: Shape `(n, ...)`, float32 in `bounds`.
            y: The labels to get away from, or to reach; shape `(n,)`, int64.
            mask: Which features may change, shape of `x`, bool.
            draws: A generator for each input.

        Returns:
            The adversarial inputs, of the shape and range of `x`.
        """

    def perturb(
        self, logits: LogitsFunction, x: tf.Tensor, y: tf.Tensor, mask: tf.Tensor, seeds: tf.Tensor
    ) -> Perturbed:
        ask = Oracle(lambda queries: logits(tf.constant(queries, tf.float32)).numpy(), len(x))
        draws = [np.random.default_rng(seed) for seed in seeds.numpy()]
        x_adv = self.search(ask, x.numpy(), y.numpy(), mask.numpy(), draws)
        queries = tf.constant(ask.queries)
        return Perturbed(tf.constant(x_adv, tf.float32), queries, tf.zeros_like(queries))

    def ask(self, model: keras.Model, x: np.ndarray, y: np.ndarray, watch: Watch) -> np.ndarray:
        """Attacks inputs, and tells of each query in the order in which they are asked.

        Args:
            model: The classifier to attack.
            x: Inputs, shape `(n, ...)`, float32 in the input range.
            y: The labels to get away from, or to reach; shape `(n,)`, int64.
            watch: Is told of all queries, in the range of the inputs.

        Returns:
            The adversarial inputs, of the shape and range of `x`.
        """
        bounds = self.input_range
        logits = _CompiledLogits(model, x.shape[1:])

        def outside(queries: np.ndarray) -> np.ndarray:
            return bounds.from_unit(queries).astype(np.float32) if bounds.shape else queries

        ask = Oracle(
            lambda queries: logits(tf.constant(outside(queries), tf.float32)).numpy(),
            len(x),
            lambda images, queries: watch(images, outside(queries)),
        )
        draws = [np.random.default_rng([self.seed, place]) for place in range(len(x))]
        inside = bounds.to_unit(x) if bounds.shape else x
        return outside(self.search(ask, inside, y, np.ones(x.shape, bool), draws))

    def _look(self, model: keras.Model, input_shape: tuple[int, ...]) -> Logits:
        return _CompiledLogits(model, input_shape)

    def _runner(self, attack: Callable[..., Any], input_shape: tuple[int, ...]) -> Callable[..., Any]:
        def run(*batches: np.ndarray) -> list[np.ndarray]:
            return [each.numpy() for each in attack(*map(tf.constant, batches))]

        return run

    def lead(self, logits: np.ndarray, y: np.ndarray) -> np.ndarray:
        """By how many logits each answer is what the attack wants; shape `(n,)`, below 0 where it is not."""
        label = np.arange(logits.shape[1]) == y[:, None]
        rest = np.where(label, -np.inf, logits).max(axis=1)
        lead = logits[label] - rest if self.targeted else rest - logits[label]
        return np.where(np.isfinite(logits).all(axis=1), lead, -np.inf)

    def get_config(self) -> dict[str, Any]:
        return {"max_queries": self.max_queries, **super().get_config()}


class _CompiledLogits(Logits):
    """Logits for whoever asks outside a graph."""

    def __init__(self, model: keras.Model, input_shape: tuple[int, ...]) -> None:
        super().__init__(model, input_shape)
        spec = tf.TensorSpec([None, *input_shape], tf.float32)
        self._answer = tf.function(super().__call__, autograph=False).get_concrete_function(spec)

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        return self._answer(x)
