"""Labelled samples from files: a folder of images, an archive of NumPy's, a folder of TFRecords."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from honeykeras._arrays import parsed
from honeykeras._messages import first_line
from honeykeras.data.labelled import SPLITS, Labelled
from honeykeras.data.values import from_arrays
from honeykeras.errors import DatasetError

# As `keras.utils.image_dataset_from_directory` reads them.
_IMAGES = (".bmp", ".gif", ".jpeg", ".jpg", ".png")
# What folders and files of splits are called.
_SPLIT_NAMES = {"train": "train", "training": "train", "val": "validation", "valid": "validation"} | {
    name: name for name in SPLITS
}


def from_npz(path: Path) -> Labelled:
    """An archive with `x_train`, `y_train`, `x_test`, `y_test`, as Keras' own data sets have, or `x` and `y`."""
    try:
        arrays = parsed(lambda: _arrays(path))
    except Exception as error:  # Archives of others hold anything.
        raise DatasetError(f"{path} must be an .npz file of plain arrays. Received: {first_line(error)}") from error
    if {"x", "y"} <= arrays.keys():
        return from_arrays(path.stem, {"train": (arrays["x"], arrays["y"])})
    splits = {
        split: (arrays[f"x_{alias}"], arrays[f"y_{alias}"])
        for alias, split in _SPLIT_NAMES.items()
        if {f"x_{alias}", f"y_{alias}"} <= arrays.keys()
    }
    if "train" not in splits:
        raise DatasetError(
            f"{path} must hold x_train, y_train and perhaps x_test, y_test, or x and y. Received: "
            f"{', '.join(sorted(arrays)) or 'nothing'}."
        )
    return from_arrays(path.stem, splits)


def _arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as held:
        return {name: held[name] for name in held.files}


def from_folder(folder: Path) -> Labelled:
    """A folder with a subfolder of images for each class; or with folders `train` and `test` of such.

    Images are read in one random order, whatever their names.
    """
    inside = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    names = [path.name.lower() for path in inside]
    splits = {"train": folder}
    if "train" in names and set(names) <= _SPLIT_NAMES.keys():
        splits = {_SPLIT_NAMES[path.name.lower()]: path for path in inside}
    files = {split: _class_files(path) for split, path in splits.items()}
    if not all(files.values()):
        raise DatasetError(
            f"{folder} must hold a subfolder of images ({', '.join(_IMAGES)}) for each class, or folders `train` and "
            "`test` of such. Received: none that has images."
        )
    channels = _channels([paths[0] for paths in files["train"].values()])
    ordered = {split: _shuffled(found) for split, found in files.items()}
    return Labelled(
        folder.resolve().name,
        {split: _read_images(each, channels) for split, each in ordered.items()},
        where=lambda split, number: str(ordered[split][number][0]),
    )


def from_tfrecords(folder: Path, features: Path | None) -> Labelled:
    """A folder of TFRecords as tensorflow-datasets writes it; or any, with a file `features.json` as it writes one."""
    import tensorflow_datasets as tfds

    try:
        if features is None:
            builder = tfds.builder_from_directory(folder)
            described, name = builder.info.features, builder.info.name
            splits = {split: builder.as_dataset(split=split) for split in builder.info.splits}
        else:
            path = features / "features.json" if features.is_dir() else features
            described, name = tfds.features.FeaturesDict.from_json(json.loads(path.read_text("utf-8"))), folder.name
            splits = {
                split: tf.data.TFRecordDataset(list(map(str, paths))).map(
                    described.deserialize_example, num_parallel_calls=tf.data.AUTOTUNE
                )
                for split, paths in _record_files(folder).items()
            }
    except Exception as error:  # tensorflow-datasets raises whatever its files bring about.
        raise DatasetError(
            f"{folder} must be a folder of TFRecords, with dataset_info.json and features.json as tensorflow-datasets "
            f"writes them, or with `features` given. Received: {first_line(error)}"
        ) from error
    x, y = _supervised(described, tfds, folder)
    names = described[y].names if isinstance(described[y], tfds.features.ClassLabel) else None
    return Labelled(
        name,
        {
            _SPLIT_NAMES.get(split, split): each.map(lambda element: (element[x], element[y]))
            for split, each in splits.items()
        },
        class_names=names,
    )


def has_records(folder: Path) -> bool:
    """Whether a folder is one of TFRecords."""
    return any(".tfrecord" in path.name for path in folder.iterdir())


def _class_files(folder: Path) -> dict[str, list[Path]]:
    """The images of each class, by its name; classes without images are left out."""
    found = {
        path.name: sorted(each for each in path.rglob("*") if each.suffix.lower() in _IMAGES and each.is_file())
        for path in sorted(folder.iterdir())
        if path.is_dir() and not path.name.startswith(".")
    }
    return {name: paths for name, paths in found.items() if paths}


def _shuffled(files: dict[str, list[Path]]) -> list[tuple[Path, str]]:
    labelled = [(path, name) for name, paths in files.items() for path in paths]
    return [labelled[place] for place in np.random.default_rng(0).permutation(len(labelled))]


def _channels(paths: Sequence[Path]) -> int:
    """How many channels images are read with: as they are if they are grey, and three otherwise."""
    try:
        found = {tf.io.decode_image(path.read_bytes(), expand_animations=False).shape[2] for path in paths}
    except (tf.errors.OpError, OSError, ValueError):
        # Which file it is, the reading of all tells.
        return 3
    return 0 if found == {1} else 3


def _read_images(labelled: Sequence[tuple[Path, str]], channels: int) -> tf.data.Dataset:
    def read(path: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image = tf.io.decode_image(tf.io.read_file(path), channels=channels, expand_animations=False)
        return tf.ensure_shape(image, [None, None, channels or 1]), label

    paths, labels = zip(*labelled, strict=True)
    files = tf.data.Dataset.from_tensor_slices((list(map(str, paths)), list(labels)))
    return files.map(read, num_parallel_calls=tf.data.AUTOTUNE)


def _record_files(folder: Path) -> dict[str, list[Path]]:
    splits: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if ".tfrecord" in path.name:
            words = re.split(r"[^a-z]+", path.name.lower())
            split = next((_SPLIT_NAMES[word] for word in words if word in _SPLIT_NAMES), "train")
            splits.setdefault(split, []).append(path)
    return splits


def _supervised(features: Any, tfds: Any, folder: Path) -> tuple[str, str]:
    """Names of the inputs' feature and of the labels'."""
    labels = [name for name, feature in features.items() if isinstance(feature, tfds.features.ClassLabel)]
    inputs = [name for name, feature in features.items() if isinstance(feature, tfds.features.Image)]
    # A tensor of numbers, where there is no image.
    inputs = inputs or [
        name
        for name, feature in features.items()
        if name not in labels and feature.shape and feature.dtype != tf.string
    ]
    if len(labels) != 1 or len(inputs) != 1:
        raise DatasetError(
            f"{folder} must have one feature that is an image, or else a tensor, and one that is a class label. "
            f"Received: {', '.join(features)}."
        )
    return inputs[0], labels[0]
