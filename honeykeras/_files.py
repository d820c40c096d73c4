"""Files and folders that appear whole or not at all, and files that are read if they are what they must be."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from honeykeras._scratch import scratch_for, sweep
from honeykeras.errors import InvalidArgumentError, KeyFileError, StorageError

PathLike = str | os.PathLike[str]

# Above any file that is read as a whole at once: a key with a range for each of its features.
_MAX_FILE_BYTES = 2**24


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
    path = as_path(path)
    try:
        is_folder = path.is_dir() and not path.is_symlink()
        held = set(os.listdir(path)) if is_folder else set()
        if not os.path.lexists(path) or (is_folder and not held):
            return
        is_special = path.exists() and not (path.is_dir() or path.is_file())
    except OSError as error:
        raise StorageError(f"Cannot write {path}: {describe(error)}.") from error
    if is_special:
        raise StorageError(f"{path} is a device, a pipe or a socket, and is never replaced. Choose another place.")
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


def as_path(path: PathLike) -> Path:
    """Returns `path`, if it can be one.

    Raises:
        InvalidArgumentError: If it is of another type, or holds what no file system takes.
    """
    try:
        if b"\0" not in os.fsencode(Path(path)):
            return Path(path)
    except (TypeError, ValueError):
        pass
    raise InvalidArgumentError(
        f"A path must be a `str` or a `Path`, of characters that a path can have. Received: {path!r}."
    )


def read_file(path: PathLike, what: str, *, private: bool, max_bytes: int = _MAX_FILE_BYTES) -> bytes:
    """Reads a regular file that is not too large.

    Args:
        path: The file.
        what: What messages call it.
        private: Whether it must be readable by its owner alone.
        max_bytes: How large it may be. Defaults to 16 MiB, which all keys fit.

    Raises:
        StorageError: If there is no such file, or it cannot be read.
        KeyFileError: If it is no regular file, too large, or others can read it and must not.
    """
    path = as_path(path)
    try:
        # Asked of the open file, so that nobody can put another one in its place in between. Non-blocking: a
        # named pipe must not hang the reader.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise KeyFileError(f"The {what} {path} must be a regular file. Received: something else.")
            if private and os.name == "posix" and status.st_mode & 0o077:
                raise KeyFileError(
                    f"The {what} {path} must be readable by its owner alone. Received: mode "
                    f"{stat.S_IMODE(status.st_mode):04o}. Run `chmod 600 {path}`, and replace the secret if others "
                    "may have read it."
                )
            with open(descriptor, "rb", closefd=False) as file:
                content = file.read(max_bytes + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StorageError(f"Cannot read the {what} {path}: {describe(error)}.") from None
    if len(content) > max_bytes:
        raise KeyFileError(f"The {what} {path} must have at most {max_bytes} bytes. Received: more.")
    return content


def read_passphrase(path: PathLike | None) -> str | None:
    """A passphrase: the first line of a private file; None of no file.

    Raises:
        InvalidArgumentError: If it is no text.
        KeyFileError, StorageError: As `read_file`.
    """
    if path is None:
        return None
    try:
        return read_file(path, "passphrase file", private=True).decode().split("\n", 1)[0].rstrip("\r")
    except UnicodeDecodeError:
        # Without the reason: it would repeat a byte of the passphrase.
        raise InvalidArgumentError(f"The passphrase file {path} must be text in UTF-8.") from None


@contextlib.contextmanager
def staged(path: PathLike, *, overwrite: bool = False, holds: Collection[str] | None = None) -> Iterator[Path]:
    """Yields a scratch path that becomes `path` when the block ends well.

    The scratch path lies in a private folder beside `path` (so on the same file system) and ends in the same
    name. The block creates a file or a folder there. If the block fails, or the move does, the scratch is
    removed and whatever stood at `path` before stands there still.

    A process that is killed leaves its scratch folder, `.staged.*`, to the next one that stages something in the
    same parent folder, which removes it. A folder that is replaced is moved aside first. If the kill comes between
    the two moves, which take microseconds, nothing is at `path` until that one has moved it back.

    Args:
        path: Where the file or folder is to appear. Missing parent folders are made.
        overwrite: Whether its predecessor at `path` may be replaced, as `check_absent` has it.
        holds: For a folder that may replace one, what it will hold.

    Yields:
        The scratch path. Nothing exists there yet.

    Raises:
        StorageError: If something is at `path` already, or the disk refuses (full, read-only, no permission).
    """
    path = as_path(path)
    sweep(path.parent)
    check_absent(path, overwrite, holds)
    make_folder(path.parent, path)
    try:
        with scratch_for(path) as scratch:
            yield scratch.new
            _sync_tree(scratch.new)
            # Much may have happened there since.
            check_absent(path, overwrite, holds)
            _move(scratch.new, path, overwrite, scratch.replaced)
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(
            f"Cannot write {path}: {describe(error)}. Nothing was changed there. Make room or choose another place."
        ) from error
    # The file is in place; where a file system cannot sync a folder, that is not undone by an error.
    with contextlib.suppress(OSError):
        _sync(path.parent)


def make_folder(folder: PathLike, wanted: PathLike) -> None:
    """Makes a folder, and those above it, if it is not there.

    Args:
        folder: Which.
        wanted: What is to be written there, for the error.

    Raises:
        StorageError: If there is something else, or the disk refuses.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise StorageError(f"Cannot write {wanted}: {folder} is not a folder.") from error
    except OSError as error:
        raise StorageError(f"Cannot write {wanted}: {describe(error)}.") from error


@contextlib.contextmanager
def working_folder(path: PathLike) -> Iterator[Path]:
    """Yields an empty folder beside `path` that its owner alone can enter, and removes it when the block ends.

    What a process that is killed leaves is removed as `staged` has it.

    Args:
        path: What the work is for. Missing parent folders are made.

    Raises:
        StorageError: If the disk refuses.
    """
    path = as_path(path)
    make_folder(path.parent, path)
    sweep(path.parent)
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(scratch_for(path)).new
            folder.mkdir(mode=0o700)
        except OSError as error:
            raise StorageError(f"Cannot write {path}: {describe(error)}.") from error
        yield folder


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
            os.mkdir(replaced.parent)
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
