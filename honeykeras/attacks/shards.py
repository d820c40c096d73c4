"""Adversarial examples in a folder, as `craft` writes them.

    folder/
    ├── craft.json         how the examples are made, the SHA-256 of each shard and, once all are there, how many
    ├── shard-00000.npz    the first of them; or .tfrecord
    └── ...

Each file appears whole or not at all, `craft.json` first, so that work that was cut off can be continued.
"""

from __future__ import annotations

import dataclasses
import os
import reprlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from honeykeras import _arrays, _checks, _documents, _files, _scratch
from honeykeras._messages import file_reason, first_line, shortened
from honeykeras.attacks.examples import AdversarialExamples
from honeykeras.errors import InvalidArgumentError, StorageError
from honeykeras.ranges import InputRange

_SETTINGS = "craft.json"
_VERSION = 1
# Room for an input range for each feature.
_MAX_BYTES = 2**26

# What a shard holds: arrays of AdversarialExamples. The first two have the shape of the inputs.
_FIELDS: dict[str, type] = {
    "x": np.float32,
    "x_adv": np.float32,
    "y": np.int64,
    "success": np.bool_,
    "queries": np.int64,
    "gradients": np.int64,
}

# Of NumPy arrays by name.
_Arrays = dict[str, Any]

_SHA256 = {"type": "string", "pattern": "^[0-9a-f]{64}$", "maxLength": 64}
_COUNT = {"type": "integer", "minimum": 1}
# What a user's own attack states of itself is up to it, but for what is used here.
SETTINGS_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["attack", "config", "levels", "mask", "labels", "file_format", "shard_size", "input_shape", "model"],
    "properties": {
        "attack": {"type": "string"},
        "config": {
            "type": "object",
            "required": ["targeted", "input_range"],
            "properties": {"targeted": {"type": "boolean"}, "input_range": {"type": "array"}},
        },
        "levels": {"type": ["integer", "null"], "minimum": 2},
        "mask": _SHA256,
        "labels": {"enum": ["given", "predicted"]},
        "file_format": {"enum": ["npz", "tfrecord"]},
        "shard_size": _COUNT,
        "input_shape": {"type": "array", "minItems": 1, "items": _COUNT},
        "model": _SHA256,
    },
}
_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["version", "settings", "shards"],
    "properties": {
        "version": {"const": _VERSION},
        "settings": SETTINGS_SCHEMA,
        "shards": {
            "type": "object",
            "propertyNames": {"pattern": r"^shard-\d{5,19}\.(npz|tfrecord)$"},
            "additionalProperties": _SHA256,
        },
        "examples": _COUNT,
        "successes": {"type": "integer", "minimum": 0},
    },
    "dependentRequired": {"examples": ["successes"], "successes": ["examples"]},
}


