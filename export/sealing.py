"""Sealing: bytes that only whoever has the sealing key can open.

ChaCha20-Poly1305 (RFC 8439). `opening` does the opposite in a graph.
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
import struct
from typing import Any, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from honeykeras._files import PathLike, read_file, write_atomic
from honeykeras.errors import InvalidArgumentError, KeyFileError, SecretSerializationError, StorageError

KEY_BYTES = 32
ID_BYTES = 16
NONCE_BYTES = 12
TAG_BYTES = 16

_VERSION = 1
# Format version, id of the key, id of the artifact: all authenticated, none secret.
_HEADER = struct.Struct("<Q8s16s")
HEADER_BYTES = _HEADER.size
# How much longer sealed bytes are.
OVERHEAD_BYTES = HEADER_BYTES + NONCE_BYTES + TAG_BYTES


class SealingKey:
    """What opens an artifact on the host that serves it.

    32 bytes from the operating system's CSPRNG. It has nothing to do with a `WatermarkKey`: it can be replaced
    (`seal_again`) without training or exporting anew. Who has it alone cannot derive the watermark of another model.
    It has no readable `repr`, and refuses to be pickled.

    Laws: `SealingKey.load(path)` after `key.save(path)` equals `key`, and opens what it sealed.
    """

    def __init__(self, secret: bytes) -> None:
        """Makes a key of 32 given bytes; use `generate` for a new one."""
        if not isinstance(secret, bytes) or len(secret) != KEY_BYTES:
            # The value itself must never reach a message.
            raise InvalidArgumentError(f"`secret` must be {KEY_BYTES} bytes.")
        self._secret = secret
        self.key_id = HKDF(hashes.SHA256(), 8, salt=None, info=b"key-id").derive(secret).hex()

    @classmethod
    def generate(cls) -> SealingKey:
        """Draws a new key."""
        return cls(secrets.token_bytes(KEY_BYTES))

    @classmethod
    def load(cls, path: PathLike) -> SealingKey:
        """Reads a key file: 64 hexadecimal digits, white space ignored, or 32 bytes.

        Raises:
            StorageError: If there is no such file, or it cannot be read.
            KeyFileError: If others can read the file, or it holds something else.
        """
        content = read_file(path, "sealing key", private=True)
        text = re.sub(rb"\s", b"", content)
        if re.fullmatch(rb"[0-9a-fA-F]{%d}" % (2 * KEY_BYTES), text):
            return cls(bytes.fromhex(text.decode()))
        if len(content) == KEY_BYTES:
            return cls(content)
        raise KeyFileError(
            f"{path} must hold a sealing key: {2 * KEY_BYTES} hexadecimal digits, or {KEY_BYTES} bytes. "
            f"Received: {len(content)} bytes."
        )

    @classmethod
    def load_or_make(cls, path: PathLike) -> SealingKey:
        """Reads a key file; makes one of a new key if there is none.

        Of those who ask at the same time, one makes it, and all get the same. As nobody can tell who has sealed with
        it since, it stays.

        Raises:
            StorageError: If it cannot be read, or made.
            KeyFileError: As `load`.
        """
        if not os.path.lexists(path):
            try:
                cls.generate().save(path)
            except StorageError:
                if not os.path.lexists(path):
                    raise
        return cls.load(path)

    def save(self, path: PathLike, *, overwrite: bool = False) -> None:
        """Writes the key as hexadecimal digits, to a file that its owner alone can read, in one atomic step.

        Raises:
            StorageError: If there is a file at `path` already, or the disk refuses.
        """
        write_atomic(path, self._secret.hex().encode() + b"\n", mode=0o600, overwrite=overwrite)

    def __repr__(self) -> str:
        return f"SealingKey(key_id={self.key_id!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SealingKey) and hmac.compare_digest(self._secret, other._secret)

    def __hash__(self) -> int:
        return hash(self.key_id)

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise SecretSerializationError("A SealingKey cannot be pickled or copied. Use `save` and `load`.")


def seal(content: bytes, key: SealingKey, artifact_id: bytes) -> bytes:
    """Seals bytes for one artifact.

    Args:
        content: What is to be kept secret.
        key: The key that will open it.
        artifact_id: 16 bytes that no other artifact has. What is sealed cannot be opened in another's place.

    Returns:
        Header, nonce, ciphertext and tag.

    Raises:
        InvalidArgumentError: If `artifact_id` has another length.
    """
    if len(artifact_id) != ID_BYTES:
        raise InvalidArgumentError(f"`artifact_id` must be {ID_BYTES} bytes. Received: {len(artifact_id)}.")
    header = _HEADER.pack(_VERSION, bytes.fromhex(key.key_id), artifact_id)
    # Random nonces are safe for far more seals than a key will ever make.
    nonce = secrets.token_bytes(NONCE_BYTES)
    return header + nonce + ChaCha20Poly1305(key._secret).encrypt(nonce, content, header)


def read_ids(sealed: bytes) -> tuple[str, str]:
    """The ids of the key that sealed this and of the artifact that it is for, in hexadecimal. Neither is secret.

    Raises:
        KeyFileError: If it is truncated, or of another format.
    """
    if len(sealed) < OVERHEAD_BYTES:
        raise KeyFileError(f"Sealed data must not be truncated. Received: {len(sealed)} bytes.")
    version, key_id, artifact_id = _HEADER.unpack_from(sealed)
    if version != _VERSION:
        raise KeyFileError(f"Sealed data must be of format version {_VERSION}. Received: {version}.")
    return key_id.hex(), artifact_id.hex()


def unseal(sealed: bytes, key: SealingKey) -> tuple[bytes, bytes]:
    """Opens what `seal` sealed; returns the content and the id of the artifact that it is for.

    Raises:
        KeyFileError: If it was sealed with another key, or altered.
    """
    key_id, artifact_id = read_ids(sealed)
    if key_id != key.key_id:
        raise KeyFileError(f"The sealing key must be {key_id}, which sealed this. Received: {key.key_id}.")
    header, nonce = sealed[:HEADER_BYTES], sealed[HEADER_BYTES : HEADER_BYTES + NONCE_BYTES]
    try:
        content = ChaCha20Poly1305(key._secret).decrypt(nonce, sealed[HEADER_BYTES + NONCE_BYTES :], header)
    except InvalidTag:
        raise KeyFileError("Sealed data must be as it was sealed. Received: altered data.") from None
    return content, bytes.fromhex(artifact_id)


def seal_again(sealed: bytes, old: SealingKey, new: SealingKey) -> bytes:
    """Seals for a new key what an old one opens.

    Raises:
        KeyFileError: If the old key does not open it.
    """
    content, artifact_id = unseal(sealed, old)
    return seal(content, new, artifact_id)
