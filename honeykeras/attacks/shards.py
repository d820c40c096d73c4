"""Adversarial examples in a folder, as `craft` writes them.

    folder/
    ├── craft.json         how the examples are made and, once all are there, how many there are
    ├── shard-00000.npz    the first of them; or .tfrecord
    └── ...

Each file appears whole or not at all, `craft.json` first, so that work that was cut off can be continued.
"""

from __future__ import annotations

import dataclasses
import json
import re
import reprlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from honeykeras import _checks, _files, _scratch
from honeykeras.attacks.examples import AdversarialExamples
from honeykeras.errors import InvalidArgumentError, StorageError

_SETTINGS = "craft.json"
_VERSION = 1

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
        examples: How many examples there are.
        successes: How many of them fool the model.
    """

    folder: Path
    settings: dict[str, Any] = dataclasses.field(repr=False)
    examples: int
    successes: int

    @classmethod
    def open(cls, folder: _files.PathLike) -> Shards:
        """Opens a folder that `craft` has filled.

        Raises:
            StorageError: If it is no such folder, or not all of it is there.
        """
        folder = Path(folder)
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
            StorageError: If a shard cannot be read.
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
        parts = tf.data.Dataset.from_generator(lambda: map(_arrays, self._read()), output_signature=signature)
        return parts.unbatch().apply(tf.data.experimental.assert_cardinality(self.examples))

    def _read(self) -> Iterator[AdversarialExamples]:
        store, size = Store(self.folder, self.settings), self.settings["shard_size"]
        for number, start in enumerate(range(0, self.examples, size)):
            yield store.read(number, min(size, self.examples - start))


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

    def begin(self) -> None:
        """Writes the settings, or sees to it that those that are there are the same.

        What a process that was killed has left of a file is removed.

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
            self._write_document({"settings": self.settings})

    def finish(self, examples: int, successes: int) -> Shards:
        """Writes down that all examples are there."""
        shards = sum(1 for _ in self.folder.glob("shard-*"))
        if shards > self._count(examples):
            raise InvalidArgumentError(
                f"The data set must be the one that {self.folder} was begun with. Received: one that ends after "
                f"{examples} examples, too few for the {shards} shards there."
            )
        self._write_document({"settings": self.settings, "examples": examples, "successes": successes})
        return Shards(self.folder, self.settings, examples, successes)

    def finished(self) -> Shards | None:
        """The shards, if all are there."""
        document = _read_document(self.folder)
        if document is None or "examples" not in document:
            return None
        if not all(self.path(number).exists() for number in range(self._count(document["examples"]))):
            return None
        return Shards(self.folder, self.settings, document["examples"], document["successes"])

    def path(self, number: int) -> Path:
        """The file of a shard."""
        return self.folder / f"shard-{number:05d}.{self.settings['file_format']}"

    def write(self, number: int, examples: AdversarialExamples) -> None:
        """Writes a shard."""
        with _files.staged(self.path(number)) as scratch:
            FORMATS[self.settings["file_format"]].write(scratch, _arrays(examples))

    def read(self, number: int, size: int) -> AdversarialExamples:
        """Reads a shard that must hold `size` examples, if not more."""
        path, config = self.path(number), self.settings["config"]
        try:
            found = FORMATS[self.settings["file_format"]].read(path, self.settings["input_shape"])
            arrays: _Arrays = {name: found[name].astype(dtype, copy=False) for name, dtype in _FIELDS.items()}
        except OSError as error:
            raise _damaged(path, _files.describe(error)) from error
        except Exception as error:  # What a damaged file raises depends on where the damage is.
            raise _damaged(path, str(error)) from error
        # TensorFlow takes a file of records that is cut off between two of them for a whole one.
        if len(arrays["x"]) < size:
            raise _damaged(path, f"it holds {len(arrays['x'])} examples instead of {size}")
        bounds = _checks.input_range(config["input_range"])
        return AdversarialExamples(**arrays, targeted=config["targeted"], input_range=bounds)

    def _count(self, examples: int) -> int:
        return -(-examples // self.settings["shard_size"])

    def _write_document(self, document: dict[str, Any]) -> None:
        content = json.dumps({"version": _VERSION, **document}, indent=2) + "\n"
        _files.write_atomic(self.folder / _SETTINGS, content.encode(), overwrite=True)


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
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def _write_tfrecord(path: Path, arrays: _Arrays) -> None:
    try:
        with tf.io.TFRecordWriter(str(path)) as writer:
            for values in zip(*arrays.values(), strict=True):
                feature = {name: _feature(value) for name, value in zip(arrays, values, strict=True)}
                writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    except tf.errors.OpError as error:
        raise OSError(_reason(error)) from error


def _read_tfrecord(path: Path, input_shape: tuple[int, ...]) -> _Arrays:
    try:
        records = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
    except tf.errors.OpError as error:
        raise OSError(_reason(error)) from error
    return {
        name: value.numpy() for name, value in tf.io.parse_example(records, feature_description(input_shape)).items()
    }


def _feature(value: np.ndarray) -> tf.train.Feature:
    if value.dtype == np.float32:
        return tf.train.Feature(float_list=tf.train.FloatList(value=value.ravel()))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[int(value)]))


FORMATS = {"npz": _Format(_write_npz, _read_npz), "tfrecord": _Format(_write_tfrecord, _read_tfrecord)}


def _reason(error: tf.errors.OpError) -> str:
    """What TensorFlow says of a file, without the path before it and the operation around it."""
    return re.sub(r"{{.*?}} | \[Op:.*", "", error.message).split("; ")[-1]


def _arrays(examples: AdversarialExamples) -> _Arrays:
    return {name: getattr(examples, name) for name in _FIELDS}


def _read_document(folder: Path) -> dict[str, Any] | None:
    """What `craft.json` says; None if there is none."""
    path = folder / _SETTINGS
    try:
        document = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StorageError(f"Cannot read {path}: {_files.describe(error)}.") from error
    except ValueError:
        document = None
    if not isinstance(document, dict) or document.get("version") != _VERSION or "settings" not in document:
        raise StorageError(f"{path} must state version {_VERSION} of such a folder. Received: a damaged or newer file.")
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
    return StorageError(f"Cannot read {path}: {reason.splitlines()[0]}. Remove it and call `craft` to make it anew.")