@dataclasses.dataclass(frozen=True)
class Shards:
    """A folder that `craft` has filled.

    `len()` of it is how many examples there are.

    Example:

    ```python
    shards = hk.attacks.Shards.open("folder")
    for batch in shards.dataset().batch(128):
        model.evaluate(batch["x_adv"], batch["y"])
    ```

    Attributes:
        folder: Where it is.
        settings: How the examples were made, as `craft.json` states it.
        hashes: The SHA-256 of each file of examples, by its name, likewise.
        examples: How many examples there are.
        successes: How many of them fool the model.
    """

    folder: Path
    settings: dict[str, Any] = dataclasses.field(repr=False)
    hashes: dict[str, str] = dataclasses.field(repr=False)
    examples: int
    successes: int

    @classmethod
    def open(cls, folder: _files.PathLike) -> Shards:
        """Opens a folder that `craft` has filled, and compares its files with their hashes.

        Raises:
            StorageError: If it is no such folder, not all of it is there, or a file is not what `craft` wrote.
        """
        folder = _files.as_path(folder)
        document = _read_document(folder)
        if document is None:
            raise StorageError(f"{folder} must be a folder that `craft` has filled. Received: one without {_SETTINGS}.")
        store = Store(folder, document["settings"])
        shards = store.finished()
        if shards is None:
            raise StorageError(f"{folder} is not finished. Call `craft` again as before, which makes what is missing.")
        return shards

    def __len__(self) -> int:
        return self.examples

    @property
    def success_rate(self) -> float:
        """Share of the examples that fool the model."""
        return self.successes / self.examples

    def load(self) -> AdversarialExamples:
        """All examples, in memory.

        Raises:
            StorageError: If a shard cannot be read, or is not what `craft` wrote.
        """
        parts = list(self._read())
        arrays: _Arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _FIELDS}
        return dataclasses.replace(parts[0], **arrays)

    def dataset(self) -> tf.data.Dataset:
        """All examples as a data set, in order, of which one shard at a time is in memory.

        Returns:
            Elements are dicts of one example each: `x` and `x_adv`, shape of an input, float32; `y`, `queries` and
            `gradients`, scalar int64; `success`, scalar bool.
        """
        shape = self.settings["input_shape"]
        signature = {
            name: tf.TensorSpec([None, *(shape if name in ("x", "x_adv") else [])], dtype)
            for name, dtype in _FIELDS.items()
        }
        parts = tf.data.Dataset.from_generator(lambda: map(_by_name, self._read()), output_signature=signature)
        return parts.unbatch().apply(tf.data.experimental.assert_cardinality(self.examples))

    def _read(self) -> Iterator[AdversarialExamples]:
        store, size = Store(self.folder, self.settings), self.settings["shard_size"]
        for number, start in enumerate(range(0, self.examples, size)):
            expected = min(size, self.examples - start)
            examples = store.read(number, expected, self.hashes.get(store.path(number).name))
            if len(examples) != expected:
                raise _damaged(store.path(number), f"it holds {len(examples)} examples instead of {expected}")
            yield examples


