import math

import numpy as np
import pytest

from honeykeras.evaluation.statistics import Proportion, balanced_accuracy, mean, prediction_interval


def test_wilson_interval_as_published():
    """Newcombe 1998, Two-sided confidence intervals for the single proportion, table I: 81 of 263."""
    low, high = Proportion(81, 263).interval
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)


@pytest.mark.parametrize(("count", "n"), [(0, 10), (10, 10), (3.4, 10)])
def test_interval_holds_the_share(count, n):
    proportion = Proportion(count, n)
    low, high = proportion.interval
    assert 0 <= low <= proportion.value <= high <= 1
    assert low < high


def test_share_of_nothing():
    assert math.isnan(Proportion(0, 0).value)
    assert Proportion(0, 0).interval == (0, 1)


def test_share_of_hits():
    assert Proportion.of(np.array([True, False, True, True])) == Proportion(3, 4)


def test_newcombe_interval_as_published():
    """Newcombe 1998, Interval estimation for the difference between independent proportions, table II."""
    estimate = balanced_accuracy(Proportion(56, 70), Proportion(48, 80))
    low, high = (2 * end - 1 for end in estimate.interval)
    assert estimate.value == pytest.approx(0.6)
    assert (round(low, 4), round(high, 4)) == (0.0524, 0.3339)


def test_mean_has_students_interval():
    estimate = mean(np.array([1.0, 2.0, 3.0, 4.0]))
    assert estimate.value == 2.5
    half = 3.1824 * math.sqrt(5 / 3) / 2
    assert estimate.interval == pytest.approx((2.5 - half, 2.5 + half), abs=1e-3)


def test_mean_of_one_value_has_no_interval():
    estimate = mean(np.array([1.0]))
    assert estimate.value == 1
    assert all(math.isnan(end) for end in estimate.interval)


def test_prediction_interval_holds_the_next_value_as_often_as_it_says():
    rng = np.random.default_rng(0)
    held = []
    for _ in range(4000):
        *seen, following = rng.normal(size=9)
        low, high = prediction_interval(seen)
        held.append(low <= following <= high)
    low, high = Proportion.of(np.array(held)).interval
    assert low <= 0.95 <= high


@pytest.mark.parametrize("values", [[], [1.0], [1.0, math.nan]])
def test_prediction_interval_of_too_little(values):
    assert all(math.isnan(end) for end in prediction_interval(values))
