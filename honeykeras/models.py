"""A reference classifier, and classifiers from files."""

from __future__ import annotations

import zipfile
from pathlib import Path

import keras

from honeykeras import saved_model
from honeykeras._files import PathLike, staged
from honeykeras.errors import InvalidArgumentError, ModelError


def small_cnn(input_shape: tuple[int, ...], num_classes: int) -> keras.Model:
    """A small convolutional classifier, compiled: two convolutions, two dense layers, logits out.

    It stands for whatever classifier a user brings, at a size that trains on two cores.

    Args:
        input_shape: Shape of one image, `(height, width, channels)`, at least 4 by 4.
        num_classes: Number of classes.

    Returns:
        The model, compiled with Adam for integer labels.
    """
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input(input_shape),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dense(num_classes),
        ],
        name="small_cnn",
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer="adam", loss=loss, metrics=["accuracy"])
    return model


def load(path: PathLike) -> keras.Model:
    """Reads a classifier from a `.keras` file, or from the folder of a SavedModel.

    Of a SavedModel, the signature `serving_default` is used; it must have one input and one output. Such a model
    can be attacked and judged, but not trained.

    Raises:
        ModelError: If there is no such file or folder, or it does not hold such a model.
    """
    if Path(path).is_dir():
        return saved_model.load(Path(path))
    if not Path(path).is_file():
        raise ModelError(
            f"There must be a .keras file or the folder of a SavedModel at {path}. Received: no such file."
        )
    try:
        return keras.models.load_model(path)
    except (ValueError, TypeError, KeyError, OSError, zipfile.BadZipFile) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"{path} must hold a Keras model, in the .keras format. Received: {reason}") from None


def save(model: keras.Model, path: PathLike, *, overwrite: bool = False) -> None:
    """Writes a model to a `.keras` file, in one atomic step.

    Raises:
        InvalidArgumentError: If `path` does not end in `.keras`.
        StorageError: If there is a file at `path` already, or the disk refuses.
    """
    if Path(path).suffix != ".keras":
        raise InvalidArgumentError(f"`path` must end in .keras. Received: path={str(path)!r}.")
    with staged(path, overwrite=overwrite) as scratch:
        model.save(scratch)
