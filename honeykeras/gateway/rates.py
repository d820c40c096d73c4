"""How often a client may ask: `limits`, with counts in memory or in the Redis that replicas share."""

from __future__ import annotations

from honeykeras._optional import load_optional
from honeykeras.gateway.failures import RequestError
from honeykeras.gateway.policy import Policy


class Rates:
    """Refuses clients that ask too often."""

    def __init__(self, redis: str | None = None) -> None:
        """Makes counters that stand at nothing.

        Args:
            redis: URL of the Redis that replicas share. Defaults to counting in this process's memory.
        """
        self._limits = load_optional("limits", "gateway", "Limits of clients")
        load_optional("limits.aio", "gateway", "Limits of clients")
        uri = "async+memory://" if redis is None else f"async+{redis}"
        options = {} if redis is None else {"implementation": "redispy"}
        self._counter = self._limits.aio.strategies.MovingWindowRateLimiter(
            self._limits.storage.storage_from_string(uri, **options)
        )

    async def check(self, policy: Policy, client: str) -> None:
        """Counts a request.

        Raises:
            RequestError: If the client has made as many as it may.
        """
        if policy.clients.rate and not await self._counter.hit(self._limits.parse(policy.clients.rate), client):
            raise RequestError("RESOURCE_EXHAUSTED", f"At most {policy.clients.rate} requests may be made")
