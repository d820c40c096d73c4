"""Arrays from files of NumPy's: read without code, and without more memory than the file itself takes.

`numpy.load` believes what a header says of the shape, and makes room for it before it looks at what is there.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Collection, Mapping
from typing import IO, Any, TypeVar

import numpy as np

from honeykeras import _archives
from honeykeras._documents import read_regular
from honeykeras._files import PathLike, as_path, describe, write_atomic
from honeykeras._messages import first_line, shortened
from honeykeras.errors import InvalidArgumentError, StorageError

_Read = TypeVar("_Read")

# A mask of as many features as a key may be for, and its header.
_MAX_MASK_BYTES = 2**24 + 2**16

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_npy(file: IO[bytes], size: int) -> np.ndarray:
    """Reads an array in NumPy's format (`.npy`).

    Args:
        file: What it is in, at its beginning.
        size: How many bytes there are.

    Raises:
        ValueError: If it is no array of plain numbers, or not all of it is there, or more.
    """
    start = file.tell()
    try:
        shape, in_fortran_order, dtype = parsed(lambda: _header(file, start))
    except OSError:
        raise
    except Exception as error:  # NumPy evaluates a header; what that raises depends on what is in it.
        raise ValueError(f"no array in NumPy's format ({first_line(error)})") from None
    if dtype.kind not in "biuf":
        raise ValueError(f"an array of dtype {shortened(str(dtype))}, not of plain numbers")
    stated, there = math.prod(shape) * dtype.itemsize, size - file.tell()
    if min(shape, default=0) < 0 or stated != there:
        raise ValueError(
            f"an array of shape {shortened(str(shape))} and dtype {dtype}, where there are {there} bytes for it"
        )
    content = file.read(stated)
    if len(content) != stated:
        raise ValueError("an array that is cut off")
    flat = np.frombuffer(bytearray(content), dtype) if stated else np.empty(0, dtype)
    try:
        return flat.reshape(shape, order="F" if in_fortran_order else "C")
    except (ValueError, OverflowError):  # An empty array of a size that no array can have.
        raise ValueError(f"an array of shape {shortened(str(shape))}") from None


def parsed(read: Callable[[], _Read]) -> _Read:
    """What `read` reads in NumPy's format, whose headers Python parses.

    Some versions of Python (3.11.7 is one) lose count of how deep their parser is, where a garbage collection comes in
    between: "AST constructor recursion depth mismatch". What is read then is read again.
    """
    try:
        return read()
    except SystemError:
        return read()


def _header(file: IO[bytes], start: int) -> tuple[tuple[int, ...], bool, np.dtype]:
    file.seek(start)
    return _HEADERS[np.lib.format.read_magic(file)](file)


def read_mask(path: PathLike) -> np.ndarray:
    """Reads a mask, a file of a bool array that `numpy.save` wrote.

    Raises:
        StorageError: If there is no such file, or it cannot be read.
        InvalidArgumentError: If it holds anything else.
    """
    path = as_path(path)
    try:
        content = read_regular(path, _MAX_MASK_BYTES)
        mask = read_npy(io.BytesIO(content), len(content))
        if mask.dtype != bool:
            raise ValueError(f"an array of dtype {mask.dtype}")
    except OSError as error:
        raise StorageError(f"Cannot read the mask {path}: {describe(error)}.") from error
    except ValueError as error:
        raise InvalidArgumentError(f"{path} must be a .npy file of a bool array. Received: {error}.") from None
    return mask


def write_npz(path: PathLike, arrays: Mapping[str, Any], *, overwrite: bool = False) -> None:
    """Writes arrays by name, for `read_npz`: all of them or none, readable by their owner alone.

    Raises:
        StorageError: As `write_atomic`.
    """
    content = io.BytesIO()
    np.savez(content, **arrays)
    write_atomic(path, content.getvalue(), mode=0o600, overwrite=overwrite)


def read_npz(path: PathLike, names: Collection[str]) -> dict[str, np.ndarray]:
    """Reads the arrays of an archive (`.npz`) that `numpy.savez` wrote.

    Args:
        path: The archive.
        names: What arrays it must hold, all of them and no others.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is no such archive.
    """
    with _archives.opened(path, [f"{name}.npy" for name in names]) as members:
        return {name: read_npy(*members[f"{name}.npy"]) for name in names}
