"""Logs of requests: which files they are, and what is in them."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from honeykeras._files import PathLike, as_path, describe
from honeykeras._messages import first_line
from honeykeras.errors import StorageError
from honeykeras.export.signatures import DEFAULT
from honeykeras.gateway import prediction_logs
from honeykeras.gateway.prediction_logs import Damaged, Request

# Files of TFRecord that were written in parts, too: `requests.tfrecord-00000-of-00010`.
_TFRECORDS = ("*.tfrecord", "*.tfrecord.gz", "*.tfrecord-*-of-*")
_NPZ = "*.npz"

ClientOf = Callable[[Any], str]


class Shard(NamedTuple):
    """A file of a log.

    Attributes:
        number: Which of the log's files it is, from 0, in the order of their names.
        path: Where it is.
        size: How many bytes it has.
    """

    number: int
    path: Path
    size: int


def find_shards(logs: PathLike) -> list[Shard]:
    """The files of a log.

    Args:
        logs: A file, or a folder with all below it; of what `honeykeras serve --logs` wrote, the requests.

    Raises:
        StorageError: If there are none, or they cannot be looked at.
    """
    logs = as_path(logs)
    try:
        if logs.is_file():
            found = [logs]
        else:
            # Beside requests, a gateway keeps inputs that were flagged, which are in the log already.
            root = logs / "requests" if (logs / "requests").is_dir() else logs
            found = sorted(each for kind in (*_TFRECORDS, _NPZ) for each in root.rglob(kind) if each.is_file())
        shards = [Shard(number, path, path.stat().st_size) for number, path in enumerate(found)]
    except OSError as error:
        raise StorageError(f"Cannot read {logs}: {describe(error)}.") from None
    if not shards:
        raise StorageError(
            f"{logs} must be a log of requests: files of TFRecord (.tfrecord), or of arrays x, client and time (.npz). "
            "Received: none."
        )
    return shards


def read(path: Path, client_of: ClientOf | None = None) -> Iterator[Request | Damaged]:
    """The requests of a file, in their order.

    Args:
        path: A file of TFRecord with `PredictionLog`s, or an `.npz` of `x` (inputs), and if they are known `client`
            (texts or whole numbers) and `time` (seconds since 1970), one for each input.
        client_of: Who asked, from a `PredictionLog`. Defaults to what the log says.

    Raises:
        StorageError: If the file cannot be read.
    """
    return _arrays_of(path) if path.suffix == ".npz" else prediction_logs.read(path, client_of)


def _arrays_of(path: Path) -> Iterator[Request | Damaged]:
    try:
        x, clients, times = _read_npz(path)
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        yield Damaged(0, f"it is no archive of arrays x, client and time: {first_line(error)}")
        return
    except OSError as error:
        raise StorageError(f"Cannot read {path}: {describe(error)}.") from None
    for row, client in enumerate(clients.tolist()):
        inputs = {"": x[row : row + 1]}
        yield Request(row, str(client), float(times[row]), "", 0, DEFAULT, inputs, {}, 1.0)


def _read_npz(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    with np.load(path, allow_pickle=False) as found:
        arrays = {name: found[name] for name in ("x", "client", "time") if name == "x" or name in found}
    x = arrays["x"]
    if x.ndim < 2 or not len(x):
        raise ValueError("`x` must be inputs, one at least")
    clients = arrays.get("client", np.full(len(x), "", np.str_))
    times = arrays.get("time", np.full(len(x), math.nan))
    if clients.shape != (len(x),) or clients.dtype.kind not in "Uiu":
        raise ValueError("`client` must be a text or a whole number for each input")
    if times.shape != (len(x),) or times.dtype.kind not in "fiu":
        raise ValueError("`time` must be a number for each input")
    return x, clients, times.astype(np.float64)
