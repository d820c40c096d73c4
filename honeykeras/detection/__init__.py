"""Telling adversarial inputs from clean ones, with the key.

`Detector` is the default, and needs clean inputs only; `LogisticDetector` learns on the same scores. What these two
find is evidence of the key. `PaperDetector`, for reproduction, and `FullDetector`, which uses whatever helps, find
adversarial noise as well, with any key. `TrapdoorDetector` is the method of others, to compare with.
"""

from __future__ import annotations

from collections.abc import Mapping

from honeykeras.detection.base import CalibratedDetector
from honeykeras.detection.calibration import conformal_threshold
from honeykeras.detection.detector import Detector, KeyScoreDetector
from honeykeras.detection.extractor import fit_extractor
from honeykeras.detection.layer import DetectorLayer
from honeykeras.detection.logistic import FullDetector, LogisticDetector
from honeykeras.detection.paper import PaperDetector
from honeykeras.detection.trapdoor import TrapdoorDetector

KINDS: Mapping[str, type[CalibratedDetector]] = {
    kind.name: kind for kind in (Detector, LogisticDetector, FullDetector, PaperDetector, TrapdoorDetector)
}
"""The kinds of detectors, by name."""

__all__ = [
    "KINDS",
    "CalibratedDetector",
    "Detector",
    "DetectorLayer",
    "FullDetector",
    "KeyScoreDetector",
    "LogisticDetector",
    "PaperDetector",
    "TrapdoorDetector",
    "conformal_threshold",
    "fit_extractor",
]
