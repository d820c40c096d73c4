"""Telling adversarial inputs from clean ones, with the key.

`Detector` is the default, and needs clean inputs only; `LogisticDetector` learns on the same scores. What these two
find is evidence of the key. `PaperDetector`, for reproduction, and `FullDetector`, which uses whatever helps, find
adversarial noise as well, with any key. `TrapdoorDetector` is the method of others, to compare with.
"""

from __future__ import annotations

from collections.abc import Mapping

import keras

from honeykeras import detectorfile
from honeykeras._files import PathLike
from honeykeras.detection.base import CalibratedDetector, Calibration, ScoresClasses
from honeykeras.detection.calibration import conformal_threshold
from honeykeras.detection.detector import Detector, KeyScoreDetector
from honeykeras.detection.extractor import fit_extractor
from honeykeras.detection.layer import DetectorLayer
from honeykeras.detection.logistic import FullDetector, LogisticDetector
from honeykeras.detection.paper import PaperDetector
from honeykeras.detection.samples import Samples
from honeykeras.detection.trapdoor import TrapdoorDetector
from honeykeras.errors import KeyFileError

KINDS: Mapping[str, type[CalibratedDetector]] = {
    kind.name: kind for kind in (Detector, LogisticDetector, FullDetector, PaperDetector, TrapdoorDetector)
}
"""The kinds of detectors, by name."""

__all__ = [
    "KINDS",
    "CalibratedDetector",
    "Calibration",
    "Detector",
    "DetectorLayer",
    "FullDetector",
    "KeyScoreDetector",
    "LogisticDetector",
    "PaperDetector",
    "Samples",
    "ScoresClasses",
    "TrapdoorDetector",
    "conformal_threshold",
    "fit_extractor",
    "load",
]


def load(path: PathLike, model: keras.Model, passphrase: str | None = None) -> CalibratedDetector:
    """Reads a detector of any of `KINDS` that was saved; otherwise as `CalibratedDetector.load`."""
    contents = detectorfile.read(path, passphrase)
    if contents.kind not in KINDS:
        raise KeyFileError(
            f"{path} must hold a detector of one of the kinds {list(KINDS)}. Received: {contents.kind!r}. A kind of "
            "your own is loaded by its own class."
        )
    return KINDS[contents.kind].restore(path, contents, model)
