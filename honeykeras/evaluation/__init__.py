"""Judging a honeypot: what it costs, what attacks reconstruct, what is detected, and the controls."""

from honeykeras.evaluation.arena import correctly_classified
from honeykeras.evaluation.indistinguishability import Discrepancies, TwoSampleTest
from honeykeras.evaluation.pipeline import evaluate, fit_detector
from honeykeras.evaluation.results import (
    AdaptiveDetection,
    AttackDetection,
    BaselineDetection,
    ClientKind,
    Clients,
    Compared,
    Comparison,
    Corruption,
    Curve,
    Detection,
    DetectionRates,
    Evaluation,
    Example,
    Indistinguishability,
    Reconstruction,
    Recovery,
    Roc,
    Security,
    Spread,
    Viability,
)
from honeykeras.evaluation.statistics import Estimate, Proportion

__all__ = [
    "AdaptiveDetection",
    "AttackDetection",
    "BaselineDetection",
    "ClientKind",
    "Clients",
    "Compared",
    "Comparison",
    "Corruption",
    "Curve",
    "Detection",
    "DetectionRates",
    "Discrepancies",
    "Estimate",
    "Evaluation",
    "Example",
    "Indistinguishability",
    "Proportion",
    "Reconstruction",
    "Recovery",
    "Roc",
    "Security",
    "Spread",
    "TwoSampleTest",
    "Viability",
    "correctly_classified",
    "evaluate",
    "fit_detector",
]
