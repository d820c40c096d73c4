"""`Classifier`: names a classifier, for workers to open."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any


@dataclasses.dataclass(frozen=True)
class Classifier:
    """Names a classifier, for workers to open.

    Attributes:
        path: A `.keras` file, the folder of a SavedModel, or the version folder of an artifact.
        sealing_key: Of an artifact that needs a key: the file of that, if it is not where the artifact looks for it.
        public_key: Of the same: the public key that it must be signed for.
        unsigned: Runs its graph though nobody verified it. One that was tampered with gives the key away.
    """

    path: Path
    sealing_key: Path | None = None
    public_key: Path | None = None
    unsigned: bool = False

    def open(self) -> Any:
        """The classifier, a `keras.Model`.

        Raises:
            HoneyKerasError: If it is not there, is no classifier, or may not be run.
        """
        from honeykeras import export, models

        if self.sealing_key is None and self.public_key is None and not self.unsigned:
            return models.load(self.path)
        key = export.SealingKey.load(self.sealing_key) if self.sealing_key else None
        return export.load(self.path, sealing_key=key, public_key=self.public_key, unsigned=self.unsigned)
