"""Scratch folders: where something is made before it appears at its place, and what is left of it by who died.

    .staged.<name>.<random>/
    ├── lock         locked for as long as the process that makes something here lives
    ├── new/         what is made, under its name
    └── replaced/    the folder that stood at its place, for the moment of the move

They lie beside the place, and their owner alone can enter them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

_PREFIX = ".staged."
_LOCK, _NEW, _REPLACED = "lock", "new", "replaced"


@dataclasses.dataclass(frozen=True)
class Scratch:
    """A scratch folder of this process.

    Attributes:
        folder: Where it is.
        new: Where to make what will be moved to its place. Nothing is there yet.
        replaced: Where to put a folder that stands at its place.
    """

    folder: Path
    new: Path
    replaced: Path


@contextlib.contextmanager
def scratch_for(path: Path) -> Iterator[Scratch]:
    """Makes a scratch folder beside a path, and removes it when the block ends, one way or the other.

    What was `replaced` and is there still is not thrown away unless the new one is at its place: the folder then stays.

    Raises:
        OSError: If the disk refuses.
    """
    folder, lock = _make(path)
    scratch = Scratch(folder, folder / _NEW / path.name, folder / _REPLACED / path.name)
    try:
        os.mkdir(folder / _NEW)
        if lock is None:
            # A process that does see locks here must not take it for abandoned.
            with contextlib.suppress(FileNotFoundError):
                os.unlink(folder / _LOCK)
        yield scratch
    finally:
        if not (os.path.lexists(scratch.new) and os.path.lexists(scratch.replaced)):
            _discard(folder)
        if lock is not None:
            os.close(lock)


def sweep(folder: Path) -> list[Path]:
    """Removes the scratch folders in a folder whose processes are gone.

    If such a process was killed when it had moved a folder aside, and not moved the new one in, the old one is moved
    back; unless something else is at its place by now, when nothing is touched. Where the file system has no locks,
    everything stays, as nobody can tell whether a process lives.

    Returns:
        The scratch folders that are there still. `being_made` says of what.
    """
    try:
        with os.scandir(folder) as entries:
            found = [Path(entry) for entry in entries if entry.name.startswith(_PREFIX)]
    except OSError:
        return []
    for scratch_folder in found:
        # What cannot be removed is in nobody's way.
        with contextlib.suppress(OSError, ImportError):
            _remove_abandoned(scratch_folder)
    return [scratch_folder for scratch_folder in found if scratch_folder.exists()]


def being_made(scratch_folder: Path) -> str:
    """The name of what is made in a scratch folder; its first 50 characters."""
    return scratch_folder.name.removeprefix(_PREFIX).rpartition(".")[0]


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lets one thread of one process at a time into the block, of all that ask for the same folder.

    Where the file system has no locks, it lets in all.
    """
    descriptor = None
    try:
        with contextlib.suppress(OSError, ImportError):
            import fcntl

            descriptor = os.open(folder, os.O_RDONLY)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _make(path: Path) -> tuple[Path, int | None]:
    """Makes a scratch folder, and locks it if there are locks; returns it and the open file that holds the lock."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{path.name[:50]}.", dir=path.parent))
        try:
            return folder, _lock(folder, os.O_CREAT)
        except (FileNotFoundError, BlockingIOError):
            pass  # A sweep came before the lock, and has taken it for abandoned.
        except (OSError, ImportError):
            return folder, None


def _lock(folder: Path, flags: int = 0) -> int:
    """Locks a scratch folder until the returned descriptor is closed, as the kernel does when a process dies.

    Raises:
        BlockingIOError: If somebody holds the lock.
        FileNotFoundError: If there is nothing to lock, or not any more.
        OSError, ImportError: If there are no locks here.
    """
    import fcntl

    # A file, as hosts that share a file system do not tell each other of locks on folders.
    file = folder / _LOCK
    descriptor = os.open(file, os.O_RDWR | os.O_NOFOLLOW | flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(descriptor), os.stat(file)):
            raise FileNotFoundError
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _remove_abandoned(folder: Path) -> None:
    status = os.lstat(folder)
    # What somebody else has put here is theirs.
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        return
    try:
        lock = _lock(folder)
    except FileNotFoundError:
        # Its process died before it could lock it, and it is empty; or there were no locks, and it is not.
        os.rmdir(folder)
        return
    try:
        if set(os.listdir(folder)) <= {_LOCK, _NEW, _REPLACED} and _put_back(folder):
            _discard(folder)
    finally:
        os.close(lock)


def _put_back(folder: Path) -> bool:
    """Moves a folder back that was moved aside for one that never came; returns whether the rest can go."""
    aside = folder / _REPLACED
    for replaced in aside.iterdir() if aside.exists() else ():
        # Once the new one is in place, the old one is done with.
        if os.path.lexists(folder / _NEW / replaced.name):
            place = folder.parent / replaced.name
            if os.path.lexists(place):
                return False
            os.rename(replaced, place)
    return True


def _discard(folder: Path) -> None:
    for name in (_NEW, _REPLACED):
        shutil.rmtree(folder / name, ignore_errors=True)
    with contextlib.suppress(OSError):
        # The lock goes last: without it, nobody would remove what is left if this is cut off.
        if os.listdir(folder) == [_LOCK]:
            os.unlink(folder / _LOCK)
        os.rmdir(folder)
