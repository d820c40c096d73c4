"""Warmup requests: what a server runs before it answers anybody, and what an export is tried with."""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from honeykeras import saved_model
from honeykeras._files import describe
from honeykeras._messages import reason
from honeykeras._optional import load_optional
from honeykeras.errors import ModelError
from honeykeras.export import signatures
from honeykeras.ranges import InputRange

FILE = Path("assets.extra", "tf_serving_warmup_requests")
# The least that batching makes, and what it makes under load.
_BATCH_SIZES = (1, 32)
_TOLERANCE = 1e-4
# Beyond, TensorFlow Serving refuses them.
_MAX_REQUESTS = 1000
# Before a record stands its length; two checksums take four bytes each.
_RECORD_HEAD = struct.Struct("<Q")
_RECORD_OVERHEAD = _RECORD_HEAD.size + 8


class Request(NamedTuple):
    """A request of a file of warmup requests: a signature, and its inputs by name."""

    signature: str
    inputs: Mapping[str, np.ndarray]


def write(
    folder: Path,
    endpoints: Mapping[str, signatures.Endpoint],
    input_shape: tuple[int, ...],
    input_range: InputRange,
) -> int:
    """Writes warmup requests for the signatures of an artifact into it; returns how many.

    Inputs are noise. Real ones would be somebody's, and watermarked ones would tell the watermark. A signature that
    takes what noise cannot be made of gets none, and neither do twins, which compute what the others do.

    Args:
        folder: The version folder.
        endpoints: The signatures, by name.
        input_shape: Shape of one input.
        input_range: Least and greatest value of an input.

    Raises:
        MissingDependencyError: If TensorFlow Serving's protocol buffers are not installed.
    """
    apis = _apis()
    path = folder / FILE
    path.parent.mkdir(exist_ok=True)
    count = 0
    with tf.io.TFRecordWriter(str(path)) as writer:
        for size in _BATCH_SIZES:
            for name in sorted(name for name in endpoints if not name.startswith(f"{signatures.EXTENDED}_")):
                log = _log(apis, name, endpoints[name], size, input_shape, input_range)
                if log is not None:
                    writer.write(log.SerializeToString())
                    count += 1
    return count


def read(folder: Path, described: Any) -> list[Request]:
    """The warmup requests of an artifact, each of them one that its signature takes.

    Args:
        folder: The version folder.
        described: The graph's `MetaGraphDef`.

    Raises:
        MissingDependencyError: If TensorFlow Serving's protocol buffers are not installed.
        ModelError: If there are none, or any is another.
    """
    try:
        _check_framing(folder / FILE)
        records = list(tf.data.TFRecordDataset(str(folder / FILE)).as_numpy_iterator())
    except OSError as error:
        raise _refused(describe(error)) from None
    except tf.errors.OpError as error:
        raise _refused(reason(error)) from None
    if not 0 < len(records) <= _MAX_REQUESTS:
        raise _refused(f"{len(records)} requests")
    return [parse(record, described.signature_def) for record in records]


def parse(record: bytes, served: Mapping[str, Any]) -> Request:
    """A warmup request, if it is one that a signature takes.

    Kernels trust their inputs, and some end the process on others: so they are compared before anything is run.

    Args:
        record: A serialized `PredictionLog`.
        served: The signatures, by name.

    Raises:
        ModelError: If it is none.
    """
    try:
        log = _apis().PredictionLog.FromString(record)
    except Exception:  # protobuf's own errors have changed their names.
        raise _refused("a record that is no PredictionLog") from None
    kind = log.WhichOneof("log_type")
    if kind not in ("classify_log", "predict_log"):
        raise _refused(f"a request of another kind, {kind}")
    request = getattr(log, kind).request
    name = request.model_spec.signature_name
    if name not in served:
        raise _refused(f"a request of a signature {name!r} that there is not")
    given: dict[str, np.ndarray | None]
    if kind == "classify_log":
        examples = [example.SerializeToString() for example in request.input.example_list.examples]
        given = {"inputs": np.array(examples, object)}
    else:
        given = {key: _array(tensor) for key, tensor in request.inputs.items()}
    wanted = served[name].inputs
    inputs = {}
    if not wanted:
        raise _refused(f"a request of {name!r}, which takes no inputs")
    for key in sorted(given.keys() | wanted.keys()):
        values = given.get(key)
        if values is None or key not in wanted or not _fits(values, wanted[key]):
            raise _refused(f"a request of {name!r} with other inputs than it takes, {key!r}")
        inputs[key] = values
    return Request(name, inputs)


