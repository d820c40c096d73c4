"""Running a pipeline of Apache Beam: its options, what it says, how far it is, and why it failed."""

from __future__ import annotations

import contextlib
import logging
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from honeykeras import _progress, errors
from honeykeras._messages import first_line
from honeykeras.errors import HoneyKerasError, StorageError

_POLL = 0.5
_QUIET = "--default_sdk_harness_log_level"
# What a runner says of an exception of a worker's, which is no exception here.
_REMOTE = re.compile(r"honeykeras\.errors\.(\w+): ([^\n]*)")


@contextlib.contextmanager
def pipeline(
    options: Sequence[str], *, doing: str, unit: str, total: int, done: Callable[[], int], verbose: int
) -> Iterator[Any]:
    """A pipeline, which is run when the block ends well.

    Args:
        options: Beam's own, such as `--runner=FlinkRunner` or `--direct_num_workers=2`.
        doing: What the progress bar says is done.
        unit: What it counts.
        total: How many there are to do.
        done: How many are done, wherever.
        verbose: 1 shows a progress bar, 0 nothing.

    Raises:
        HoneyKerasError: If it does not come to its end: the worker's, if it was one of these.
    """
    given = list(options)
    if not any(each.startswith(_QUIET) for each in given):
        given.append(f"{_QUIET}=ERROR")
    with (
        _translated(),
        _watched(doing, unit, total, done, verbose),
        beam.Pipeline(options=PipelineOptions(given)) as made,
    ):
        yield made


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Says in one sentence what a runner says in pages."""
    beams = logging.getLogger("apache_beam")
    level = beams.level
    beams.setLevel(logging.CRITICAL)
    try:
        yield
    except Exception as error:  # Anything that a runner, or a worker of its, can raise.
        text = str(error)
        found = _REMOTE.findall(text)
        name, message = found[-1] if found else (type(error).__name__, text)
        message = message.split(" [while running", 1)[0]
        kind = getattr(errors, name, None)
        if isinstance(kind, type) and issubclass(kind, HoneyKerasError):
            raise kind(message) from error
        raise StorageError(f"The pipeline did not come to its end: {name}: {first_line(error)}.") from error
    finally:
        beams.setLevel(level)


@contextlib.contextmanager
def _watched(doing: str, unit: str, total: int, done: Callable[[], int], verbose: int) -> Iterator[None]:
    """Shows how many are done, on whichever machine."""
    ended = threading.Event()
    with _progress.bar(doing, total, unit, verbose) as progress:

        def watch() -> None:
            while not ended.wait(_POLL):
                progress.update(done() - progress.n)

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
