"""`Events`: what happened, as lines of JSON that tell operators who, what and when, and nobody the key."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TextIO

import numpy as np

from honeykeras._optional import load_optional
from honeykeras.gateway.records import Record

# Exact scores beside their inputs are equations in the key.
SCORE_STEP = 0.05
_EVIDENCE_STEP = 0.5


def coarse(value: float | None, step: float = _EVIDENCE_STEP) -> float | None:
    """A number in steps, so that no equations can be made of many."""
    return None if value is None or not np.isfinite(value) else round(round(value / step) * step, 6)


class Events:
    """Writes an event for each request in which something was flagged, accused or changed, and for each that failed."""

    def __init__(self, named: Callable[[str], str], stream: TextIO | None = None) -> None:
        """Makes a writer.

        Args:
            named: What a client is called in it.
            stream: Where lines go. Defaults to stderr.
        """
        structlog = load_optional("structlog", "gateway", "Events of a gateway")
        self._named = named
        self._log = structlog.wrap_logger(
            structlog.PrintLogger(stream or sys.stderr),
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.JSONRenderer(),
            ],
        )

    def answered(self, record: Record) -> None:
        """Writes what the detector, the ledger and the policy made of a request, if they made anything of it."""
        if record.accusation:
            self._log.warning("accused", **self._of(record))
        elif record.flags.any():
            self._log.info("flagged", **self._of(record))
        elif any(each.action != "observe" for each in record.reactions):
            self._log.info("changed", **self._of(record))

    def refused(self, model: str, signature: str, code: str, seconds: float) -> None:
        """Writes that a request had no answer for want of a model."""
        if code in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL", "UNKNOWN"):
            self._log.error("failed", model=model, signature=signature, code=code, seconds=round(seconds, 4))

    def said(self, line: str) -> None:
        """Writes what became of the gateway itself."""
        self._log.info("gateway", message=line)

    def _of(self, record: Record) -> dict[str, Any]:
        return {
            "client": self._named(record.client),
            "model": record.model.name,
            "version": record.version,
            "signature": record.signature,
            "request": record.request_hash,
            "inputs": len(record.flags),
            "flags": int(record.flags.sum()),
            "score": coarse(float(record.scores.max()), SCORE_STEP),
            "queries": record.queries,
            "evidence": coarse(record.statistic),
            "bound": coarse(record.bound),
            "accused": record.accused,
            "actions": sorted({each.action for each in record.reactions}),
            "shadow": record.shadow,
            "policy": record.policy,
        }