def _check_framing(path: Path) -> None:
    """Raises an error if a length in a file of records leads beyond its end: TensorFlow would make room for it."""
    with path.open("rb") as file:
        left = path.stat().st_size
        while left:
            head = file.read(_RECORD_HEAD.size)
            length = _RECORD_HEAD.unpack(head)[0] if len(head) == _RECORD_HEAD.size else left
            left -= length + _RECORD_OVERHEAD
            if left < 0:
                raise _refused("a truncated file")
            file.seek(length + _RECORD_OVERHEAD - _RECORD_HEAD.size, os.SEEK_CUR)


def _array(tensor: Any) -> np.ndarray | None:
    """A tensor's values, if all of them are there: one that is short would be filled up to whatever size it says."""
    sizes = [dim.size for dim in tensor.tensor_shape.dim]
    listed = sum(len(values) for field, values in tensor.ListFields() if field.name.endswith("_val"))
    try:
        # Strings have no size, and are listed always.
        held = len(tensor.tensor_content) / (tf.as_dtype(tensor.dtype).size or math.inf)
        if min(sizes, default=0) > 0 and math.prod(sizes) == max(listed, held):
            return tf.make_ndarray(tensor)
    except (TypeError, ValueError):
        pass
    return None


def _fits(values: np.ndarray, wanted: Any) -> bool:
    """Whether values are a batch that a signature takes, by its `TensorInfo`."""
    sizes = [dim.size for dim in wanted.tensor_shape.dim]
    return (
        tf.as_dtype(values.dtype).as_datatype_enum == wanted.dtype
        and 0 < values.ndim == len(sizes)
        and len(values) > 0
        and all(size in (-1, found) for size, found in zip(sizes, values.shape, strict=True))
    )


def replay(folder: Path) -> int:
    """Runs the warmup requests of an artifact, and looks at the answers; returns how many there are.

    Raises:
        MissingDependencyError: If TensorFlow Serving's protocol buffers are not installed.
        ModelError: If there are no requests, the artifact cannot be loaded, or an answer is not what clients can use: a
            row for each input, of numbers; probabilities, and the same by all signatures where nothing is flagged, if
            the signatures are this package's.
    """
    requests = read(folder, saved_model.read(folder))
    served = saved_model.load_graph(folder).signatures
    try:
        answers = [(request, _run(served[request.signature], request)) for request in requests]
    except Exception as error:  # A graph that was damaged ends in errors of all kinds.
        raise ModelError(f"{folder} must answer. Received: {reason(error)}") from None
    for request, answer in answers:
        _check(request, answer)
    for size in {_size(request) for request in requests}:
        _compare({request.signature: (request, answer) for request, answer in answers if _size(request) == size})
    return len(requests)


def _refused(received: str) -> ModelError:
    return ModelError(
        f"{FILE} must hold 1 to {_MAX_REQUESTS} warmup requests that the signatures take. Received: {received}."
    )


def _size(request: Request) -> int:
    return len(next(iter(request.inputs.values())))


def _run(signature: Any, request: Request) -> dict[str, np.ndarray]:
    inputs = {name: tf.constant(values) for name, values in request.inputs.items()}
    return {name: values.numpy() for name, values in signature(**inputs).items()}


