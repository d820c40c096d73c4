"""The manifest of a version folder: which files it holds, and what is in them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from honeykeras._files import describe
from honeykeras.errors import StorageError

FILE = "manifest.json"
_FORMAT = 1


def write(folder: Path) -> None:
    """Writes the manifest of a folder into it."""
    document = {"format": _FORMAT, "files": _files(folder)}
    (folder / FILE).write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def check(folder: Path) -> int:
    """Compares a folder with its manifest; returns how many files there are.

    It tells damage, such as a copy that was cut off. Who alters files on purpose alters the manifest as well: that is
    what a signature is for.

    Raises:
        StorageError: If a file is missing, was added or altered, or there is no manifest.
    """
    try:
        document = json.loads((folder / FILE).read_text(encoding="utf-8"))
        expected, found = document["files"], _files(folder)
        version = document["format"]
    except OSError as error:
        raise StorageError(f"Cannot read {folder}: {describe(error)}.") from error
    except (ValueError, KeyError, TypeError):
        raise StorageError(f"{folder / FILE} must be a manifest. Received: something else.") from None
    if version != _FORMAT:
        raise StorageError(f"{folder / FILE} must be of format {_FORMAT}. Received: {version}.")
    for kind, names in (
        ("is missing", expected.keys() - found.keys()),
        ("was added", found.keys() - expected.keys()),
        ("was altered", {name for name in expected.keys() & found.keys() if expected[name] != found[name]}),
    ):
        if names:
            raise StorageError(
                f"{folder} must hold what its manifest says. Received: {min(names)} {kind}. Copy or export it again."
            )
    return len(found)


def _files(folder: Path) -> dict[str, dict[str, Any]]:
    found = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name != FILE:
            found[name] = {"sha256": _sha256(path), "bytes": path.stat().st_size}
    return found


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
