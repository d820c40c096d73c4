"""Receiver operating characteristics, and all rates that come of a detector's scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from sklearn import metrics

from honeykeras.evaluation.results import AttackDetection, DetectionRates, Roc
from honeykeras.evaluation.statistics import Proportion, pooled

FALSE_POSITIVE_RATES = (0.0, *(float(rate) for rate in np.round(np.logspace(-3, 0, 61), 6)))
"""Where curves are told: the rates that matter to whoever lets most queries pass lie close together."""

OPERATING_POINTS = (0.01, 0.05)
"""False positive rates whose true positive rates are told with intervals."""

OVERALL = "overall"
"""What stands for all attacks together, among the names of attacks."""


def detection_rates(clean: np.ndarray, attacked: Mapping[str, np.ndarray], threshold: float) -> DetectionRates:
    """All rates of a detector.

    Args:
        clean: Scores of clean images, shape `(n,)`.
        attacked: By attack, scores of adversarial images, in the order of the images that they were made from and NaN
            where the attack failed; each of shape `(m,)`.
        threshold: The score above which the detector flags an image.
    """
    judged = _by_attack(attacked, threshold)
    return DetectionRates(
        false_positives=Proportion.of(clean > threshold),
        true_positives=judged.pop(OVERALL),
        attacks={
            name: AttackDetection(caught, Proportion(caught.n, len(attacked[name]))) for name, caught in judged.items()
        },
        roc=_curves(clean, attacked),
    )


def mean_rates(rates: Sequence[DetectionRates]) -> DetectionRates:
    """The mean of several detectors' rates on the same images; the sample size stays that of one."""
    return DetectionRates(
        false_positives=_mean([each.false_positives for each in rates]),
        true_positives=_mean([each.true_positives for each in rates]),
        attacks={
            name: AttackDetection(_mean([each.attacks[name].true_positives for each in rates]), attack.attack_success)
            for name, attack in rates[0].attacks.items()
        },
        roc={
            name: Roc(
                auc=float(np.mean([each.roc[name].auc for each in rates])),
                true_positive_rates=tuple(
                    np.mean([each.roc[name].true_positive_rates for each in rates], axis=0).tolist()
                ),
                at={rate: _mean([each.roc[name].at[rate] for each in rates]) for rate in OPERATING_POINTS},
            )
            for name in rates[0].roc
        },
    )


def _by_attack(attacked: Mapping[str, np.ndarray], threshold: float) -> dict[str, Proportion]:
    """What exceeds a threshold of each attack's successes, and of all together."""
    succeeded = {name: ~np.isnan(scores) for name, scores in attacked.items()}
    caught = {name: scores > threshold for name, scores in attacked.items()}
    return {
        **{name: Proportion(float(caught[name].sum()), int(succeeded[name].sum())) for name in attacked},
        OVERALL: pooled(np.stack(list(caught.values())), np.stack(list(succeeded.values()))),
    }


def _curves(clean: np.ndarray, attacked: Mapping[str, np.ndarray]) -> dict[str, Roc]:
    at = {rate: _by_attack(attacked, _exceeded_by(clean, rate)) for rate in OPERATING_POINTS}
    curves = {}
    for name in (*attacked, OVERALL):
        scores = np.concatenate(list(attacked.values())) if name == OVERALL else attacked[name]
        auc, rates = _curve(clean, scores[~np.isnan(scores)])
        curves[name] = Roc(auc, rates, {rate: at[rate][name] for rate in OPERATING_POINTS})
    return curves


def _curve(clean: np.ndarray, adversarial: np.ndarray) -> tuple[float, tuple[float, ...]]:
    """Area under the curve, and its height at `FALSE_POSITIVE_RATES`."""
    if not len(clean) or not len(adversarial):
        return math.nan, (math.nan,) * len(FALSE_POSITIVE_RATES)
    false, true, _ = metrics.roc_curve(
        np.repeat([0, 1], [len(clean), len(adversarial)]), np.concatenate([clean, adversarial]), drop_intermediate=False
    )
    # A step function: what is reached without exceeding the rate. The rounding of a share is not to exceed it.
    reached = np.searchsorted(false, np.asarray(FALSE_POSITIVE_RATES) + 1e-12, side="right") - 1
    return float(metrics.auc(false, true)), tuple(true[reached].tolist())


def _exceeded_by(clean: np.ndarray, rate: float) -> float:
    """The least score that at most a share `rate` of clean images exceeds."""
    if not len(clean):
        return math.inf
    return float(np.sort(clean)[::-1][math.floor(rate * len(clean) + 1e-9)])


def _mean(proportions: Sequence[Proportion]) -> Proportion:
    n = min(proportion.n for proportion in proportions)
    # Counts, and not shares times `n`: what is whole is to stay so.
    return Proportion(float(np.mean([each.count * n / each.n for each in proportions])) if n else 0.0, n)
