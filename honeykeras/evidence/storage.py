"""Ledgers as bytes, and `Vault`, which seals them for a store that others can read."""

from __future__ import annotations

import hashlib
import secrets
import struct
import zlib
from typing import Any, NoReturn

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from honeykeras.errors import InvalidArgumentError, KeyFileError, SecretSerializationError
from honeykeras.evidence.ledger import SHARES, Ledger
from honeykeras.evidence.rules import Rules
from honeykeras.evidence.sessions import ROWS, STORED

KEY_BYTES = 32
NONCE_BYTES = 12

_MAGIC = b"HKL2"
# Magic, which rules, queries, number of the accusing query (0: none), by which statistic.
_HEAD = struct.Struct("<4s8sQQB")
# Count, sum of projections, sum of lengths.
_SUMS = struct.Struct("<Qdd")
# What sums, and what is remembered of near duplicates, are rounded to.
_SUM, _ROW = "<i2", "<i1"


def to_bytes(ledger: Ledger) -> bytes:
    """A ledger as bytes, in the clear: as secret as the key.

    Sums are kept as 16-bit numbers, in steps of their greatest value: that changes their length by less than a
    thousandth. What is remembered of near duplicates is kept as 8-bit numbers, in steps of each one's greatest: by some
    hundredth. What either changes does not depend on the key.
    """
    if ledger.accused_at.shape:
        raise InvalidArgumentError("A ledger of many keys at once is for controls, and is not kept.")
    head = _HEAD.pack(
        _MAGIC,
        _name_of(ledger.rules),
        ledger.queries,
        int(ledger.accused_at),
        int(ledger.accused_by),
    )
    parts = [head]
    for sums in ledger.sums.values():
        head = _SUMS.pack(sums.count, float(sums.projection), sums.weight)
        parts += [head, _rounded(sums.by_class.reshape(1, -1), _SUM)]
    parts += [_rounded(getattr(ledger.sessions, field), _ROW) for field in ROWS]
    parts += [getattr(ledger.sessions, field).astype(kind).tobytes() for field, kind in STORED.items()]
    return zlib.compress(b"".join(parts), 1)


def from_bytes(content: bytes, rules: Rules) -> Ledger:
    """The ledger that `to_bytes` wrote.

    Args:
        content: What it wrote.
        rules: The rules that the ledger goes by.

    Raises:
        InvalidArgumentError: If that is no ledger, or one of other rules.
    """
    ledger = Ledger(rules)
    expected = _size(ledger)
    try:
        # No more than a ledger holds is unpacked, whatever is claimed.
        plain = zlib.decompressobj().decompress(content, expected + 1)
    except zlib.error:
        plain = b""
    if len(plain) != expected or plain[:4] != _MAGIC:
        raise InvalidArgumentError("`content` must be a ledger of these rules. Received: something else.")
    _, name, queries, number, by = _HEAD.unpack_from(plain)
    if name != _name_of(rules) or by >= len(SHARES):
        raise InvalidArgumentError("`content` must be a ledger of these rules. Received: one of other rules.")
    ledger = Ledger(rules)
    ledger.queries = ledger.sessions.queries = queries
    ledger.accused_at, ledger.accused_by = np.array(number, np.int64), np.array(by, np.int64)
    place = _HEAD.size
    for sums in ledger.sums.values():
        sums.count, projection, sums.weight = _SUMS.unpack_from(plain, place)
        sums.projection = np.array(projection)
        read, place = _unrounded(plain, place + _SUMS.size, (1, sums.by_class.size), _SUM)
        sums.by_class = read.reshape(sums.by_class.shape)
    for field in ROWS:
        held = getattr(ledger.sessions, field)
        read, place = _unrounded(plain, place, held.shape, _ROW)
        setattr(ledger.sessions, field, read.astype(held.dtype))
    for field, kind in STORED.items():
        held = getattr(ledger.sessions, field)
        read = np.frombuffer(plain, kind, held.size, place)
        setattr(ledger.sessions, field, read.reshape(held.shape).astype(held.dtype))
        place += read.nbytes
    return ledger