@dataclasses.dataclass(frozen=True)
class Store:
    """A folder that `craft` is filling.

    Attributes:
        folder: Where it is.
        settings: How the examples are made, in plain data. `attack`, `config`, `file_format`, `shard_size` and
            `input_shape` are used here.
    """

    folder: Path
    settings: dict[str, Any]

    def begin(self) -> dict[str, str]:
        """Writes the settings, or sees to it that those that are there are the same.

        What a process that was killed has left of a file is removed.

        Returns:
            The hashes of the shards that were finished, by the names of their files.

        Raises:
            InvalidArgumentError: If the folder was begun with other settings.
            StorageError: If it holds something else, or the disk refuses.
        """
        document = _read_document(self.folder)
        scratch = _scratch.sweep(self.folder)
        if document is not None:
            _check_same(self.folder, document["settings"], self.settings)
        else:
            _files.check_absent(self.folder, overwrite=True, holds=[path.name for path in scratch])
            self.record({})
        return {} if document is None else document["shards"]

    def record(self, hashes: Mapping[str, str], **finished: int) -> None:
        """Writes down the hashes of the shards that are there."""
        document = {"version": _VERSION, "settings": self.settings, "shards": hashes, **finished}
        _documents.write_json(self.folder / _SETTINGS, document, overwrite=True)

    def finish(self, examples: int, successes: int, hashes: dict[str, str]) -> Shards:
        """Writes down that all examples are there."""
        shards = sum(1 for _ in self.folder.glob("shard-*"))
        if shards > self._count(examples):
            raise InvalidArgumentError(
                f"The data set must be the one that {self.folder} was begun with. Received: one that ends after "
                f"{examples} examples, too few for the {shards} shards there."
            )
        names = [self.path(number).name for number in range(self._count(examples))]
        hashes = {name: hashes[name] for name in names}
        self.record(hashes, examples=examples, successes=successes)
        return Shards(self.folder, self.settings, hashes, examples, successes)

    def finished(self) -> Shards | None:
        """The shards, if all are there, each as it was finished.

        Raises:
            StorageError: If one is not what was finished.
        """
        document = _read_document(self.folder)
        if document is None or "examples" not in document:
            return None
        shards = Shards(self.folder, self.settings, document["shards"], document["examples"], document["successes"])
        paths = [self.path(number) for number in range(len(shards.hashes))]
        if len(paths) != self._count(len(shards)) or not all(
            path.name in shards.hashes and path.exists() for path in paths
        ):
            return None
        for path in paths:
            _check_hash(path, shards.hashes[path.name])
        return shards

    def path(self, number: int) -> Path:
        """The file of a shard."""
        return self.folder / f"shard-{number:05d}.{self.settings['file_format']}"

    def write(self, number: int, examples: AdversarialExamples) -> None:
        """Writes a shard."""
        with _files.staged(self.path(number)) as scratch:
            FORMATS[self.settings["file_format"]].write(scratch, _by_name(examples))

    def read(self, number: int, size: int, sha256: str | None) -> AdversarialExamples:
        """Reads a shard that must hold `size` examples, if not more.

        Args:
            number: Which shard.
            size: How many examples it must hold.
            sha256: The hash of its file. None for one whose hash nobody has written down.
        """
        path, config = self.path(number), self.settings["config"]
        if sha256 is not None:
            _check_hash(path, sha256)
        bounds, shape = InputRange.of(config["input_range"]), tuple(self.settings["input_shape"])
        try:
            arrays = FORMATS[self.settings["file_format"]].read(path, shape)
            _check_arrays(arrays, size, shape, bounds)
        except OSError as error:
            raise _damaged(path, _files.describe(error)) from error
        except Exception as error:  # What a damaged file raises depends on where the damage is.
            raise _damaged(path, first_line(error)) from error
        return AdversarialExamples(**arrays, targeted=config["targeted"], input_range=bounds)

    def _count(self, examples: int) -> int:
        return -(-examples // self.settings["shard_size"])


def feature_description(input_shape: tuple[int, ...]) -> dict[str, tf.io.FixedLenFeature]:
    """What `tf.io.parse_example` needs to know to read the records of a `.tfrecord` shard.

    Args:
        input_shape: Shape of one input.

    Returns:
        `x` and `x_adv`, float32 of that shape; `y`, `success` (0 or 1), `queries` and `gradients`, scalar int64.
    """
    return {
        name: tf.io.FixedLenFeature(input_shape, tf.float32)
        if dtype is np.float32
        else tf.io.FixedLenFeature([], tf.int64)
        for name, dtype in _FIELDS.items()
    }


class _Format(NamedTuple):
    """How shards are written to and read from files.

    Attributes:
        write: Takes the path of a file that is not there yet, and the arrays.
        read: Takes the path, and the shape of one input; returns the arrays.
    """

    write: Callable[[Path, _Arrays], None]
    read: Callable[[Path, tuple[int, ...]], _Arrays]


def _write_npz(path: Path, arrays: _Arrays) -> None:
    np.savez(path, **arrays)


def _read_npz(path: Path, input_shape: tuple[int, ...]) -> _Arrays:
    return _arrays.read_npz(path, _FIELDS)


def _write_tfrecord(path: Path, arrays: _Arrays) -> None:
    try:
        with tf.io.TFRecordWriter(str(path)) as writer:
            for values in zip(*arrays.values(), strict=True):
                feature = {name: _feature(value) for name, value in zip(arrays, values, strict=True)}
                writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    except tf.errors.OpError as error:
        raise OSError(file_reason(error)) from error


def _read_tfrecord(path: Path, input_shape: tuple[int, ...]) -> _Arrays:
    try:
        records = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
    except tf.errors.OpError as error:
        raise OSError(file_reason(error)) from error
    parsed = tf.io.parse_example(records, feature_description(input_shape))
    arrays = {name: parsed[name].numpy() for name in _FIELDS}
    success = arrays["success"].astype(np.bool_)
    if not np.array_equal(success, arrays["success"]):
        raise ValueError("`success` is neither 0 nor 1")
    return arrays | {"success": success}


def _feature(value: np.ndarray) -> tf.train.Feature:
    if value.dtype == np.float32:
        return tf.train.Feature(float_list=tf.train.FloatList(value=value.ravel()))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[int(value)]))


