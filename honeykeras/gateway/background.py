"""`Background`: work that nobody waits for, in a thread of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

# So many things wait; what comes beyond is dropped, so that no client waits for a disk.
_WAITING = 1000


class Background(Generic[T]):
    """Does something with each thing that is handed to it, one after the other.

    Attributes:
        dropped: With how many nothing was done, because there were too many or the work failed.
    """

    def __init__(self, work: Callable[[T], None], name: str) -> None:
        """Starts the thread.

        Args:
            work: What is done. What it raises ends nothing: a disk that is full is somebody's to mend.
            name: The thread's name.
        """
        self.dropped = 0
        self._work, self._queue = work, queue.Queue[T | None](_WAITING)
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)
        self._thread.start()

    def hand_over(self, thing: T) -> None:
        """Has something done later on."""
        try:
            self._queue.put_nowait(thing)
        except queue.Full:
            self.dropped += 1

    def close(self) -> None:
        """Does what waits, and ends."""
        self._queue.put(None)
        self._thread.join()

    def _loop(self) -> None:
        while (thing := self._queue.get()) is not None:
            try:
                self._work(thing)
            except Exception:  # Of disks and what writes to them; it is counted.
                self.dropped += 1
