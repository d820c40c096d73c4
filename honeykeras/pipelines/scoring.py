"""`score`: a detector's scores of a whole data set, in this process or on workers of Apache Beam."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from honeykeras import _progress, detection
from honeykeras._arrays import read_npz, write_npz
from honeykeras._files import PathLike, as_path, check_absent, read_passphrase, working_folder
from honeykeras.errors import InvalidArgumentError
from honeykeras.outputs import predict_labels
from honeykeras.pipelines.classifiers import Classifier
from honeykeras.pipelines.tasks import Chunk, Task

FIELDS = ("label", "predicted", "score", "flag")

_AT_A_TIME = 1024


@dataclasses.dataclass(frozen=True)
class _Score(Task):
    """Scores inputs by a detector file and its model.

    Attributes:
        detector: The detector file.
        classifier: The model that it is for.
        passphrase_file: File whose first line is the detector file's passphrase.
        folder: Where the scores of each chunk go.
    """

    detector: Path
    classifier: Classifier
    passphrase_file: Path | None
    folder: Path

    def scorer(self) -> Callable[[Chunk], Chunk]:
        """What scores a chunk."""
        model = self.classifier.open()
        fitted = detection.load(self.detector, model, read_passphrase(self.passphrase_file))

        def score(chunk: Chunk) -> Chunk:
            scores = fitted.score(chunk["x"])
            return {
                "label": chunk["y"].astype(np.int64),
                "predicted": predict_labels(model, chunk["x"]).astype(np.int64),
                "score": scores,
                "flag": scores > fitted.threshold,
            }

        return score

    def open(self) -> Callable[[int, Chunk], None]:
        score = self.scorer()
        return lambda number, chunk: write_npz(self.path(number), score(chunk))

    def is_done(self, number: int) -> bool:
        return self.path(number).exists()

    def path(self, number: int) -> Path:
        """Where the scores of a chunk are."""
        return self.folder / f"scores-{number:05d}.npz"


def score(
    detector: PathLike,
    classifier: Classifier,
    dataset: tf.data.Dataset,
    output: PathLike,
    *,
    passphrase_file: Path | None = None,
    options: Sequence[str] | None = None,
    overwrite: bool = False,
    verbose: int = 1,
) -> dict[str, np.ndarray]:
    """Scores a data set, in its order, and writes that down, readable by its owner alone.

    Exact scores beside their inputs are equations in the key: the file is as secret as the detector's.

    Args:
        detector: The detector file.
        classifier: The model that it is for.
        dataset: Elements `(x, y)`, single samples, of a number that is known; `x` floating point in the detector's
            input range.
        output: The `.npz` file to write: `label`, `predicted`, `score` and `flag`.
        passphrase_file: File whose first line is the detector file's passphrase.
        options: Beam's own, such as `--runner=FlinkRunner`; all workers must then reach the folder of the output. None
            scores in this process.
        overwrite: Whether the file may be replaced.
        verbose: 1 shows a progress bar, 0 nothing.

    Returns:
        What the file holds.

    Raises:
        HoneyKerasError: If something is not there, does not fit, or cannot be written; the file is as it was.
    """
    output = as_path(output)
    check_absent(output, overwrite)
    if not len(dataset):
        raise InvalidArgumentError("The data set must hold at least one sample. Received: an empty data set.")
    with working_folder(output) as work:
        task = _Score(as_path(detector), classifier, passphrase_file, work)
        if options is None:
            total = -(-len(dataset) // _AT_A_TIME)
            parts = list(map(task.scorer(), _progress.bar("Scoring", total, "batch", verbose, _chunks(dataset))))
        else:
            parts = _on_workers(dataset, task, options, verbose)
    found = {name: np.concatenate([part[name] for part in parts]) for name in FIELDS}
    write_npz(output, found, overwrite=overwrite)
    return found


def _on_workers(dataset: tf.data.Dataset, task: _Score, options: Sequence[str], verbose: int) -> list[Chunk]:
    from honeykeras.pipelines.spread import spread

    spread(_chunks(dataset), task, task.folder, options, doing="Scoring", verbose=verbose)
    return [read_npz(path, FIELDS) for path in sorted(task.folder.glob("scores-*.npz"))]


def _chunks(dataset: tf.data.Dataset) -> Iterator[Chunk]:
    for x, y in dataset.batch(_AT_A_TIME).as_numpy_iterator():
        yield {"x": x, "y": y}