FORMATS = {"npz": _Format(_write_npz, _read_npz), "tfrecord": _Format(_write_tfrecord, _read_tfrecord)}


def _by_name(examples: AdversarialExamples) -> _Arrays:
    return {name: getattr(examples, name) for name in _FIELDS}


def _check_arrays(arrays: _Arrays, size: int, input_shape: tuple[int, ...], bounds: InputRange) -> None:
    """Raises `ValueError` unless arrays can be a shard's."""
    count = len(arrays["x"]) if arrays["x"].ndim else 0
    for name, dtype in _FIELDS.items():
        array, shape = arrays[name], (count, *(input_shape if name in ("x", "x_adv") else ()))
        if array.dtype != dtype or array.shape != shape:
            raise ValueError(
                f"`{name}` is {array.dtype} of shape {array.shape} instead of {np.dtype(dtype)} of shape {shape}"
            )
    # TensorFlow takes a file of records that is cut off between two of them for a whole one.
    if count < size:
        raise ValueError(f"it holds {count} examples instead of {size}")
    for name in ("x", "x_adv"):
        _checks.inputs(name, arrays[name], input_shape, bounds)
    # A label of -1 is that of an input on which the model's answer is not finite.
    for name, least in {"y": -1, "queries": 0, "gradients": 0}.items():
        if arrays[name].min() < least:
            raise ValueError(f"`{name}` is less than {least}")


def _check_hash(path: Path, expected: str) -> None:
    """Raises `StorageError` unless a file is what it was when its hash was written down."""
    try:
        received = _files.sha256(path)
    except OSError as error:
        raise _damaged(path, _files.describe(error)) from error
    if received != expected:
        raise _damaged(path, f"its SHA-256 is not the one that {_SETTINGS} states")


def _read_document(folder: Path) -> dict[str, Any] | None:
    """What `craft.json` says; None if there is none."""
    path = folder / _SETTINGS
    if not os.path.lexists(path):
        return None
    document = _documents.read_json(
        path,
        _SCHEMA,
        what=f"what `craft` wrote, of version {_VERSION}",
        error=StorageError,
        hint="Choose another folder, or put the file back as it was.",
        max_bytes=_MAX_BYTES,
    )
    settings = document["settings"]
    try:
        InputRange.of(settings["config"]["input_range"], tuple(settings["input_shape"]))
        if document.get("successes", 0) > document.get("examples", 0):
            raise ValueError("more successes than examples")
    except ValueError as error:
        raise StorageError(f"{path} must be what `craft` wrote. Received: {first_line(error)}") from None
    return document


def _check_same(folder: Path, there: dict[str, Any], now: dict[str, Any]) -> None:
    there, now = _flat(there), _flat(now)
    different = [name for name in sorted({*there, *now}) if there.get(name) != now.get(name)]
    if different:
        name = different[0]
        received = f"{name}={reprlib.repr(now.get(name))}, not {reprlib.repr(there.get(name))}"
        if len(different) > 1:
            received += f"; nor do these agree: {', '.join(different[1:])}"
        raise InvalidArgumentError(
            f"The settings must be those that {folder} was begun with. Received: {received}. "
            "Choose another folder, or the same settings."
        )


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    config = {f"attack.{name}": value for name, value in settings["config"].items()}
    return {**{name: value for name, value in settings.items() if name != "config"}, **config}


def _damaged(path: Path, reason: str) -> StorageError:
    return StorageError(f"Cannot read {path}: {shortened(reason)}. Remove it and call `craft` to make it anew.")
