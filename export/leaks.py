"""The leak scan: whether anything secret, or anything that tells what an artifact is, stands in its files."""

from __future__ import annotations

import base64
import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from honeykeras.detection import CalibratedDetector
from honeykeras.errors import LeakError
from honeykeras.export.sealed_detector import SEALED_FILE
from honeykeras.export.sealing import SealingKey
from honeykeras.watermark import Watermark

TELLTALES = (
    b"honey", b"watermark", b"detector", b"adversar", b"poison", b"decoy", b"trapdoor", b"sealed", b"secret",
    b"cipher", b"verdict",
)  # fmt: skip
"""Words that tell what an artifact is. `/run/secrets`, where container engines put keys, is not one of them."""

_ALLOWED = (b"/run/secrets/",)
# So many numbers in a row are no coincidence, and a part of a secret is a leak as well.
_WINDOW = 64


def of_bytes(name: str, secret: bytes) -> dict[str, bytes]:
    """The forms in which secret bytes could stand in a file, by name."""
    return {
        name: secret,
        f"{name}, hex": secret.hex().encode(),
        f"{name}, upper-case hex": secret.hex().upper().encode(),
        f"{name}, base64": base64.b64encode(secret),
    }


def of_values(name: str, values: np.ndarray) -> dict[str, bytes]:
    """The forms in which secret numbers could: their beginning and their middle, as floats and in decimals."""
    found: dict[str, bytes] = {}
    flat = np.asarray(values).ravel()
    for place, start in (("beginning", 0), ("middle", max(0, len(flat) // 2 - _WINDOW // 2))):
        window = flat[start : start + _WINDOW]
        # Those that are all the same stand in many a file.
        if len(np.unique(window)) > 1 and len(window) > 2:
            for dtype in ("<f2", "<f4", "<f8"):
                with np.errstate(over="ignore"):
                    found[f"{name}, {place}, {dtype}"] = window.astype(dtype).tobytes()
            for separator in (",", ", ", " ", "\n"):
                found[f"{name}, {place}, decimal, {separator!r}"] = separator.join(map(str, window.tolist())).encode()
    return found


def of_watermark(watermark: Watermark) -> dict[str, bytes]:
    """The forms in which a watermark could: its patterns, and which features they mark where not all are."""
    found = {}
    for target, pattern in enumerate(watermark.patterns().numpy()):
        flat = pattern.ravel()
        name = f"pattern {target}"
        found.update(of_values(name, flat))
        for dtype in ("<i1", "<i4", "<i8"):
            found[f"{name}, {dtype}"] = flat.astype(dtype).tobytes()
        found[f"{name}, bits"] = np.packbits(flat > 0).tobytes()
        positions = np.flatnonzero(flat)
        if len(positions) < len(flat):
            for dtype in ("<i4", "<i8", "<f4", "<f8"):
                found[f"positions {target}, {dtype}"] = positions.astype(dtype).tobytes()
            found[f"positions {target}, varint"] = _varints(positions)
            for separator in (",", ", ", " ", "\n"):
                found[f"positions {target}, decimal, {separator!r}"] = separator.join(map(str, positions)).encode()
    # Bits and bytes of tiny inputs occur by chance.
    found = {name: needle for name, needle in found.items() if len(needle) >= 8}
    return found | {"key id": watermark.key_id.encode(), "key id, bytes": bytes.fromhex(watermark.key_id)}


def of_sealing_key(key: SealingKey) -> dict[str, bytes]:
    """The forms in which a sealing key could."""
    return of_bytes("sealing key", key._secret)


def needles(detector: CalibratedDetector, key: SealingKey | None = None) -> dict[str, bytes]:
    """The forms in which anything that a detector and a sealing key know could stand in a file, by name."""
    found = of_watermark(detector.watermark) | of_values("parameters", detector.secret)
    weights = [weight for network in detector.networks for weight in network.get_weights()]
    for number, weight in enumerate(weights):
        found |= of_values(f"weight {number}", weight)
    if key is not None:
        found |= of_sealing_key(key)
    return found


def scan(folder: Path, needles: Mapping[str, bytes]) -> list[tuple[str, str]]:
    """What stands in the files of a folder that must not.

    Args:
        folder: The folder.
        needles: What must not be there, by name.

    Returns:
        Pairs of a file, relative to the folder, and the name of the needle or the word. Words are looked for in names
        of files, too, and not in files of plain numbers.
    """
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        content = _content(path)
        found += [(name, secret) for secret, needle in needles.items() if content.find(needle) >= 0]
        is_text = path.name != SEALED_FILE and ".data-" not in path.name
        found += [(name, word.decode()) for word in _words(content if is_text else b"", name.encode())]
    return found


def check(folder: Path, needles: Mapping[str, bytes]) -> None:
    """Raises `LeakError` if anything stands in the files of a folder that must not, as `scan` has it."""
    found = scan(folder, needles)
    if found:
        file, what = found[0]
        raise LeakError(
            f"No file of an artifact may hold anything secret, or a word that tells what it is. Received: {what!r} in "
            f"{file}{f', and {len(found) - 1} more' if len(found) > 1 else ''}. Rename what bears the word, such as a "
            "model, layer or class; take out of the model what was built from the key."
        )


def check_name(name: str) -> None:
    """Raises `LeakError` if the name of a model's folder, which stands in its artifacts, tells what it is."""
    for word in _words(b"", name.encode(errors="replace")):
        raise LeakError(
            f"The name of a model's folder must not tell what it is. Received: {word.decode()!r} in {name!r}. Give it "
            "another name: it is what clients call the model."
        )


def _content(path: Path) -> bytes | mmap.mmap:
    with path.open("rb") as file:
        # An empty file cannot be mapped.
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if path.stat().st_size else b""


def _words(content: bytes | mmap.mmap, name: bytes) -> Iterator[bytes]:
    text = bytes(content[:]).lower() + b"\0" + name.lower()
    for allowed in _ALLOWED:
        text = text.replace(allowed, b"")
    return (word for word in TELLTALES if word in text)


def _varints(numbers: np.ndarray) -> bytes:
    """Whole numbers as protocol buffers pack them."""
    packed = bytearray()
    for number in map(int, numbers):
        while number > 127:
            packed.append(number & 127 | 128)
            number >>= 7
        packed.append(number)
    return bytes(packed)
