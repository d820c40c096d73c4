"""How far a training has come, in a folder: Keras' own backup, the history, and the weights when it is over."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import keras

from honeykeras._documents import plain, read_json, write_json
from honeykeras.state_backup import StateBackup

_HISTORY = {
    "type": "array",
    "items": {"type": "object", "additionalProperties": {"type": ["number", "null"]}},
}


class Checkpoints:
    """The folder of one training.

    Attributes:
        folder: The folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._history = folder / "history.json"
        self._weights = folder / "final.weights.h5"

    @property
    def finished(self) -> bool:
        """Whether the training is over."""
        return self._weights.exists()

    def callbacks(self) -> list[keras.callbacks.Callback]:
        """What keeps it up to date. To come after all that adds to an epoch's figures."""
        # The history first: an epoch that it has and the backup does not is trained once more, and replaced.
        backup = keras.callbacks.BackupAndRestore(self.folder / "backup", double_checkpoint=True)
        return [_KeepsHistory(self._history), _KeepsDraws(StateBackup(self.folder, "draws")), backup]

    def finish(self, model: keras.Model) -> None:
        """Keeps the weights of a training that is over."""
        scratch = self.folder / "unfinished.weights.h5"
        model.save_weights(scratch, overwrite=True)
        scratch.replace(self._weights)

    def restore(self, model: keras.Model) -> None:
        """Gives a model the weights of the training that is over."""
        # With what its optimizer has gathered, for which there is no room before it has seen the variables.
        model.optimizer.build(model.trainable_variables)
        model.load_weights(self._weights)

    def history(self) -> dict[str, list[float]]:
        """How the training went, epoch by epoch, by metric."""
        epochs = _read(self._history)
        return {name: [math.nan if each[name] is None else each[name] for each in epochs] for name in epochs[0]}


class _KeepsHistory(keras.callbacks.Callback):
    """Writes down the figures of all epochs, those before a training was stopped, too."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._epochs: list[dict[str, Any]] = []

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._epochs = _read(self._path) if self._path.exists() else []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        figures = {name: float(value) for name, value in (logs or {}).items()}
        self._epochs[epoch:] = [plain(figures)]
        write_json(self._path, self._epochs, overwrite=True)


class _KeepsDraws(keras.callbacks.Callback):
    """Keeps where dropout and the like stand in what they draw, which Keras leaves out of a model's weights."""

    def __init__(self, backup: StateBackup) -> None:
        super().__init__()
        self._backup = backup
        self._begun = False

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if not self._begun:
            self._backup.restore(self._seeds(), epoch)
            self._begun = True

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._backup.save(self._seeds(), epoch + 1)

    def _seeds(self) -> list[keras.Variable]:
        kept = {id(each) for each in (*self.model.weights, *self.model.metrics_variables)}
        return [each for each in self.model.variables if id(each) not in kept]


def _read(path: Path) -> list[dict[str, Any]]:
    return read_json(path, _HISTORY, what="the history of a training that was stopped")
