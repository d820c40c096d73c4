"""`judge`: what a client's queries of a log say together, as the gateway's ledger would have had it."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from honeykeras.audit.blocks import Queries
from honeykeras.evidence import Evidence, Ledger, Observations, Rules
from honeykeras.gateway.events import SCORE_STEP, coarse

# How a client stands is noted when it has sent so much more than when it last was.
_GROWTH = 1.25
# So many images of a client are shown, at most.
_SHOWN = 6


class _Version:
    """A client's ledger under the key of one version, and what became of it.

    Attributes:
        ledger: The ledger.
        moments: Queries, statistic and bound, as they were on the way.
        accused_on: When the query came that accused the client; None if that is not known, or there was none.
    """

    def __init__(self, rules: Rules, alpha: float) -> None:
        self.ledger = Ledger(dataclasses.replace(rules, alpha=alpha))
        self.moments: list[tuple[int, float | None, float | None]] = []
        self.accused_on: float | None = None

    def add(self, seen: Observations, places: np.ndarray) -> np.void | None:
        """Adds queries; returns the place of the one that accused the client, if one of them did."""
        before, known, start = int(self.ledger.accused_at), self.ledger.queries, 0
        while start < len(seen):
            stop = min(len(seen), start + max(1, math.ceil(self.ledger.queries * (_GROWTH - 1))))
            now = self.ledger.update(seen[start:stop])
            self.moments.append((now.queries, coarse(now.statistic), coarse(now.bound)))
            start = stop
        if before or not self.ledger.accused_at:
            return None
        place: np.void = places[max(0, int(self.ledger.accused_at) - known - 1)]
        self.accused_on = _plain(place["time"])
        return place


def judge(stretches: Iterator[Queries], alpha: float) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What a client's queries say together.

    Each version's key looks at all of them, as `evidence.attribute` has it, and has its part of `alpha`.

    Args:
        stretches: The queries, in their order; one at least.
        alpha: The probability, over the draw of the keys, that a client is accused whose queries depend on none.

    Returns:
        The verdict, and the queries that the version in question flags, as plain data. Evidence and scores are in
        coarse steps: exact ones beside their inputs are equations in the key.
    """
    first = next(stretches)
    current = next(iter(first.versions))
    versions = {name: _Version(each.rules, alpha / len(first.versions)) for name, each in first.versions.items()}
    flagged: list[dict[str, Any]] = []
    accusing: list[dict[str, int]] = []
    queries = 0
    for stretch in itertools.chain([first], stretches):
        looked = stretch.versions[current]
        for place in np.flatnonzero(looked.flags):
            score = coarse(float(looked.scores[place]), SCORE_STEP)
            at = stretch.places[place]
            flagged.append(
                {"query": queries + int(place) + 1, "time": _plain(at["time"]), "score": score, **_where(at)}
            )
        for name, version in versions.items():
            if (at := version.add(stretch.versions[name].seen, stretch.places)) is not None:
                accusing.append(_where(at))
        queries += len(stretch)
    name, chosen = min(versions.items(), key=lambda each: _rank(each[1].ledger.evidence))
    evidence = chosen.ledger.evidence
    images = [*accusing, *({field: each[field] for field in ("shard", "record", "row")} for each in flagged[:_SHOWN])]
    verdict = {
        "accused": evidence.accused,
        "queries": queries,
        "flags": len(flagged),
        "first_query": evidence.accused_at,
        "version": name if evidence.accused else None,
        "accused_by": evidence.accused_by,
        "accused_on": chosen.accused_on,
        "first_seen": _plain(first.places["time"][0]),
        "last_seen": _plain(stretch.places["time"][-1]),
        "new": evidence.new,
        "statistic": coarse(evidence.statistic),
        "bound": coarse(evidence.bound),
        "versions": {each: _stands(version.ledger.evidence) for each, version in versions.items()},
        "moments": chosen.moments,
        "images": [each for place, each in enumerate(images) if each not in images[:place]][:_SHOWN],
    }
    return verdict, flagged


def _stands(evidence: Evidence) -> dict[str, Any]:
    return {
        "first_query": evidence.accused_at,
        "statistic": coarse(evidence.statistic),
        "bound": coarse(evidence.bound),
    }


def _where(place: np.void) -> dict[str, int]:
    return {"shard": int(place["shard"]), "record": int(place["number"]), "row": int(place["row"])}


def _plain(time: np.floating[Any]) -> float | None:
    return None if np.isnan(time) else float(time)


def _rank(evidence: Evidence) -> tuple[float, float]:
    return (evidence.accused_at or math.inf, -abs(evidence.statistic))
