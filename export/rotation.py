"""`reseal`: another sealing key for an artifact, and the same model."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

from honeykeras import manifest
from honeykeras._files import PathLike, describe
from honeykeras.errors import InvalidArgumentError, StorageError
from honeykeras.export import graph, sealing, warmup
from honeykeras.export.publish import new_version
from honeykeras.export.sealed_detector import SEALED_PATH


def _sealed_file(version: Path) -> Path:
    """The one file of an artifact that is sealed.

    Raises:
        InvalidArgumentError: If there is none: what was exported to hand out needs no key.
    """
    path = version / SEALED_PATH
    if not path.is_file():
        raise InvalidArgumentError(
            f"{version} must be a version folder that needs a key. Received: one without {SEALED_PATH}."
        )
    return path


def reseal(version: PathLike, old: sealing.SealingKey, new: sealing.SealingKey) -> Path:
    """Publishes a version folder anew, as the next version, for another sealing key.

    Model, graph and warmup requests are those that were there. Sign the new version, give the host the new key, and
    remove the old version once the new one serves: a version can be loaded with its own key alone.

    Args:
        version: The version folder, for example `serving/mnist/1`.
        old: The key that opens it.
        new: The key that shall.

    Returns:
        The new version folder.

    Raises:
        InvalidArgumentError: If the artifact needs no key.
        KeyFileError: If `old` does not open it.
        ModelError: If it does not answer its warmup requests.
        StorageError: If it is damaged, or the disk refuses. The version that was there stays intact.
    """
    version = Path(version)
    path = _sealed_file(version)
    identity = manifest.check(version).identity
    try:
        sealed = sealing.reseal(path.read_bytes(), old, new)
        with new_version(version.parent) as folder:
            shutil.copytree(version, folder.scratch)
            # The copy keeps a file that cannot be written as it is.
            copy = folder.scratch / SEALED_PATH
            copy.unlink()
            copy.write_bytes(sealed)
            (folder.scratch / manifest.FILE).unlink()
            changed = dataclasses.replace(identity, version=int(folder.path.name), key_id=new.key_id)
            manifest.write(folder.scratch, changed)
            with graph.opened(folder.scratch, new) as loadable:
                warmup.replay(loadable)
    except (shutil.Error, OSError) as error:
        if isinstance(error, StorageError):
            raise
        reason = describe(error) if not isinstance(error, shutil.Error) else "files cannot be copied"
        raise StorageError(f"Cannot publish {version} anew: {reason}. Nothing was changed there.") from error
    return folder.path
