"""Judging a honeypot: what it costs, what attacks reconstruct, what is detected, and the controls."""

from honeykeras.evaluation.arena import correctly_classified
from honeykeras.evaluation.indistinguishability import Discrepancies, TwoSampleTest
from honeykeras.evaluation.pipeline import evaluate
from honeykeras.evaluation.results import (
    AdaptiveDetection,
    AttackDetection,
    Comparison,
    Corruption,
    Detection,
    DetectionRates,
    Evaluation,
    Indistinguishability,
    Reconstruction,
    Recovery,
    Security,
    Viability,
)
from honeykeras.evaluation.statistics import Estimate, Proportion

__all__ = [
    "AdaptiveDetection",
    "AttackDetection",
    "Comparison",
    "Corruption",
    "Detection",
    "DetectionRates",
    "Discrepancies",
    "Estimate",
    "Evaluation",
    "Indistinguishability",
    "Proportion",
    "Reconstruction",
    "Recovery",
    "Security",
    "TwoSampleTest",
    "Viability",
    "correctly_classified",
    "evaluate",
]
