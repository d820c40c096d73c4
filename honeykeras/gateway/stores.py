"""`Store`: where a gateway keeps how its clients stand."""

from __future__ import annotations

import abc
import collections
from collections.abc import Callable
from typing import TypeVar

from honeykeras.gateway.policy import Clients
from honeykeras.gateway.standing import Standing

T = TypeVar("T")

Change = Callable[[Standing], T]
"""What is to be done with a client's standing. It may be called again, with another one, if a replica was faster."""


class Store(abc.ABC):
    """Where a gateway keeps how its clients stand."""

    @abc.abstractmethod
    async def update(self, client: str, change: Change[T]) -> T:
        """Changes how a client stands; returns what `change` does."""

    @abc.abstractmethod
    async def look(self, client: str) -> Standing | None:
        """How a client stands, as far as is known without asking anybody. Not to be changed."""

    @abc.abstractmethod
    def known(self) -> list[tuple[str, Standing]]:
        """The clients that this process knows of, and how they stand; who came last comes first. Not to be changed."""

    @abc.abstractmethod
    async def forget(self, client: str) -> bool:
        """Lets a client begin anew; says whether it was known."""

    async def is_healthy(self) -> bool:
        """Whether it answers."""
        return True

    async def close(self) -> None:
        """Lets go."""
        return


class Memory(Store):
    """Standings in this process's memory, for a gateway that is alone.

    Of more clients than are remembered, the one that was silent longest and is not accused is forgotten first.
    """

    def __init__(self, clients: Callable[[], Clients]) -> None:
        """Makes an empty store.

        Args:
            clients: Of how many it keeps standings, as the policy says that is in force.
        """
        self._clients = clients
        self._standings: collections.OrderedDict[str, Standing] = collections.OrderedDict()

    async def update(self, client: str, change: Change[T]) -> T:
        standing = self._standings.setdefault(client, Standing())
        self._standings.move_to_end(client)
        result = change(standing)
        while len(self._standings) > self._clients().remembered:
            del self._standings[self._least()]
        return result

    def _least(self) -> str:
        # All but the last are older.
        free = (name for name, standing in self._standings.items() if not standing.accused)
        return next(free, next(iter(self._standings)))

    async def look(self, client: str) -> Standing | None:
        return self._standings.get(client)

    def known(self) -> list[tuple[str, Standing]]:
        return list(reversed(self._standings.items()))

    async def forget(self, client: str) -> bool:
        return self._standings.pop(client, None) is not None
