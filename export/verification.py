"""`verify`: whether an artifact is what was exported, and answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from honeykeras import manifest
from honeykeras._files import PathLike, as_path
from honeykeras.errors import InvalidArgumentError, SignatureError
from honeykeras.export import graph, key_reads, leaks, sealing, signing, warmup
from honeykeras.export.sealed_detector import SEALED_PATH
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
    name: str | None = None,
    role: str | None = None,
    detector_id: str | None = None,
    unsigned: bool = False,
) -> Iterator[Check]:
    """Checks a version folder, one thing after the other, the graph last: it is a program, and runs beside the key.

    1. Its files are those of its manifest.
    2. Its signature is right. The graph of an artifact that needs a key is not run without.
    3. It is the artifact that is expected in its place.
    4. No file holds a secret, or a word that tells what it is.
    5. Its graph does nothing but compute, and read the sealed file and its key.
    6. It answers its warmup requests with probabilities.

    Args:
        version: The version folder, for example `serving/mnist/1`.
        public_key: File of the public key that its signature must be by. Without it the signature is not checked.
        sealing_key: What opens it, and must have sealed it. Without it, the key must be where the artifact looks for
            it.
        watermark_key: The watermark's key, of which nothing may stand in any file. Without it, words alone are looked
            for.
        name: The model's name by its manifest. Defaults to that of the folder that the version is in.
        role: What it must be for, `public` or `hosted`. Any, by default.
        detector_id: Id of the detector that must be in it, as the report that judged it says. Any, by default.
        unsigned: Runs the graph of an artifact that needs a key though nobody verified it. A graph that was tampered
            with can then give the key away.

    Yields:
        What was checked and is right, as soon as it is known. What is wrong raises.

    Raises:
        InvalidArgumentError: If `public_key` and `unsigned` are both given, or `role` is none.
        LeakError: If anything stands in a file that must not.
        ModelError: If its graph does anything but compute, or it cannot be loaded, or its answers are no
            probabilities.
        SignatureError: If the signature is not right, or missing where the graph needs one, or it is another artifact
            than expected.
        StorageError: If a file is missing, was added or altered.
    """
    version = as_path(version)
    _check_trust(public_key, unsigned)
    if role not in (None, *manifest.ROLES):
        raise InvalidArgumentError(f"`role` must be one of {list(manifest.ROLES)}. Received: role={role!r}.")
    held = manifest.check(version)
    yield Check("files", f"right, {len(held.files)} of them")
    if public_key is not None:
        signing.verify_signature(version, public_key)
        yield Check("signature", "right")
    else:
        yield Check("signature", "not checked: give the public key")
    found = held.identity
    _check_identity(version, found, name=name, role=role, sealing_key=sealing_key, detector_id=detector_id)
    yield Check("identity", f"right, {found.role} version {found.version} of {found.name!r}")
    if detector_id is not None:
        yield Check("detector", f"right, {detector_id} is what was judged")
    needles = {} if watermark_key is None else leaks.of_watermark(Watermark(watermark_key))
    if sealing_key is not None:
        needles |= leaks.of_sealing_key(sealing_key)
    leaks.check(version, needles)
    secrets = f"none of {len(needles)} forms of secrets" if needles else "secrets were not looked for: give a key"
    yield Check("leaks", f"none of {len(leaks.TELLTALES)} words; {secrets}")
    yield Check("operations", f"right, {key_reads.check(graph.read(version), found.key_id is not None)} of them")
    _check_runnable(version, found, public_key, unsigned)
    with graph.opened(version, sealing_key) as loadable:
        yield Check("answers", f"right, to {warmup.replay(loadable)} warmup requests")


def check(
    version: PathLike,
    *,
    public_key: PathLike | None = None,
    sealing_key: SealingKey | None = None,
    unsigned: bool = False,
) -> manifest.Identity:
    """What must hold of an artifact before its graph is run or a key is used: files, signature, place, operations.

    Args:
        version: The version folder.
        public_key: As for `verify`.
        sealing_key: What must have sealed it, if that is known.
        unsigned: As for `verify`.

    Returns:
        What the artifact is.

    Raises:
        InvalidArgumentError, ModelError, SignatureError, StorageError: As `verify`.
    """
    version = as_path(version)
    _check_trust(public_key, unsigned)
    identity = manifest.check(version).identity
    _check_runnable(version, identity, public_key, unsigned)
    if public_key is not None:
        signing.verify_signature(version, public_key)
    _check_identity(version, identity, sealing_key=sealing_key)
    key_reads.check(graph.read(version), identity.key_id is not None)
    return identity


def _check_trust(public_key: PathLike | None, unsigned: bool) -> None:
    if public_key is not None and unsigned:
        raise InvalidArgumentError(
            "One of `public_key` and `unsigned` must be given, or none: a signature is checked or it is not. Received: "
            "both."
        )


def _check_runnable(version: Path, identity: manifest.Identity, public_key: PathLike | None, unsigned: bool) -> None:
    """Raises `SignatureError` if an artifact needs a key, and nobody vouches for its graph."""
    if identity.key_id is not None and public_key is None and not unsigned:
        raise SignatureError(
            f"{version} must be verified before it is run beside its key, which a graph that was tampered with would "
            "give away. Received: no public key. Give the one that it was signed for, as `public_key` or --public-key; "
            "or, if you made it yourself and nobody else could write to it, `unsigned` or --unsigned."
        )


def _check_identity(
    version: Path,
    identity: manifest.Identity,
    *,
    name: str | None = None,
    role: str | None = None,
    sealing_key: SealingKey | None = None,
    detector_id: str | None = None,
) -> None:
    """Raises `SignatureError` if an artifact is another than expected, or its sealed file than its manifest says."""
    key_id = None if sealing_key is None else sealing_key.key_id
    identity.check(version, name=name, role=role, key_id=key_id, build_id=detector_id)
    file = version / SEALED_PATH
    sealed_by = sealing.read_ids(file.read_bytes())[0] if file.is_file() else None
    if sealed_by != identity.key_id:
        raise SignatureError(
            f"{version} must be sealed with the key that its manifest names, {identity.key_id or 'none'}. Received: "
            f"{sealed_by or 'none'}."
        )
