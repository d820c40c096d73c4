"""Data sets, from whatever a user has, cut into parts that share no sample."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from honeykeras import _checks, _datasets, _sources
from honeykeras._files import PathLike, as_path
from honeykeras._messages import first_line
from honeykeras.data import files
from honeykeras.data.cutting import cut
from honeykeras.data.labelled import Labelled
from honeykeras.data.parts import Data, Part, Split, StreamedSplit
from honeykeras.data.values import from_arrays, from_value
from honeykeras.errors import DatasetError, InvalidArgumentError
from honeykeras.ranges import InputRange, RangeLike

__all__ = ["Data", "Labelled", "Part", "Split", "StreamedSplit", "cut", "load"]


def load(
    source: str,
    *,
    seed: int = 0,
    input_range: RangeLike = (0.0, 1.0),
    image_size: tuple[int, int] | None = None,
    features: PathLike | None = None,
    verbose: int = 0,
) -> Data:
    """Loads a data set, and cuts it into disjoint parts.

    Example:

    ```python
    hk.data.load("mnist")                          # of tensorflow-datasets, as "svhn_cropped" or "cifar100:3.0.2"
    hk.data.load("photos/", image_size=(96, 96))   # a folder with a subfolder of images for each class
    hk.data.load("plates.npz")                     # x_train, y_train, x_test, y_test; or x and y
    hk.data.load("mine.py:load")                   # a function
    ```

    A split that comes with the data is respected: `test` is what is judged on, and of `validation` the parts for the
    detector are taken. What does not come is cut off by a hash of each sample, see `data.cutting`. Inputs of bytes are
    scaled to the input range; those of floating point must lie in it.

    Args:
        source: `"digits"`, which scikit-learn ships; a name of tensorflow-datasets, which downloads what is not
            prepared (its `TFDS_DATA_DIR` says where); an `.npz` file; a folder of images; a folder of TFRecords, as
            tensorflow-datasets writes it; or a function, `file.py:function` or `package.module:function`, that returns
            arrays `(x, y)`, a `tf.data.Dataset` of `(x, y)`, or a dictionary of such by the names of splits (`train`,
            `validation`, `test`) and perhaps `class_names`. Labels are whole numbers, texts or one-hot.
        seed: Decides which samples go to which part.
        input_range: Least and greatest value of an input, as the model takes it, or of each of its features.
        image_size: Height and width to resize images to. None takes them as they are, all of one size.
        features: For a folder of TFRecords that has none: the file `features.json`, as tensorflow-datasets writes it.
        verbose: 1 shows a progress bar, 0 nothing.

    Returns:
        The data set. What takes up less than some 100 MB is in memory; else it is read anew in each pass.

    Raises:
        InvalidArgumentError: If an argument breaks a rule.
        DatasetError: If there is no such data set, or it cannot be used: empty, of one class, of several shapes, out of
            range, or of other samples in a second pass.
    """
    kind = _datasets.kind_of(source)
    bounds = InputRange.of(input_range)
    if image_size is not None:
        image_size = _image_size(image_size)
    if features is not None and kind != "folder":
        raise InvalidArgumentError(f"`features` is for a folder of TFRecords. Received: it, and the source {source!r}.")
    labelled = _READERS[kind](source) if kind != "folder" else _folder(source, features)
    data = cut(labelled, seed=_checks.seed(seed), input_range=bounds, image_size=image_size, verbose=verbose)
    return dataclasses.replace(data, source=source)


def _folder(source: str, features: PathLike | None) -> Labelled:
    folder = as_path(source)
    if features is not None or files.has_records(folder):
        return files.from_tfrecords(folder, None if features is None else as_path(features))
    return files.from_folder(folder)


def _function(source: str) -> Labelled:
    function = _sources.load_function(source, "dataset")
    try:
        value = function()
    except Exception as error:  # Anybody's code.
        raise DatasetError(
            f"{source} must return a data set. Received: {type(error).__name__}: {first_line(error)}"
        ) from error
    place, _, name = source.rpartition(":")
    return dataclasses.replace(from_value(source, value), name=f"{Path(place).stem}-{name}")


def _digits(_: str) -> Labelled:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    # They have 17 levels.
    x = np.round(images.reshape(-1, 8, 8, 1) / 16 * 255).astype(np.uint8)
    return from_arrays("digits", {"train": (x, labels)})


def _tfds(name: str) -> Labelled:
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    try:
        splits, info = tfds.load(name, as_supervised=True, with_info=True)
        label = info.features[info.supervised_keys[1]]
    except Exception as error:  # tensorflow-datasets raises whatever its storage and its downloader do.
        raise DatasetError(
            f"tensorflow-datasets cannot load {name!r}: {first_line(error)} "
            "Set TFDS_DATA_DIR to a folder where it is prepared, or make sure that it can be downloaded. A data set of "
            "your own is a folder, an .npz file or a function, file.py:function."
        ) from error
    return Labelled(info.name, dict(splits), class_names=getattr(label, "names", None))


def _npz(source: str) -> Labelled:
    return files.from_npz(as_path(source))


def _image_size(value: tuple[int, int]) -> tuple[int, int]:
    size = _checks.shape("image_size", value)
    if len(size) != 2:
        raise InvalidArgumentError(f"`image_size` must be (height, width). Received: {value}.")
    return size[0], size[1]


_READERS = {"digits": _digits, "tfds": _tfds, "npz": _npz, "function": _function}
