"""Adversarial examples of whole data sets."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from honeykeras import _checks, _documents, _files, _progress, fingerprints
from honeykeras._files import PathLike
from honeykeras._messages import first_line
from honeykeras.attacks.base import Attack
from honeykeras.attacks.examples import AdversarialExamples
from honeykeras.attacks.shards import FORMATS, SETTINGS_SCHEMA, Shards, Store
from honeykeras.errors import InvalidArgumentError, ModelError
from honeykeras.outputs import Logits
from honeykeras.ranges import InputRange

Chunk = tuple[np.ndarray, np.ndarray | None]
"""Inputs, and their labels if there are any."""


@dataclasses.dataclass(frozen=True)
class Making:
    """How shards are made, alike wherever they are made.

    Attributes:
        attack: The attack.
        store: Where they go.
        levels: As for `craft`.
        mask: Likewise, for one input.
        batch_size: Likewise.
    """

    attack: Attack
    store: Store
    levels: int | None
    mask: np.ndarray
    batch_size: int

    def make(self, model: keras.Model, number: int, x: np.ndarray, y: np.ndarray | None) -> AdversarialExamples:
        """Makes a shard and writes it."""
        first = number * self.store.settings["shard_size"]
        examples = self.attack.generate(model, x, y, mask=self.mask, first=first, batch_size=self.batch_size)
        if self.levels is not None:
            examples = examples.quantize(model, self.levels)
        self.store.write(number, examples)
        return examples


@dataclasses.dataclass(frozen=True)
class Work:
    """Shards that are to be made.

    Attributes:
        making: How.
        total: How many examples there are; below 0 where that is not known.
        chunks: What each shard is made of: inputs, and labels if there are any. They are read anew each time.
    """

    making: Making
    total: int
    chunks: Callable[[], Iterator[Chunk]]


def craft(
    model: keras.Model,
    attack: Attack,
    dataset: tf.data.Dataset,
    folder: PathLike,
    *,
    file_format: str = "npz",
    shard_size: int = 1024,
    levels: int | None = 256,
    mask: np.ndarray | None = None,
    batch_size: int = 128,
    make_elsewhere: Callable[[Work], None] | None = None,
    verbose: int = 1,
) -> Shards:
    """Makes adversarial examples of a data set, in files.

    The data set is read as a stream, and what becomes of it is written shard by shard. Work that was cut off is
    continued by the same call: shards that are there are compared with their hashes and with the data set, and not made
    again. A folder that is finished is returned at once, once its files have been compared with their hashes, and the
    first with the data set. One process at a time may fill a folder.

    Inside the scope of a `tf.distribute` strategy, each batch is divided among the replicas. Neither that, nor
    `batch_size`, `shard_size` or an interruption changes the results, but for the rounding of floating point.

    Example:

    ```python
    images = tf.data.Dataset.from_tensor_slices((x, y))
    shards = hk.attacks.craft(model, hk.attacks.PGD(epsilon=0.3), images, "folder")
    x_adv = shards.load().successful
    ```

    Args:
        model: The classifier to attack, with one input whose shape it states.
        attack: The attack.
        dataset: Finite, in the same order each time it is read. Elements `(x, y)` or `(x, y, ...)`, single samples or
            batches: `x` floating point in the attack's input range; `y` class indices or one-hot rows, the labels
            to get away from, or to reach. For an attack that is not targeted, also `x` alone: labels are then
            what the model predicts.
        folder: Where the shards go: nothing yet, or what an earlier call left.
        file_format: `"npz"`, or `"tfrecord"`: one `tf.train.Example` an image, as `feature_description` has it.
        shard_size: How many examples a file holds; about as many are in memory at a time.
        levels: How many levels adversarial images are rounded to before they are judged, as
            `AdversarialExamples.quantize` does it. None keeps them as they are.
        mask: Which features the attack may change: bool, shape of one input. Defaults to all.
        batch_size: How many inputs are attacked at a time, on all replicas together.
        make_elsewhere: Is given the work first, and makes of it what it can, as `pipelines.crafting.craft` does on
            workers. What is missing then is made here.
        verbose: 1 shows a progress bar, 0 nothing.

    Returns:
        The shards.

    Raises:
        InvalidArgumentError: If an argument or the data set breaks one of these rules, or if the folder was begun
            with another model, other settings or another data set.
        ModelError: If the model cannot take the data set, or is no classifier.
        StorageError: If the folder holds something else, a shard is damaged, or the disk refuses. Shards that were
            there before are there still.
    """
    folder = _files.as_path(folder)
    _checks.instance("attack", attack, Attack, "an Attack, such as PGD()")
    _checks.one_of("file_format", file_format, FORMATS)
    shard_size = _checks.whole_number("shard_size", shard_size)
    levels = None if levels is None else _checks.whole_number("levels", levels, 2)
    batch_size = _checks.whole_number("batch_size", batch_size)
    samples, batched, labelled = _look(dataset, model, attack)
    # For batches, known only if none is smaller than the others.
    total = int((samples.unbatch() if batched else samples).cardinality())
    if total == tf.data.INFINITE_CARDINALITY:
        raise InvalidArgumentError("The data set must end. Received: an endless one. Limit it by `take`.")
    cut = samples.rebatch(shard_size) if batched else samples.batch(shard_size)

    def chunks() -> Iterator[Chunk]:
        return _read(cut, attack.input_range)

    first = next(chunks(), None)
    if first is None:
        raise InvalidArgumentError("The data set must hold at least one sample. Received: an empty data set.")
    input_shape = first[0].shape[1:]
    Logits(model, input_shape)  # A model that does not fit is told before anything is written.
    mask = _checks.mask(mask, (1, *input_shape))[0]
    settings = {
        "attack": attack.name,
        "config": attack.get_config(),
        "levels": levels,
        "mask": hashlib.sha256(mask.tobytes()).hexdigest(),
        "labels": "given" if labelled else "predicted",
        "file_format": file_format,
        "shard_size": shard_size,
        "input_shape": input_shape,
        "model": fingerprints.of_model(model),
    }
    work = Work(Making(attack, Store(folder, _plain(settings)), levels, mask, batch_size), total, chunks)
    if make_elsewhere is not None:
        work.making.store.begin()
        make_elsewhere(work)
    return _finish(model, work, verbose)


def _finish(model: keras.Model, work: Work, verbose: int) -> Shards:
    """Makes the shards that are missing, and compares those that are there with the data set."""
    making, store = work.making, work.making.store
    hashes = store.begin()
    finished = store.finished()
    if finished and work.total in (len(finished), tf.data.UNKNOWN_CARDINALITY):
        x, y = next(work.chunks())
        path = store.path(0)
        _check_same(path, store.read(0, len(x), hashes[path.name]), x, y)
        return finished

    def shard(number: int, x: np.ndarray, y: np.ndarray | None) -> AdversarialExamples:
        path = store.path(number)
        if path.exists():
            examples = store.read(number, len(x), hashes.get(path.name))
            _check_same(path, examples, x, y)
        else:
            # Struck out first: a process that is killed must not leave a new file beside the hash of an old one.
            if hashes.pop(path.name, None):
                store.record(hashes)
            examples = making.make(model, number, x, y)
        if path.name not in hashes:
            hashes[path.name] = _files.sha256(path)
            store.record(hashes)
        return examples

    examples = successes = 0
    with _progress.bar(f"Attacking with {making.attack.name}", work.total, "image", verbose) as progress:
        for number, (x, y) in enumerate(work.chunks()):
            successes += int(shard(number, x, y).success.sum())
            examples += len(x)
            progress.update(len(x))
    return store.finish(examples, successes, hashes)


def _look(dataset: tf.data.Dataset, model: keras.Model, attack: Attack) -> tuple[tf.data.Dataset, bool, bool]:
    """Looks at what a data set says of its elements.

    Returns:
        The data set with elements `(x,)` or `(x, y)`; whether these are batches; whether they have labels.
    """
    _checks.instance("dataset", dataset, tf.data.Dataset, "a tf.data.Dataset, of elements x, (x, y) or (x, y, ...)")
    spec = dataset.element_spec
    parts = spec[:2] if isinstance(spec, tuple) else (spec,)
    if not parts or not all(isinstance(part, tf.TensorSpec) for part in parts):
        raise InvalidArgumentError(
            f"The data set's elements must be x, (x, y) or (x, y, ...). With tensorflow-datasets, load with "
            f"`as_supervised=True`. Received: {spec}."
        )
    labelled = len(parts) == 2
    if attack.targeted and not labelled:
        raise InvalidArgumentError(
            f"The data set must hold the labels to reach, as the attack is targeted. Received: elements {spec}."
        )
    input_shape = _input_shape(model)
    x = parts[0]
    batched = x.shape.rank == len(input_shape) + 1
    if x.shape.rank is None or not x.shape.is_compatible_with((None, *input_shape) if batched else input_shape):
        raise InvalidArgumentError(
            f"The data set's inputs must have the shape of the model's, {input_shape}, batched or not. "
            f"Received: {x.shape}."
        )
    if not x.dtype.is_floating:
        raise InvalidArgumentError(
            f"The data set's inputs must be floating point. Received: dtype={x.dtype.name}. Scale integer images first."
        )
    return dataset.map(lambda *element: element[:2]), batched, labelled


def _input_shape(model: keras.Model) -> tuple[int | None, ...]:
    """Shape of one input of a model."""
    inputs = getattr(model, "inputs", None) or []
    if len(inputs) != 1:
        raise ModelError(
            f"The model must have one input and state its shape. Received: {len(inputs)} that are stated. "
            "A model that states none can be wrapped: `keras.Sequential([keras.Input(shape), model])`."
        )
    return tuple(inputs[0].shape[1:])


def _read(chunks: tf.data.Dataset, bounds: InputRange) -> Iterator[Chunk]:
    """The inputs and labels of each chunk of a data set; None for labels that there are not."""
    input_shape = None
    for x, *y in chunks.as_numpy_iterator():
        x = _checks.inputs("x", x, input_shape, bounds)
        input_shape = x.shape[1:]
        yield x, y[0] if y else None


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings as they come back from a JSON file."""
    try:
        plain = json.loads(json.dumps(settings, allow_nan=False))
        _documents.check(plain, SETTINGS_SCHEMA)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgumentError(
            f"`attack.get_config()` must give plain data. Received: {first_line(error)}."
        ) from None
    return plain


def _check_same(path: Path, shard: AdversarialExamples, x: np.ndarray, y: np.ndarray | None) -> None:
    """Sees to it that a shard is of the samples that the data set gives in its place."""
    if not np.array_equal(shard.x, x) or (
        y is not None and not np.array_equal(shard.y, _checks.labels("y", y, len(x)))
    ):
        raise InvalidArgumentError(
            f"The data set must give the same samples in the same order each time. Received: others than the "
            f"{len(shard)} that {path} was made of. Choose another folder, or a data set that is not shuffled anew."
        )
