"""`Batcher`: requests that wait for a model are put together, so that many small ones cost what one large one does."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import NamedTuple

import numpy as np

Arrays = Mapping[str, np.ndarray]

MAX_ROWS = 64
"""How many inputs are put together, at most. A request that has more is asked alone."""


class _Waiting(NamedTuple):
    inputs: Arrays
    rows: int
    done: asyncio.Future[Arrays]


class Batcher:
    """Asks a function of batches, with all that waits for it at once.

    It does not wait for more to come: while one batch is computed, the next one gathers. A lone client is answered at
    once, and of 64 clients that ask for one input each most are answered in one batch. If a batch fails, each of its
    requests is asked alone, so that none spoils its neighbours.
    """

    def __init__(self, run: Callable[[Arrays], Arrays], executor: Executor) -> None:
        """Makes a batcher.

        Args:
            run: The function, of arrays by name that share their first dimension, to arrays that have the same one.
            executor: Where it runs.
        """
        self._run, self._executor = run, executor
        self._waiting: collections.deque[_Waiting] = collections.deque()
        self._worker: asyncio.Task[None] | None = None

    async def __call__(self, inputs: Arrays) -> Arrays:
        """What the function gives for some inputs."""
        rows = max(len(each) if each.ndim else 1 for each in inputs.values())
        waiting = _Waiting(inputs, rows, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await waiting.done

    async def _work(self) -> None:
        while self._waiting:
            await self._answer(self._next())

    async def _answer(self, batch: list[_Waiting]) -> None:
        try:
            answers = await self._compute(batch)
        except Exception as error:
            if len(batch) > 1:
                for each in batch:
                    await self._answer([each])
            elif not batch[0].done.done():
                batch[0].done.set_exception(error)
            return
        for each, answer in zip(batch, answers, strict=True):
            # A client may have gone.
            if not each.done.done():
                each.done.set_result(answer)

    def _next(self) -> list[_Waiting]:
        batch = [self._waiting.popleft()]
        rows = batch[0].rows
        while self._waiting and rows + self._waiting[0].rows <= MAX_ROWS:
            batch.append(self._waiting.popleft())
            rows += batch[-1].rows
        return batch

    async def _compute(self, batch: list[_Waiting]) -> list[Arrays]:
        loop = asyncio.get_running_loop()
        together = {name: np.concatenate([each.inputs[name] for each in batch]) for name in batch[0].inputs}
        outputs = await loop.run_in_executor(self._executor, self._run, together)
        ends = np.cumsum([each.rows for each in batch])
        return [
            {name: value[end - each.rows : end] for name, value in outputs.items()}
            for end, each in zip(ends, batch, strict=True)
        ]
