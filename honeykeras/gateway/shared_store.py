"""`SharedStore`: how clients stand, in a Redis that the replicas of a gateway share."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import io
import json
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from honeykeras._optional import load_optional
from honeykeras.errors import HoneyKerasError
from honeykeras.evidence import Rules, Vault
from honeykeras.evidence.storage import from_bytes, to_bytes
from honeykeras.gateway.failures import RequestError
from honeykeras.gateway.identity import pseudonym
from honeykeras.gateway.policy import Policy
from honeykeras.gateway.standing import Standing
from honeykeras.gateway.stores import Change, Store, T

# A replica that is faster comes between; more often than this in a row it does not.
_TRIES = 20
# How long a client is remembered that is silent, beyond what its accusation lasts, in seconds.
_KEPT = 30 * 86400
# Redis is on the same network; who waits longer waits for one that is gone.
_TIMEOUT = 1.0

# Writes a standing if it is still the one that it was made of, by its number; otherwise gives the one that is there.
_SWAP = """
local held = redis.call('HMGET', KEYS[1], 'number', 'sealed')
if (held[1] or '0') == ARGV[1] then
  redis.call('HSET', KEYS[1], 'number', ARGV[2], 'sealed', ARGV[3])
  redis.call('EXPIRE', KEYS[1], ARGV[4])
  return {'kept'}
end
return {held[1] or '0', held[2] or ''}
"""

_FIELDS = tuple(
    field.name for field in dataclasses.fields(Standing) if field.name not in ("ledgers", "told", "moments")
)


class SharedStore(Store):
    """Standings in Redis, sealed, with one round trip a request.

    A replica remembers the clients that it saw last. It changes what it remembers, and writes that if no other replica
    has written in between; else it gets what is there, and changes that. So each query is counted once, in one order,
    whichever replica it came to. A Redis that does not answer is heeded as `clients.without_store` of the policy says.
    """

    def __init__(self, url: str, secret: bytes, policy: Callable[[], Policy], *, client: Any = None) -> None:
        """Names the Redis; nothing is asked of it yet.

        Args:
            url: Its URL.
            secret: 32 bytes that all replicas share: standings are sealed under it, and clients named by it.
            policy: The one that is in force: what is done where it does not answer, and of how many clients this
                replica remembers the standing.
            client: What speaks to Redis. Defaults to `redis.asyncio`.
        """
        redis = load_optional("redis.asyncio", "gateway", "A Redis of replicas")
        self._redis = client or redis.Redis.from_url(
            url, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT, protocol=2
        )
        self._errors = load_optional("redis.exceptions", "gateway", "A Redis of replicas").RedisError
        self._vault, self._secret, self._policy = Vault(secret), secret, policy
        self._held: collections.OrderedDict[str, tuple[int, bytes, Standing]] = collections.OrderedDict()
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()
        self._swap = self._redis.register_script(_SWAP)

    async def update(self, client: str, change: Change[T]) -> T:
        # Of this replica's own requests one client's are counted one after the other.
        lock = self._locks.setdefault(client, asyncio.Lock())
        async with lock:
            return await self._update(client, change)

    async def _update(self, client: str, change: Change[T]) -> T:
        key = f"gateway:{pseudonym(self._secret, client)}"
        number, sealed, _ = self._held.get(client, (0, b"", None))
        expected = number
        for _ in range(_TRIES):
            standing = self._opened(client, sealed)
            result = change(standing)
            new = self._vault.seal_bytes(client, pack(standing))
            expiry = int(_KEPT + self._policy().accusation.duration)
            try:
                found = await self._swap(keys=[key], args=[expected, number + 1, new, expiry])
            except (self._errors, OSError):
                if self._policy().clients.without_store == "closed":
                    raise RequestError("UNAVAILABLE", "The model is not available") from None
                # Redis will be told with the next request that reaches it.
                self._remember(client, number + 1, new, standing)
                return result
            if found[0] == b"kept":
                self._remember(client, number + 1, new, standing)
                return result
            expected = int(found[0])
            if expected > number:
                number, sealed = expected, found[1]
            # Otherwise Redis has lost its data, or missed some: what is remembered here goes on.
        raise RequestError("ABORTED", "Too many requests of one client at once")

    def _opened(self, client: str, sealed: bytes) -> Standing:
        if not sealed:
            return Standing()
        try:
            return unpack(self._vault.open_bytes(client, sealed))
        except HoneyKerasError:
            # Of another secret, or altered: that is no standing of this client.
            return Standing()

    def _remember(self, client: str, number: int, sealed: bytes, standing: Standing) -> None:
        self._held[client] = (number, sealed, standing)
        self._held.move_to_end(client)
        while len(self._held) > self._policy().clients.remembered:
            self._held.popitem(last=False)

    async def look(self, client: str) -> Standing | None:
        return self._held[client][2] if client in self._held else None

    def known(self) -> list[tuple[str, Standing]]:
        return [(client, standing) for client, (_, _, standing) in reversed(self._held.items())]

    async def forget(self, client: str) -> bool:
        self._held.pop(client, None)
        return bool(await self._redis.delete(f"gateway:{pseudonym(self._secret, client)}"))

    async def is_healthy(self) -> bool:
        try:
            return bool(await self._redis.ping())
        except (self._errors, OSError):
            return False

    async def close(self) -> None:
        await self._redis.aclose()


def pack(standing: Standing) -> bytes:
    """A standing as bytes, in the clear: as secret as the key."""
    ledgers = {key: (dataclasses.asdict(ledger.rules), to_bytes(ledger)) for key, ledger in standing.ledgers.items()}
    head = {name: getattr(standing, name) for name in _FIELDS} | {
        "ledgers": {key: [rules, len(content)] for key, (rules, content) in ledgers.items()},
        "moments": list(standing.moments)[-_MOMENTS:],
        "told": standing.told.labels.tolist(),
    }
    codes = io.BytesIO()
    if standing.told.codes is not None:
        np.save(codes, standing.told.codes, allow_pickle=False)
    written = json.dumps(head).encode()
    contents = [each for _, each in ledgers.values()]
    return b"".join([len(written).to_bytes(4, "little"), written, *contents, codes.getvalue()])


def unpack(content: bytes) -> Standing:
    """The standing that `pack` wrote."""
    start = 4 + int.from_bytes(content[:4], "little")
    head = json.loads(content[4:start])
    standing = Standing(**{name: head[name] for name in _FIELDS})
    for key, (rules, length) in head["ledgers"].items():
        standing.ledgers[key] = from_bytes(content[start : start + length], Rules(**rules))
        start += length
    standing.moments.extend(tuple(each) for each in head["moments"])
    if content[start:]:
        standing.told.codes = np.load(io.BytesIO(content[start:]), allow_pickle=False)
        standing.told.labels = np.array(head["told"], np.int64)
    return standing


# So many of them go to Redis: the page of a replica needs no more of who came to another one.
_MOMENTS = 20
