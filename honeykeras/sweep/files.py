"""The files of a sweep: one for each point, named by its settings."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from honeykeras import fingerprints
from honeykeras._files import PathLike, describe, write_atomic
from honeykeras.data import Data
from honeykeras.errors import StorageError
from honeykeras.evaluation.results import Reconstruction
from honeykeras.evaluation.statistics import Estimate, Proportion


@dataclasses.dataclass(frozen=True)
class Figures:
    """What a file holds of a point, beside its settings.

    Attributes:
        poisoned: Training images that are watermarked each epoch.
        clean_accuracy: Of the model with the honeypot.
        baseline_clean_accuracy: Of the one without.
        reconstruction: By attack.
    """

    poisoned: Proportion
    clean_accuracy: Proportion
    baseline_clean_accuracy: Proportion
    reconstruction: Mapping[str, Reconstruction]


def path_of(folder: PathLike, prefix: str, settings: Mapping[str, Any], suffix: str = ".json") -> Path:
    """Where what was made with some settings is kept: under a name to read, and a hash of all of them.

    Args:
        folder: The sweep's folder.
        prefix: What a reader is to see.
        settings: All that decides the content, as plain data.
        suffix: What the name ends in.
    """
    # What a recipe or a data set is called may hold what no file name does.
    readable = re.sub(r"[^\w.-]+", "_", prefix)
    return Path(folder, f"{readable}-{hashlib.sha256(_json(settings)).hexdigest()[:12]}{suffix}")


def write(path: Path, settings: Mapping[str, Any], figures: Figures) -> None:
    """Writes a point, in one atomic step. What another process has written there meanwhile is the same.

    Raises:
        StorageError: If the disk refuses.
    """
    content = {"settings": settings, "figures": _finite(dataclasses.asdict(figures))}
    write_atomic(path, json.dumps(content, indent=2, allow_nan=False).encode() + b"\n", overwrite=True)


def read(path: Path, settings: Mapping[str, Any]) -> Figures | None:
    """Reads a point that `write` wrote; None if there is none.

    Raises:
        StorageError: If there is something else at `path`, or a point of other settings.
    """
    try:
        content = json.loads(path.read_bytes())
        found, figures = content["settings"], _decode(content["figures"])
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"Cannot read {path}: {describe(error)}.") from error
    # `AttributeError` and `TypeError` where JSON of another form was decoded.
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unusable(path, f"what cannot be read as one ({type(error).__name__})") from error
    if _json(found) != _json(settings) or set(figures.reconstruction) != set(settings["attacks"]):
        raise _unusable(path, "one of other settings")
    return figures


def describe_data(data: Data) -> dict[str, Any]:
    """What of a data set decides the figures of a sweep, as plain data."""
    return {
        "name": data.name,
        "num_classes": data.num_classes,
        "train_samples": len(data.train),
        "test_samples": len(data.test),
        "digest": data.digest or fingerprints.of_arrays([data.train.x, data.train.y, data.test.x, data.test.y]),
    }


def _unusable(path: Path, received: str) -> StorageError:
    return StorageError(
        f"{path} must hold a point of this sweep. Received: {received}. "
        "Delete the file to have the point made again, or choose another folder."
    )


def _json(settings: Any) -> bytes:
    return json.dumps(settings, sort_keys=True).encode()


def _finite(value: Any) -> Any:
    """NaN becomes None: JSON has none."""
    if isinstance(value, dict):
        return {name: _finite(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _decode(figures: Mapping[str, Any]) -> Figures:
    return Figures(
        Proportion(**figures["poisoned"]),
        Proportion(**figures["clean_accuracy"]),
        Proportion(**figures["baseline_clean_accuracy"]),
        {attack: _reconstruction(found) for attack, found in figures["reconstruction"].items()},
    )


def _reconstruction(found: Mapping[str, Any]) -> Reconstruction:
    return Reconstruction(
        cosine_similarity=_estimate(found["cosine_similarity"]),
        wrong_key=_estimate(found["wrong_key"]),
        no_honeypot=_estimate(found["no_honeypot"]),
        n=found["n"],
    )


def _estimate(found: Mapping[str, Any]) -> Estimate:
    low, high = map(_number, found["interval"])
    return Estimate(_number(found["value"]), (low, high))


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
