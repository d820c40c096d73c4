"""`Detector`: finds the watermark in adversarial inputs, by scores that no key but the right one raises."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from honeykeras import _checks
from honeykeras._files import PathLike
from honeykeras.detection.base import CalibratedDetector
from honeykeras.detection.extractor import EXTRACTOR, STEPS, build_extractor, check_family, fit_extractor
from honeykeras.detection.samples import Samples
from honeykeras.errors import InvalidArgumentError
from honeykeras.keys import WatermarkKey
from honeykeras.watermark import Watermark


class KeyScoreDetector(CalibratedDetector):
    """A detector that looks with an extractor for the pattern of the class that the model predicts.

    Each of the extractor's views of an input gives one score: the cosine of the view and the code of the predicted
    class's pattern, times the root of the number of dimensions. For a key that has nothing to do with the input this
    is as good as standard normal, whatever the input: noise of any strength raises no score, since a score is
    normalised in the space where all keys of the family live.
    """

    def __init__(self, key: WatermarkKey | Watermark) -> None:
        """Makes a detector for the watermark of `key`, or for one that was drawn already.

        Raises:
            InvalidArgumentError: If the key is of the paper's family, for which there are no such scores.
        """
        super().__init__(key)
        self._family = check_family(self.watermark.description.pattern)
        self._extractor: keras.Model | None = None
        # The statistic as another detector of this kind compiled it, and the extractor that is in it.
        self._shared: tuple[keras.Model, Any] | None = None

    @property
    def extractor(self) -> keras.Model:
        """The extractor, which holds no secret: another key's detector may use it."""
        if self._extractor is None:
            raise InvalidArgumentError("The detector must be fitted first. Call `fit`.")
        return self._extractor

    @property
    def networks(self) -> list[keras.Model]:
        return [self.extractor]

    def network_config(self) -> dict[str, Any]:
        return {"extractor": EXTRACTOR}

    def build_networks(self, model: keras.Model, config: Mapping[str, Any]) -> None:
        if config != self.network_config():
            raise ValueError("another extractor")
        self._extractor = build_extractor(self.watermark.input_shape, self._family, self.watermark.input_range)

    def adopt(self, other: CalibratedDetector) -> None:
        if isinstance(other, KeyScoreDetector) and other._extractor and self._fits(other._extractor):
            self._extractor = other._extractor
            if type(other) is type(self):
                # The key is an argument of the statistic, so that it need not be traced again.
                self._shared = other._extractor, other._run

    def _set(self, model: keras.Model, secret: np.ndarray) -> None:
        super()._set(model, secret)
        if self._shared is not None and self._shared[0] is self._extractor:
            self._run = self._shared[1]

    def prepare(
        self, samples: Samples | np.ndarray, *, seed: int = 0, verbose: int = 0, cache: PathLike | None = None
    ) -> None:
        if self._extractor is None:
            self._extractor = self._train_extractor(Samples.of(samples), STEPS, seed, verbose, cache)

    def class_scores(self, x: tf.Tensor, codes: tf.Tensor) -> tf.Tensor:
        """The scores that there would be for each class if it were predicted, `(batch, views, num_classes)`, float64.

        Args:
            x: Shape `(batch, *input_shape)`, float32.
            codes: The patterns' codes, one after the other, shape `(num_classes * dimensions,)`, float64.
        """
        dimensions = self.watermark.code_size
        codes = tf.math.l2_normalize(tf.reshape(codes, [self.num_classes, dimensions]), axis=1)
        # In the extractor's precision: a server takes three fifths of the time, and what it rounds is as small.
        views = tf.math.l2_normalize(self.extractor(x, training=False), axis=2)
        cosines = tf.einsum("bvd,cd->bvc", views, tf.cast(codes, views.dtype))
        return math.sqrt(dimensions) * tf.cast(cosines, tf.float64)

    def key_scores(self, x: tf.Tensor, outputs: tf.Tensor, codes: tf.Tensor) -> tf.Tensor:
        """The scores for the predicted class, one for each view, shape `(batch, views)`, float64.

        Args:
            x: As for `class_scores`.
            outputs: What the classifier says of `x`, shape `(batch, num_classes)`.
            codes: As for `class_scores`.
        """
        predicted = tf.one_hot(tf.argmax(outputs, axis=1), self.num_classes, dtype=tf.float64)
        return tf.einsum("bvc,bc->bv", self.class_scores(x, codes), predicted)

    def _take_extractor(
        self, samples: Samples, extractor: keras.Model | None, steps: int, seed: int, verbose: int
    ) -> np.ndarray:
        """Trains an extractor unless there is one; returns the patterns' codes as one vector."""
        if extractor is not None:
            _checks.instance("extractor", extractor, keras.Model, "a model, as fit_extractor gives it")
        if extractor is not None and not self._fits(extractor):
            raise InvalidArgumentError(
                f"`extractor` must be one for inputs of shape {self.watermark.input_shape} and the key's family. "
                f"Received: one for {extractor.input_shape[1:]}, with outputs {extractor.output_shape[1:]}."
            )
        self._extractor = extractor or self._extractor or self._train_extractor(samples, steps, seed, verbose)
        return self.watermark.codes(np.arange(self.num_classes)).numpy().ravel()

    def _train_extractor(
        self, samples: Samples, steps: int, seed: int, verbose: int, cache: PathLike | None = None
    ) -> keras.Model:
        if samples.clean is None:
            raise InvalidArgumentError(
                "`fit` must be given either clean inputs to train an extractor on, or one. Received: neither."
            )
        return fit_extractor(
            self._check("clean", samples.clean),
            self._family,
            input_range=self.watermark.input_range,
            steps=steps,
            seed=seed,
            verbose=verbose,
            cache=cache,
        )

    def _fits(self, extractor: keras.Model) -> bool:
        expected = (None, *self.watermark.input_shape), self.watermark.code_size
        return (extractor.input_shape, extractor.output_shape[-1]) == expected


