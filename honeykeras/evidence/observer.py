"""`Observer`: sees in queries what evidence is made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, NoReturn

import numpy as np
import tensorflow as tf

from honeykeras import _checks, corruptions
from honeykeras.detection import KeyScoreDetector
from honeykeras.errors import InvalidArgumentError, SecretSerializationError
from honeykeras.evidence import honest
from honeykeras.evidence.ledger import Ledger
from honeykeras.evidence.observations import Observations
from honeykeras.evidence.rules import LEAST_MARGIN, Rules
from honeykeras.evidence.sessions import distances_between
from honeykeras.evidence.sums import Sums
from honeykeras.outputs import Logits

_BATCH_SIZE = 512
# How long a view may be, in lengths of a usual clean one. What is drawn on makes views long: of one adversarial query
# among ten that are not, the length tells more than the direction of the others hides. Beyond that whoever sends loud
# noise beside it could hide it.
_LONGEST = 4.0
# Of so many clean inputs, and against as many, the distance to the nearest is taken.
_NEIGHBOURS = 2000
# The share of clean inputs that are nearer to another than near duplicates are.
_NEAR = 0.01
_FEWEST_CLEAN, _MOST_CLEAN = 100, 20_000
# The confidence that so few clean inputs fall below.
_UNSURE = 0.05
# From so many clean inputs is made what honest clients send, to measure the margin on; and how many standard deviations
# of chance are no dependence yet.
_HONEST, _CHANCE = 1000, 2.0
_EXPLAINERS = ("lime", "kernel_shap", "occlusion")
_TINY = 1e-12


class Sight(NamedTuple):
    """What an observer looks with: as secret as the key.

    Attributes:
        patterns: The key's, shape `(num_classes, dimensions)`.
        centres: What the extractor's views are of clean inputs, on average, shape `(num_classes, views, dimensions)`.
        scales: How long a view usually is, shape `(views,)`.
        sure: How sure of its answer the model is of clean inputs at least, or even odds; a scalar.
    """

    patterns: Any
    centres: Any
    scales: Any
    sure: Any

    def __repr__(self) -> str:
        return "Sight()"


class Observer:
    """Sees in queries what evidence is made of, as a detector's extractor and model do.

    A view is what the extractor read off a query, less what it reads off clean inputs of the predicted class on
    average, both of its ways to look taken together. Neither needs the key. Where the model is less sure than it is of
    clean inputs, and than even odds, the view counts in proportion: there the pattern itself may decide the class.

    How much of the evidence may be nobody's doing, because the model's answers depend on the key, is measured on what
    honest clients send (`honest`): explanation tools, cameras, wear. That is the rules' margin.

    Example:

    ```python
    observer = hk.evidence.Observer(detector, data.calibration.inputs)
    ledger = observer.ledger(alpha=1e-3)  # a client's
    evidence = ledger.update(observer.observe(queries))
    evidence.accused
    ```

    Attributes:
        key_id: The key's public name.
        description: What is public about the key.
        rules: What ledgers go by, but for what is asked of them.
        detector: The detector whose extractor and model it looks with.
        sight: What else it looks with, as arrays: the patterns float64, all else float32.
    """

    def __init__(self, detector: KeyScoreDetector, clean: np.ndarray | tf.data.Dataset, *, verbose: int = 0) -> None:
        """Looks at clean inputs.

        Args:
            detector: A detector that was fitted for the model, of a kind that looks for the key with an extractor.
            clean: Clean inputs that the model was not trained on, as `Detector.score` takes them; some thousand.
            verbose: 1 shows a progress bar, 0 nothing.

        Raises:
            InvalidArgumentError: If the detector is of another kind or not fitted, or the inputs have the wrong shape,
                dtype or range.
        """
        _checks.instance("detector", detector, KeyScoreDetector, "a fitted detector that has an extractor")
        self.detector, self.key_id = detector, detector.key_id
        watermark = detector.watermark
        self.description = watermark.description
        self._logits = Logits(detector.model, watermark.input_shape, detector.num_classes)
        patterns = np.reshape(watermark.all_codes, (detector.num_classes, -1)).astype(np.float64)
        read = tf.function(self._read, autograph=False, reduce_retracing=True)
        self._see = tf.function(self._observe, autograph=False, reduce_retracing=True)
        x = self._enough(clean, verbose)
        raw, logits, codes = (np.concatenate(each) for each in zip(*_batches(read, x), strict=True))
        classes = logits.argmax(axis=1)
        centres = _means(raw, classes, detector.num_classes)
        # One number a view: the two are of different units.
        off = raw - centres[classes]
        scales = np.maximum(np.median(np.linalg.norm(off, axis=2), axis=0), _TINY)
        usual = np.median(np.linalg.norm((off / scales[:, None]).sum(axis=1), axis=1))
        scales = (scales * max(usual, _TINY)).astype(np.float32)
        confidence = tf.reduce_max(tf.nn.softmax(logits), axis=1).numpy()
        self.sight = Sight(patterns, centres, scales, np.float32(min(0.5, np.quantile(confidence, _UNSURE))))
        self.rules = Rules(detector.num_classes, watermark.code_size, _nearness(codes))
        self.rules = dataclasses.replace(self.rules, margin=self._margin(x))

    def ledger(self, **settings: Any) -> Ledger:
        """A ledger for a client that has sent nothing yet.

        Args:
            **settings: What is to be other than in `rules`: `alpha`, `margin`, `window`, `remembered` or `nearness`.
        """
        return Ledger(dataclasses.replace(self.rules, **settings))

    def observe(self, x: np.ndarray | tf.data.Dataset, *, verbose: int = 0) -> Observations:
        """What there is to see in queries, as `Detector.score` takes them, in their order."""
        sight = Sight(*map(tf.constant, self.sight))
        parts = [
            Observations(*(each.numpy() for each in self._see(batch[start : start + _BATCH_SIZE], sight)))
            for batch in self.detector.batches("Observing", x, verbose)
            for start in range(0, len(batch), _BATCH_SIZE)
        ]
        if not parts:
            raise InvalidArgumentError("`x` must hold at least one query. Received: none.")
        return Observations.joined(parts)

    def look(self, x: tf.Tensor, logits: tf.Tensor, sight: Sight) -> tuple[tf.Tensor, ...]:
        """The same in TensorFlow operations.

        Args:
            x: Queries, shape `(batch, *input_shape)`, float32 in the key's input range.
            logits: What the model says of them, shape `(batch, num_classes)`, float32.
            sight: What to look with, as tensors.

        Returns:
            The fields of `Observations`. A query of which the model says nothing finite leaves no trace.
        """
        raw, codes = self._read_off(x)
        classes = tf.argmax(logits, axis=1)
        off = tf.reduce_sum((raw - tf.gather(sight.centres, classes)) / sight.scales[:, None], axis=1)
        sure = tf.minimum(tf.reduce_max(tf.nn.softmax(logits), axis=1, keepdims=True) / sight.sure, 1)
        views = tf.clip_by_norm(off, _LONGEST, axes=[1]) * sure
        finite = tf.reduce_all(tf.math.is_finite(tf.concat([views, logits], axis=1)), axis=1)
        # Of the two ways to look, the second is linear.
        readings = tf.cast(raw[:, 1] / sight.scales[1], tf.float16)
        views, codes, readings = (
            tf.where(finite[:, None], each, tf.zeros_like(each)) for each in (views, codes, readings)
        )
        projections = tf.reduce_sum(tf.cast(views, tf.float64) * tf.gather(sight.patterns, classes), axis=1)
        led = tf.cast(readings, tf.float64) @ tf.transpose(sight.patterns)
        return classes, views, projections, codes, readings, led

    def _observe(self, x: tf.Tensor, sight: Sight) -> tuple[tf.Tensor, ...]:
        return self.look(x, self._logits(x), sight)

    def _read(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        raw, codes = self._read_off(x)
        return raw, self._logits(x), codes

    def _read_off(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """What the extractor reads off, and codes as float16 holds them."""
        watermark = self.detector.watermark
        codes = tf.cast(watermark.project(watermark.input_range.to_unit(x)), tf.float16)
        raw = tf.cast(self.detector.extractor(x, training=False), tf.float32)
        return raw, tf.reshape(codes, [tf.shape(x)[0], watermark.code_size])

    def _enough(self, clean: np.ndarray | tf.data.Dataset, verbose: int) -> np.ndarray:
        """As many clean inputs as there is use for."""
        parts, count = [], 0
        for batch in self.detector.batches("Looking at clean inputs", clean, verbose):
            parts.append(batch[: _MOST_CLEAN - count])
            count += len(parts[-1])
            if count == _MOST_CLEAN:
                break
        if count < _FEWEST_CLEAN:
            raise InvalidArgumentError(
                f"`clean` must hold at least {_FEWEST_CLEAN} inputs, to tell what is usual. Received: {count}."
            )
        return np.concatenate(parts)

    def _margin(self, x: np.ndarray) -> float:
        """By how much what honest clients send is led to the key, beyond what chance is likely to make of it."""
        bounds, shape = self.description.input_range, self.description.input_shape
        unit, margin = bounds.to_unit(x[:_HONEST]), LEAST_MARGIN
        for kind in (*corruptions.names(shape), *_EXPLAINERS):
            seen = self.observe(bounds.from_unit(np.concatenate(honest.sessions(unit, kind))))
            sums = Sums.of(seen.classes, seen.views, seen.projections, self.rules.num_classes)
            excess = abs(float(sums.projection)) - _CHANCE * float(np.linalg.norm(sums.by_class))
            margin = max(margin, excess / max(sums.weight, _TINY))
        return margin

    def __repr__(self) -> str:
        return f"Observer(key_id={self.key_id!r})"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise SecretSerializationError("An observer holds a key's patterns and cannot be pickled or copied.")


def _batches(read: Callable[[np.ndarray], tuple[tf.Tensor, ...]], x: np.ndarray) -> Iterator[list[np.ndarray]]:
    for start in range(0, len(x), _BATCH_SIZE):
        yield [each.numpy() for each in read(x[start : start + _BATCH_SIZE])]


def _means(raw: np.ndarray, classes: np.ndarray, num_classes: int) -> np.ndarray:
    """The mean of each class, or of all where a class is never predicted."""
    overall = raw.mean(axis=0)
    return np.stack(
        [raw[classes == label].mean(axis=0) if label in classes else overall for label in range(num_classes)]
    )


def _nearness(codes: np.ndarray) -> float:
    """The distance to the nearest other that few clean inputs fall below."""
    codes = codes[: 2 * _NEIGHBOURS].astype(np.float32)
    return float(np.quantile(distances_between(codes[::2], codes[1::2]).min(axis=1), _NEAR))