class Vault:
    """Seals ledgers for a store, such as files or Redis, under a key that all replicas share.

    ChaCha20-Poly1305 (RFC 8439) under a key of each client's own, which HKDF derives: a sealed ledger opens for the
    client that it was sealed for, and for no other. That an old one was put in the place of a newer cannot be told.
    """

    def __init__(self, secret: bytes) -> None:
        """Makes a vault of 32 secret bytes, such as `secrets.token_bytes(32)`."""
        if not isinstance(secret, bytes) or len(secret) != KEY_BYTES:
            # The value itself must never reach a message.
            raise InvalidArgumentError(f"`secret` must be {KEY_BYTES} bytes.")
        self._secret = secret

    def seal(self, client: str, ledger: Ledger) -> bytes:
        """A client's ledger, sealed."""
        return self.seal_bytes(client, to_bytes(ledger))

    def open(self, client: str, sealed: bytes, rules: Rules) -> Ledger:
        """The ledger that was sealed for a client.

        Raises:
            InvalidArgumentError: If it is one of other rules.
            KeyFileError: If it was sealed under another secret or for another client, or altered.
        """
        return from_bytes(self.open_bytes(client, sealed), rules)

    def seal_bytes(self, client: str, content: bytes) -> bytes:
        """What else is kept of a client, sealed."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self._cipher(client).encrypt(nonce, content, None)

    def open_bytes(self, client: str, sealed: bytes) -> bytes:
        """What `seal_bytes` sealed for a client.

        Raises:
            KeyFileError: If it was sealed under another secret or for another client, or altered.
        """
        try:
            return self._cipher(client).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], None)
        except (InvalidTag, ValueError, TypeError):
            raise KeyFileError(
                "The sealed ledger does not open: it was altered, or sealed under another secret or for another client."
            ) from None

    def _cipher(self, client: str) -> ChaCha20Poly1305:
        info = b"ledger/" + client.encode()
        return ChaCha20Poly1305(HKDF(hashes.SHA256(), KEY_BYTES, salt=None, info=info).derive(self._secret))

    def __repr__(self) -> str:
        return "Vault()"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise SecretSerializationError("A Vault cannot be pickled or copied. Make it of its secret where it is needed.")


def _name_of(rules: Rules) -> bytes:
    return hashlib.blake2b(repr(rules).encode(), digest_size=8).digest()


def _rounded(rows: np.ndarray, kind: str) -> bytes:
    """Rows of numbers as whole ones, in steps of each row's greatest, after what a step is worth."""
    # In half precision, the step of a faint row would be too small for its greatest number.
    rows = rows.astype("<f4")
    steps = np.abs(rows).max(axis=1, keepdims=True) / np.float32(np.iinfo(kind).max)
    return steps.tobytes() + np.round(rows / np.where(steps > 0, steps, 1)).astype(kind).tobytes()


def _unrounded(plain: bytes, place: int, shape: tuple[int, int], kind: str) -> tuple[np.ndarray, int]:
    """The rows that `_rounded` wrote, float32, and where they end."""
    steps = np.frombuffer(plain, "<f4", shape[0], place)
    whole = np.frombuffer(plain, kind, shape[0] * shape[1], place + steps.nbytes)
    return whole.reshape(shape).astype(np.float32) * steps[:, None], place + steps.nbytes + whole.nbytes


def _size(ledger: Ledger) -> int:
    """How long `to_bytes` is before it is compressed: the same for all ledgers of the same rules."""
    sums = sum(_SUMS.size + _rounded_size((1, each.by_class.size), _SUM) for each in ledger.sums.values())
    rows = sum(_rounded_size(getattr(ledger.sessions, field).shape, _ROW) for field in ROWS)
    arrays = STORED.items()
    rest = sum(getattr(ledger.sessions, name).size * np.dtype(kind).itemsize for name, kind in arrays)
    return _HEAD.size + sums + rows + rest


def _rounded_size(shape: tuple[int, int], kind: str) -> int:
    return shape[0] * (np.dtype("<f4").itemsize + shape[1] * np.dtype(kind).itemsize)