class Detector(KeyScoreDetector):
    """The default: the positive parts of the key-specific scores, added up. Needs no adversarial inputs.

    Abdou et al. 2021, HoneyModels, section III-C.3, has a logistic regression instead (`PaperDetector`).

    Example:

    ```python
    detector = hk.Detector(key).fit(model, x_train).calibrate(held_out, max_fpr=0.01)
    detector.flag(queries)
    ```
    """

    name: ClassVar[str] = "key"
    key_specific: ClassVar[bool] = True
    needs_adversarial: ClassVar[bool] = False

    def fit(
        self,
        model: keras.Model,
        samples: Samples | np.ndarray | None = None,
        *,
        extractor: keras.Model | None = None,
        steps: int = STEPS,
        seed: int = 0,
        verbose: int = 0,
    ) -> Detector:
        """Prepares the detector for a model.

        Args:
            model: The classifier whose queries are judged.
            samples: Clean inputs to train an extractor on, shape `(n, *input_shape)`, floating point in the key's
                input range. They may be those that the model was trained on. Not needed where there is an extractor.
            extractor: An extractor that was trained before, by `fit_extractor` or by another detector. Defaults to the
                one that the detector has, if it has any.
            steps: How many batches to train an extractor on.
            seed: Seed of the extractor's training.
            verbose: 1 shows a progress bar, 0 nothing.

        Returns:
            The detector itself. A threshold set before no longer holds.

        Raises:
            InvalidArgumentError: If the inputs have the wrong shape, dtype or range, or the extractor is another's.
            ModelError: If the model is no classifier of the key's inputs and classes.
        """
        self._check_model(model)
        self._set(model, self._take_extractor(Samples.of(samples), extractor, steps, seed, verbose))
        return self

    def statistic(self, x: tf.Tensor, outputs: tf.Tensor, secret: tf.Tensor) -> tf.Tensor:
        return tf.gather(self.class_statistics(x, secret), tf.argmax(outputs, axis=1), batch_dims=1)

    def class_statistics(self, x: tf.Tensor, secret: tf.Tensor) -> tf.Tensor:
        """What `statistic` would be for each class if it were predicted, shape `(batch, num_classes)`, float64."""
        return tf.reduce_sum(tf.nn.relu(self.class_scores(x, secret)), axis=1)
