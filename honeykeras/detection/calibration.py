"""Thresholds that keep a stated false positive rate."""

from __future__ import annotations

import math

import numpy as np

from honeykeras import _checks
from honeykeras.errors import InvalidArgumentError


def conformal_threshold(scores: np.ndarray, max_fpr: float) -> float:
    """The threshold above which a clean input falls with a probability of at most `max_fpr`.

    Split-conformal: with `n` scores of clean inputs that nothing was fitted on, it is the
    `ceil((n + 1) (1 - max_fpr))`-th smallest. For a further clean input from the same distribution the chance
    to score above it is at most `max_fpr`, whatever that distribution is (Vovk et al. 2005, Algorithmic
    Learning in a Random World, section 4.1; taken over calibration sets as well).

    Args:
        scores: Scores of held-out clean inputs, shape `(n,)`.
        max_fpr: The false positive rate to keep, in (0, 1).

    Returns:
        The threshold; inputs that score above it, and not those that equal it, are to be flagged.

    Raises:
        InvalidArgumentError: If there are too few scores for such a rate.
    """
    scores = _checks.array("scores", scores)
    if scores.ndim != 1 or scores.dtype.kind not in "biuf":
        raise InvalidArgumentError(
            f"`scores` must be numbers of shape (n,). Received: {scores.dtype} of shape {scores.shape}."
        )
    check_sample_size(len(scores), max_fpr)
    # Rounding first keeps (n + 1) (1 - max_fpr) from ending a hair above a whole number.
    rank = math.ceil(round((len(scores) + 1) * (1 - max_fpr), 9))
    return float(np.sort(scores)[min(rank, len(scores)) - 1])


def check_sample_size(count: int, max_fpr: float) -> None:
    """Raises `InvalidArgumentError` if `count` clean inputs are too few to calibrate to `max_fpr`."""
    _checks.in_interval("max_fpr", max_fpr, 0, 1, closed="()")
    needed = math.ceil(1 / max_fpr) - 1
    if count < needed:
        raise InvalidArgumentError(
            f"A `max_fpr` of {max_fpr:g} must be calibrated on at least {needed} clean inputs. "
            f"Received: {count}. Use more, or a higher `max_fpr`."
        )
