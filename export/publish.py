"""Version folders that appear whole or not at all."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

from honeykeras import _checks
from honeykeras._files import PathLike, describe, staged
from honeykeras.errors import StorageError

# TensorFlow Serving reads a version as an int64, and passes over folders with a greater number.
_MAX_VERSION = 2**63 - 1


@dataclasses.dataclass(frozen=True)
class VersionFolder:
    """A version that is being made.

    Attributes:
        path: Where it will be.
        scratch: Where to build it.
    """

    path: Path
    scratch: Path


@contextlib.contextmanager
def new_version(base: PathLike, version: int | None = None) -> Iterator[VersionFolder]:
    """Makes a version folder of a model, in one atomic step.

    TensorFlow Serving loads whatever folder with a number for a name it sees, finished or not. The new version
    is built in a folder whose name starts with a dot, which it passes over, and renamed when it is complete.

    Args:
        base: The model's folder.
        version: Number of the version, at least 1. Defaults to one more than the highest there.

    Yields:
        Where to build, and what the folder will be called.

    Raises:
        InvalidArgumentError: If `version` is no whole number of at least 1.
        StorageError: If the version exists already, or the disk refuses.
    """
    base = Path(base)
    number = _next_version(base) if version is None else _checks.whole_number("version", version, 1, _MAX_VERSION)
    path = base / str(number)
    with staged(path) as scratch:
        yield VersionFolder(path, scratch)


def _next_version(base: Path) -> int:
    try:
        names = [entry.name for entry in base.iterdir()] if base.is_dir() else []
    except OSError as error:
        raise StorageError(f"Cannot read {base}: {describe(error)}.") from error
    numbers = [int(name) for name in names if name.isascii() and name.isdecimal()]
    return 1 + max((number for number in numbers if number < _MAX_VERSION), default=0)
