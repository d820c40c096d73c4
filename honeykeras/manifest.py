"""The manifest of a version folder: what it is, which files it holds, and what is in them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from honeykeras._files import PathLike, describe
from honeykeras.errors import InvalidArgumentError, SignatureError, StorageError

FILE = "manifest.json"
ROLES = ("public", "hosted")
"""What an artifact is for: to hand out, or for the host that has the key. The words tell others nothing."""

# The greatest version that TensorFlow Serving reads.
_MAX_VERSION = 2**63 - 1

_FORMAT = 2
# Room for more files than any artifact has.
_MAX_BYTES = 2**24
# What messages call fields.
_WORDS = {"key_id": "sealing key", "build_id": "detector id"}

_ID = re.compile("[0-9a-f]{16}")
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclasses.dataclass(frozen=True)
class Identity:
    """What an artifact is: a signature over the manifest binds it to its place, its role and its key.

    Attributes:
        name: Name of the model's folder.
        version: Number of the version.
        role: One of `ROLES`.
        key_id: Id of the sealing key that opens it; None for one that needs none.
        build_id: Id of what is in it beside the model, as a report names it; None where there is nothing.
    """

    name: str
    version: int
    role: str
    key_id: str | None = None
    build_id: str | None = None

    @classmethod
    def of_place(cls, version: PathLike, key_id: str | None = None, build_id: str | None = None) -> Identity:
        """What an artifact is that is made at a place, `name/version`.

        Raises:
            InvalidArgumentError: If the place has no such name, or one that is not UTF-8.
        """
        name, number = _place(version)
        try:
            return cls(_parse_name(name), _parse_version(number), ROLES[key_id is not None], key_id, build_id)
        except _MalformedError:
            raise InvalidArgumentError(
                "A version folder must be called by its number, in a folder that has a name in UTF-8. Received: "
                f"{_shown(name)}/{_shown(number)}."
            ) from None

    def check(
        self,
        version: PathLike,
        *,
        name: str | None = None,
        role: str | None = None,
        key_id: str | None = None,
        build_id: str | None = None,
    ) -> None:
        """Compares with what is expected of a version folder.

        Args:
            version: The folder, whose name must be the version.
            name: The name that is expected. Defaults to that of the folder that it is in.
            role: The role, if one is expected.
            key_id: Id of the key, if one is expected.
            build_id: Id of what is in it, if one is expected.

        Raises:
            SignatureError: If it is another's: a right artifact in a wrong place is wrong.
        """
        parent, number = _place(version)
        expected = {
            "name": parent if name is None else name,
            "version": number,
            "role": role,
            "key_id": key_id,
            "build_id": build_id,
        }
        for field, wanted in expected.items():
            found = getattr(self, field)
            if wanted is not None and wanted != (str(found) if field == "version" else found):
                what = _WORDS.get(field, field)
                raise SignatureError(
                    f"{version} must be the artifact that is expected: its {what} must be {_shown(wanted)}. Received: "
                    f"{found or 'none'}, by its manifest. Put the right artifact there, or say what it should be."
                )


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What a manifest says.

    Attributes:
        identity: What the artifact is.
        files: SHA-256, hexadecimal, and size of each file, by its path.
    """

    identity: Identity
    files: Mapping[str, tuple[str, int]]


def write(folder: Path, identity: Identity) -> None:
    """Writes the manifest of a folder into it."""
    held = _with_digests(folder, _sizes(folder))
    files = {name: {"sha256": sha256, "bytes": size} for name, (sha256, size) in held.items()}
    document = {"format": _FORMAT, "files": files, **dataclasses.asdict(identity)}
    (folder / FILE).write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read(folder: Path) -> Manifest:
    """The manifest of a folder.

    Raises:
        StorageError: If there is none, or it is none.
    """
    path = folder / FILE
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise StorageError(f"Cannot read {path}: {describe(error)}.") from error
    try:
        return parse(content)
    except _MalformedError as error:
        raise StorageError(f"{path} must be a manifest: {error}. Export the artifact again.") from None


def parse(content: bytes) -> Manifest:
    """What stands in a manifest's file.

    Raises:
        ValueError: If it is none.
    """
    if len(content) > _MAX_BYTES:
        raise _MalformedError(f"it must have at most {_MAX_BYTES} bytes")
    try:
        document = json.loads(content.decode())
    except (ValueError, RecursionError):
        raise _MalformedError("it must be JSON, in UTF-8") from None
    keys = {"files", "format", *(field.name for field in dataclasses.fields(Identity))}
    if not isinstance(document, dict) or not isinstance(document.get("files"), dict):
        raise _MalformedError("it must be an object that has `files`, an object")
    if type(document.get("format")) is not int or document["format"] != _FORMAT:
        raise _MalformedError(f"its `format` must be {_FORMAT}")
    if document.keys() != keys:
        raise _MalformedError(f"it must have the keys {', '.join(sorted(keys))}")
    files = {_parse_file_name(name): _parse_file(entry) for name, entry in document["files"].items()}
    role, key_id, build_id = document["role"], document["key_id"], document["build_id"]
    if role not in ROLES:
        raise _MalformedError(f"its `role` must be one of {', '.join(ROLES)}")
    for found in (key_id, build_id):
        if found is not None and not (isinstance(found, str) and _ID.fullmatch(found)):
            raise _MalformedError("its `key_id` and `build_id` must be null, or ids in hexadecimal")
    if (role == ROLES[0]) != (key_id is None):
        raise _MalformedError("its `key_id` must be that of a key if its `role` is for the one who has it")
    if type(document["version"]) is not int:
        raise _MalformedError("its `version` must be a whole number")
    identity = Identity(_parse_name(document["name"]), _parse_version(str(document["version"])), role, key_id, build_id)
    return Manifest(identity, files)


