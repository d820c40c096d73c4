"""`SealedDetector`: a detector's decision in an exported graph, with all that it knows sealed."""

from __future__ import annotations

import dataclasses
import math
import secrets
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from honeykeras.detection import CalibratedDetector
from honeykeras.evidence import Observations, Observer
from honeykeras.evidence.observations import ANSWER_PREFIX
from honeykeras.evidence.observer import Sight
from honeykeras.export.sealed_vector import SealedVector, seal_vector
from honeykeras.export.sealing import ID_BYTES, SealingKey

# The one file that needs the key. Its name must not tell what it is for.
SEALED_FILE = "parameters"
# Where it is in a version folder.
SEALED_PATH = Path(tf.saved_model.ASSETS_DIRECTORY, SEALED_FILE)
# TensorFlow splits a tensor into rows without copying it where a row has a multiple of 64 bytes.
_ROW = 16


class SealedDetector:
    """Scores and flags inputs inside an exported function, as the detector that it is made of does.

    The detector's secret, its threshold and the weights of its networks are one sealed vector. Without the key there
    is but the shape of a network in the graph.

    Attributes:
        num_classes: How many classes the model must have.
        observer: The observer that was sealed too, if any.
        vector: The vector, to be tracked by the archive that exports the function.
    """

    def __init__(
        self,
        detector: CalibratedDetector,
        key: SealingKey,
        key_paths: Sequence[str],
        scratch: Path,
        observer: Observer | None = None,
    ) -> None:
        """Seals a detector.

        Args:
            detector: A calibrated detector.
            key: The key that will open it.
            key_paths: As for `SealedVector`.
            scratch: A folder for the sealed file, until the archive is written.
            observer: Also what sees in queries what evidence is made of: the observer of that detector.
        """
        self._detector, self.observer = detector, observer
        self.num_classes = detector.num_classes
        self._variables = [variable for network in detector.networks for variable in network.variables]
        parts = [np.array([detector.threshold]), detector.secret, *(_numpy(variable) for variable in self._variables)]
        self._sizes = [part.size for part in parts]
        self._order = _order(self._sizes)
        values, _ = arrange(parts)
        self._length = len(values)
        if observer is not None:
            rules = [observer.rules.nearness, observer.rules.margin]
            # After all else, so that a detector that is calibrated anew is found where it was.
            seen = np.concatenate([*(np.ravel(part) for part in observer.sight), rules])
            values = np.concatenate([values, np.pad(seen, (0, -len(seen) % _ROW))])
        artifact_id = secrets.token_bytes(ID_BYTES)
        file = scratch / SEALED_FILE
        file.write_bytes(seal_vector(values, key, artifact_id))
        self.vector = SealedVector(file, artifact_id, len(values), key_paths)

    def __call__(self, x: tf.Tensor, outputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Judges inputs.

        Args:
            x: Shape `(batch, *input_shape)`, float32, in the detector's input range.
            outputs: What the classifier says of them, shape `(batch, num_classes)`.

        Returns:
            A score in [0, 1], shape `(batch,)`, float32: 0.5 at the threshold, and the sigmoid of how far the
            detector's own score is from it. And the flag, shape `(batch,)`, bool.
        """
        threshold, secret, *weights = self._open()
        secret = tf.cast(tf.reshape(secret, [-1]), tf.float64)
        with self._with_weights(weights):
            beyond = self._detector.statistic(x, outputs, secret) - tf.cast(threshold, tf.float64)
        # A score that is no number must not let an input through.
        flag = tf.logical_not(beyond <= 0)
        score = tf.where(tf.math.is_nan(beyond), tf.ones_like(beyond), tf.sigmoid(beyond))
        return tf.cast(score, tf.float32), flag

    def observe(self, x: tf.Tensor, logits: tf.Tensor) -> dict[str, tf.Tensor]:
        """What the observer that was sealed sees, by the names that `evidence` has for answers.

        Args:
            x: As for a call.
            logits: What the model says of them, shape `(batch, num_classes)`.

        Returns:
            The fields of `evidence.Observations`, floats as float32 or float64; and nearness and margin of the rules,
            shape `(batch,)`, float32, which are the same for all.
        """
        observer = self.observer
        assert observer is not None  # noqa: S101 - for mypy: without one there is no signature that asks.
        count = tf.shape(x)[0]
        _, _, *weights = self._open()
        sealed = tf.reshape(self.vector.read(), [-1])[self._length :]
        shapes = [np.shape(part) for part in observer.sight]
        sizes = [math.prod(shape) for shape in shapes]
        patterns, centres, scales, sure, nearness, margin, _ = tf.split(sealed, [*sizes, 1, 1, -1])
        patterns, centres, scales, sure = (
            tf.reshape(part, shape) for part, shape in zip((patterns, centres, scales, sure), shapes, strict=True)
        )
        with self._with_weights(weights):
            sight = Sight(tf.cast(patterns, tf.float64), centres, scales, sure)
            seen = observer.look(x, tf.cast(logits, tf.float32), sight)
        names = (field.name for field in dataclasses.fields(Observations))
        answers = dict(zip(names, seen, strict=True))
        answers |= {"nearness": tf.repeat(nearness, count), "margin": tf.repeat(margin, count)}
        # Not all that speak with a server know half precision.
        return {
            f"{ANSWER_PREFIX}{name}": tf.cast(each, tf.float32) if each.dtype == tf.float16 else each
            for name, each in answers.items()
        }

    def _with_weights(self, weights: Sequence[tf.Tensor]) -> keras.StatelessScope:
        """The detector's networks, with weights that were sealed."""
        return keras.StatelessScope(
            state_mapping=[
                (variable, tf.reshape(weight, variable.shape))
                for variable, weight in zip(self._variables, weights, strict=True)
            ]
        )

    def _open(self) -> list[tf.Tensor]:
        """The detector's parts as they were sealed, each as rows or as one vector."""
        sizes = [self._sizes[place] for place in self._order]
        rows = [size // _ROW for size in sizes if size % _ROW == 0]
        table = tf.reshape(self.vector.read(), [-1, _ROW])[: self._length // _ROW]
        # No size is left to be found (-1): TensorFlow's kernel cannot, where there is but one part.
        left = self._length // _ROW - sum(rows)
        *parts, rest = tf.split(table, [*rows, left])
        smaller = sizes[len(rows) :]
        *others, _ = tf.split(tf.reshape(rest, [-1]), [*smaller, left * _ROW - sum(smaller)])
        found = dict(zip(self._order, [*parts, *others], strict=True))
        return [found[place] for place in range(len(found))]


def arrange(parts: Sequence[np.ndarray]) -> tuple[np.ndarray, int]:
    """The one vector that is sealed, and where in it the threshold is.

    Args:
        parts: The threshold, shape `(1,)`, the secret, and the weights.
    """
    order = _order([part.size for part in parts])
    values = np.concatenate([parts[place].ravel() for place in order])
    threshold = sum(parts[place].size for place in order[: order.index(0)])
    return np.pad(values, (0, -len(values) % _ROW)), threshold


def _order(sizes: Sequence[int]) -> list[int]:
    """Parts that fill rows come first, so that they can be split off as rows. The threshold fills none."""
    return sorted(range(len(sizes)), key=lambda place: sizes[place] % _ROW > 0)


def _numpy(variable: keras.Variable) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(variable), np.float64)
