"""`Sessions`: a client's earlier queries, and how later ones differ from those that they are made of."""

from __future__ import annotations

import dataclasses

import numpy as np

from honeykeras.evidence.observations import Observations
from honeykeras.evidence.rules import Rules

# No class: nothing counts yet.
_NONE = -1
# One dimension of so many is looked at first.
_STRIDE = 4
# By how much distances that are told of all at once may differ from those of two, in lengths of codes.
_ROUNDING = 1e-3

ROWS = ("first", "latest", "reading", "counted")
"""What there is of each session in many dimensions."""

STORED = {
    "met": "<i8",
    "first_class": "<i4",
    "counted_class": "<i4",
    "reading_projections": "<f8",
    "counted_projection": "<f8",
}
"""What else there is of each session, and as what it is kept."""


@dataclasses.dataclass(frozen=True)
class Difference:
    """What a query changes in the sum of differences.

    Attributes:
        query: Which query it is.
        classes: The class of what no longer counts, if there was anything, and of what counts instead.
        vectors: The former with the opposite sign, and the latter.
        projections: Of each on the pattern of its class.
    """

    query: int
    classes: np.ndarray
    vectors: np.ndarray
    projections: np.ndarray


class Sessions:
    """Remembers some queries of a client, each with the near duplicates that followed: a session.

    A query is a near duplicate if it is near to the first or to the latest one of a session. Of each session the latest
    query counts that the model takes for another class than the first, by how much its reading differs from the
    first's: in the difference an image's content cancels, and what an attacker did stays. All else that near duplicates
    show is left out: a thousand copies of one image would hide what else there is.

    A query that is no near duplicate begins a session. Once all places are taken, it takes that of the one that was met
    longest ago.

    Attributes:
        queries: How many queries there have been.
        met: When each session had its latest query, by the number of the query, shape `(remembered,)`, int64; 0 where
            there is none.
        first: Code of each session's first query, shape `(remembered, dimensions)`, float16.
        latest: Likewise of the latest.
        reading: The first one's reading, likewise.
        counted: Likewise that of the one that counts.
        first_class: What the model takes the first for, shape `(remembered,)`, int64; -1 where there is no session.
        counted_class: Likewise the one that counts; -1 where none does.
        reading_projections: Of the first one's reading on all patterns, shape `(remembered, num_classes)` or, for many
            keys, `(remembered, num_classes, keys)`, float64.
        counted_projection: Of the difference that counts, on the pattern of its class, shape `(remembered,)` or
            `(remembered, keys)`, float64.
    """

    def __init__(self, rules: Rules, keys: tuple[int, ...] = ()) -> None:
        places, self._nearness = rules.remembered, rules.nearness
        self.queries, self.met = 0, np.zeros(places, np.int64)
        self.first, self.latest, self.reading, self.counted = np.zeros((4, places, rules.dimensions), np.float16)
        self.first_class, self.counted_class = np.full((2, places), _NONE)
        self.reading_projections = np.zeros((places, rules.num_classes, *keys))
        self.counted_projection = np.zeros((places, *keys))

    def sort(self, seen: Observations) -> tuple[np.ndarray, list[Difference]]:
        """Tells near duplicates from what is new, and remembers both.

        Args:
            seen: Queries, in their order.

        Returns:
            Which are new, shape `(n,)`, bool, and what the others change in the sum of differences.
        """
        new = np.ones(len(seen), bool)
        differences: list[Difference] = []
        begun = 0
        # Most are near to none, which is told of all at once.
        for place in np.flatnonzero(self._near_to_any(seen.codes)).tolist():
            # What is new before it begins sessions, of which it may be near to one.
            self._begin(seen[begun:place])
            begun = place
            session = self._session_near(seen.codes[place].astype(np.float32))
            if session is None:
                continue
            begun, new[place] = place + 1, False
            self.queries += 1
            self.latest[session], self.met[session] = seen.codes[place], self.queries
            if seen.classes[place] != self.first_class[session]:
                differences.append(self._count(session, seen, place))
        self._begin(seen[begun:])
        return new, differences

    def merge(self, other: Sessions) -> None:
        """Keeps the sessions that were met last, the other's as if they had come after these."""
        met = np.concatenate([self.met, np.where(other.met > 0, self.queries + other.met, 0)])
        kept = np.argsort(met, kind="stable")[-len(self.met) :]
        for name in (*ROWS, *STORED.keys() - {"met"}):
            setattr(self, name, np.concatenate([getattr(self, name), getattr(other, name)])[kept])
        self.met, self.queries = met[kept], self.queries + other.queries

    def _near_to_any(self, codes: np.ndarray) -> np.ndarray:
        """Whether each code is near to one that is remembered now, or to an earlier one of these, but for rounding."""
        places, parts = len(self.met), (self.first, self.latest, codes)
        # Some of the dimensions rule most out: in all of them, two codes are at least as far apart.
        some = np.concatenate([each[:, ::_STRIDE] for each in parts]).astype(np.float32)
        near = self._near(some[2 * places :], some)
        near[:, : 2 * places] &= np.tile(self.first_class != _NONE, 2)
        # Of these codes, none is compared with itself, nor with a later one.
        near &= np.tri(len(codes), len(some), 2 * places - 1, dtype=bool)
        if near.any():
            rows, columns = (np.flatnonzero(near.any(axis=axis)) for axis in (1, 0))
            known = np.concatenate(parts)[columns].astype(np.float32)
            near[np.ix_(rows, columns)] &= self._near(codes[rows].astype(np.float32), known)
        return np.logical_or.reduce(near, axis=1)

    def _near(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Which of some codes are near to which of others, to the eye of rounding; `a` are among `b`."""
        # What is no number is near to nothing, and must hide nothing else.
        longest = np.fmax.reduce(np.abs(b), axis=None, initial=0) * np.sqrt(b.shape[1])
        return distances_between(a, b) <= self._nearness + _ROUNDING * longest

    def _session_near(self, code: np.ndarray) -> int | None:
        """The session that a query belongs to: the one that was met last if that is near, else the nearest."""
        last = int(self.met.argmax())
        if self.met[last] and np.linalg.norm(self.latest[last].astype(np.float32) - code) <= self._nearness:
            return last
        ends = np.stack([self.first, self.latest]).astype(np.float32)
        distances = np.linalg.norm(ends - code, axis=2).min(axis=0)
        distances[self.first_class == _NONE] = np.inf
        nearest = int(distances.argmin())
        return nearest if distances[nearest] <= self._nearness else None

    def _begin(self, seen: Observations) -> None:
        """Begins a session with each of some queries."""
        count, places = len(seen), len(self.first)
        # Of more than there are places, the last ones stay.
        stay = np.arange(max(0, count - places), count)
        taken = np.argsort(self.met, kind="stable")[: len(stay)]
        self.first[taken] = self.latest[taken] = seen.codes[stay]
        self.reading[taken], self.reading_projections[taken] = seen.readings[stay], seen.reading_projections[stay]
        self.first_class[taken], self.counted_class[taken] = seen.classes[stay], _NONE
        self.met[taken] = self.queries + 1 + stay
        self.queries += count

    def _count(self, session: int, seen: Observations, place: int) -> Difference:
        """Lets a query count in the place of the one that did before it in its session."""
        first = self.reading[session].astype(np.float32)
        label = seen.classes[place]
        classes = [label]
        projections = [seen.reading_projections[place, label] - self.reading_projections[session, label]]
        vectors = [seen.readings[place].astype(np.float32) - first]
        if self.counted_class[session] != _NONE:
            classes.insert(0, self.counted_class[session])
            projections.insert(0, -self.counted_projection[session])
            vectors.insert(0, first - self.counted[session].astype(np.float32))
        self.counted[session], self.counted_class[session] = seen.readings[place], label
        self.counted_projection[session] = projections[-1]
        return Difference(place, np.array(classes), np.stack(vectors), np.array(projections))


def distances_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Euclidean distances of vectors, shape `(n, d)` and `(m, d)`, float32: shape `(n, m)`."""
    squares = np.einsum("nd,nd->n", a, a)[:, None] + np.einsum("md,md->m", b, b) - 2 * (a @ b.T)
    return np.sqrt(np.maximum(squares, 0))
