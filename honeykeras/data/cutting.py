"""Cutting what a source gives into four disjoint parts.

A hash of each sample's bytes, with the seed as its key, decides where the sample goes. So parts hold for data that is
never in memory as a whole, and that arrives in another order; and equal samples are never apart.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from honeykeras import _progress, recipes, survey
from honeykeras.data.elements import uniform, unreadable
from honeykeras.data.labelled import SPLITS, Labelled
from honeykeras.data.parts import Data, Part, StreamedSplit
from honeykeras.errors import DatasetError
from honeykeras.ranges import InputRange

# What is smaller than this is held in memory, as it came; what is larger is read in every pass.
_MOST_BYTES = 96 * 2**20
# A part of larger data that is smaller than this is held once it was read.
_MOST_CACHED_BYTES = 64 * 2**20
_BATCH_SIZE = 256
# Parts that do not come with the data: of so many samples each, or of this share of them where there are few.
_SIZES = {"detector": 2_000, "calibration": 5_000, "test": 10_000}
_SHARES = {"detector": 1 / 6, "calibration": 1 / 6, "test": 0.22}
# Samples and bytes that the detail of images is told from, at most.
_MOST_SURVEYED = 2_000
_MOST_SURVEYED_BYTES = 2**26
# Radii of attacks, as shares of the input range: what is customary for drawings and for photographs.
_DRAWINGS_RADIUS, _PHOTOGRAPHS_RADIUS = 0.3, 8 / 255
# For what is no image nothing is customary.
_FEATURES_RADIUS = 0.1


@dataclasses.dataclass(frozen=True)
class _Seen:
    """What a pass over a split found: hashes and labels of its samples, and the samples unless they are too large."""

    hashes: np.ndarray
    labels: np.ndarray
    held: tf.Tensor | None


def cut(
    labelled: Labelled,
    *,
    seed: int,
    input_range: InputRange,
    image_size: tuple[int, int] | None = None,
    verbose: int = 0,
) -> Data:
    """Cuts labelled samples into the parts of a `Data`.

    A split that comes with the data stays what it is: `test` is what is judged on, and of `validation`, where there is
    one, the parts for the detector are taken. What is missing is cut off `train`.

    Args:
        labelled: What a source gives.
        seed: Decides which samples go where.
        input_range: What bytes are scaled to, and what numbers must lie in.
        image_size: Height and width to resize images to; None takes them as they are.
        verbose: 1 shows a progress bar, 0 nothing.

    Returns:
        The data set. What takes up less than some 100 MB is in memory, in random order; else each pass reads it anew.

    Raises:
        DatasetError: If the samples are of different forms, out of range, of one class, too few, or others in a second
            pass.
    """
    samples = {
        split: uniform(labelled, split, seed=seed, image_size=image_size)
        for split in SPLITS
        if split in labelled.splits
    }
    if "train" not in samples:
        raise DatasetError(f"{labelled.name} must have a split {SPLITS[0]!r}. Received: {list(labelled.splits)}.")
    _check_alike(samples, labelled.name)
    seen = {split: _look(labelled, split, each, input_range, verbose) for split, each in samples.items()}
    if not labelled.repeats:
        for split, each in samples.items():
            _check_repeats(labelled.name, split, each, seen[split].hashes)
    names, labels = _class_names(labelled, {split: each.labels for split, each in seen.items()})
    parts = {
        part: _part(samples[split], seen[split], labels, bounds, input_range)
        for part, (split, bounds) in _places(
            {split: each.hashes for split, each in seen.items()}, labelled.name
        ).items()
    }
    num_classes = len(labels)
    detail = _detail(parts["train"], num_classes, input_range)
    drawn = detail is not None and detail >= recipes.DRAWINGS_DETAIL
    radius = _FEATURES_RADIUS if detail is None else _DRAWINGS_RADIUS if drawn else _PHOTOGRAPHS_RADIUS
    return Data(
        labelled.name,
        num_classes,
        radius * float(input_range.working.width),
        parts["train"],
        parts["detector"],
        parts["calibration"],
        parts["test"],
        input_range=input_range,
        class_names=names,
        digest=_digest(seen, labels),
    )


def _check_alike(samples: Mapping[str, tf.data.Dataset], name: str) -> None:
    train = samples["train"].element_spec
    for split, each in samples.items():
        if [(spec.shape, spec.dtype) for spec in each.element_spec] != [(spec.shape, spec.dtype) for spec in train]:
            raise DatasetError(
                f"{name} must have samples of one shape and type in all splits. Received: {_form(train)} in train, "
                f"{_form(each.element_spec)} in {split}."
            )


def _form(spec: Any) -> str:
    x, y, _ = spec
    return f"{x.dtype.name} {tuple(x.shape)} with labels {y.dtype.name}"


def _look(labelled: Labelled, split: str, samples: tf.data.Dataset, input_range: InputRange, verbose: int) -> _Seen:
    """Goes through a split once."""
    size = _bytes(samples.element_spec[0])
    expected = int(samples.cardinality())
    limit = max(1, _MOST_BYTES // size)
    kept: list[np.ndarray] | None = [] if expected <= limit else None
    hashes, labels, count = [], [], 0
    try:
        with _progress.bar(f"Reading {split}", expected, "sample", verbose) as progress:
            for x, y, codes in samples.batch(_BATCH_SIZE).prefetch(2).as_numpy_iterator():
                _check_values(labelled, split, x, count, input_range)
                count += len(x)
                hashes.append(codes)
                labels.append(y)
                if kept is not None:
                    kept.append(x)
                if count > limit:
                    kept = None
                progress.update(len(x))
    except DatasetError:
        raise
    except Exception as error:  # A source is anybody's code.
        raise unreadable(labelled, split, samples, error) from error
    if not count:
        raise DatasetError(f"{labelled.name} must hold samples in {split}. Received: none.")
    held = None
    if kept is not None:
        whole = np.concatenate(kept)
        # Let go before there is a third copy.
        kept.clear()
        held = tf.constant(whole)
    return _Seen(np.concatenate(hashes), np.concatenate(labels), held)


def _bytes(spec: tf.TensorSpec) -> int:
    """How large a sample is."""
    return spec.dtype.size * int(np.prod(spec.shape))


def _check_values(labelled: Labelled, split: str, x: np.ndarray, before: int, input_range: InputRange) -> None:
    if x.dtype == np.uint8:
        return
    axes = tuple(range(x.ndim - len(input_range.shape)))
    # A NaN is the least and the greatest of all.
    if input_range.worst(x.min(axis=axes), x.max(axis=axes)) is None:
        return
    low, high = input_range.ends()
    wrong = ~((x >= low) & (x <= high)).reshape(len(x), -1)
    first = int(np.argmax(wrong.any(axis=1)))
    value = x[first].ravel()[np.argmax(wrong[first])]
    raise DatasetError(
        f"{labelled.name} must hold numbers in the input range, {input_range}. Received: {value:g} in "
        f"{labelled.where(split, before + first)}. Scale the data, or state its range (`input_range`)."
    )


def _check_repeats(name: str, split: str, samples: tf.data.Dataset, hashes: np.ndarray) -> None:
    again = [codes for _, _, codes in samples.batch(_BATCH_SIZE).as_numpy_iterator()]
    if not np.array_equal(np.sort(np.concatenate(again) if again else np.empty(0)), np.sort(hashes)):
        raise DatasetError(
            f"{name} must give the same samples in every pass. Received: others in the second pass over {split}. Leave "
            "out what is random in it, and give augmentation apart (`augment`)."
        )


def _class_names(labelled: Labelled, found: Mapping[str, np.ndarray]) -> tuple[tuple[str, ...] | None, dict[Any, int]]:
    """What classes are called, unless by their numbers alone, and the index of each label."""
    train = _distinct(found["train"])
    everywhere = sorted({label for labels in found.values() for label in _distinct(labels)})
    if labelled.class_names is not None and not isinstance(everywhere[0], bytes):
        names = tuple(map(str, labelled.class_names))
        labels = {number: number for number in range(len(names))}
    else:
        texts = [label.decode(errors="replace") if isinstance(label, bytes) else str(label) for label in train]
        names, labels = tuple(texts), {label: index for index, label in enumerate(train)}
    stray = [label for label in everywhere if label not in labels]
    if stray:
        raise DatasetError(
            f"{labelled.name} must have labels that are classes of its training part: {_listed(list(labels))}. "
            f"Received: {_listed(stray)}."
        )
    if len(train) < 2:
        raise DatasetError(f"{labelled.name} must have samples of at least two classes. Received: {_listed(train)}.")
    if len(set(names)) < len(names):
        raise DatasetError(f"{labelled.name} must have a name of its own for each class. Received: {_listed(names)}.")
    return None if names == tuple(map(str, range(len(names)))) else names, labels


def _distinct(labels: np.ndarray) -> list[Any]:
    # Texts come as objects, numbers as int64.
    return sorted(set(labels.tolist()))


def _listed(values: Sequence[Any]) -> str:
    texts = [value.decode(errors="replace") if isinstance(value, bytes) else str(value) for value in values]
    return ", ".join(texts[:10]) + (", ..." if len(texts) > 10 else "")


def _places(hashes: Mapping[str, np.ndarray], name: str) -> dict[str, tuple[str, tuple[int, int]]]:
    """Which split each part is of, and which hashes it has: those above the first number, up to the second."""
    missing = [part for part in ("detector", "calibration") if "validation" not in hashes]
    missing += [part for part in ("test",) if "test" not in hashes]
    places = {} if "test" in missing else {"test": ("test", _ALL)}
    if "validation" in hashes:
        count = len(hashes["validation"])
        held_out = min(_SIZES["detector"], count // 2)
        places |= _cut_off("validation", hashes["validation"], {"detector": held_out}, "calibration")
    count = len(hashes["train"])
    sizes = {part: min(_SIZES[part], round(_SHARES[part] * count)) for part in missing}
    places |= _cut_off("train", hashes["train"], sizes, "train")
    for part, (split, (low, high)) in places.items():
        if not np.any((hashes[split] > low) & (hashes[split] <= high)):
            raise DatasetError(
                f"{name} must have enough different samples for its four parts. Received: {count} in train, of which "
                f"none is left for {part}."
            )
    return places


_ALL = (-1, 2**63 - 1)


def _cut_off(
    split: str, hashes: np.ndarray, sizes: Mapping[str, int], remains: str
) -> dict[str, tuple[str, tuple[int, int]]]:
    """Cuts parts off a split, the least hashes first."""
    ascending = np.sort(hashes)
    bounds = [
        _ALL[0],
        *(int(ascending[end - 1]) if end else _ALL[0] for end in np.cumsum(list(sizes.values()))),
        _ALL[1],
    ]
    parts = [*sizes, remains]
    return {part: (split, (bounds[place], bounds[place + 1])) for place, part in enumerate(parts)}


def _part(
    samples: tf.data.Dataset,
    seen: _Seen,
    labels: Mapping[Any, int],
    bounds: tuple[int, int],
    input_range: InputRange,
) -> Part:
    low, high = bounds
    inside = np.flatnonzero((seen.hashes > low) & (seen.hashes <= high))
    if seen.held is not None:
        # In the order of the hashes, which is random: data is often sorted by class.
        inside = inside[np.argsort(seen.hashes[inside], kind="stable")]
        y = np.array([labels[label] for label in seen.labels[inside].tolist()], np.int64)
        # All parts read from one tensor, so that nothing is held twice; in batches, as a call for each sample would
        # take longer than a small model's training.
        held = seen.held
        places = tf.data.Dataset.from_tensor_slices((inside, y)).batch(_BATCH_SIZE)
        taken = places.map(lambda places, y: (_scaled(tf.gather(held, places), input_range), y)).unbatch()
    else:
        index = _table(labels)
        taken = samples.filter(lambda _x, _y, code: (code > low) & (code <= high))
        taken = taken.map(lambda x, y, _: (x, index.lookup(y)))
        # To find few samples, all would be read in each pass.
        if len(inside) * _bytes(taken.element_spec[0]) <= _MOST_CACHED_BYTES:
            taken = taken.cache()
        taken = taken.map(lambda x, y: (_scaled(x, input_range), y), num_parallel_calls=tf.data.AUTOTUNE)
    # A filter does not tell how many it lets through.
    counted = taken.apply(tf.data.experimental.assert_cardinality(len(inside)))
    return StreamedSplit(counted, len(inside), is_mixed=seen.held is not None)


def _table(labels: Mapping[Any, int]) -> tf.lookup.StaticHashTable:
    keys = tf.constant(list(labels), tf.string if isinstance(next(iter(labels)), bytes) else tf.int64)
    entries = tf.lookup.KeyValueTensorInitializer(keys, tf.constant(list(labels.values()), tf.int64))
    return tf.lookup.StaticHashTable(entries, -1)


def _scaled(x: tf.Tensor, input_range: InputRange) -> tf.Tensor:
    if x.dtype == tf.uint8:
        return input_range.from_unit(tf.cast(x, tf.float32) / 255)
    return tf.clip_by_value(x, *input_range.ends())


def _detail(part: Part, num_classes: int, input_range: InputRange) -> float | None:
    """How detailed images are; None for other inputs."""
    size = 4 * int(np.prod(part.input_shape))
    few = part.dataset().take(min(_MOST_SURVEYED, max(1, _MOST_SURVEYED_BYTES // size)))
    return survey.look_through(few.batch(_BATCH_SIZE), num_classes, input_range).detail


def _digest(seen: Mapping[str, _Seen], labels: Mapping[Any, int]) -> str:
    """A sum over samples, so that their order does not matter."""
    total = hashlib.sha256()
    for split, each in seen.items():
        index = np.array([labels[label] for label in each.labels.tolist()], np.uint64)
        total.update(b"%s %d" % (split.encode(), np.sum(each.hashes.astype(np.uint64) * (2 * index + 1))))
    return total.hexdigest()[:16]
