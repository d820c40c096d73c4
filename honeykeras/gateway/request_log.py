"""`RequestLog`: files of requests and answers, which TensorFlow Serving cannot write, and warmup, audits and TFX read.

Each record is a `PredictionLog`, in files of TFRecord that rotate by size. Who asked stands in
`log_metadata.request_origin`; a number and the time of each record stand in a file of JSON lines beside it.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from honeykeras._files import PathLike, as_path, describe, make_folder
from honeykeras._optional import load_optional
from honeykeras.errors import StorageError
from honeykeras.gateway.background import Background
from honeykeras.gateway.policy import Logs
from honeykeras.gateway.records import Record

# A record is some bytes longer in its file: two checksums and its length.
_OVERHEAD = 16
_FILE = re.compile(r"requests-(\d{8})\.tfrecord")
_DRAWS = 2**32


class RequestLog:
    """Writes requests and answers, in a thread of its own.

    Attributes:
        written: How many records were written.
    """

    def __init__(self, folder: PathLike, logs: Callable[[], Logs], named: Callable[[str], str]) -> None:
        """Begins a file, after those that are there.

        Args:
            folder: Where files are; it is made if it is not there.
            logs: What is written, as the policy that is in force says.
            named: What a client is called in it.

        Raises:
            StorageError: If nothing can be written there.
        """
        self._folder, self._logs, self._named = as_path(folder), logs, named
        self._apis = load_optional("tensorflow_serving.apis.prediction_log_pb2", "serving", "A gateway")
        make_folder(self._folder, self._folder)
        self.written = 0
        numbers = [int(found[1]) for each in self._folder.iterdir() if (found := _FILE.fullmatch(each.name))]
        self._number = max(numbers, default=0)
        self._sequence = 0
        try:
            self._begin()
        except OSError as error:
            raise StorageError(f"Cannot write {self._folder}: {describe(error)}. Choose another place.") from None
        self._background = Background(self._write, "request log")

    @property
    def dropped(self) -> int:
        """How many records were not written, because the disk was full or slow."""
        return self._background.dropped

    def answered(self, record: Record) -> None:
        """Takes a request down, if it is of the sample."""
        self._sequence += 1
        if secrets.randbelow(_DRAWS) >= self._logs().sample * _DRAWS:
            return
        self._background.hand_over((self._sequence, record))

    def refused(self, model: str, signature: str, code: str, seconds: float) -> None:
        """Nothing is taken down of what has no answer."""

    def close(self) -> None:
        """Writes what waits, and ends the file."""
        self._background.close()
        with contextlib.suppress(OSError, tf.errors.OpError):
            self._end()

    def _begin(self) -> None:
        self._number += 1
        path = self._folder / f"requests-{self._number:08d}.tfrecord"
        # Requests are somebody's.
        for each in (path, path.with_suffix(".jsonl")):
            each.touch(mode=0o600)
        self._size = 0
        self._beside = path.with_suffix(".jsonl").open("a", encoding="utf-8")
        self._writer = tf.io.TFRecordWriter(str(path))

    def _end(self) -> None:
        self._writer.close()
        self._beside.close()

    def _write(self, numbered: tuple[int, Record]) -> None:
        sequence, record = numbered
        content = self._log(record).SerializeToString()
        if self._size and self._size + len(content) > self._logs().file_size:
            self._end()
            self._begin()
            self._remove_oldest()
        self._writer.write(content)
        self._writer.flush()
        self._beside.write(json.dumps({"sequence": sequence, "time": round(record.time, 6)}) + "\n")
        self._beside.flush()
        self._size += len(content) + _OVERHEAD
        self.written += 1

    def _remove_oldest(self) -> None:
        files = sorted(each for each in self._folder.iterdir() if _FILE.fullmatch(each.name))
        total = sum(each.stat().st_size for each in files)
        # The last one is being written.
        for each in files[:-1]:
            if total + self._logs().file_size <= self._logs().total_size:
                break
            total -= each.stat().st_size
            each.unlink()
            each.with_suffix(".jsonl").unlink(missing_ok=True)

    def _log(self, record: Record) -> Any:
        log = self._apis.PredictionLog()
        log.log_metadata.request_origin = self._named(record.client)
        log.log_metadata.timestamp_secs = int(record.time)
        log.log_metadata.sampling_config.sampling_rate = self._logs().sample
        request, response = log.predict_log.request, log.predict_log.response
        for spec in (log.log_metadata.model_spec, request.model_spec, response.model_spec):
            spec.name, spec.signature_name = record.model.name, record.signature
            spec.version.value = record.version
        for side, arrays in ((request.inputs, record.inputs), (response.outputs, record.outputs)):
            for name, value in arrays.items():
                side[name].CopyFrom(tf.make_tensor_proto(value))
        return log
