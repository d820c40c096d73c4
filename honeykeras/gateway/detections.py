"""`Detections`: the inputs that were flagged lately, for people to look at."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from honeykeras._arrays import write_npz
from honeykeras._files import PathLike, as_path, make_folder
from honeykeras.gateway.background import Background
from honeykeras.gateway.policy import Logs
from honeykeras.gateway.records import Record

# So many are shown.
_SHOWN = 24


class Detection(NamedTuple):
    """An input that was flagged.

    Attributes:
        time: When, in seconds since 1970.
        client: Who sent it.
        model: Which model and version it was sent to.
        value: The input, an array, or bytes as they came.
        action: What became of the answer.
        request: The request's hash.
    """

    time: float
    client: str
    model: str
    value: np.ndarray | bytes
    action: str
    request: str


class Detections:
    """Keeps flagged inputs: the latest in memory, and more in a folder, if there is one, up to a number.

    Attributes:
        latest: The latest, the newest first.
    """

    def __init__(self, logs: Callable[[], Logs], folder: PathLike | None = None) -> None:
        """Makes an empty store.

        Args:
            logs: How many are kept, as the policy that is in force says.
            folder: Where; it is made if it is not there.

        Raises:
            StorageError: If it cannot be.
        """
        self.latest: collections.deque[Detection] = collections.deque(maxlen=_SHOWN)
        self._background = None if folder is None else Background(_Folder(as_path(folder), logs).keep, "detections")

    @property
    def dropped(self) -> int:
        """How many the folder could not take."""
        return 0 if self._background is None else self._background.dropped

    def answered(self, record: Record) -> None:
        """Keeps what was flagged in a request."""
        values = next(iter(record.inputs.values()))
        for row in np.flatnonzero(record.flags):
            detection = Detection(
                record.time,
                record.client,
                f"{record.model.name}/{record.version}",
                values[row],
                record.reactions[row].action,
                record.request_hash,
            )
            self.latest.appendleft(detection)
            if self._background is not None:
                self._background.hand_over(detection)

    def refused(self, model: str, signature: str, code: str, seconds: float) -> None:
        """Nothing is flagged in what has no answer."""

    def close(self) -> None:
        """Writes what waits."""
        if self._background is not None:
            self._background.close()


class _Folder:
    """A folder of flagged inputs, one `.npz` file each, of which the oldest go."""

    def __init__(self, path: Path, logs: Callable[[], Logs]) -> None:
        make_folder(path, path)
        self._path, self._logs = path, logs
        self._kept = collections.deque(sorted(int(each.stem) for each in path.glob("*.npz") if each.stem.isdecimal()))
        self._next = itertools.count(1 + (self._kept[-1] if self._kept else 0))

    def keep(self, detection: Detection) -> None:
        """Writes an input, with who sent it and when."""
        number = next(self._next)
        value = detection.value
        fields = detection._asdict() | {"value": np.frombuffer(value, np.uint8) if isinstance(value, bytes) else value}
        write_npz(self._file(number), fields)
        self._kept.append(number)
        while len(self._kept) > self._logs().flagged:
            self._file(self._kept.popleft()).unlink(missing_ok=True)

    def _file(self, number: int) -> Path:
        return self._path / f"{number:08d}.npz"
