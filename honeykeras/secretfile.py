"""Files of 32 secret bytes that several processes share, to seal for each other what they keep."""

from __future__ import annotations

import contextlib
import secrets

from honeykeras._files import PathLike, as_path, read_file, write_atomic
from honeykeras.errors import KeyFileError

SECRET_BYTES = 32


def read_or_make(path: PathLike | None, what: str) -> bytes:
    """The secret of a file, which is made if it is not there; one for this process alone, if there is no file.

    Args:
        path: The file, readable by its owner alone; None for no file.
        what: What messages call it, as "gateway's secret".

    Raises:
        KeyFileError: If the file holds something else, or others can read it.
        StorageError: If it cannot be read or written.
    """
    if path is None:
        return secrets.token_bytes(SECRET_BYTES)
    if not as_path(path).exists():
        write_atomic(path, secrets.token_hex(SECRET_BYTES).encode() + b"\n", mode=0o600)
    content = read_file(path, what, private=True).strip()
    with contextlib.suppress(ValueError):
        if len(found := bytes.fromhex(content.decode())) == SECRET_BYTES:
            return found
    raise KeyFileError(f"The {what} {path} must be {2 * SECRET_BYTES} hexadecimal digits.")
