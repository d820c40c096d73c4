"""Telling adversarial inputs from clean ones, with the key."""

from honeykeras.detection.calibration import conformal_threshold
from honeykeras.detection.detector import Detector
from honeykeras.detection.layer import DetectorLayer

__all__ = ["Detector", "DetectorLayer", "conformal_threshold"]
