"""Judging a honeypot: what it costs, what attacks reconstruct, what is detected, and the controls."""

from honeykeras.evaluation.arena import correctly_classified
from honeykeras.evaluation.pipeline import evaluate
from honeykeras.evaluation.results import (
    AdaptiveDetection,
    AttackDetection,
    Corruption,
    Detection,
    DetectionRates,
    Evaluation,
    Reconstruction,
    Recovery,
    Security,
    Viability,
)
from honeykeras.evaluation.statistics import Estimate, Proportion

__all__ = [
    "AdaptiveDetection",
    "AttackDetection",
    "Corruption",
    "Detection",
    "DetectionRates",
    "Estimate",
    "Evaluation",
    "Proportion",
    "Reconstruction",
    "Recovery",
    "Security",
    "Viability",
    "correctly_classified",
    "evaluate",
]
