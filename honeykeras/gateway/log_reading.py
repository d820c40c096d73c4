"""Reading the log of requests: what clients sent, as data that a detector can be calibrated on."""

from __future__ import annotations

import itertools
from collections.abc import Collection
from pathlib import Path

import numpy as np

from honeykeras._arrays import write_npz
from honeykeras._files import PathLike, as_path
from honeykeras.errors import InvalidArgumentError, StorageError
from honeykeras.export.signatures import DEFAULT
from honeykeras.gateway import prediction_logs
from honeykeras.gateway.prediction_logs import Damaged, Request


def files_of(folder: PathLike) -> list[Path]:
    """The files of requests in a folder that `honeykeras serve --logs` wrote, in their order.

    Raises:
        StorageError: If there are none.
    """
    folder = as_path(folder)
    files = sorted([*folder.glob("requests-*.tfrecord"), *folder.glob("requests/requests-*.tfrecord")])
    if not files:
        raise StorageError(f"{folder} must hold requests that `honeykeras serve --logs` wrote. Received: none.")
    return files


def export_clean(
    folder: PathLike,
    output: PathLike,
    *,
    without: Collection[str] = (),
    per_client: int | None = None,
    overwrite: bool = False,
) -> tuple[int, int]:
    """Writes what clients sent as an `.npz` file of `x` and `y`, to calibrate a detector on.

    Args:
        folder: The log's folder.
        output: The file.
        without: Clients who are left out: those who were accused.
        per_client: How many inputs of one client are taken, at most, so that none is the measure of all.
        overwrite: Whether a file that is there may be replaced.

    Returns:
        How many inputs there are, and of how many clients.

    Raises:
        InvalidArgumentError: If nothing is left.
        StorageError: If the log is none or damaged, or the disk refuses.
    """
    taken: dict[str, int] = {}
    inputs, labels = [], []
    for request in itertools.chain.from_iterable(map(prediction_logs.read, files_of(folder))):
        # What was being written when a process was killed is passed over.
        if isinstance(request, Damaged) or request.client in without or not _is_plain(request):
            continue
        (given,), (told,) = request.inputs.values(), request.outputs.values()
        room = len(given) if per_client is None else per_client - taken.get(request.client, 0)
        rows = min(len(given), room)
        if rows > 0:
            taken[request.client] = taken.get(request.client, 0) + rows
            inputs.append(given[:rows])
            labels.append(told[:rows].argmax(axis=1))
    if not inputs:
        raise InvalidArgumentError(
            f"{folder} must hold requests of other clients than {sorted(without)}. Received: none."
        )
    write_npz(output, {"x": np.concatenate(inputs), "y": np.concatenate(labels)}, overwrite=overwrite)
    return sum(taken.values()), len(taken)


def _is_plain(request: Request) -> bool:
    return request.signature == DEFAULT and len(request.inputs) == len(request.outputs) == 1
