"""The detector file: what a fitted detector knows, readable by its owner alone, and the id of that.

It is a file as keys have (`keyfile`): a public header, and one secret, which is all arrays one after the other. Neither
TensorFlow nor Keras is imported here.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from honeykeras import _documents, keyfile
from honeykeras._files import PathLike
from honeykeras._messages import first_line
from honeykeras.errors import KeyFileError

# Room for the extractor of large photographs.
FORMAT = keyfile.Format("honeykeras-detector", 1, "detector file", 2**30)

_HEX = "^[0-9a-f]{%d}$"
_SIZE = {"type": "integer", "minimum": 0, "maximum": 2**28}
_SHAPE = {"type": "array", "maxItems": 16, "items": _SIZE}
_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "required": ["kind", "detector_id", "key_id", "description", "model", "max_fpr", "samples", "networks", "arrays"],
    "additionalProperties": False,
    "properties": {
        "kind": {"type": "string", "minLength": 1, "maxLength": 64},
        "detector_id": {"type": "string", "pattern": _HEX % 16},
        "key_id": {"type": "string", "pattern": _HEX % 16},
        "description": {"type": "object"},
        "model": {"type": "string", "pattern": _HEX % 64},
        "max_fpr": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        "samples": {"type": "integer", "minimum": 1},
        "networks": {"type": "object"},
        "arrays": {
            "type": "object",
            "required": ["codes", "secret", "weights"],
            "additionalProperties": False,
            "properties": {
                "codes": _SHAPE,
                "secret": {**_SHAPE, "minItems": 1, "maxItems": 1},
                "weights": {"type": "array", "maxItems": 2**12, "items": _SHAPE},
            },
        },
    },
}


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a detector knows.

    Attributes:
        kind: The kind of detector.
        key_id: The key's public name.
        description: What is public about the key, as plain data.
        model: The fingerprint of the model that it was fitted for.
        max_fpr: The false positive rate that its threshold keeps.
        samples: How many clean inputs the threshold was set on.
        networks: What its networks are built of, as plain data.
        codes: The codes of the key's patterns, float32. Secret.
        secret: What its statistic takes as such, one vector, float64. Secret.
        threshold: The score above which it flags. Secret.
        weights: The weights of its networks, float32.
    """

    kind: str
    key_id: str
    description: Mapping[str, Any]
    model: str
    max_fpr: float
    samples: int
    networks: Mapping[str, Any]
    codes: np.ndarray = dataclasses.field(repr=False)
    secret: np.ndarray = dataclasses.field(repr=False)
    threshold: float = dataclasses.field(repr=False)
    weights: tuple[np.ndarray, ...] = dataclasses.field(repr=False)


def identify(contents: Contents) -> str:
    """The id of a detector, 16 hexadecimal digits: of all that decides its answers.

    It is keyed by what is secret, so that nobody can try from outside which secret it is that fits.
    """
    key = hashlib.sha256(_payload(contents)).digest()
    header = keyfile.canonical_json(_documents.plain(_header(contents)))
    return hmac.new(key, header, hashlib.sha256).hexdigest()[:16]


def write(path: PathLike, contents: Contents, passphrase: str | None, *, overwrite: bool = False) -> None:
    """Writes a detector file, mode 0600, atomically.

    Args:
        path: The file to write.
        contents: What it is to hold.
        passphrase: Encrypts what is secret if given: text, not empty.
        overwrite: Whether a file already at `path` may be replaced.

    Raises:
        InvalidArgumentError: If the passphrase is empty, or no text.
        StorageError: If there is a file at `path` already, or the disk refuses.
    """
    header = _documents.plain({**_header(contents), "detector_id": identify(contents)})
    keyfile.write(path, header, _payload(contents), passphrase, kind=FORMAT, overwrite=overwrite)


def read(path: PathLike, passphrase: str | None = None) -> Contents:
    """Reads a detector file.

    Raises:
        InvalidArgumentError: If the passphrase is no text.
        KeyFileError: If others can read the file, or it is truncated, altered or of another version.
        PassphraseError: If the passphrase is missing or wrong.
        StorageError: If there is no such file, or it cannot be read.
    """
    header, payload = keyfile.read(path, passphrase, kind=FORMAT)
    _check(path, header)
    detector_id, arrays = header.pop("detector_id"), header.pop("arrays")
    codes, secret, *weights = (tuple(shape) for shape in (arrays["codes"], arrays["secret"], *arrays["weights"]))
    parts = [(codes, "<f4"), (secret, "<f8"), ((), "<f8"), *((shape, "<f4") for shape in weights)]
    if sum(math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in parts) != len(payload):
        raise _damaged(path)
    found, start = [], 0
    for shape, dtype in parts:
        array = np.frombuffer(payload, dtype, math.prod(shape), start).reshape(shape)
        start += array.nbytes
        found.append(array.astype(array.dtype.newbyteorder("=")))
    contents = Contents(**header, codes=found[0], secret=found[1], threshold=float(found[2]), weights=tuple(found[3:]))
    if not hmac.compare_digest(identify(contents), detector_id) or not np.isfinite(contents.threshold):
        raise _damaged(path)
    return contents


def read_header(path: PathLike) -> tuple[dict[str, Any], bool]:
    """What is public of a detector file, and whether the rest is encrypted; it needs no passphrase.

    Raises:
        KeyFileError: As `read`.
        StorageError: As `read`.
    """
    header, encrypted = keyfile.read_header(path, kind=FORMAT)
    _check(path, header)
    return header, encrypted


def _header(contents: Contents) -> dict[str, Any]:
    public = ("kind", "key_id", "description", "model", "max_fpr", "samples", "networks")
    arrays = {
        "codes": contents.codes.shape,
        "secret": contents.secret.shape,
        "weights": [weight.shape for weight in contents.weights],
    }
    return {**{name: getattr(contents, name) for name in public}, "arrays": arrays}


def _payload(contents: Contents) -> bytes:
    arrays = [(contents.codes, "<f4"), (contents.secret, "<f8"), (contents.threshold, "<f8")]
    arrays += [(weight, "<f4") for weight in contents.weights]
    return b"".join(np.asarray(array, dtype).tobytes() for array, dtype in arrays)


def _check(path: PathLike, header: Mapping[str, Any]) -> None:
    try:
        _documents.check(header, _SCHEMA)
    except ValueError as error:
        raise KeyFileError(f"{path} must be a detector file. Received: {first_line(error)}. Fit it again.") from None


def _damaged(path: PathLike) -> KeyFileError:
    return KeyFileError(f"{path} is truncated or was altered. Restore it from a backup, or fit the detector again.")
