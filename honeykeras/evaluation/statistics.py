"""Shares and their intervals."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from scipy import stats

CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True)
class Proportion:
    """How many of how many, with a Wilson score interval at 95 %.

    Attributes:
        count: How many. Need not be whole where it is a mean of counts over the same samples.
        n: Of how many.
    """

    count: float
    n: int

    @classmethod
    def of(cls, hits: np.ndarray) -> Proportion:
        """The share of true values in a boolean array."""
        return cls(float(np.sum(hits)), len(hits))

    @property
    def value(self) -> float:
        """The share, in [0, 1]; NaN of nothing."""
        return self.count / self.n if self.n else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper end, in [0, 1]."""
        if not self.n:
            return 0.0, 1.0
        interval = stats.binomtest(round(self.count), self.n).proportion_ci(CONFIDENCE, method="wilson")
        return float(interval.low), float(interval.high)


def pooled(hits: np.ndarray, members: np.ndarray) -> Proportion:
    """The share of hits in several samples that come from the same images.

    What happens to one image in several samples is no independent evidence. The sample size is therefore the effective
    one (Kish 1965, Survey Sampling; Korn and Graubard 1998 for intervals): that of independent results whose share
    varies as much as this one's does from image to image, by which a bootstrap over images would go as well. Unlike
    that, it tells an interval where all or none are hits.

    Args:
        hits: Bool, shape `(samples, images)`; false where an image is not in a sample.
        members: Whether an image is in a sample, bool, shape `(samples, images)`.
    """
    total = int(members.sum())
    if not total:
        return Proportion(0, 0)
    share = hits.sum() / total
    residuals = (hits - share * members).sum(axis=0)
    images = int(members.any(axis=0).sum())
    variance = np.sum(residuals**2) / total**2 * images / max(images - 1, 1)
    # Never fewer than one sample alone has, nor more than all.
    least = int(members.sum(axis=1).max())
    effective = share * (1 - share) / variance if variance else least
    n = int(np.clip(effective, least, total))
    return Proportion(float(share * n), n)


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A figure and its interval at 95 %."""

    value: float
    interval: tuple[float, float]


def mean(values: np.ndarray) -> Estimate:
    """The mean of independent values, with Student's interval."""
    values = np.asarray(values, np.float64)
    value = float(np.mean(values)) if len(values) else math.nan
    if len(values) < 2:
        return Estimate(value, (math.nan, math.nan))
    half = float(stats.sem(values) * stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1))
    return Estimate(value, (value - half, value + half))


def prediction_interval(values: np.ndarray) -> tuple[float, float]:
    """Where a further value like these falls, with 95 %: Student's prediction interval.

    For a control that is repeated under other keys, it says how far a figure goes by the luck of the key alone.

    Args:
        values: At least two independent values, shape `(n,)`.
    """
    values = np.asarray(values, np.float64)
    if len(values) < 2 or not np.isfinite(values).all():
        return math.nan, math.nan
    half = np.std(values, ddof=1) * math.sqrt(1 + 1 / len(values)) * stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)
    return float(np.mean(values) - half), float(np.mean(values) + half)


def balanced_accuracy(true_positives: Proportion, false_positives: Proportion) -> Estimate:
    """The mean of true positive and true negative rate, with Newcombe's hybrid interval.

    It is what the paper's Table I calls accuracy. Newcombe 1998, Interval estimation for the difference between
    independent proportions, method 10: each Wilson limit's distance from its share, combined in squares.
    """
    tpr, fpr = true_positives.value, false_positives.value
    (tpr_low, tpr_high), (fpr_low, fpr_high) = true_positives.interval, false_positives.interval
    difference = tpr - fpr
    low = difference - math.hypot(tpr - tpr_low, fpr_high - fpr)
    high = difference + math.hypot(tpr_high - tpr, fpr - fpr_low)
    return Estimate((1 + difference) / 2, ((1 + low) / 2, (1 + high) / 2))
