"""`spread`: chunks of a data set to workers, each of which opens what it needs once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam

from honeykeras._arrays import read_npz, write_npz
from honeykeras._files import PathLike, working_folder
from honeykeras.pipelines import running
from honeykeras.pipelines.tasks import Chunk, Task


class _Do(beam.DoFn):
    def __init__(self, task: Task, work: Path, names: Sequence[str]) -> None:
        self._task, self._work, self._names = task, work, list(names)

    def setup(self) -> None:
        self._do = self._task.open()

    def process(self, number: int) -> Iterator[int]:
        # A runner may try again what was done.
        if not self._task.is_done(number):
            self._do(number, read_npz(_path(self._work, number), self._names))
        yield number


def spread(
    chunks: Iterator[Chunk], task: Task, path: PathLike, options: Sequence[str], *, doing: str, verbose: int = 1
) -> None:
    """Has workers do a task with each chunk of a data set.

    Chunks lie in a folder beside `path` that all workers must reach, for as long as it takes; one at a time is in
    memory here.

    Args:
        chunks: The chunks, each with arrays of the same names.
        task: What is done with each. Those that were done before are left out.
        path: What the work is for.
        options: Beam's own.
        doing: What the progress bar says is done.
        verbose: 1 shows a progress bar, 0 nothing.

    Raises:
        HoneyKerasError: As a worker raises it, or if the disk refuses.
    """
    with working_folder(path) as work:
        numbers: list[int] = []
        names: Sequence[str] = ()
        for number, chunk in enumerate(chunks):
            names = list(chunk)
            if not task.is_done(number):
                write_npz(_path(work, number), chunk)
                numbers.append(number)
        if not numbers:
            return
        with running.pipeline(
            options,
            doing=doing,
            unit="file",
            total=len(numbers),
            done=lambda: sum(map(task.is_done, numbers)),
            verbose=verbose,
        ) as pipeline:
            _: Any = (
                pipeline
                | "Chunks" >> beam.Create(numbers)
                | "Spread" >> beam.Reshuffle()
                | "Do" >> beam.ParDo(_Do(task, work, names))
            )


def _path(work: Path, number: int) -> Path:
    return work / f"{number:05d}.npz"
