"""Variables that Keras does not keep with a model's weights, on disk, so that a training that was stopped can go on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from honeykeras._arrays import read_npz, write_npz
from honeykeras._messages import first_line
from honeykeras.errors import StorageError


class StateBackup:
    """Files with the values of some variables after each of the last two epochs.

    Of two, since a process may be killed between this file and that of the model.
    """

    def __init__(self, folder: Path, name: str) -> None:
        """Makes it.

        Args:
            folder: Where the files are to be.
            name: What they are called.
        """
        self._folder, self._name = folder, name

    def save(self, variables: Sequence[keras.Variable], epoch: int) -> None:
        """Writes the values with which an epoch will begin."""
        arrays: dict[str, Any] = {
            f"v{number}": keras.ops.convert_to_numpy(each) for number, each in enumerate(variables)
        }
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_npz(self._path(epoch), arrays, overwrite=True)
        self._path(epoch - 2).unlink(missing_ok=True)

    def restore(self, variables: Sequence[keras.Variable], epoch: int) -> None:
        """Puts back the values with which an epoch began, if they are there.

        Raises:
            StorageError: If they cannot be read, or are those of other variables.
        """
        path = self._path(epoch)
        if not path.exists():
            return
        try:
            arrays = list(read_npz(path, [f"v{number}" for number in range(len(variables))]).values())
            if [array.shape for array in arrays] != [tuple(each.shape) for each in variables]:
                raise ValueError("those of other variables")
        except (OSError, ValueError) as error:
            raise StorageError(
                f"{path} must hold the state of the training that is to go on. Received: {first_line(error)}. Remove "
                "the folder to train anew."
            ) from error
        for variable, array in zip(variables, arrays, strict=True):
            variable.assign(array)

    def remove(self) -> None:
        """Removes the files, when the training is over."""
        for path in self._folder.glob(f"{self._name}-*.npz"):
            path.unlink()

    def _path(self, epoch: int) -> Path:
        return self._folder / f"{self._name}-{epoch}.npz"
