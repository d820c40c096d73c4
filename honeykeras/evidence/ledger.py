"""`Ledger`: what a client's queries add up to, and whether that accuses it."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import threading
from collections.abc import Iterator, Mapping

import numpy as np
from threadpoolctl import ThreadpoolController

from honeykeras import _checks
from honeykeras.errors import InvalidArgumentError
from honeykeras.evidence.bounds import CHECKPOINTS, bound, e_value, share
from honeykeras.evidence.observations import Observations
from honeykeras.evidence.rules import Rules
from honeykeras.evidence.sessions import Difference, Sessions
from honeykeras.evidence.sums import NOTHING, Added, Sums, beyond

SHARES: Mapping[str, float] = {"all": 0.6, "window": 0.2, "single": 0.1, "differences": 0.1}
"""The statistics of a ledger, and which part of `alpha` each may use up.

`all` sums what is new in all queries, `window` in the latest, `single` looks at each alone, and `differences` sums what
near duplicates have beyond what they are near to.
"""

STATISTICS = tuple(SHARES)

# How many queries are compared with each other at a time.
_SLICE = 256

_NEVER = np.iinfo(np.int64).max

_TURN = threading.Lock()


@dataclasses.dataclass(frozen=True)
class Evidence:
    """How a client stands.

    Attributes:
        queries: How many queries it has sent.
        new: How many of them were no near duplicates of one before.
        accused_at: The number of the query at which it was accused, from 1; None if it was not.
        accused_by: By which of `SHARES`; None likewise.
        statistic: Of `all`, in standard deviations of chance, with the sign of the sum.
        allowance: How much of it may be nobody's doing, as the rules' margin says.
        bound: What `statistic` must reach, to either side, to accuse at the next checkpoint, allowance included.
    """

    queries: int
    new: int
    accused_at: int | None
    accused_by: str | None
    statistic: float
    allowance: float
    bound: float

    @property
    def accused(self) -> bool:
        """Whether the client was accused, now or before."""
        return self.accused_at is not None

    @property
    def e_value(self) -> float:
        """How strongly `statistic` speaks against chance at this moment: for `bounds.e_bh` over many clients.

        It means what it says at a moment that was fixed beforehand, such as once a day.
        """
        return float(e_value(max(0.0, abs(self.statistic) - self.allowance)))


class Ledger:
    """What a client's queries add up to, and whether that accuses it.

    A client whose queries do not depend on the key is ever accused with a probability of at most `rules.alpha`, over
    the draw of the key, whatever it sends and however long (docs/evidence.md has the proof, and what is assumed).

    Attributes:
        rules: What it goes by.
        queries: How many queries were added.
        accused_at: The number of the query at which the client was accused, from 1; 0 if it was not.

    Its size is fixed by its rules. It is key material: its sums are linear equations in the key's patterns. `Vault`
    seals it for a store.
    """

    def __init__(self, rules: Rules, *, keys: int | None = None) -> None:
        """Makes a ledger for a client that has sent nothing yet.

        Args:
            rules: What it goes by; `Observer.ledger` is how to get them.
            keys: With how many keys at once `Observations.under` looks at the queries, for controls: `accused_at` then
                has one element for each.
        """
        self.rules, self._of_windows = rules, dataclasses.replace(rules, grace=0.0)
        shape = () if keys is None else (keys,)
        self.queries = 0
        self.sums = {
            name: Sums(rules.num_classes, rules.dimensions, shape) for name in ("all", "window", "differences")
        }
        self.sessions = Sessions(rules, shape)
        # Of the query that accused, and of the statistic that did: 0 where none did.
        self.accused_at, self.accused_by = np.zeros((2, *shape), np.int64)

    def update(self, seen: Observations) -> Evidence:
        """Adds queries, and says how the client stands after them; otherwise as `add`."""
        self.add(seen)
        return self.evidence

    def add(self, seen: Observations) -> None:
        """Adds queries, in the order in which they came; in how many calls does not matter.

        Args:
            seen: What an `Observer` of the same rules saw of them.

        Raises:
            InvalidArgumentError: If they are of another model.
        """
        _checks.instance("seen", seen, Observations, "what `Observer.observe` gives")
        expected = (len(seen), self.rules.dimensions)
        if seen.views.shape != expected:
            raise InvalidArgumentError(
                f"`seen` must be of views of shape {expected}, as the ledger's rules say. Received: {seen.views.shape}."
            )
        with _one_thread():
            for start in range(0, len(seen), _SLICE):
                self._add(seen[start : start + _SLICE])

    def _add(self, seen: Observations) -> None:
        new, differences = self.sessions.sort(seen)
        places = np.flatnonzero(new)
        numbers = self.queries + 1 + places
        # Most often all are new, and nothing needs to be copied.
        fresh = slice(None) if new.all() else new
        added = Added(seen.classes[fresh], seen.views[fresh], seen.projections[fresh])
        # At checkpoints of what is new: a near duplicate more or less is no other moment.
        looked, shares = _looks(self.sums["all"].count, len(added))
        crossed = np.stack(
            [
                self._crossed("all", self.sums["all"].add(added, looked, self.rules), numbers[looked], shares),
                self._sum_windows(added, numbers),
                self._single(added, numbers),
                self._crossed(
                    "differences", self._sum_differences(differences, places[looked]), numbers[looked], shares
                ),
            ]
        )
        self.queries += len(seen)
        self._accuse(crossed.min(axis=0), crossed.argmin(axis=0))

    def _accuse(self, at: np.ndarray, by: np.ndarray | int) -> None:
        """Accuses of what a statistic found at a query, under the keys that nothing was found under before."""
        now = (self.accused_at == 0) & (at < _NEVER)
        self.accused_at, self.accused_by = np.where(now, at, self.accused_at), np.where(now, by, self.accused_by)

    def merge(self, other: Ledger) -> None:
        """Takes in what another ledger of the same client holds: of another replica, or of a later stretch of time.

        Sums add up, and the sum of all is looked at once. A window begins anew, and of the queries that near duplicates
        are found of, the other ledger's are kept first. Each ledger that was merged has used up `alpha` on its own: of
        two, a client whose queries do not depend on the key is accused with a probability of twice that at most.

        Args:
            other: The other ledger; it is left as it is. What it was accused of is counted after this one's queries.

        Raises:
            InvalidArgumentError: If it goes by other rules.
        """
        _checks.instance("other", other, Ledger, "a Ledger")
        if other.rules != self.rules or other.accused_at.shape != self.accused_at.shape:
            raise InvalidArgumentError(
                f"`other` must go by the same rules, {self.rules}. Received: a ledger that goes by {other.rules}."
            )
        looked, shares = _looks(self.sums["all"].count, other.sums["all"].count)
        self._accuse(np.where(other.accused_at > 0, self.queries + other.accused_at, _NEVER), other.accused_by)
        self.queries += other.queries
        for name, sums in self.sums.items():
            sums.merge(other.sums[name])
        window = self.sums["window"]
        window.count = -(-window.count // self.rules.window) * self.rules.window
        self.sessions.merge(other.sessions)
        if len(looked):
            # Of the checkpoints that were passed, the last one is looked at.
            statistic = self.sums["all"].statistic(self.rules)[None]
            crossed = self._crossed("all", statistic, np.array([self.queries]), shares[-1:])
            self._accuse(crossed, STATISTICS.index("all"))

    @property
    def evidence(self) -> Evidence:
        """How the client stands."""
        every = self.sums["all"]
        coming = np.searchsorted(CHECKPOINTS, every.count, side="right") + 1
        length = max(float(np.linalg.norm(every.by_class)), NOTHING)
        allowance = float(self.rules.allowed(every.weight)) / length
        return Evidence(
            queries=self.queries,
            new=every.count,
            accused_at=int(self.accused_at) or None,
            accused_by=STATISTICS[self.accused_by] if self.accused_at else None,
            statistic=float(every.projection) / length,
            allowance=allowance,
            bound=allowance + float(self._bound("all", share(coming))),
        )

    def _sum_windows(self, added: Added, numbers: np.ndarray) -> np.ndarray:
        sums, window = self.sums["window"], self.rules.window
        found, start = [self._never], 0
        while start < len(added):
            begun = sums.count % window
            if not begun:
                sums.clear()
            part = slice(start, start + window - begun)
            looks, taken = _window_looks(window), added[part]
            looked = looks[(looks > begun) & (looks <= begun + len(taken))] - begun - 1
            statistics = sums.add(taken, looked, self._of_windows)
            # The number of this window, from 1.
            shares = np.full(len(looked), share(-(-sums.count // window)) / len(looks))
            found.append(self._crossed("window", statistics, numbers[part][looked], shares))
            start = part.stop
        return np.minimum.reduce(found)

    def _single(self, added: Added, numbers: np.ndarray) -> np.ndarray:
        statistics = beyond(added.projections, np.asarray(self.rules.allowed(added.weights)), added.weights)
        # All of them were counted by now.
        places = self.sums["all"].count - len(added) + 1 + np.arange(len(added))
        return self._crossed("single", statistics, numbers, share(places))

    def _sum_differences(self, differences: list[Difference], looked: np.ndarray) -> np.ndarray:
        """The statistic of differences as it was after each of some queries."""
        sums = self.sums["differences"]
        if not differences:
            return np.repeat(sums.statistic(self.rules)[None], len(looked), axis=0)
        classes, vectors, projections = (
            np.concatenate([getattr(each, name) for each in differences])
            for name in ("classes", "vectors", "projections")
        )
        ends = np.cumsum([0, *(len(each.classes) for each in differences)])
        weights = -np.linalg.norm(vectors, axis=1)
        weights[ends[1:] - 1] *= -1
        done = np.searchsorted([each.query for each in differences], looked, side="right")
        return sums.add(Added(classes, vectors, projections, weights), ends[done] - 1, self.rules)

    def _bound(self, name: str, shares: np.ndarray) -> np.ndarray:
        # Variations of one image may be taken for whichever class the key makes of it: it holds for all of them.
        return bound(self.rules.alpha * SHARES[name] * shares / self.rules.num_classes)

    @property
    def _never(self) -> np.ndarray:
        return np.full(self.accused_at.shape, _NEVER)

    def _crossed(self, name: str, statistics: np.ndarray, numbers: np.ndarray, shares: np.ndarray) -> np.ndarray:
        """The number of the query of the first look at which a statistic had passed its bound."""
        if not len(numbers):
            return self._never
        passed = (self._bound(name, shares) <= statistics.T).T
        return np.where(passed.any(axis=0), numbers[passed.argmax(axis=0)], _NEVER)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Keeps NumPy's linear algebra to one thread: its products are so small here that others spin for nothing.

    That is a setting of the process, so that ledgers take turns, and what it was before holds again afterwards.
    """
    with _TURN, _libraries().limit(limits=1, user_api="blas"):
        yield


@functools.cache
def _libraries() -> ThreadpoolController:
    """Looked up once, which takes longer than adding a thousand queries."""
    return ThreadpoolController()


def _looks(before: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Which of some further queries reach a checkpoint, and the share of each of these looks."""
    first, end = np.searchsorted(CHECKPOINTS, [before, before + count], side="right")
    return CHECKPOINTS[first:end] - before - 1, share(np.arange(first, end) + 1)


@functools.cache
def _window_looks(window: int) -> np.ndarray:
    """After how many queries of a window it is looked at."""
    return np.unique([min(2**power, window) for power in range(3, window.bit_length() + 1)])
