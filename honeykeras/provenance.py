"""How models were trained: `training.json` beside them.

What it says goes into the report of an evaluation, and tells whether a model is judged on images that it has not seen.
Neither TensorFlow nor Keras is imported here.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from honeykeras import _checks, report
from honeykeras._documents import plain, read_json, write_json
from honeykeras._files import PathLike, as_path
from honeykeras.errors import InvalidArgumentError

if TYPE_CHECKING:
    import tensorflow as tf

    from honeykeras.data import Data
    from honeykeras.honeypot import Honeypot
    from honeykeras.ranges import InputRange

FILE = "training.json"

# A metric's value is null where it was not finite.
_HISTORY = {
    "type": "object",
    "additionalProperties": {"type": "array", "items": {"type": ["number", "null"]}},
}
_DIGEST = {"type": ["string", "null"], "pattern": "^[0-9a-f]{16}$"}
# Room for histories of many thousand epochs.
_MAX_BYTES = 2**24


def settings_of(data: Data, honeypot: Honeypot, *, epochs: int, seed: int) -> dict[str, Any]:
    """The settings of a training, as plain data. Nothing secret.

    Args:
        data: The data set.
        honeypot: What is planted, once its data set was poisoned.
        epochs: How many epochs.
        seed: The seed of split, weights and shuffling.
    """
    return {
        "dataset": data.source or data.name,
        "digest": data.digest,
        "class_names": None if data.class_names is None else list(data.class_names),
        "seed": seed,
        "key_id": honeypot.key.key_id,
        "watermark": honeypot.key.description.get_config()["watermark"],
        "recipe": honeypot.recipe.get_config(),
        "planted": honeypot.planting.recipe.get_config() if honeypot.planting else None,
        "epochs": epochs,
    }


def write(
    folder: PathLike,
    settings: Mapping[str, Any],
    *,
    history: Mapping[str, Sequence[float]],
    baseline_history: Mapping[str, Sequence[float]],
) -> None:
    """Writes down how the models in a folder were trained.

    Args:
        folder: The folder.
        settings: As `settings_of` gives them, and what else is to be known.
        history: How the training went, epoch by epoch, by metric.
        baseline_history: Likewise, without the honeypot.

    Raises:
        StorageError: If the folder has such a file already, or the disk refuses.
    """
    document = {"settings": settings, "history": history, "baseline_history": baseline_history}
    write_json(as_path(folder) / FILE, document)


def read(model_path: PathLike) -> dict[str, Any]:
    """The settings of a training, from the file beside the model; none, and a warning, if there is no such file.

    Raises:
        InvalidArgumentError: If the file is not what `write` wrote.
        StorageError: If it cannot be read.
    """
    path = as_path(model_path).parent / FILE
    if not os.path.lexists(path):
        warnings.warn(
            f"There is no {FILE} beside {model_path}: that it was trained on other images than it is judged on, and "
            "with this key, cannot be checked.",
            stacklevel=2,
        )
        return {}
    document = read_json(
        path,
        _schema(),
        what=f"how a model was trained, as `honeykeras train` writes it beside {as_path(model_path).name}",
        hint="Put the file back as it was, or remove it to have nothing checked.",
        max_bytes=_MAX_BYTES,
    )
    return document["settings"]


def class_names(model_path: PathLike) -> list[str] | None:
    """What the classes of a model are called, by the file beside it; None if that does not say, or is not there.

    Raises:
        InvalidArgumentError, StorageError: As `read`.
    """
    if not os.path.lexists(as_path(model_path).parent / FILE):
        return None
    names: list[str] | None = read(model_path).get("class_names")
    return names


def check(trained: Mapping[str, Any], *, action: str = "judged", **expected: Any) -> None:
    """Sees to it that a model is judged as it was trained. With another seed, say, it would have seen the images.

    Args:
        trained: What `read` gave; where that is nothing, nothing is checked.
        action: What is to be done with the model.
        **expected: Settings of the judgement that must be those of the training.

    Raises:
        InvalidArgumentError: If one is not.
    """
    for name, value in plain(expected).items():
        if trained and trained.get(name) != value:
            raise InvalidArgumentError(
                f"The model must be {action} with the `{name}` that it was trained with, "
                f"{_checks.shown(trained.get(name))}. Received: {_checks.shown(value)}."
            )


def check_data(trained: Mapping[str, Any], data: Data) -> None:
    """Sees to it that a model is judged on what it was trained on, cut alike, wherever that lies now.

    Args:
        trained: What `read` gave; where that is nothing, nothing is checked.
        data: What it is judged on.

    Raises:
        InvalidArgumentError: If it was trained on other data.
    """
    if trained and data.digest is not None and trained["digest"] not in (None, data.digest):
        raise InvalidArgumentError(
            f"The model must be judged on the data that it was trained on, {_checks.shown(trained['dataset'])} as it "
            f"was then (digest {trained['digest']}), cut by the same seed. Received: {data.source or data.name}, of "
            f"digest {data.digest}."
        )


def unseen(model_path: PathLike, source: str, input_range: InputRange) -> tf.data.Dataset:
    """Clean inputs that a model was not trained on.

    Args:
        model_path: The model.
        source: A data set, as `data.load` takes it. Of the one that the model was trained on, what was kept for
            calibration; of another, all of it.
        input_range: The model's.
    """
    from honeykeras import data

    trained = read(model_path)
    size = trained.get("image_size")
    loaded = data.load(
        source,
        seed=trained.get("seed", 0),
        input_range=input_range,
        image_size=None if size is None else (size[0], size[1]),
    )
    known = trained.get("digest") == loaded.digest
    return loaded.calibration.inputs if known else loaded.everything()


def _schema() -> dict[str, Any]:
    reports = report.schema()
    settings = {
        **reports["properties"]["settings"],
        "required": ["dataset", "digest", "seed", "key_id", "recipe", "epochs"],
    }
    settings["properties"] = {**settings["properties"], "key_id": reports["properties"]["key_id"], "digest": _DIGEST}
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["settings", "history", "baseline_history"],
        "properties": {"settings": settings, "history": _HISTORY, "baseline_history": _HISTORY},
        "$defs": reports["$defs"],
    }
