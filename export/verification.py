"""`verify`: whether an artifact is what was exported, and answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from honeykeras import manifest
from honeykeras._files import PathLike
from honeykeras.export import graph, leaks, signing, warmup
from honeykeras.export.sealing import SealingKey
from honeykeras.keys import WatermarkKey
from honeykeras.watermark import Watermark


class Check(NamedTuple):
    """What was checked, and what came of it, in words."""

    name: str
    found: str


def verify(
    version: PathLike,
    *,
    public_key: PathLike | None = None,
    sealing_key: SealingKey | None = None,
    watermark_key: WatermarkKey | None = None,
) -> Iterator[Check]:
    """Checks a version folder, one thing after the other: signature, manifest, leaks, warmup requests and answers.

    Args:
        version: The version folder, for example `serving/mnist/1`.
        public_key: File of the public key that its signature must be by. Without it the signature is not checked.
        sealing_key: What opens it. Without it, the key must be where the artifact looks for it.
        watermark_key: The watermark's key, of which nothing may stand in any file. Without it, words alone are looked
            for.

    Yields:
        What was checked and is right, as soon as it is known. What is wrong raises.

    Raises:
        LeakError: If anything stands in a file that must not.
        ModelError: If it cannot be loaded, or its answers are no probabilities.
        SignatureError: If the signature is not right.
        StorageError: If a file is missing, was added or altered.
    """
    version = Path(version)
    if public_key is not None:
        signing.verify_signature(version, public_key)
        yield Check("signature", "right")
    yield Check("manifest", f"right, of {len(manifest.check(version).files)} files")
    needles = {} if watermark_key is None else leaks.of_watermark(Watermark(watermark_key))
    if sealing_key is not None:
        needles |= leaks.of_sealing_key(sealing_key)
    leaks.check(version, needles)
    secrets = f"none of {len(needles)} forms of secrets" if needles else "secrets were not looked for: give a key"
    yield Check("leaks", f"none of {len(leaks.TELLTALES)} words; {secrets}")
    with graph.opened(version, sealing_key) as loadable:
        yield Check("answers", f"right, to {warmup.replay(loadable)} warmup requests")
