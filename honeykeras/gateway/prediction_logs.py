"""Files of `PredictionLog` records, as `RequestLog` and servers of TensorFlow write them, read record by record."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from honeykeras._files import describe
from honeykeras._messages import first_line
from honeykeras._optional import load_optional
from honeykeras.errors import StorageError
from honeykeras.export.signatures import DEFAULT
from honeykeras.gateway.tensors import serialized

# A record of TFRecord (`tsl/lib/io/record_writer.h`): its length, the length's checksum, what it holds, and the
# checksum of that. Checksums are CRC-32C, rotated and with a constant added.
_LENGTH = struct.Struct("<QI")
_CHECKSUM = struct.Struct("<I")
_MASK_DELTA = 0xA282EAD8
_WORD = 2**32


class Request(NamedTuple):
    """A request of a log.

    Attributes:
        number: Which record of its file it is, from 0.
        client: Who asked; empty where the log does not say.
        time: When, in seconds since 1970; NaN where the log does not say.
        model: The model's name; empty likewise.
        version: The version that answered; 0 likewise.
        signature: Which signature was asked.
        inputs: What was asked: arrays by name. Examples, where the log does not say what the signature calls them,
            are under the empty name.
        outputs: What was told: arrays by name.
        sampled: Which share of requests the log takes down, in (0, 1].
    """

    number: int
    client: str
    time: float
    model: str
    version: int
    signature: str
    inputs: Mapping[str, np.ndarray]
    outputs: Mapping[str, np.ndarray]
    sampled: float


class Damaged(NamedTuple):
    """A record that cannot be read.

    Attributes:
        number: Which record of its file it is, from 0.
        why: What is wrong with it, a sentence without its end.
    """

    number: int
    why: str


def read(path: Path, client_of: Any = None) -> Iterator[Request | Damaged]:
    """The requests of a file, in their order; of one that ends in `.gz`, as they are in what it packs.

    Args:
        path: A file of TFRecord.
        client_of: Who asked, from a `PredictionLog`. Defaults to `log_metadata.request_origin`.

    Raises:
        StorageError: If the file cannot be read.
    """
    logs = load_optional("tensorflow_serving.apis.prediction_log_pb2", "serving", "Logs of requests")
    times = _times(path)
    for number, content in enumerate(_records(path)):
        if isinstance(content, str):
            yield Damaged(number, content)
            continue
        try:
            log = logs.PredictionLog.FromString(content)
            yield _request(number, log, times.get(number), client_of)
        except (
            Exception
        ) as error:  # Protocol buffers, tensors and anybody's function fail in as many ways as there are.
            yield Damaged(number, f"it is no request: {first_line(error)}")


def _request(number: int, log: Any, time: float | None, client_of: Any) -> Request:
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        request, response = log.predict_log.request, log.predict_log.response
        inputs = {name: tf.make_ndarray(each) for name, each in request.inputs.items()}
        outputs = {name: tf.make_ndarray(each) for name, each in response.outputs.items()}
    elif kind == "classify_log":
        request, outputs = log.classify_log.request, {}
        inputs = {"": np.array(_examples(request.input), object)}
    else:
        raise ValueError(f"a log of the kind {kind or 'none'}, where predict_log and classify_log can be read")
    about = log.log_metadata
    client = about.request_origin if client_of is None else client_of(log)
    if not isinstance(client, str):
        raise ValueError(f"a client must be a text, and is {type(client).__name__}")
    stated = float(about.timestamp_secs) or float("nan")
    answered = response.model_spec if kind == "predict_log" else log.classify_log.response.model_spec
    return Request(
        number,
        client,
        stated if time is None else time,
        request.model_spec.name,
        request.model_spec.version.value or answered.version.value,
        request.model_spec.signature_name or DEFAULT,
        inputs,
        outputs,
        about.sampling_config.sampling_rate or 1.0,
    )


def _examples(given: Any) -> list[bytes]:
    if given.WhichOneof("kind") == "example_list_with_context":
        return serialized(given.example_list_with_context.examples, given.example_list_with_context.context)
    return serialized(given.example_list.examples)


def _times(path: Path) -> dict[int, float]:
    """To the microsecond, from the file that `RequestLog` writes beside, if there is one; by record."""
    beside = path.with_suffix(".jsonl")
    if not beside.is_file():
        return {}
    times = {}
    with beside.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines):
            try:
                times[number] = float(json.loads(line)["time"])
            except (ValueError, KeyError, TypeError):
                # Of that line the record has whole seconds.
                continue
    return times


def _records(path: Path) -> Iterator[bytes | str]:
    """What each record holds; or why it cannot be read, and with it all after it if where it ends is not known."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            yield from _framed(file)
    except (OSError, EOFError) as error:
        if isinstance(error, (EOFError, gzip.BadGzipFile)):
            yield f"from here on the file cannot be unpacked: {first_line(error)}"
            return
        raise StorageError(f"Cannot read {path}: {describe(error)}.") from None


def _framed(file: Any) -> Iterator[bytes | str]:
    checksum = load_optional("google_crc32c", "audit", "Logs of requests").value

    def fits(content: bytes, stated: int) -> bool:
        found = checksum(content)
        return ((found >> 15 | found << 17) + _MASK_DELTA) % _WORD == stated

    while head := file.read(_LENGTH.size):
        if len(head) < _LENGTH.size:
            yield "the file ends within a record"
            return
        length, stated = _LENGTH.unpack(head)
        if not fits(head[:8], stated):
            yield "its length is damaged, and nothing after it can be found"
            return
        content, end = file.read(length), file.read(_CHECKSUM.size)
        if len(end) < _CHECKSUM.size:
            yield "the file ends within a record"
            return
        yield content if fits(content, *_CHECKSUM.unpack(end)) else "its checksum is wrong"
