"""Detectors that learn from adversarial inputs: logistic regression on scores."""

from __future__ import annotations

from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from honeykeras.detection.detector import KeyScoreDetector
from honeykeras.detection.extractor import STEPS
from honeykeras.detection.samples import Samples
from honeykeras.outputs import predict

_BATCH_SIZE = 512


class LogisticDetector(KeyScoreDetector):
    """Logistic regression on the key-specific scores.

    Abdou et al. 2021, HoneyModels, section III-C.3, on normalised scores instead of raw features.
    """

    name: ClassVar[str] = "logistic"
    key_specific: ClassVar[bool] = True
    needs_adversarial: ClassVar[bool] = True

    def fit(
        self,
        model: keras.Model,
        samples: Samples | np.ndarray | None = None,
        *,
        extractor: keras.Model | None = None,
        steps: int = STEPS,
        seed: int = 0,
        verbose: int = 0,
    ) -> LogisticDetector:
        """Prepares the detector for a model, and learns to tell adversarial inputs from clean ones.

        Args:
            model: The classifier whose queries are judged.
            samples: Adversarial inputs, clean inputs that the model was not trained on, and, unless there is an
                extractor, clean inputs to train one on.
            extractor: As for `Detector.fit`.
            steps: As for `Detector.fit`.
            seed: Seed of the extractor's training.
            verbose: 1 shows a progress bar, 0 nothing.

        Returns:
            The detector itself. A threshold set before no longer holds.
        """
        self._check_model(model)
        samples = Samples.of(samples)
        negatives = self._check("held_out", samples.unseen(self.name))
        adversarial = self._check("adversarial", samples.attacked(self.name))
        codes = self._take_extractor(samples, extractor, steps, seed, verbose)
        x = np.concatenate([negatives, adversarial])
        outputs = predict(model, x)
        run = tf.function(self.features, autograph=False, reduce_retracing=True)
        parts = [
            run(x[start : start + _BATCH_SIZE], outputs[start : start + _BATCH_SIZE], tf.constant(codes, tf.float64))
            for start in range(0, len(x), _BATCH_SIZE)
        ]
        regression = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=2000))
        regression.fit(np.concatenate(parts), np.repeat([0, 1], [len(negatives), len(adversarial)]))
        self._set(model, np.concatenate([codes, *log_odds_coefficients(regression)]))
        return self

    def features(self, x: tf.Tensor, outputs: tf.Tensor, codes: tf.Tensor) -> tf.Tensor:
        """What the regression sees, shape `(batch, features)`, float64."""
        return self.key_scores(x, outputs, codes)

    def statistic(self, x: tf.Tensor, outputs: tf.Tensor, secret: tf.Tensor) -> tf.Tensor:
        size = self.num_classes * self.watermark.code_size
        return tf.linalg.matvec(self.features(x, outputs, secret[:size]), secret[size:-1]) + secret[-1]


class FullDetector(LogisticDetector):
    """Logistic regression on all that helps: the key's scores, how much noise there is, and the model's margin.

    It catches more, and what it catches is no evidence of the key: a wrong key, or a model without a honeypot, shares
    most of it. It also flags more benign noise.
    """

    name: ClassVar[str] = "full"
    key_specific: ClassVar[bool] = False

    def features(self, x: tf.Tensor, outputs: tf.Tensor, codes: tf.Tensor) -> tf.Tensor:
        views = tf.cast(self.extractor(x, training=False), tf.float64)
        energy = tf.math.log(tf.reduce_mean(views**2, axis=2) + 1e-12)
        first, second = tf.unstack(tf.math.top_k(tf.cast(outputs, tf.float64), 2).values, axis=1)
        return tf.concat([self.key_scores(x, outputs, codes), energy, (first - second)[:, None]], axis=1)


def log_odds_coefficients(regression: Pipeline) -> tuple[np.ndarray, np.ndarray]:
    """Of a fitted pipeline of scaler and regression: weights on unscaled features, and the bias, shape `(1,)`."""
    scaler, logistic = regression[0], regression[1]
    weights = logistic.coef_[0] / scaler.scale_
    return weights, logistic.intercept_ - weights @ scaler.mean_
