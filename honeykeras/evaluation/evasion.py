"""Attackers who follow a model and its detector one at a time, by the protocol of Bryniarski et al. 2021."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow as tf

from honeykeras.attacks import PGD, AdversarialExamples
from honeykeras.attacks.orthogonal import OrthogonalPGD, SelectivePGD
from honeykeras.detection import CalibratedDetector, ScoresClasses
from honeykeras.detection.calibration import conformal_threshold
from honeykeras.evaluation.arena import Arena

_KINDS = {"selective": SelectivePGD, "orthogonal": OrthogonalPGD}
# Steps for each one that the attack itself takes: 1,000 for the 40 of the default.
_STEPS = 25


class Lenient:
    """A detector's decision at another false positive rate."""

    def __init__(self, detector: CalibratedDetector, arena: Arena, max_fpr: float) -> None:
        """Calibrates it anew, and leaves the detector as it is.

        Args:
            detector: A fitted detector.
            arena: The model that it is for, with its data.
            max_fpr: The false positive rate.
        """
        self._detector = detector
        self._threshold = conformal_threshold(detector.score(arena.data.calibration.inputs), max_fpr)

    def flag(self, x: np.ndarray) -> np.ndarray:
        """Whether each input is flagged, shape `(batch,)`, bool."""
        return self._detector.score(x) > self._threshold


def in_turns(
    arena: Arena, attack: PGD, detector: CalibratedDetector | None, known: Mapping[str, np.ndarray], seed: int
) -> Iterator[tuple[str, AdversarialExamples]]:
    """Leads test images to classes drawn at random, past a detector.

    Args:
        arena: The model, attacked.
        attack: What it was attacked with: the images and the radius are its.
        detector: The detector for that model, one that scores classes.
        known: What attackers take for the key's codes, by who they are.
        seed: Decides on the classes.

    Yields:
        What each kind of attacker does, and its examples, quantised.
    """
    if not isinstance(detector, ScoresClasses):
        return
    x, y = arena.test[attack.name].x, arena.test[attack.name].y
    shift = np.random.default_rng(seed).integers(1, detector.num_classes, len(y))
    targets = (y + shift) % detector.num_classes
    for kind, evading in _KINDS.items():
        for who, codes in known.items():
            secret = tf.constant(np.ravel(codes), tf.float64)
            made = evading(
                lambda x, secret=secret: detector.class_statistics(x, secret),
                attack.epsilon,
                _STEPS * attack.steps,
                input_range=attack.input_range,
                seed=seed,
            )
            yield f"{kind}_{who}", made.generate(arena.model, x, targets, verbose=arena.verbose).quantize(arena.model)
