"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

from honeykeras.errors import StorageError

PathLike = str | os.PathLike[str]


def describe(error: OSError) -> str:
    """The reason of an `OSError`, without its path or number."""
    return error.strerror or str(error)


def sha256(path: PathLike) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def check_absent(path: PathLike, overwrite: bool = False, holds: Collection[str] | None = None) -> None:
    """Raises `StorageError` if writing to `path` would lose something that is there.

    An empty folder counts as nothing.

    Args:
        path: What is to be written.
        overwrite: Whether its predecessor may be replaced: a file by a file, a folder by a folder.
        holds: For a folder, what it will hold. One that holds anything else is no predecessor.
    """
    path = Path(path)
    try:
        is_folder = path.is_dir() and not path.is_symlink()
        held = set(os.listdir(path)) if is_folder else set()
        if not os.path.lexists(path) or (is_folder and not held):
            return
    except OSError as error:
        raise StorageError(f"Cannot write {path}: {describe(error)}.") from error
    if not overwrite:
        raise StorageError(f"{path} already exists and is left as it is. Choose another place, or ask to overwrite it.")
    if is_folder != (holds is not None):
        kinds = ("a folder", "a file") if is_folder else ("a file", "a folder")
        raise StorageError(f"{path} is {kinds[0]} and is not replaced by {kinds[1]}. Choose another place.")
    lost = sorted(held.difference(holds or ()))
    if lost:
        raise StorageError(
            f"{path} holds what would be lost, {lost[0]} for one, and is left as it is. Choose another place."
        )


@contextlib.contextmanager
def staged(path: PathLike, *, overwrite: bool = False, holds: Collection[str] | None = None) -> Iterator[Path]:
    """Yields a scratch path that becomes `path` when the block ends well.

    The scratch path lies in a private folder beside `path` (so on the same file system) and ends in the same
    name. The block creates a file or a folder there. If the block fails, or the move does, the scratch is
    removed and whatever stood at `path` before stands there still.

    A folder that is replaced is moved aside first. A process that is killed between the two moves, which take
    microseconds, leaves both folders in the scratch folder, `.staged.*`, and neither at `path`.

    Args:
        path: Where the file or folder is to appear. Missing parent folders are made.
        overwrite: Whether its predecessor at `path` may be replaced, as `check_absent` has it.
        holds: For a folder that may replace one, what it will hold.

    Yields:
        The scratch path. Nothing exists there yet.

    Raises:
        StorageError: If something is at `path` already, or the disk refuses (full, read-only, no permission).
    """
    path = Path(path)
    check_absent(path, overwrite, holds)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch_folder = Path(tempfile.mkdtemp(prefix=".staged.", dir=path.parent))
    except FileExistsError as error:
        raise StorageError(f"Cannot write {path}: {path.parent} is not a folder.") from error
    except OSError as error:
        raise StorageError(f"Cannot write {path}: {describe(error)}.") from error
    scratch, replaced = scratch_folder / path.name, scratch_folder / "replaced"
    moved = False
    try:
        yield scratch
        _sync_tree(scratch)
        _move(scratch, path, overwrite, replaced)
        moved = True
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(
            f"Cannot write {path}: {describe(error)}. Nothing was changed there. Make room or choose another place."
        ) from error
    finally:
        # What stood at `path` is thrown away only once something else stands there.
        if moved or not os.path.lexists(replaced):
            shutil.rmtree(scratch_folder, ignore_errors=True)
    # The file is in place; where a file system cannot sync a folder, that is not undone by an error.
    with contextlib.suppress(OSError):
        _sync(path.parent)


def write_atomic(path: PathLike, content: bytes, *, mode: int = 0o666, overwrite: bool = False) -> None:
    """Writes `content` to `path` so that a reader sees all of it or the file that was there before.

    Args:
        path: The file to write.
        content: What to write.
        mode: Permission bits of the new file, before the process's umask.
        overwrite: Whether a file already at `path` may be replaced.

    Raises:
        StorageError: As `staged`.
    """
    with staged(path, overwrite=overwrite) as scratch:
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with open(descriptor, "wb") as file:
            file.write(content)


def _move(scratch: Path, path: Path, overwrite: bool, replaced: Path) -> None:
    if scratch.is_dir():
        if overwrite and os.path.lexists(path):
            os.rename(path, replaced)
            try:
                os.rename(scratch, path)
            except BaseException:
                os.rename(replaced, path)
                raise
        else:
            os.rename(scratch, path)
    elif overwrite:
        os.replace(scratch, path)
    else:
        # Unlike a rename, a link never replaces a file that appeared in the meantime.
        os.link(scratch, path)


def _sync_tree(path: Path) -> None:
    if path.is_dir():
        for folder, _, names in os.walk(path):
            for name in names:
                _sync(Path(folder, name))
            _sync(Path(folder))
    else:
        _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
