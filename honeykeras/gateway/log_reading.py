"""Reading the log of requests: what clients sent, as data that a detector can be calibrated on."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from honeykeras._arrays import write_npz
from honeykeras._files import PathLike, as_path
from honeykeras._messages import reason
from honeykeras._optional import load_optional
from honeykeras.errors import InvalidArgumentError, StorageError
from honeykeras.export.signatures import DEFAULT


class Logged(NamedTuple):
    """A request of the log.

    Attributes:
        client: Who asked, by the name that the log has.
        inputs: What was asked, shape `(n, ...)`, float32.
        scores: What was told, shape `(n, num_classes)`.
    """

    client: str
    inputs: np.ndarray
    scores: np.ndarray


def read(folder: PathLike) -> Iterator[Logged]:
    """The requests to `serving_default` of a folder that `honeykeras serve --logs` wrote, in their order.

    What is left of a record that was being written when a process was killed is passed over.

    Raises:
        StorageError: If there are none, or they are damaged.
    """
    logs = load_optional("tensorflow_serving.apis.prediction_log_pb2", "serving", "Logs of requests")
    folder = as_path(folder)
    files = sorted([*folder.glob("requests-*.tfrecord"), *folder.glob("requests/requests-*.tfrecord")])
    if not files:
        raise StorageError(f"{folder} must hold requests that `honeykeras serve --logs` wrote. Received: none.")
    for file in files:
        try:
            for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
                log = logs.PredictionLog.FromString(record)
                request = log.predict_log.request
                if request.model_spec.signature_name == DEFAULT and len(request.inputs) == 1:
                    (given,), (told,) = request.inputs.values(), log.predict_log.response.outputs.values()
                    yield Logged(log.log_metadata.request_origin, tf.make_ndarray(given), tf.make_ndarray(told))
        except tf.errors.DataLossError:
            # The end of a file is not there if its writer was killed; the next file begins anew.
            continue
        except Exception as error:  # Protocol buffers and tensors are wrong in as many ways as there are.
            raise StorageError(f"{file} must be a log of requests. Received: {reason(error)}") from None


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
    for logged in read(folder):
        if logged.client in without:
            continue
        room = len(logged.inputs) if per_client is None else per_client - taken.get(logged.client, 0)
        rows = min(len(logged.inputs), room)
        if rows > 0:
            taken[logged.client] = taken.get(logged.client, 0) + rows
            inputs.append(logged.inputs[:rows])
            labels.append(logged.scores[:rows].argmax(axis=1))
    if not inputs:
        raise InvalidArgumentError(
            f"{folder} must hold requests of other clients than {sorted(without)}. Received: none."
        )
    write_npz(output, {"x": np.concatenate(inputs), "y": np.concatenate(labels)}, overwrite=overwrite)
    return sum(taken.values()), len(taken)
