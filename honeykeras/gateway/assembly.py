"""`serve`: a gateway put together of its parts, and run."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path

from honeykeras import secretfile
from honeykeras.export import SealingKey
from honeykeras.gateway import policy_files, private, running
from honeykeras.gateway.backend import Backend
from honeykeras.gateway.detections import Detections
from honeykeras.gateway.events import Events
from honeykeras.gateway.guard import Guard
from honeykeras.gateway.identity import pseudonym
from honeykeras.gateway.in_process import InProcess
from honeykeras.gateway.metrics import Metrics
from honeykeras.gateway.policy import Policy
from honeykeras.gateway.rates import Rates
from honeykeras.gateway.records import Watcher
from honeykeras.gateway.request_log import RequestLog
from honeykeras.gateway.running import Ports
from honeykeras.gateway.shared_store import SharedStore
from honeykeras.gateway.stores import Memory, Store
from honeykeras.gateway.traffic import Traffic
from honeykeras.gateway.upstream import Credentials, Upstream


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a gateway is made of.

    Attributes:
        folder: Artifacts, for a gateway that has them in its own process.
        upstream: Host and port of a TensorFlow Serving, for one that has not.
        models: The names of the models behind `upstream`.
        authority: For `upstream`, the certificate of who signed the server's: speaks TLS.
        public_key: File of the public key that artifacts must be signed for.
        unsigned: Whether artifacts that nobody verified are run beside their key.
        sealing_key: File of the key that opens them, if that is not where they look for it.
        policy: File of the policy. Defaults to the one that `Policy()` is.
        policy_key: File of the public key that policies must be signed for, if they must.
        shadow: Whether answers are the model's, whatever the policy says.
        logs: Folder of logs: `requests/` and `flagged/` in it. Nothing is written without.
        redis: URL of the Redis that replicas share.
        secret: File of the secret that replicas share; made if it is not there.
        ports: Where it listens.
    """

    folder: Path | None = None
    upstream: str | None = None
    models: tuple[str, ...] = ()
    authority: Path | None = None
    public_key: Path | None = None
    unsigned: bool = False
    sealing_key: Path | None = None
    policy: Path | None = None
    policy_key: Path | None = None
    shadow: bool = False
    logs: Path | None = None
    redis: str | None = None
    secret: Path | None = None
    ports: Ports = dataclasses.field(default_factory=Ports)

    def read_policy(self) -> Policy:
        """The policy as its file has it now."""
        policy = Policy() if self.policy is None else policy_files.read(self.policy, self.policy_key)
        return policy.model_copy(update={"shadow": True}) if self.shadow else policy


def serve(settings: Settings, started: Callable[[Ports, list[str]], None] = lambda ports, models: None) -> None:
    """Runs a gateway until the process is told to end.

    Args:
        settings: What it is made of.
        started: Is told, once it listens, on which ports, and for which models.

    Raises:
        HoneyKerasError: If it cannot begin.
    """
    policy = settings.read_policy()
    secret = secretfile.read_or_make(settings.secret, "gateway's secret")
    # What is in force is the guard's, who can be given another.
    backend, models = _backend(settings, policy, lambda: guard.policy)
    store = _store(settings, lambda: guard.policy, secret)

    def named(client: str) -> str:
        return pseudonym(secret, client) if guard.policy.logs.pseudonyms else client

    metrics, traffic, events = Metrics(), Traffic(), Events(named)
    with contextlib.ExitStack() as stack:
        flagged = None if settings.logs is None else settings.logs / "flagged"
        detections = Detections(lambda: guard.policy.logs, flagged)
        stack.callback(detections.close)
        watchers: list[Watcher] = [metrics, traffic, events, detections]
        if settings.logs is not None:
            requests = RequestLog(settings.logs / "requests", lambda: guard.policy.logs, named)
            stack.callback(requests.close)
            watchers.append(requests)
        guard = Guard(backend, policy, store, watchers)
        app = private.make_app(
            guard,
            metrics,
            traffic,
            detections,
            models=models,
            dropped=lambda: sum(getattr(each, "dropped", 0) for each in watchers),
        )
        asyncio.run(
            running.run(
                guard,
                models,
                settings.ports,
                rates=Rates(secret, settings.redis),
                private=app,
                read_policy=settings.read_policy,
                started=lambda ports: started(ports, models),
                said=events.said,
            )
        )


def _backend(settings: Settings, policy: Policy, in_force: Callable[[], Policy]) -> tuple[Backend, list[str]]:
    if settings.upstream is not None:
        tls = None if settings.authority is None else Credentials(settings.authority)
        return Upstream(settings.upstream, tls=tls, deadline=lambda: in_force().limits.deadline), list(settings.models)
    key = None if settings.sealing_key is None else SealingKey.load(settings.sealing_key)
    made = InProcess(
        settings.folder or ".",
        public_key=settings.public_key,
        sealing_key=key,
        unsigned=settings.unsigned,
        versions=policy.serve,
        labels=policy.labels,
    )
    return made, made.models


def _store(settings: Settings, in_force: Callable[[], Policy], secret: bytes) -> Store:
    if settings.redis is None:
        return Memory(lambda: in_force().clients)
    return SharedStore(settings.redis, secret, in_force)
