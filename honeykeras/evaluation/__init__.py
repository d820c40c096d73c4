"""Judging a honeypot: what it costs, what attacks reconstruct, what is detected, and the controls."""

from honeykeras.evaluation.pipeline import correctly_classified, evaluate
from honeykeras.evaluation.results import (
    AttackDetection,
    Corruption,
    Detection,
    DetectionRates,
    Evaluation,
    Reconstruction,
    Viability,
)
from honeykeras.evaluation.statistics import Estimate, Proportion

__all__ = [
    "AttackDetection",
    "Corruption",
    "Detection",
    "DetectionRates",
    "Estimate",
    "Evaluation",
    "Proportion",
    "Reconstruction",
    "Viability",
    "correctly_classified",
    "evaluate",
]
