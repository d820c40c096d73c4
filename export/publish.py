"""Version folders that appear whole or not at all."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

from honeykeras import _checks, _scratch
from honeykeras._files import PathLike, as_path, check_absent, describe, make_folder, staged
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
        version: Number of the version, at least 1. Defaults to one more than the highest that is there, or that
            somebody is making at the same time.

    Yields:
        Where to build, and what the folder will be called.

    Raises:
        InvalidArgumentError: If `version` is no whole number of at least 1.
        StorageError: If the version exists already, or the disk refuses.
    """
    check_version(base, version)
    base = as_path(base)
    make_folder(base, base)
    with contextlib.ExitStack() as stack:
        # Locked until there is a scratch folder, whose name tells the others that the number is taken.
        with _scratch.locked(base):
            path = base / str(_next_version(base) if version is None else version)
            scratch = stack.enter_context(staged(path))
        yield VersionFolder(path, scratch)


def check_version(base: PathLike, version: int | None) -> None:
    """Raises an error if a version can have no folder, to those who want to know before they do all the work.

    Raises:
        InvalidArgumentError: If it is no whole number of at least 1.
        StorageError: If it exists already.
    """
    if version is not None:
        number = _checks.whole_number("version", version, 1, _MAX_VERSION)
        check_absent(as_path(base) / str(number))


def _next_version(base: Path) -> int:
    try:
        names = [entry.name for entry in base.iterdir()]
    except OSError as error:
        raise StorageError(f"Cannot read {base}: {describe(error)}.") from error
    names += map(_scratch.being_made, _scratch.sweep(base))
    numbers = [int(name) for name in names if name.isascii() and name.isdecimal()]
    return 1 + max((number for number in numbers if number < _MAX_VERSION), default=0)
