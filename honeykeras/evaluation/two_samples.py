"""Can an attacker tell a honeypot from a plain model by what attacks make of them? Two-sample tests.

Abdou et al. 2021, HoneyModels, Fig. 5, compares adversarial images by their maximum mean discrepancy (Gretton et al.
2012, A Kernel Two-Sample Test). A distance says little alone: two plain models of different seeds are apart, too, and
with enough queries any two models are. So the same comparison belongs beside it for two plain models, at every number
of queries.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import pairwise
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from honeykeras import _checks
from honeykeras.errors import InvalidArgumentError
from honeykeras.evaluation.statistics import Proportion

# Lopez-Paz and Oquab 2017, Revisiting Classifier Two-Sample Tests, section 4.
_HIDDEN_UNITS = 20
_CLASSIFIER_EPOCHS = 100

_SMALLEST = np.finfo(np.float64).tiny


@dataclasses.dataclass(frozen=True)
class Discrepancies:
    """Squared maximum mean discrepancies of sub-samples, unbiased, and so below zero about half the time for equals.

    Attributes:
        within_first: Of two disjoint sub-samples of the first, shape `(subsamples,)`, float64.
        within_second: Of two disjoint sub-samples of the second.
        across: Of a sub-sample of the first and one of the second.
        bandwidth: The kernel's, in units of the samples.
    """

    within_first: np.ndarray
    within_second: np.ndarray
    across: np.ndarray
    bandwidth: float


@dataclasses.dataclass(frozen=True)
class TwoSampleTest:
    """Two tests of whether two samples are of one distribution.

    Attributes:
        n: How many of each the tests saw: the queries that an attacker spends on each model.
        squared_mmd: The squared maximum mean discrepancy, unbiased.
        p_value: Share of random divisions of both samples together that are as far apart, by permutation.
        classifier_accuracy: Of a classifier that was trained on half of both samples to tell them apart, on the other
            half; one half by chance.
    """

    n: int
    squared_mmd: float
    p_value: float
    classifier_accuracy: Proportion


def compare(
    first: np.ndarray, second: np.ndarray, *, subsamples: int = 1000, size: int = 50, seed: int = 0
) -> Discrepancies:
    """How far sub-samples of two samples lie apart, beside how far those of one sample do.

    The kernel is Gaussian, `exp(-d^2 / (2 s^2))`. Its bandwidth `s` is the median distance between points of both
    samples together (Gretton et al. 2012, section 8). All sub-samples are read out of one Gram matrix.

    Args:
        first: Shape `(n, ...)`, floating point, with `n` at least `2 * size`.
        second: Shape `(m, ...)`, the same but for `m`.
        subsamples: How many pairs of sub-samples to draw.
        size: How many points each sub-sample has, drawn without replacement.
        seed: Decides the sub-samples.

    Returns:
        The squared discrepancies, and the bandwidth.

    Raises:
        InvalidArgumentError: If the samples are of different shapes, too small, or not finite.
    """
    _checks.whole_number("subsamples", subsamples)
    size = _checks.whole_number("size", size, 2)
    first, second = _flat(first, second, least=2 * size)
    gram, bandwidth = _gram(np.concatenate([first, second]))
    generator = np.random.default_rng(_checks.seed(seed))
    in_first = _draw(generator, len(first), subsamples, 2 * size)
    in_second = len(first) + _draw(generator, len(second), subsamples, 2 * size)
    return Discrepancies(
        within_first=_squared_mmds(gram, in_first[:, :size], in_first[:, size:]),
        within_second=_squared_mmds(gram, in_second[:, :size], in_second[:, size:]),
        across=_squared_mmds(gram, in_first[:, :size], in_second[:, :size]),
        bandwidth=bandwidth,
    )


def two_sample_tests(
    first: np.ndarray,
    second: np.ndarray,
    budgets: Sequence[int] = (50, 100, 200, 500),
    *,
    permutations: int = 1000,
    seed: int = 0,
) -> tuple[TwoSampleTest, ...]:
    """Tests whether two samples are of one distribution, at each number of queries that an attacker may spend.

    Args:
        first: Shape `(n, ...)`, floating point.
        second: Shape `(m, ...)`, the same but for `m`.
        budgets: How many of each sample the attacker sees, at least 4 each; the first ones are taken.
        permutations: How many random divisions the p-value rests on; it is at least `1 / (permutations + 1)`.
        seed: Decides the divisions, and the classifier's weights.

    Returns:
        One result for each budget.

    Raises:
        InvalidArgumentError: If the samples are of different shapes, smaller than a budget, or not finite.
    """
    budgets = [_checks.whole_number("budgets", budget, 4) for budget in budgets]
    _checks.whole_number("permutations", permutations)
    _checks.seed(seed)
    first, second = _flat(first, second, least=max(budgets))
    return tuple(_test(first[:n], second[:n], permutations, seed) for n in budgets)


def _test(first: np.ndarray, second: np.ndarray, permutations: int, seed: int) -> TwoSampleTest:
    n, generator = len(first), np.random.default_rng(seed)
    gram, _ = _gram(np.concatenate([first, second]))
    # One row for each division of the points, that at hand first: +1 for one sample, -1 for the other.
    sides = np.repeat([[1.0, -1.0]], n, axis=1)
    sides = np.concatenate([sides, generator.permuted(np.repeat(sides, permutations, axis=0), axis=1)])
    squared = _squared_mmds_of_divisions(gram, sides)
    at_least = np.count_nonzero(squared[1:] >= squared[0] - 1e-12)
    return TwoSampleTest(n, float(squared[0]), (1 + at_least) / (1 + permutations), _told_apart(first, second, seed))


def _told_apart(first: np.ndarray, second: np.ndarray, seed: int) -> Proportion:
    """How well a classifier learns to tell samples apart: right answers on the half that it was not trained on."""
    x = np.concatenate([first, second])
    y = np.repeat([0, 1], [len(first), len(second)])
    network = MLPClassifier((_HIDDEN_UNITS,), max_iter=_CLASSIFIER_EPOCHS, random_state=seed)
    trained_on = np.concatenate([np.arange(len(part)) % 2 == 0 for part in (first, second)])
    with warnings.catch_warnings():
        # A fixed number of epochs is what the test prescribes.
        warnings.simplefilter("ignore", ConvergenceWarning)
        classifier = make_pipeline(StandardScaler(), network).fit(x[trained_on], y[trained_on])
    return Proportion.of(classifier.predict(x[~trained_on]) == y[~trained_on])


def _flat(first: np.ndarray, second: np.ndarray, least: int) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.asarray(first), np.asarray(second)
    if first.ndim < 2 or first.shape[1:] != second.shape[1:]:
        raise InvalidArgumentError(
            "The two samples must have shapes (n, ...) and (m, ...) that differ in nothing else. "
            f"Received: {first.shape} and {second.shape}."
        )
    if min(len(first), len(second)) < least:
        raise InvalidArgumentError(
            f"Each of the two samples must hold at least {least} points. Received: {len(first)} and {len(second)}."
        )
    flat = [sample.reshape(len(sample), -1).astype(np.float64) for sample in (first, second)]
    if not all(np.isfinite(sample).all() for sample in flat):
        raise InvalidArgumentError("The two samples must be finite. Received: NaN or infinity.")
    return flat[0], flat[1]


def _gram(points: np.ndarray) -> tuple[np.ndarray, float]:
    """The Gaussian kernel between all points, shape `(n, n)`, and its bandwidth."""
    squared = pairwise.euclidean_distances(points, squared=True)
    bandwidth = float(np.median(np.sqrt(squared[np.triu_indices(len(points), k=1)])))
    # More than half of all pairs may be equal; then any two points that differ are far apart.
    return np.exp(-squared / max(2 * bandwidth**2, _SMALLEST)), bandwidth


def _draw(generator: np.random.Generator, count: int, subsamples: int, size: int) -> np.ndarray:
    """Indices below `count`, shape `(subsamples, size)`, none twice in a row."""
    return generator.permuted(np.tile(np.arange(count), (subsamples, 1)), axis=1)[:, :size]


def _squared_mmds(gram: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Of pairs of sub-samples, given as indices of shape `(subsamples, size)`; Gretton et al. 2012, equation 3."""
    size = first.shape[1]

    def total(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        return gram[rows[:, :, None], columns[:, None, :]].sum(axis=(1, 2))

    # A point's kernel with itself is one, and does not count.
    within = total(first, first) + total(second, second) - 2 * size
    return within / (size * (size - 1)) - 2 * total(first, second) / size**2


def _squared_mmds_of_divisions(gram: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """Of divisions of all points into halves, rows of +1 and -1, shape `(divisions, 2 n)`."""
    n = sides.shape[1] // 2
    # The difference of what is within and across, and all pairs, give both.
    difference, everything = np.einsum("di,di->d", sides @ gram, sides), gram.sum()
    within, across = (everything + difference) / 2, (everything - difference) / 2
    return (within - 2 * n) / (n * (n - 1)) - across / n**2
