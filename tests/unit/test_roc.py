"""Rates and curves from scores, against what counting gives."""

import math

import numpy as np
import pytest
from scipy import stats

from honeykeras.evaluation.roc import FALSE_POSITIVE_RATES, OPERATING_POINTS, detection_rates, mean_rates
from honeykeras.evaluation.statistics import Proportion, pooled

CLEAN = np.arange(1000.0)
NAN = math.nan


def test_curve_is_what_counting_gives():
    rng = np.random.default_rng(0)
    clean, adversarial = rng.normal(size=777), rng.normal(1, 1, 200)
    curve = detection_rates(clean, {"pgd": adversarial}, 0).roc["pgd"]
    for rate, reached in zip(FALSE_POSITIVE_RATES, curve.true_positive_rates, strict=True):
        thresholds = [threshold for threshold in (*clean, np.inf, -np.inf) if np.mean(clean > threshold) <= rate]
        assert reached == max(np.mean(adversarial > threshold) for threshold in thresholds)
    pairs = adversarial[:, None] > clean
    assert curve.auc == pytest.approx(pairs.mean())


@pytest.mark.parametrize("rate", OPERATING_POINTS)
def test_operating_points_keep_their_rate_and_lie_on_the_curve(rate):
    adversarial = np.linspace(900, 1100, 101)
    curve = detection_rates(CLEAN, {"pgd": adversarial}, 0).roc["pgd"]
    on_curve = np.interp(rate, FALSE_POSITIVE_RATES, curve.true_positive_rates)
    assert curve.at[rate].value == pytest.approx(on_curve, abs=0.02)
    assert curve.at[rate].count == np.sum(adversarial > 1000 - rate * 1000 - 1)


def test_failed_attacks_are_no_positives():
    rates = detection_rates(CLEAN, {"pgd": np.array([NAN, 2000.0, 500.0, NAN])}, 989.0)
    attack = rates.attacks["pgd"]
    assert (attack.true_positives, attack.attack_success) == (Proportion(1, 2), Proportion(2, 4))
    assert rates.false_positives == Proportion(10, 1000)


def test_overall_holds_all_attacks():
    scores = {"pgd": np.array([2000.0] * 8 + [0.0, 0.0]), "cw": np.array([NAN] * 5 + [2000.0] * 3 + [0.0] * 2)}
    rates = detection_rates(CLEAN, scores, 989.0)
    assert rates.true_positives.value == pytest.approx(11 / 15)
    assert rates.roc["overall"].at[0.05].value == pytest.approx(11 / 15)


def test_nothing_to_judge():
    rates = detection_rates(CLEAN, {"pgd": np.full(5, NAN)}, 989.0)
    assert rates.true_positives == Proportion(0, 0)
    assert math.isnan(rates.roc["pgd"].auc)
    assert rates.roc["overall"].at[0.01] == Proportion(0, 0)


def test_mean_of_detectors():
    first, second = (detection_rates(CLEAN, {"pgd": np.array(scores)}, 989.0) for scores in ([0.0, 2e3], [2e3, 2e3]))
    both = mean_rates([first, second])
    assert both.attacks["pgd"].true_positives == Proportion(1.5, 2)
    assert both.true_positives.value == 0.75
    assert both.roc["pgd"].auc == pytest.approx((first.roc["pgd"].auc + 1) / 2)
    assert both.roc["pgd"].at[0.01].value == 0.75


class TestPooled:
    def test_repeats_of_the_same_are_no_more_evidence(self):
        hits = np.random.default_rng(0).random(200) < 0.7
        alone = pooled(hits[None], np.ones((1, 200), bool))
        thrice = pooled(np.tile(hits, (3, 1)), np.ones((3, 200), bool))
        assert (thrice.value, thrice.n) == (alone.value, alone.n) == (hits.mean(), 200)

    def test_independent_samples_are(self):
        rng = np.random.default_rng(0)
        found = pooled(rng.random((3, 400)) < 0.7, np.ones((3, 400), bool))
        assert 900 < found.n <= 1200

    def test_as_wide_as_a_bootstrap_over_images(self):
        """With some of the images missing from a sample, and results that go together."""
        rng = np.random.default_rng(1)
        ease = rng.random(300)
        hits = rng.random((3, 300)) < ease
        members = rng.random((3, 300)) < np.array([1, 0.7, 0.4])[:, None]
        hits &= members
        found = pooled(hits, members)

        def share(index):
            return hits[:, index].sum((0, 2)) / members[:, index].sum((0, 2))

        bootstrapped = stats.bootstrap(
            (np.arange(300),), lambda index, axis: share(np.atleast_2d(index)), n_resamples=4000, rng=rng
        )
        assert math.sqrt(found.value * (1 - found.value) / found.n) == pytest.approx(
            bootstrapped.standard_error, rel=0.06
        )

    def test_all_caught_is_no_certainty(self):
        found = pooled(np.ones((3, 50), bool), np.ones((3, 50), bool))
        assert (found.value, found.n) == (1, 50)
        assert found.interval[0] < 0.95

    def test_nothing(self):
        assert pooled(np.zeros((2, 5), bool), np.zeros((2, 5), bool)) == Proportion(0, 0)
