"""Files that keep a secret, key files above all: a public header and the secret, readable by their owner alone.

The file is JSON: `format`, `version`, the header's own fields, `protection` and `secret`. Without a passphrase
the secret stands in hexadecimal beside a checksum over the whole file. Under a passphrase it is encrypted with
ChaCha20-Poly1305 (RFC 8439) under a key that Scrypt (RFC 7914) makes of it, and everything else in the file is
authenticated with it. Both ways, a file that was truncated or altered does not load.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import secrets
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from honeykeras import _checks
from honeykeras._files import PathLike, read_file, write_atomic
from honeykeras.errors import InvalidArgumentError, KeyFileError, PassphraseError


@dataclasses.dataclass(frozen=True)
class Format:
    """A kind of file that keeps a secret.

    Attributes:
        name: What its field `format` says.
        version: Its version.
        what: What messages call it.
        max_bytes: How large it may be.
    """

    name: str
    version: int
    what: str
    max_bytes: int


KEY = Format("honeykeras-key", 1, "key file", 2**24)

# What every such file has, beside its header.
_FIELDS = ("format", "version", "protection", "secret", "checksum")

_SCRYPT = {"n": 2**17, "r": 8, "p": 1}
# What a file may ask of whoever opens it: at most 1 GiB of memory, so that a planted file cannot exhaust it.
_SCRYPT_BOUNDS = {"n": (2**14, 2**20), "r": (8, 8), "p": (1, 4)}


def write(
    path: PathLike,
    header: Mapping[str, Any],
    secret: bytes,
    passphrase: str | None,
    *,
    kind: Format = KEY,
    overwrite: bool = False,
) -> None:
    """Writes a file that keeps a secret, mode 0600, atomically.

    Args:
        path: The file to write.
        header: Public fields, plain JSON data.
        secret: What the file is there to keep.
        passphrase: Encrypts the secret if given: text, not empty.
        kind: What kind of file it is.
        overwrite: Whether a file already at `path` may be replaced.

    Raises:
        InvalidArgumentError: If the passphrase is empty, or no text.
        StorageError: If there is a file at `path` already, or the disk refuses.
    """
    _check_passphrase(passphrase)
    document: dict[str, Any] = {"format": kind.name, "version": kind.version, **header}
    if passphrase is None:
        document["protection"] = {"kind": "none"}
        document["secret"] = secret.hex()
        document["checksum"] = _checksum(document)
    else:
        if not passphrase:
            raise InvalidArgumentError("`passphrase` must not be empty. Leave it out to write an unencrypted file.")
        salt, nonce = secrets.token_bytes(16), secrets.token_bytes(12)
        document["protection"] = {"kind": "passphrase", **_SCRYPT, "salt": salt.hex(), "nonce": nonce.hex()}
        cipher = ChaCha20Poly1305(_stretch(passphrase, salt, _SCRYPT))
        document["secret"] = cipher.encrypt(nonce, secret, canonical_json(document)).hex()
    # A line for each field, however many lists it holds: a reader finds the key id, and the file stays small.
    lines = (f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in document.items())
    content = "{\n" + ",\n".join(lines) + "\n}\n"
    write_atomic(path, content.encode(), mode=0o600, overwrite=overwrite)


def read(path: PathLike, passphrase: str | None, *, kind: Format = KEY) -> tuple[dict[str, Any], bytes]:
    """Reads a file that keeps a secret.

    Args:
        path: The file to read.
        passphrase: Needed if, and only if, the file is encrypted.
        kind: What kind of file it must be.

    Returns:
        The header's fields and the secret, as they were given to `write`.

    Raises:
        InvalidArgumentError: If the passphrase is no text.
        StorageError: If there is no such file, or it cannot be read.
        KeyFileError: If others can read the file, or it is truncated, altered or of another version.
        PassphraseError: If the passphrase is missing, wrong or not needed.
    """
    _check_passphrase(passphrase)
    try:
        return _open(path, _read(path, kind), passphrase)
    except RecursionError:  # Lists in lists in lists.
        raise _altered(path) from None


def read_header(path: PathLike, *, kind: Format = KEY) -> tuple[dict[str, Any], bool]:
    """Reads what is public of such a file, without its passphrase.

    Args:
        path: The file to read.
        kind: What kind of file it must be.

    Returns:
        The header's fields, and whether the secret is encrypted; then who alters the header is found out when the file
        is opened, and not now.

    Raises:
        StorageError: If there is no such file, or it cannot be read.
        KeyFileError: As `read`.
    """
    try:
        document = _read(path, kind)
        encrypted = document["protection"] != {"kind": "none"}
        if not encrypted:
            return _open(path, document, None)[0], False
    except RecursionError:
        raise _altered(path) from None
    return {name: value for name, value in document.items() if name not in _FIELDS}, True


def _read(path: PathLike, kind: Format) -> dict[str, Any]:
    return _parse(path, read_file(path, kind.what, private=True, max_bytes=kind.max_bytes), kind)


def _open(path: PathLike, document: dict[str, Any], passphrase: str | None) -> tuple[dict[str, Any], bytes]:
    protection, secret = document.pop("protection"), document.pop("secret")
    if protection == {"kind": "none"}:
        checksum = document.pop("checksum", None)
        if checksum != _checksum({**document, "protection": protection, "secret": secret}):
            raise _altered(path)
        if passphrase is not None:
            raise PassphraseError(f"{path} has no passphrase, but one was given. Leave it out.")
        opened = _unhex(path, secret)
    else:
        opened = _decrypt(path, document, protection, secret, passphrase)
    del document["format"], document["version"]
    return document, opened


def _parse(path: PathLike, content: bytes, kind: Format) -> dict[str, Any]:
    try:
        document = json.loads(content.decode())
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or document.get("format") != kind.name:
        raise KeyFileError(f"{path} is not a honeykeras {kind.what}, or it is truncated or altered.")
    version = document.get("version")
    if type(version) is not int or version != kind.version:
        raise KeyFileError(
            f"{path} must be a {kind.what} of version {kind.version}. Received: version={_checks.shown(version)}. "
            "A newer honeykeras may be needed."
        )
    if not isinstance(document.get("protection"), dict) or not isinstance(document.get("secret"), str):
        raise _altered(path)
    return document


def _decrypt(
    path: PathLike, document: Mapping[str, Any], protection: Mapping[str, Any], secret: str, passphrase: str | None
) -> bytes:
    if set(protection) != {"kind", "salt", "nonce", *_SCRYPT} or protection["kind"] != "passphrase":
        raise _altered(path)
    for name, (low, high) in _SCRYPT_BOUNDS.items():
        value = protection[name]
        if type(value) is not int or not low <= value <= high or value & (value - 1):
            raise KeyFileError(
                f"{path} must ask for a Scrypt `{name}` that is a power of two in [{low}, {high}]. "
                f"Received: {_checks.shown(value)}."
            )
    if passphrase is None:
        raise PassphraseError(f"{path} is protected by a passphrase. Give it to open the file.")
    salt, nonce = _unhex(path, protection["salt"]), _unhex(path, protection["nonce"])
    if len(nonce) != 12:
        raise _altered(path)
    cipher = ChaCha20Poly1305(_stretch(passphrase, salt, protection))
    try:
        return cipher.decrypt(nonce, _unhex(path, secret), canonical_json({**document, "protection": protection}))
    except InvalidTag:
        raise PassphraseError(f"The passphrase for {path} is wrong, or the file was altered.") from None


def _check_passphrase(passphrase: Any) -> None:
    """Raises an error that does not repeat it."""
    try:
        if passphrase is not None:
            str.encode(passphrase)
    except (TypeError, UnicodeEncodeError):
        raise InvalidArgumentError(
            f"`passphrase` must be text, of characters that UTF-8 has. Received: {type(passphrase).__name__}."
        ) from None


def _stretch(passphrase: str, salt: bytes, cost: Mapping[str, Any]) -> bytes:
    return Scrypt(salt=salt, length=32, n=cost["n"], r=cost["r"], p=cost["p"]).derive(passphrase.encode())


def _unhex(path: PathLike, text: Any) -> bytes:
    try:
        return bytes.fromhex(text)
    except (TypeError, ValueError):
        raise _altered(path) from None


def _checksum(document: Mapping[str, Any]) -> str:
    # Against accidents only: whoever can write an unencrypted file can also write its checksum.
    return hashlib.sha256(canonical_json(document)).hexdigest()


def canonical_json(document: Mapping[str, Any]) -> bytes:
    """JSON in the one form that checksums and derivations are made over."""
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _altered(path: PathLike) -> KeyFileError:
    return KeyFileError(f"{path} is truncated or was altered. Restore it from a backup.")
