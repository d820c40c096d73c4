"""`PaperDetector`: logistic regression on the features that a key picks."""

from __future__ import annotations

import math
from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from honeykeras.detection.base import CalibratedDetector
from honeykeras.detection.logistic import log_odds_coefficients
from honeykeras.detection.samples import Samples


class PaperDetector(CalibratedDetector):
    """The paper's detector: logistic regression on the values of the features that a key picks.

    Abdou et al. 2021, HoneyModels, section III-C.3; the calibration is not in the paper. Fitting, calibrating
    and judging must use different images, and adversarial ones must be quantised first.

    Such a detector also learns what adversarial noise looks like anywhere in an image: what it finds is no evidence
    of the key.
    """

    name: ClassVar[str] = "paper"
    key_specific: ClassVar[bool] = False
    needs_adversarial: ClassVar[bool] = True

    def fit(
        self, model: keras.Model, samples: Samples | np.ndarray | None = None, *, seed: int = 0, verbose: int = 0
    ) -> PaperDetector:
        """Learns to tell adversarial inputs from clean ones.

        Args:
            model: The classifier whose queries are judged.
            samples: Adversarial inputs, and clean ones.
            seed: Changes nothing: nothing is random in it.
            verbose: Changes nothing: it takes no time.

        Returns:
            The detector itself. A threshold set before no longer holds.

        Raises:
            InvalidArgumentError: If the inputs have the wrong shape, dtype or range, or there are none.
            ModelError: If the model is no classifier of the key's inputs and classes.
        """
        self._check_model(model)
        samples = Samples.of(samples)
        parts = [
            self._check("held_out", samples.unseen(self.name)),
            self._check("adversarial", samples.attacked(self.name)),
        ]
        features = np.concatenate([self.watermark.extract(part).numpy().astype(np.float64) for part in parts])
        regression = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=2000))
        regression.fit(features, np.repeat([0, 1], [len(part) for part in parts]))
        weights, bias = log_odds_coefficients(regression)
        self._set(model, np.concatenate([self.watermark.scatter(weights), bias]))
        return self

    def statistic(self, x: tf.Tensor, outputs: tf.Tensor, secret: tf.Tensor) -> tf.Tensor:
        features = tf.reshape(tf.cast(x, tf.float64), [-1, math.prod(self.watermark.input_shape)])
        return tf.linalg.matvec(features, secret[:-1]) + secret[-1]
