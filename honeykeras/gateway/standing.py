"""`Standing`: what a gateway knows of a client."""

from __future__ import annotations

import collections
import dataclasses

import numpy as np

from honeykeras.evidence import Evidence, Ledger, Observations, Rules
from honeykeras.evidence.sessions import distances_between

# So many inputs that a client sent are remembered, with what it was told.
_REMEMBERED = 32
# Moments of a client are kept for the page: so many, each when it has sent so much more than at the one before.
_MOMENTS = 300
_GROWTH = 1.03


class Told:
    """What a client was told of its latest inputs, so that it is told the same of what is alike.

    Attributes:
        codes: Of the inputs, shape `(n, dimensions)`, float16, the latest last.
        labels: Which class it was told, shape `(n,)`.
    """

    def __init__(self) -> None:
        self.codes: np.ndarray | None = None
        self.labels = np.zeros(0, np.int64)

    def label_of(self, code: np.ndarray, nearness: float) -> int | None:
        """What it was told of the nearest input that is a near duplicate; None if there is none."""
        if self.codes is None:
            return None
        distances = distances_between(code[None].astype(np.float32), self.codes.astype(np.float32))[0]
        nearest = int(distances.argmin())
        return int(self.labels[nearest]) if distances[nearest] <= nearness else None

    def remember(self, code: np.ndarray, label: int) -> None:
        """Keeps what it was told of an input."""
        codes = code[None] if self.codes is None else np.concatenate([self.codes, code[None]])
        self.codes = codes[-_REMEMBERED:]
        self.labels = np.append(self.labels, label)[-_REMEMBERED:]


@dataclasses.dataclass
class Standing:
    """What a gateway knows of a client.

    Attributes:
        queries: How many inputs it sent.
        flags: How many were flagged.
        first_seen: When it sent the first, in seconds since 1970.
        last_seen: When it sent the last.
        accused_at: The number of the query at which it was accused, from 1; 0 if it is not.
        accused_on: When, in seconds since 1970.
        banned_until: Until when it gets no answers.
        ledgers: What its queries add up to, by the model's version.
        told: What it was told lately.
        moments: Time, queries, statistic and bound, as they were lately.
    """

    queries: int = 0
    flags: int = 0
    first_seen: float = 0.0
    last_seen: float = 0.0
    accused_at: int = 0
    accused_on: float = 0.0
    banned_until: float = 0.0
    ledgers: dict[str, Ledger] = dataclasses.field(default_factory=dict)
    told: Told = dataclasses.field(default_factory=Told)
    moments: collections.deque[tuple[float, int, float, float]] = dataclasses.field(
        default_factory=lambda: collections.deque(maxlen=_MOMENTS)
    )

    def begin_anew_after(self, duration: float, now: float) -> None:
        """Lets an accusation lapse, and what led to it, once it is older than that."""
        if self.accused and now - self.accused_on >= duration:
            self.accused_at, self.accused_on = 0, 0.0
            self.ledgers.clear()
            self.moments.clear()

    def add(self, key: str, seen: Observations | None, flags: np.ndarray, rules: Rules | None, now: float) -> bool:
        """Adds queries.

        Args:
            key: Which model and version they were sent to.
            seen: What was seen in them, where the artifact tells it.
            flags: Which were flagged.
            rules: What ledgers go by.
            now: When they came.

        Returns:
            Whether they led to an accusation.
        """
        before = self.queries
        self.first_seen = self.first_seen or now
        self.last_seen = now
        self.queries += len(flags)
        self.flags += int(flags.sum())
        if seen is None or rules is None:
            return False
        ledger = self.ledgers.get(key)
        if ledger is None or ledger.rules != rules:
            ledger = self.ledgers[key] = Ledger(rules)
        since = ledger.queries
        evidence = ledger.update(seen)
        if not self.moments or self.queries >= _GROWTH * self.moments[-1][1] or evidence.accused != self.accused:
            self.moments.append((now, self.queries, evidence.statistic, evidence.bound))
        if self.accused or evidence.accused_at is None:
            return False
        self.accused_at, self.accused_on = before + max(1, evidence.accused_at - since), now
        return True

    @property
    def accused(self) -> bool:
        """Whether it is accused."""
        return self.accused_at > 0

    @property
    def evidence(self) -> Evidence | None:
        """How it stands with the version where there is most against it."""
        all_evidence = [ledger.evidence for ledger in self.ledgers.values()]
        return max(all_evidence, key=lambda each: (each.accused, abs(each.statistic)), default=None)
