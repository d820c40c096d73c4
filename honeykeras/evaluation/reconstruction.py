"""`reconstruct`: how much of a watermark an attack draws, beside its two controls."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

from honeykeras.attacks import AdversarialExamples
from honeykeras.evaluation.results import Reconstruction
from honeykeras.evaluation.statistics import mean
from honeykeras.keys import WatermarkKey
from honeykeras.outputs import predict_labels
from honeykeras.watermark import Watermark


def reconstruct(
    key: WatermarkKey,
    wrong_keys: Sequence[WatermarkKey],
    honey: tuple[keras.Model, AdversarialExamples],
    plain: tuple[keras.Model, AdversarialExamples],
) -> Reconstruction:
    """Compares perturbations with the watermark of the class that each leads to.

    Args:
        key: The key that was planted.
        wrong_keys: Keys of the same description that were not.
        honey: The model with the honeypot, and what an attack made on it.
        plain: The model without, and what the same attack made on that.

    Returns:
        Mean cosines over the adversarial images that fool their model; NaN where none does.
    """

    def cosines(of: WatermarkKey, attacked: tuple[keras.Model, AdversarialExamples]) -> np.ndarray:
        model, examples = attacked
        if not examples.success.any():
            return np.empty(0)
        led_to = predict_labels(model, examples.successful)
        return Watermark(of).cosine_similarity(examples.delta, led_to).numpy()

    # Averaged over the keys image by image: the images are what is sampled.
    wrong = np.mean([cosines(wrong_key, honey) for wrong_key in wrong_keys], axis=0)
    return Reconstruction(
        mean(cosines(key, honey)), mean(wrong), mean(cosines(key, plain)), int(honey[1].success.sum())
    )