def check(folder: Path) -> Manifest:
    """Compares a folder with its manifest; returns that.

    It tells damage, such as a copy that was cut off. Who alters files on purpose alters the manifest as well: that is
    what a signature is for.

    Raises:
        StorageError: If a file is missing, was added or altered, is none but a link or a device, or there is no
            manifest.
    """
    manifest = read(folder)
    found = _sizes(folder)
    # Sizes first: they tell at once.
    _compare(folder, {name: size for name, (_, size) in manifest.files.items()}, found)
    _compare(folder, manifest.files, _with_digests(folder, found))
    return manifest


def _compare(folder: Path, expected: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    for kind, names in (
        ("is missing", expected.keys() - found.keys()),
        ("was added", found.keys() - expected.keys()),
        ("was altered", {name for name in expected.keys() & found.keys() if expected[name] != found[name]}),
    ):
        if names:
            raise StorageError(
                f"{folder} must hold what its manifest says. Received: {_shown(min(names))} {kind}. Copy or export it "
                "again."
            )


def _sizes(folder: Path) -> dict[str, int]:
    """The size of each file below a folder but its manifest, and of each folder in which there is none, as `name/`.

    Raises:
        StorageError: If there is anything else.
    """
    sizes, folders, unread = {}, set(), [folder]
    try:
        while unread:
            for path in sorted(unread.pop().iterdir()):
                name, status = path.relative_to(folder).as_posix(), path.lstat()
                if stat.S_ISDIR(status.st_mode):
                    folders.add(name)
                    unread.append(path)
                elif not stat.S_ISREG(status.st_mode):
                    raise StorageError(
                        f"{folder} must hold files and folders alone. Received: {_shown(name)}, which is a link or a "
                        "device. Copy or export it again."
                    )
                elif name != FILE:
                    sizes[name] = status.st_size
    except OSError as error:
        raise _unreadable(folder, error) from error
    empty = folders - {parent.as_posix() for name in sizes for parent in PurePosixPath(name).parents}
    return sizes | {f"{name}/": 0 for name in empty}


def _with_digests(folder: Path, sizes: Mapping[str, int]) -> dict[str, tuple[str, int]]:
    """SHA-256 and size of each file."""
    try:
        return {name: (_sha256(folder / name), size) for name, size in sizes.items() if not name.endswith("/")}
    except OSError as error:
        raise _unreadable(folder, error) from error


def _unreadable(folder: Path, error: OSError) -> StorageError:
    return error if isinstance(error, StorageError) else StorageError(f"Cannot read {folder}: {describe(error)}.")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


class _MalformedError(ValueError):
    """What a manifest must be, and is not."""


def _parse_file(entry: Any) -> tuple[str, int]:
    if (
        not isinstance(entry, dict)
        or entry.keys() != {"sha256", "bytes"}
        or not isinstance(entry["sha256"], str)
        or not _SHA256.fullmatch(entry["sha256"])
        or type(entry["bytes"]) is not int
        or not 0 <= entry["bytes"] <= _MAX_VERSION
    ):
        raise _MalformedError("each of its `files` must have `bytes`, a number, and `sha256`, 64 hexadecimal digits")
    return entry["sha256"], entry["bytes"]


def _parse_file_name(name: str) -> str:
    path = PurePosixPath(name)
    if path.as_posix() != name or path.is_absolute() or ".." in path.parts or name in (".", FILE) or not _is_text(name):
        raise _MalformedError("the names of its `files` must be relative paths, in UTF-8, within the folder")
    return name


def _parse_name(name: Any) -> str:
    if not isinstance(name, str) or not name or "/" in name or name in (".", "..") or not _is_text(name):
        raise _MalformedError("its `name` must be that of a folder, in UTF-8")
    return name


def _parse_version(number: str) -> int:
    if not re.fullmatch("[1-9][0-9]{0,18}", number) or int(number) > _MAX_VERSION:
        raise _MalformedError(f"its `version` must be a whole number from 1 to {_MAX_VERSION}")
    return int(number)


def _is_text(name: str) -> bool:
    try:
        return b"\0" not in name.encode()
    except UnicodeEncodeError:
        return False


def _place(version: PathLike) -> tuple[str, str]:
    path = Path(os.path.abspath(version))
    return path.parent.name, path.name


def _shown(name: str) -> str:
    """A name for a message, of bytes that are no text too."""
    return name.encode(errors="backslashreplace").decode()
