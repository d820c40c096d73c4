"""`Metrics`: what Prometheus collects of a gateway."""

from __future__ import annotations

from typing import Any

from honeykeras._optional import load_optional
from honeykeras.gateway.records import Record

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_SCORES = tuple(round(step / 20, 2) for step in range(1, 21))


class Metrics:
    """Counts requests, flags, accusations and actions, and measures how long answers take.

    Attributes:
        registry: Prometheus' registry of them.
    """

    def __init__(self) -> None:
        client = load_optional("prometheus_client", "gateway", "Metrics of a gateway")
        self.registry: Any = client.CollectorRegistry()
        common: dict[str, Any] = {"registry": self.registry, "namespace": "gateway"}
        of_model = ("model", "signature")
        self._requests = client.Counter("requests", "Requests, by gRPC's status", (*of_model, "code"), **common)
        self._inputs = client.Counter("inputs", "Inputs that were answered", of_model, **common)
        self._flags = client.Counter("flags", "Inputs that were flagged", of_model, **common)
        self._accusations = client.Counter("accusations", "Clients that were accused", of_model, **common)
        self._actions = client.Counter(
            "actions",
            "What became of answers, or would have",
            (*of_model, "action", "shadow"),
            **common,
        )
        self._seconds = client.Histogram(
            "request_seconds", "How long answers took", of_model, buckets=_SECONDS, **common
        )
        self._scores = client.Histogram("scores", "The detector's scores", of_model, buckets=_SCORES, **common)
        self._policy = client.Gauge("policy_version", "The policy that is in force", **common)
        self._healthy = client.Gauge("healthy", "Whether there are answers to be had", ("part",), **common)
        self._under_way = client.Gauge("requests_under_way", "Requests that are being answered", **common)
        self._dropped = client.Gauge("log_records_dropped", "Requests that the log could not take", **common)
        self._write = client.generate_latest
        self.content_type = client.CONTENT_TYPE_LATEST

    def answered(self, record: Record) -> None:
        """Counts a request that was answered."""
        of_model = (record.model.name, record.signature)
        self._requests.labels(*of_model, "OK").inc()
        self._inputs.labels(*of_model).inc(len(record.flags))
        self._flags.labels(*of_model).inc(int(record.flags.sum()))
        if record.accusation:
            self._accusations.labels(*of_model).inc()
        for each in record.reactions:
            if each.why:
                self._actions.labels(*of_model, each.action, str(record.shadow).lower()).inc()
        self._seconds.labels(*of_model).observe(record.seconds)
        for score in record.scores.tolist():
            self._scores.labels(*of_model).observe(score)
        self._policy.set(record.policy)

    def refused(self, model: str, signature: str, code: str, seconds: float) -> None:
        """Counts one that was not."""
        # Names come from clients: of models and signatures that there are not, one row is enough.
        known = code not in ("NOT_FOUND", "INVALID_ARGUMENT", "FAILED_PRECONDITION")
        self._requests.labels(*((model, signature) if known else ("", "")), code).inc()

    def now(self, parts: dict[str, bool], under_way: int, dropped: int) -> None:
        """Takes down which parts answer, how many requests are under way, and what the log could not take."""
        for name, healthy in parts.items():
            self._healthy.labels(name).set(healthy)
        self._under_way.set(under_way)
        self._dropped.set(dropped)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return self._write(self.registry)
