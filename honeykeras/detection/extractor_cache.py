"""Extractors that were trained before, in a folder of the user's.

An extractor depends on clean inputs and the family of patterns, not on key or model, so that many detectors can share
one. It holds no secret. A file is called by a hash of all that decides what is in it.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from honeykeras import fingerprints, keyfile, patterns
from honeykeras._arrays import read_npz, write_npz
from honeykeras._files import PathLike
from honeykeras._messages import first_line
from honeykeras.ranges import InputRange


def folder() -> Path:
    """Where the command line keeps extractors: `$HONEYKERAS_CACHE`, or `honeykeras` in the user's cache folder."""
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("HONEYKERAS_CACHE") or user / "honeykeras") / "extractors"


def name_of(
    x: np.ndarray, family: patterns.Family, input_range: InputRange, *, network: str, steps: int, seed: int
) -> str:
    """What the file of an extractor is called.

    Args:
        x: The clean inputs that it is trained on.
        family: The family of patterns.
        input_range: Least and greatest value of an input, or of each of its features.
        network: Which network it is.
        steps: How many batches it is trained on.
        seed: Seed of the training.
    """
    decides = {
        "inputs": fingerprints.of_arrays([x]),
        "family": patterns.to_config(family),
        "input_range": list(input_range),
        "network": network,
        "steps": steps,
        "seed": seed,
    }
    return f"{hashlib.sha256(keyfile.canonical_json(decides)).hexdigest()[:32]}.npz"


def load_or_train(path: PathLike, untrained: keras.Model, train: Callable[[], keras.Model]) -> keras.Model:
    """The extractor in a file; trains and keeps it if there is none.

    A file that is damaged is a warning, and replaced. So is a folder that cannot be written, and nothing is kept then.

    Args:
        path: The file.
        untrained: The network that the weights are for.
        train: Trains it.
    """
    path = Path(path)
    names = [f"w{number}" for number in range(len(untrained.weights))]
    if path.exists():
        try:
            held = read_npz(path, names)
            untrained.set_weights([held[name] for name in names])
        except (OSError, ValueError) as error:
            warnings.warn(
                f"The extractor in {path} is damaged, and is trained again: {first_line(error)}", stacklevel=2
            )
        else:
            return untrained
    trained = train()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_npz(path, dict(zip(names, trained.get_weights(), strict=True)), overwrite=True)
    except OSError as error:
        warnings.warn(f"The extractor is not kept for the next time: {first_line(error)}", stacklevel=2)
    return trained
