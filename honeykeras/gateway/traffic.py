"""`Traffic`: what a gateway's clients send, in numbers, and whether it is what the detector was calibrated for."""

from __future__ import annotations

import collections
from typing import Any

from scipy import stats

from honeykeras.evaluation.statistics import Proportion
from honeykeras.gateway.records import Record

# Minutes that are kept.
_MINUTES = 120
# What chance does once in so many looks is no drift.
_DRIFT = 1e-3
# The scores of so many inputs are the measure of those that follow.
_REFERENCE = 1000
_BINS = 20


class Traffic:
    """Counts requests, inputs and flags, and compares scores with those of the first.

    Clients that are accused are left out of what false alarms are counted on: what they send is flagged for a reason.
    """

    def __init__(self) -> None:
        self.requests = self.failures = self.inputs = self.flags = self.accusations = 0
        self._honest = self._honest_flags = 0
        self._actions: collections.Counter[str] = collections.Counter()
        self._minutes: collections.OrderedDict[int, list[int]] = collections.OrderedDict()
        self._reference, self._recent = [0] * _BINS, collections.deque[int](maxlen=_REFERENCE)

    def answered(self, record: Record) -> None:
        """Counts a request that was answered."""
        flags = int(record.flags.sum())
        self.requests += 1
        self.inputs += len(record.flags)
        self.flags += flags
        self.accusations += record.accusation
        self._actions.update(each.action for each in record.reactions if each.why)
        minute = self._minutes.setdefault(int(record.time // 60), [0, 0])
        minute[0] += len(record.flags)
        minute[1] += flags
        while len(self._minutes) > _MINUTES:
            self._minutes.popitem(last=False)
        if not record.accused:
            self._honest += len(record.flags)
            self._honest_flags += flags
            for score in record.scores.tolist():
                place = min(int(score * _BINS), _BINS - 1)
                if sum(self._reference) < _REFERENCE:
                    self._reference[place] += 1
                else:
                    self._recent.append(place)

    def refused(self, model: str, signature: str, code: str, seconds: float) -> None:
        """Counts one that was not."""
        self.failures += 1

    def summary(self, max_fpr: float) -> dict[str, Any]:
        """All of it, as plain data.

        Args:
            max_fpr: The false positive rate that the detector was calibrated to.
        """
        rate = Proportion(self._honest_flags, self._honest)
        return {
            "requests": self.requests,
            "failures": self.failures,
            "inputs": self.inputs,
            "flags": self.flags,
            "accusations": self.accusations,
            "actions": dict(self._actions),
            "minutes": [[minute, *counts] for minute, counts in self._minutes.items()],
            "false_alarms": {
                "flagged": self._honest_flags,
                "n": self._honest,
                "rate": rate.value if self._honest else None,
                "interval": list(rate.interval),
                "calibrated_to": max_fpr,
            },
            "alerts": self._alerts(max_fpr),
        }

    def _alerts(self, max_fpr: float) -> list[str]:
        """What an operator should look at, in words."""
        alerts = []
        if self._honest and stats.binomtest(self._honest_flags, self._honest, max_fpr, "greater").pvalue < _DRIFT:
            alerts.append(
                f"More is flagged of clients that are not accused than the detector was calibrated to: "
                f"{self._honest_flags} of {self._honest}, for {max_fpr:.2%}. Either attackers are about, or this "
                "traffic is not what it was calibrated on: look at the inputs below, and calibrate anew."
            )
        if len(self._recent) == _REFERENCE:
            recent = [0] * _BINS
            for place in self._recent:
                recent[place] += 1
            pairs = [pair for pair in zip(self._reference, recent, strict=True) if any(pair)]
            if len(pairs) > 1 and stats.chi2_contingency(list(zip(*pairs, strict=True))).pvalue < _DRIFT:
                alerts.append(
                    f"The detector's scores have drifted: those of the latest {_REFERENCE:,} inputs are distributed "
                    f"otherwise than those of the first {_REFERENCE:,}. Look whether what clients send has changed."
                )
        return alerts
