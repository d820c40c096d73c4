"""`reseal` and `recalibrate`: another sealing key or threshold for an artifact, and the same model."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np

from honeykeras import detectorfile, manifest
from honeykeras._files import PathLike, as_path, describe
from honeykeras.errors import InvalidArgumentError, StorageError
from honeykeras.export import graph, sealing, warmup
from honeykeras.export.publish import new_version
from honeykeras.export.sealed_detector import SEALED_PATH, arrange
from honeykeras.export.sealed_vector import seal_vector
from honeykeras.export.verification import check


def reseal(
    version: PathLike,
    old: sealing.SealingKey,
    new: sealing.SealingKey,
    *,
    public_key: PathLike | None = None,
    unsigned: bool = False,
) -> Path:
    """Publishes a version folder anew, as the next version, for another sealing key.

    Model, graph and warmup requests are those that were there, so it is verified before either key is used: a graph
    that was tampered with would be made good by a new signature. Sign the new version, give the host the new key, and
    remove the old version once the new one serves: a version can be loaded with its own key alone.

    Args:
        version: The version folder, for example `serving/mnist/1`.
        old: The key that opens it.
        new: The key that shall.
        public_key: File of the public key that its signature must be by. This or `unsigned` must be given.
        unsigned: Publishes it though nobody signed it.

    Returns:
        The new version folder.

    Raises:
        InvalidArgumentError: If the artifact needs no key, or `public_key` and `unsigned` are both given.
        KeyFileError: If `old` does not open it.
        ModelError: If it does anything but compute, or does not answer its warmup requests.
        SignatureError: If its signature is not right or missing, or it is another artifact than its place and `old`
            say.
        StorageError: If it is damaged, or the disk refuses. The version that was there stays intact.
    """
    version = as_path(version)
    identity = check(version, public_key=public_key, unsigned=unsigned)
    check_opens(version, identity, old)
    sealed = sealing.seal_again(_sealed(version), old, new)
    return _publish(version, sealed, new, dataclasses.replace(identity, key_id=new.key_id))


def recalibrate(
    version: PathLike,
    detector: detectorfile.Contents,
    key: sealing.SealingKey,
    *,
    public_key: PathLike | None = None,
    unsigned: bool = False,
) -> Path:
    """Publishes a version folder anew, as the next version, with another threshold of its detector.

    Model, graph and warmup requests are those that were there, and so is all else that the detector knows. Sign the new
    version; its manifest has the id of the detector that was calibrated anew.

    Args:
        version: The version folder, for example `serving/mnist/1`.
        detector: What is in the file of the detector that was calibrated anew, as `detectorfile.read` gives it.
        key: The key that opens the artifact. The new version is sealed with it as well.
        public_key: As for `reseal`.
        unsigned: As for `reseal`.

    Returns:
        The new version folder.

    Raises:
        InvalidArgumentError: If the artifact needs no key, or has another detector, or `public_key` and `unsigned` are
            both given.
        KeyFileError, ModelError, SignatureError, StorageError: As `reseal`.
    """
    version = as_path(version)
    identity = check(version, public_key=public_key, unsigned=unsigned)
    check_opens(version, identity, key)
    sealed = _sealed(version)
    content, artifact_id = sealing.unseal(sealed, key)
    before = np.frombuffer(content, "<f4")
    values, threshold = arrange([np.array([detector.threshold]), detector.secret, *detector.weights])
    # What evidence is seen with comes after the detector, and stays.
    values = np.concatenate([values.astype("<f4"), before[len(values) :]])
    if before.shape != values.shape or not np.array_equal(np.delete(before, threshold), np.delete(values, threshold)):
        raise InvalidArgumentError(
            f"The detector must be the one in {version}, but for its threshold. Received: another. Export the model "
            "with it."
        )
    again = seal_vector(values, key, artifact_id)
    return _publish(version, again, key, dataclasses.replace(identity, build_id=detectorfile.identify(detector)))


def _sealed(version: Path) -> bytes:
    try:
        return (version / SEALED_PATH).read_bytes()
    except OSError as error:
        raise StorageError(f"Cannot read {version / SEALED_PATH}: {describe(error)}.") from error


def _publish(version: Path, sealed: bytes, key: sealing.SealingKey, identity: manifest.Identity) -> Path:
    """Publishes an artifact as the next version, with another sealed file."""
    try:
        with new_version(version.parent) as folder:
            shutil.copytree(version, folder.scratch)
            # The copy keeps a file that cannot be written as it is.
            for name in (SEALED_PATH, manifest.FILE):
                (folder.scratch / name).unlink()
            (folder.scratch / SEALED_PATH).write_bytes(sealed)
            manifest.write(folder.scratch, dataclasses.replace(identity, version=int(folder.path.name)))
            with graph.opened(folder.scratch, key) as loadable:
                warmup.replay(loadable)
    except (shutil.Error, OSError) as error:
        if isinstance(error, StorageError):
            raise
        reason = describe(error) if not isinstance(error, shutil.Error) else "files cannot be copied"
        raise StorageError(f"Cannot publish {version} anew: {reason}. Nothing was changed there.") from error
    return folder.path


def check_opens(version: Path, identity: manifest.Identity, key: sealing.SealingKey) -> None:
    """Sees to it that a version needs a key, and that it is this one.

    Args:
        version: The version folder.
        identity: What it is, as `verification.check` says.
        key: The key.

    Raises:
        InvalidArgumentError: If it needs none.
        KeyFileError: If it needs another.
        StorageError: If it cannot be read.
    """
    if identity.key_id is None:
        raise InvalidArgumentError(f"{version} must be an artifact that needs a key. Received: one that needs none.")
    sealing.unseal(_sealed(version), key)
