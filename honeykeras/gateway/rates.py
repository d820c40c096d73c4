"""How often a client may ask: `limits`, with counts in memory or in the Redis that replicas share."""

from __future__ import annotations

from typing import Any

from honeykeras._optional import load_optional
from honeykeras.gateway.failures import RequestError
from honeykeras.gateway.identity import pseudonym
from honeykeras.gateway.policy import Policy

# Redis is on the same network; who waits longer waits for one that is gone.
_TIMEOUT = 1.0


class Rates:
    """Refuses clients that ask too often."""

    def __init__(self, secret: bytes, redis: str | None = None) -> None:
        """Makes counters that stand at nothing.

        Args:
            secret: By which clients are named where counts are kept.
            redis: URL of the Redis that replicas share. Defaults to counting in this process's memory.
        """
        self._limits = load_optional("limits", "gateway", "Limits of clients")
        load_optional("limits.aio", "gateway", "Limits of clients")
        self._secret, self._pool = secret, None
        uri, options = "async+memory://", {}
        if redis is not None:
            client: Any = load_optional("redis.asyncio", "gateway", "A Redis of replicas")
            self._pool = client.ConnectionPool.from_url(
                redis, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT, protocol=2
            )
            uri, options = f"async+{redis}", {"implementation": "redispy", "connection_pool": self._pool}
        storage = self._limits.storage.storage_from_string(uri, **options)
        self._counter = self._limits.aio.strategies.MovingWindowRateLimiter(storage)

    async def check(self, policy: Policy, client: str) -> None:
        """Counts a request.

        Raises:
            RequestError: If the client has made as many as it may; or if its requests cannot be counted, and the policy
                says to refuse them then.
        """
        if not policy.clients.rate:
            return
        try:
            may = await self._counter.hit(self._limits.parse(policy.clients.rate), pseudonym(self._secret, client))
        except Exception:  # Of what counts: a Redis that does not answer.
            if policy.clients.without_store == "closed":
                raise RequestError("UNAVAILABLE", "The model is not available") from None
            may = True
        if not may:
            raise RequestError("RESOURCE_EXHAUSTED", f"At most {policy.clients.rate} requests may be made")

    async def close(self) -> None:
        """Lets go of connections."""
        if self._pool is not None:
            await self._pool.aclose()
