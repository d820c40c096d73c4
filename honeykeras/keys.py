"""`WatermarkKey`: the one holder of secrets."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from honeykeras import _checks, keyfile, patterns
from honeykeras._files import PathLike
from honeykeras.description import Description
from honeykeras.errors import InvalidArgumentError, KeyFileError, SecretSerializationError
from honeykeras.ranges import InputRange, RangeLike

MASTER_BYTES = 32
# Part of every derivation. It changes only together with what is derived, and then the key file's version does.
_SCHEME = b"honeykeras/v1/"
# RFC 5869: 255 hashes.
_MAX_SUBKEY_BYTES = 8160


class WatermarkKey:
    """A secret that decides which features of an input carry which watermark.

    A key is 32 bytes from the operating system's CSPRNG and a public description: the inputs it is for and the
    family of patterns it draws from. Everything secret is derived from the two by HKDF-SHA256 (RFC 5869) under
    a label that names scheme version and purpose: which features, which pattern, which labels. Two
    keys with the same bytes but different descriptions share nothing.

    The key is the only object that holds secrets; everything else holds its `key_id`, or is built from the key
    at run time. It has no readable `repr`, and refuses to be pickled.

    Example:

    ```python
    key = hk.WatermarkKey.generate(input_shape=(28, 28, 1), num_classes=10)
    key.save("watermark.key")
    key = hk.WatermarkKey.load("watermark.key")
    ```

    Laws: `WatermarkKey.load(path)` after `key.save(path)` equals `key`, and so do all its derivations.
    """

    def __init__(
        self,
        master: bytes,
        input_shape: Sequence[int],
        num_classes: int,
        *,
        pattern: patterns.Family | None = None,
        input_range: RangeLike = (0.0, 1.0),
    ) -> None:
        """Makes a key of given bytes; use `generate` for a new one.

        Args:
            master: 32 secret bytes.
            input_shape: Shape of one input, without the batch, for example `(28, 28, 1)` or `(30,)`.
            num_classes: Number of classes, at least 2.
            pattern: The family of patterns. Defaults to `Blocks` of the size that suits the inputs; the paper's is
                `Scattered()`.
            input_range: Least and greatest value of an input, `(low, high)`: two numbers, or two sequences of shape
                `input_shape` where each feature has a unit of its own, as in tabular data. Amplitudes and distances
                are shares of the width, `high - low`.

        Raises:
            InvalidArgumentError: If an argument breaks one of these rules.
        """
        if not isinstance(master, bytes) or len(master) != MASTER_BYTES:
            # The value itself must never reach a message.
            raise InvalidArgumentError(f"`master` must be {MASTER_BYTES} bytes.")
        self._master = master
        shape = _checks.shape("input_shape", input_shape)
        pattern = patterns.Blocks.for_inputs(shape) if pattern is None else pattern
        described = Description(shape, num_classes, pattern, InputRange.of(input_range, shape))
        self._description = described
        self.input_shape, self.num_classes = described.input_shape, described.num_classes
        self.pattern, self.input_range = described.pattern, described.input_range
        self.key_id = self.derive("key-id", 8).hex()

    @classmethod
    def generate(
        cls,
        input_shape: Sequence[int],
        num_classes: int,
        *,
        pattern: patterns.Family | None = None,
        input_range: RangeLike = (0.0, 1.0),
    ) -> WatermarkKey:
        """Draws a new key from the operating system's CSPRNG. The arguments are those of the constructor."""
        master = secrets.token_bytes(MASTER_BYTES)
        return cls(master, input_shape, num_classes, pattern=pattern, input_range=input_range)

    @property
    def description(self) -> Description:
        """What is public about the key."""
        return self._description

    def derive(self, purpose: str, length: int = 32) -> bytes:
        """Derives a subkey.

        Args:
            purpose: What the subkey is for. Different purposes give independent subkeys.
            length: Number of bytes, at most 8160 (RFC 5869).

        Returns:
            The subkey: as secret as the key itself.

        Raises:
            InvalidArgumentError: If an argument breaks one of these rules.
        """
        _checks.whole_number("length", length, 1, _MAX_SUBKEY_BYTES)
        try:
            label = _SCHEME + str.encode(purpose)
        except (TypeError, UnicodeEncodeError):
            raise InvalidArgumentError(
                f"`purpose` must be text, of characters that UTF-8 has. Received: purpose={_checks.shown(purpose)}."
            ) from None
        salt = hashlib.sha256(keyfile.canonical_json(self.description.get_config())).digest()
        hkdf = HKDF(algorithm=hashes.SHA256(), length=length, salt=salt, info=label)
        return hkdf.derive(self._master)

    def draw_codes(self) -> np.ndarray:
        """The codes of the key's patterns, as its family draws them: as secret as the key."""
        features, values = _Stream(self.derive("features")), _Stream(self.derive("pattern"))
        return self.pattern.draw(features, values, self.input_shape, self.num_classes)

    def draw_seed(self, purpose: str) -> np.ndarray:
        """A secret seed for TensorFlow's stateless generators, shape `(2,)`, int64."""
        return np.frombuffer(self.derive(purpose, 16), dtype="<i8").astype(np.int64)

    def wrong_key(self, index: int) -> WatermarkKey:
        """A wrong key of the same description, for controls.

        Wrong keys are derived from the key, so that a control can be repeated, and are independent of it in all
        that an observer could tell.

        Args:
            index: Which wrong key, from 0.
        """
        return WatermarkKey(
            self.derive(f"decoy/{_checks.whole_number('index', index, 0)}"),
            self.input_shape,
            self.num_classes,
            pattern=self.pattern,
            input_range=self.input_range,
        )

    def wrong_keys(self) -> list[WatermarkKey]:
        """The wrong keys that every control uses: the first eight."""
        return [self.wrong_key(index) for index in range(8)]

    def save(self, path: PathLike, passphrase: str | None = None, *, overwrite: bool = False) -> None:
        """Writes the key to a file that its owner alone can read (mode 0600), in one atomic step.

        Args:
            path: The file to write.
            passphrase: If given, the secret is encrypted under it (Scrypt, ChaCha20-Poly1305). Text, not empty.
            overwrite: Whether a file already at `path` may be replaced.

        Raises:
            InvalidArgumentError: If the passphrase is empty, or no text.
            StorageError: If there is a file at `path` already, or the disk refuses. A file that was there
                before is left intact.
        """
        header = {"key_id": self.key_id, **self.description.get_config()}
        keyfile.write(path, header, self._master, passphrase, overwrite=overwrite)

    @classmethod
    def load(cls, path: PathLike, passphrase: str | None = None) -> WatermarkKey:
        """Reads a key that `save` wrote.

        Args:
            path: The file to read.
            passphrase: Needed if, and only if, the file was saved under one.

        Raises:
            InvalidArgumentError: If the passphrase is no text.
            StorageError: If there is no such file, or it cannot be read.
            KeyFileError: If others can read the file, or it is truncated, altered or of another version.
            PassphraseError: If the passphrase is missing or wrong.
        """
        header, master = keyfile.read(path, passphrase)
        try:
            described = Description.from_config({name: value for name, value in header.items() if name != "key_id"})
            key = cls(
                master,
                described.input_shape,
                described.num_classes,
                pattern=described.pattern,
                input_range=described.input_range,
            )
        except (InvalidArgumentError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise KeyFileError(f"{path} is not a key that this version can use: {str(error)[:500]}") from None
        if key.key_id != header.get("key_id"):
            raise KeyFileError(f"{path} was altered: its content does not match its key id. Restore it from a backup.")
        return key

    def __repr__(self) -> str:
        return f"WatermarkKey(key_id={self.key_id!r}, input_shape={self.input_shape}, num_classes={self.num_classes})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, WatermarkKey):
            return NotImplemented
        return hmac.compare_digest(self._master, other._master) and self.description == other.description

    def __hash__(self) -> int:
        return hash(self.key_id)

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise SecretSerializationError("A WatermarkKey cannot be pickled or copied. Use `save` and `load`.")


class _Stream:
    """The ChaCha20 key stream under a subkey: as much secret randomness as a purpose needs."""

    def __init__(self, subkey: bytes) -> None:
        # A constant nonce is sound here: every subkey makes one stream only.
        self._encryptor = Cipher(algorithms.ChaCha20(subkey, bytes(16)), mode=None).encryptor()

    def words(self, count: int) -> np.ndarray:
        return np.frombuffer(self._encryptor.update(bytes(8 * count)), dtype="<u8")
