"""Images that were attacked on other models, for a model to keep their labels on: what attackers bring without access.

An attack on any plain model of the same data fools others as well, and follows nobody's watermark. Made once and mixed
into a training, such images cost no gradient a step (Tramer et al. 2018, Ensemble adversarial training).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np

from honeykeras.attacks import PGD
from honeykeras.ranges import InputRange

IMAGES = 4_000
"""How many images are attacked on each model, at most."""

BATCH_SIZE = 250
"""How many are attacked at a time."""

_STEPS = 5


def gradients(samples: int) -> int:
    """How many gradients it takes to attack images of so many samples on one model."""
    return min(samples, IMAGES) * _STEPS


class TransferExamples(NamedTuple):
    """Images that were attacked on other models.

    Attributes:
        levels: The images on 256 levels of the input range, shape `(n, *input_shape)`, uint8.
        labels: Their true classes, shape `(n,)`, int64.
    """

    levels: np.ndarray
    labels: np.ndarray


def make(
    batches: Sequence[tuple[np.ndarray, np.ndarray]],
    surrogates: Sequence[keras.Model],
    epsilon: float,
    input_range: InputRange,
    seed: int,
) -> TransferExamples:
    """Attacks images on some models, by projected gradient descent.

    Args:
        batches: Images in the input range and their classes.
        surrogates: The models.
        epsilon: Radius in the L-infinity norm, as a share of the width of the input range.
        input_range: Least and greatest value of an input.
        seed: Seed of the attack.
    """
    attack = PGD(epsilon=epsilon * float(input_range.working.width), steps=_STEPS, input_range=input_range, seed=seed)
    levels, labels = [], []
    for place, (x, y) in enumerate(batches):
        for model in surrogates:
            x_adv = attack.generate(model, x, y, first=place * len(x), batch_size=BATCH_SIZE).x_adv
            levels.append(np.round(input_range.to_unit(x_adv) * 255).astype(np.uint8))
            labels.append(np.asarray(y, np.int64))
    return TransferExamples(np.concatenate(levels), np.concatenate(labels))
