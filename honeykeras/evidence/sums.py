"""`Sums`: what a client's queries add up to, class by class."""

from __future__ import annotations

import functools

import numpy as np

from honeykeras.evidence.rules import Rules

# What is shorter is nothing, in lengths of a usual view.
NOTHING = 1e-3


class Added:
    """Vectors that are added to sums, with what is worked out of them once for all sums.

    Attributes:
        classes: Shape `(n,)`, int64.
        vectors: Shape `(n, dimensions)`, float32.
        projections: Of each on the pattern of its class, shape `(n,)` or, for many keys, `(n, keys)`, float64.
        weights: Their lengths, with the opposite sign where a vector is taken back, shape `(n,)`.
    """

    def __init__(
        self, classes: np.ndarray, vectors: np.ndarray, projections: np.ndarray, weights: np.ndarray | None = None
    ) -> None:
        self.classes, self.vectors, self.projections = classes, vectors, projections
        self.weights = np.sqrt(np.einsum("nd,nd->n", vectors, vectors)) if weights is None else weights

    @functools.cached_property
    def members(self) -> tuple[np.ndarray, np.ndarray]:
        """Classes, at least those that there are, and which vectors are of each, shape `(classes, n)`, float32."""
        there, place = np.unique(self.classes, return_inverse=True)
        return there, np.equal.outer(np.arange(len(there)), place).astype(np.float32)

    @functools.cached_property
    def by_class(self) -> tuple[np.ndarray, np.ndarray]:
        """Classes, at least those that there are, and the sum of the vectors of each."""
        there, members = self.members
        return there, members @ self.vectors

    def __getitem__(self, part: slice) -> Added:
        """A stretch of them, with what is known of them."""
        if part.indices(len(self)) == (0, len(self), 1):
            return self
        stretch = Added(self.classes[part], self.vectors[part], self.projections[part], self.weights[part])
        there, members = self.members
        stretch.members = there, members[:, part]
        return stretch

    def __len__(self) -> int:
        return len(self.classes)


class Sums:
    """The sums of vectors by class, and the sum of their projections on the pattern of their class.

    Of vectors `v` with classes `t`, whose projections `<v, W_t>` on the key's patterns are given with them, `U_t` is
    the sum of those of class `t`. The statistic is the sum of all projections over the root of the sum of `|U_t|^2`: of
    vectors that do not depend on the key it is sub-Gaussian with variance 1 over the draw of the key.

    Attributes:
        by_class: `U`, shape `(num_classes, dimensions)`, float32.
        projection: The sum of all projections, float64: a scalar or, for many keys, of shape `(keys,)`.
        weight: The sum of the lengths of all vectors.
        count: How many times something was added.
    """

    def __init__(self, num_classes: int, dimensions: int, keys: tuple[int, ...] = ()) -> None:
        self.by_class = np.zeros((num_classes, dimensions), np.float32)
        self.projection = np.zeros(keys)
        self.weight = 0.0
        self.count = 0

    @classmethod
    def of(cls, classes: np.ndarray, vectors: np.ndarray, projections: np.ndarray, num_classes: int) -> Sums:
        """The sums of vectors, whatever their order."""
        sums = cls(num_classes, vectors.shape[1], projections.shape[1:])
        sums._take(Added(classes, vectors, projections))
        return sums

    def add(self, added: Added, looks: np.ndarray, rules: Rules) -> np.ndarray:
        """Adds vectors, and looks at the statistic on the way.

        Args:
            added: The vectors.
            looks: After which of them to look, by their places, ascending.
            rules: How much of the projections may be nobody's doing.

        Returns:
            What `statistic` was at each look, shape `(looks, *keys)`, float64.
        """
        found, start = np.zeros((len(looks), *self.projection.shape)), 0
        for number, stop in enumerate(looks + 1):
            self._take(added[start:stop])
            found[number], start = self.statistic(rules), stop
        self._take(added[start:])
        return found

    def _take(self, added: Added) -> None:
        if len(added):
            there, sums = added.by_class
            self.by_class[there] += sums
            self.projection = self.projection + added.projections.sum(axis=0, dtype=np.float64)
            self.weight += float(added.weights.sum(dtype=np.float64))
            self.count += len(added)

    def clear(self) -> None:
        """Begins anew, but for the count."""
        self.by_class[:] = 0
        self.projection, self.weight = np.zeros_like(self.projection), 0.0

    def merge(self, other: Sums) -> None:
        """Adds what other sums hold."""
        self.by_class += other.by_class
        self.projection = self.projection + other.projection
        self.weight += other.weight
        self.count += other.count

    def statistic(self, rules: Rules) -> np.ndarray:
        """The statistic beyond what may be nobody's doing, as it is now."""
        length = float(np.linalg.norm(self.by_class))
        return beyond(self.projection[None], np.array([rules.allowed(self.weight)]), np.array([length]))[0]


def beyond(projections: np.ndarray, allowed: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """By how many lengths sums of projections go, to either side, beyond what is allowed.

    Args:
        projections: Shape `(n,)` or `(n, keys)`.
        allowed: Shape `(n,)`.
        lengths: Shape `(n,)`. What has no length has no statistic: 0.

    Returns:
        Of the shape of `projections`.
    """
    # What rounding leaves of sums that cancel is no length.
    scale = np.where(lengths > NOTHING, 1 / np.maximum(lengths, NOTHING), 0)
    return (np.maximum(np.abs(projections).T - allowed, 0) * scale).T