def _check(request: Request, answer: Mapping[str, np.ndarray]) -> None:
    for name, values in answer.items():
        if values.shape[:1] != (_size(request),):
            raise ModelError(
                f"`{name}` of {request.signature!r} must have a row for each of {_size(request)} inputs. "
                f"Received: shape {values.shape}."
            )
    if not all(np.isfinite(values).all() for values in answer.values() if values.dtype.kind == "f"):
        raise ModelError(f"{request.signature!r} must give numbers. Received: some that are not finite.")
    rows = _probabilities(answer)
    if rows is None:
        return
    sums = rows.sum(axis=1)
    # A rejected input has a row of zeros.
    if rows.ndim != 2 or not np.all((np.abs(sums - 1) < _TOLERANCE) | (sums == 0)):
        raise ModelError(f"{request.signature!r} must give probabilities. Received: rows that add up to {sums[:3]}.")


def _compare(asked: Mapping[str, tuple[Request, Mapping[str, np.ndarray]]]) -> None:
    """Whether signatures that got the same inputs say the same; images were rounded, and are not the same."""
    if signatures.DEFAULT not in asked:
        return
    request, answer = asked[signatures.DEFAULT]
    said = _probabilities(answer)
    for name in (signatures.CLASSIFY, signatures.EXTENDED):
        other, answer = asked.get(name, (request, {}))
        rows = _probabilities(answer)
        # A user's own signature may take what it likes.
        if said is None or rows is None or not (set(request.inputs) == set(other.inputs) == {"inputs"}):
            continue
        same = ~answer.get("flag", np.zeros(len(rows), bool))
        if rows.shape != said.shape or not np.allclose(said[same], rows[same], atol=_TOLERANCE):
            raise ModelError(f"{name!r} must say what {signatures.DEFAULT!r} says. Received: other probabilities.")


def _probabilities(answer: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Those of this package's signatures; what a user's own give, nobody knows."""
    return answer.get("scores") if "classes" in answer else answer.get("probabilities")


def _log(
    apis: Any,
    name: str,
    endpoint: signatures.Endpoint,
    size: int,
    input_shape: tuple[int, ...],
    input_range: InputRange,
) -> Any:
    """A request of noise as the log of one, or None if there can be none."""
    unit = np.random.default_rng(size).random((size, *input_shape), np.float32)
    log = apis.PredictionLog()
    if endpoint.is_classification:
        request = log.classify_log.request
        for row in input_range.from_unit(unit):
            feature = request.input.example_list.examples.add().features.feature["inputs"]
            feature.float_list.value.extend(row.ravel().tolist())
    else:
        request = log.predict_log.request
        for spec in endpoint.inputs:
            values = _noise(spec, unit, input_range)
            if values is None:
                return None
            request.inputs[spec.name].CopyFrom(tf.make_tensor_proto(values))
    request.model_spec.signature_name = name
    return log


def _noise(spec: Any, unit: np.ndarray, input_range: InputRange) -> np.ndarray | None:
    """Noise as an input that a signature takes, if that is numbers for each of a batch, or files of images."""
    dtype, shape = tf.as_dtype(spec.dtype), tuple(spec.shape)
    if dtype == tf.string and shape == (None,) and unit.ndim == 4 and unit.shape[-1] in (1, 3, 4):
        return np.array([tf.io.encode_png(image).numpy() for image in (unit * 255).astype(np.uint8)], object)
    if (not dtype.is_floating and not dtype.is_integer) or not shape or None in shape[1:]:
        return None
    if dtype.is_floating and shape[1:] == unit.shape[1:]:
        return input_range.from_unit(unit).astype(dtype.as_numpy_dtype)
    drawn = np.random.default_rng(len(unit)).random((len(unit), *shape[1:]))
    return (drawn * (1 if dtype.is_floating else 255 if dtype == tf.uint8 else 2)).astype(dtype.as_numpy_dtype)


def _apis() -> Any:
    return load_optional("tensorflow_serving.apis.prediction_log_pb2", "serving", "Warmup requests")
