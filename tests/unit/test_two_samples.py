"""Two-sample tests: whether what attacks make of two models can be told apart."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics.pairwise import rbf_kernel

from honeykeras.errors import InvalidArgumentError
from honeykeras.evaluation import two_samples


def _normal(n: int, seed: int, mean: float = 0.0, shape: tuple[int, ...] = (4, 5)) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 1.0, (n, *shape))


def _naive_squared_mmd(first: np.ndarray, second: np.ndarray, bandwidth: float) -> float:
    """Equation 3 of Gretton et al. 2012, term by term."""

    def mean(a: np.ndarray, b: np.ndarray, same: bool) -> float:
        kernel = rbf_kernel(a, b, gamma=1 / (2 * bandwidth**2))
        return float(kernel[~np.eye(len(a), dtype=bool)].mean() if same else kernel.mean())

    return mean(first, first, True) + mean(second, second, True) - 2 * mean(first, second, False)


def test_subsamples_read_out_of_one_gram_matrix_have_the_discrepancies_of_a_loop(monkeypatch):
    """The fast way gives the values of the slow one, for the very sub-samples that it drew."""
    drawn = []
    draw = two_samples._draw
    monkeypatch.setattr(two_samples, "_draw", lambda *given: drawn.append(draw(*given)) or drawn[-1])
    first, second = _normal(60, 0), _normal(80, 1, mean=0.3)
    found = two_samples.compare(first, second, subsamples=20, size=25, seed=3)
    flat = first.reshape(60, -1), second.reshape(80, -1)
    for row in range(20):
        a, b = flat[0][drawn[0][row]], flat[1][drawn[1][row]]
        for got, one, other in (
            (found.within_first, a[:25], a[25:]),
            (found.within_second, b[:25], b[25:]),
            (found.across, a[:25], b[:25]),
        ):
            assert got[row] == pytest.approx(_naive_squared_mmd(one, other, found.bandwidth), abs=1e-10)


def test_bandwidth_is_the_median_distance_of_all_points():
    points = np.array([[0.0], [1.0], [3.0], [7.0]])
    found = two_samples.compare(points, points + 20, subsamples=2, size=2)
    everything = np.concatenate([points, points + 20])
    distances = np.abs(everything - everything.T)[np.triu_indices(8, k=1)]
    assert found.bandwidth == pytest.approx(np.median(distances))


def test_subsamples_within_one_sample_share_no_point():
    """Of a sample of exactly two sub-samples, the two are a division of it."""
    rows = two_samples._draw(np.random.default_rng(0), 10, 200, 10)
    assert (np.sort(rows, axis=1) == np.arange(10)).all()
    # Which half a point falls into is a matter of chance, not of its place.
    share = (rows[:, :5] == 0).any(axis=1).sum()
    assert stats.binomtest(int(share), 200).pvalue > 1e-3


def test_equal_distributions_are_as_far_apart_as_either_is_from_itself():
    found = two_samples.compare(_normal(300, 0), _normal(300, 1), subsamples=500, size=50)
    spread = np.std(found.within_first)
    assert abs(np.mean(found.across) - np.mean(found.within_first)) < spread
    assert abs(np.mean(found.across)) < spread


def test_other_distributions_are_further_apart_than_either_is_from_itself():
    found = two_samples.compare(_normal(300, 0), _normal(300, 1, mean=0.5), subsamples=500, size=50)
    assert np.quantile(found.across, 0.05) > np.quantile(found.within_first, 0.95)
    assert np.quantile(found.across, 0.05) > np.quantile(found.within_second, 0.95)


def test_p_values_of_equal_distributions_are_uniform():
    """A test at 5 % rejects equals in 5 % of cases."""
    p_values = [
        two_samples.two_sample_tests(
            _normal(20, 2 * seed, shape=(3,)), _normal(20, 2 * seed + 1, shape=(3,)), [20], permutations=99, seed=seed
        )[0].p_value
        for seed in range(150)
    ]
    rejected = int(np.sum(np.array(p_values) <= 0.05))
    assert stats.binomtest(rejected, len(p_values), 0.05).pvalue > 1e-3
    assert stats.kstest(p_values, "uniform").pvalue > 1e-3


def test_more_queries_tell_distributions_apart_that_few_do_not():
    first, second = _normal(800, 0), _normal(800, 1, mean=0.12)
    few, many = two_samples.two_sample_tests(first, second, [10, 800], permutations=200)
    assert (few.n, many.n) == (10, 800)
    assert few.p_value > 0.05
    assert many.p_value == pytest.approx(1 / 201)
    assert many.classifier_accuracy.n == 800
    assert many.classifier_accuracy.interval[0] > 0.5


def test_classifier_does_not_tell_equal_distributions_apart():
    (found,) = two_samples.two_sample_tests(_normal(600, 0), _normal(600, 1), [600], permutations=1)
    low, high = found.classifier_accuracy.interval
    assert low < 0.5 < high


def test_squared_discrepancy_is_that_of_a_loop():
    first, second = _normal(30, 0), _normal(30, 1, mean=0.2)
    (found,) = two_samples.two_sample_tests(first, second, [30], permutations=1)
    bandwidth = two_samples.compare(first, second, subsamples=1, size=2).bandwidth
    expected = _naive_squared_mmd(first.reshape(30, -1), second.reshape(30, -1), bandwidth)
    assert found.squared_mmd == pytest.approx(expected, abs=1e-10)


def test_equal_points_are_no_division_by_zero():
    points = np.ones((8, 3))
    found = two_samples.compare(points, points, subsamples=3, size=4)
    np.testing.assert_array_equal(found.across, 0)
    (tested,) = two_samples.two_sample_tests(points, points, [8], permutations=9)
    assert (tested.squared_mmd, tested.p_value) == (0, 1)


def test_one_seed_gives_one_result():
    first, second = _normal(40, 0), _normal(40, 1)
    once, again = (two_samples.compare(first, second, subsamples=5, size=10, seed=7) for _ in range(2))
    np.testing.assert_array_equal(once.across, again.across)
    assert two_samples.two_sample_tests(first, second, [40], seed=7) == two_samples.two_sample_tests(
        first, second, [40], seed=7
    )


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (_normal(50, 0), _normal(50, 0, shape=(3,)), "differ in nothing else"),
        (np.zeros(50), np.zeros(50), "differ in nothing else"),
        (_normal(9, 0), _normal(50, 0), "at least 10"),
        (_normal(50, 0) + np.nan, _normal(50, 0), "finite"),
    ],
)
def test_samples_that_cannot_be_compared_are_refused(first, second, message):
    with pytest.raises(InvalidArgumentError, match=message):
        two_samples.compare(first, second, subsamples=2, size=5)


def test_budget_beyond_the_samples_is_refused():
    with pytest.raises(InvalidArgumentError, match="at least 60"):
        two_samples.two_sample_tests(_normal(50, 0), _normal(50, 1), [20, 60])
