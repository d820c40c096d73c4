"""`audit`: who attacked a model, from the log of its requests."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam

from honeykeras import _checks
from honeykeras._documents import plain, read_json, write_json
from honeykeras._files import PathLike, as_path, check_absent, describe, staged
from honeykeras.audit import logs, results
from honeykeras.audit.logs import Shard
from honeykeras.audit.pipeline import SEEN, Audit, Settings
from honeykeras.audit.scorers import Source, opened
from honeykeras.errors import InvalidArgumentError, StorageError
from honeykeras.names import ALPHA
from honeykeras.pipelines import running

# Of so many bytes of a log, blocks are listed in one worker's memory at a time.
_GROUP_BYTES = 2**26
_SETTINGS, _VERDICTS = "settings.json", "verdicts"


def audit(
    logs_path: PathLike,
    versions: Sequence[Source],
    output: PathLike,
    *,
    alpha: float = ALPHA,
    client_of: str | None = None,
    secret: PathLike | None = None,
    options: Sequence[str] = (),
    verbose: int = 1,
) -> dict[str, Any]:
    """Finds out who attacked a model, from the log of its requests, and writes that down.

    Work that was cut off is continued by the same call: what was seen in a file of the log is not looked for again. It
    is kept, sealed, in a folder beside the output until that is there. Only paths go to workers: all of them must reach
    the log, what scores, and that folder.

    Example:

    ```python
    from honeykeras.audit import Artifact, audit

    found = audit("logs", [Artifact(Path("serving/mnist/2"), Path("signing.pub"))], "audit")
    found["clients"]["203.0.113.9"]["accused"]
    ```

    Args:
        logs_path: A file or folder, as `logs.find_shards` takes it.
        versions: What scores: of the version in question first, then of past ones, each with a key of its own.
        output: The folder to make: `index.html`, `audit.json`, `flags.jsonl` and `images/`.
        alpha: The probability, over the draw of the keys, that a client is accused whose queries depend on none.
        client_of: Who asked, from a `PredictionLog`: a function, as `file.py:function` or `package.module:function`.
            Defaults to what the log says.
        secret: File of the secret by which is sealed what is kept between the steps. Made if it is not there. Defaults
            to one that lies with it, for a disk that nobody else reads.
        options: Beam's own, such as `--runner=FlinkRunner` or `--direct_num_workers=2`.
        verbose: 1 shows a progress bar, 0 nothing.

    Returns:
        What `audit.json` holds.

    Raises:
        InvalidArgumentError: If the log is of another model, holds nothing that this one takes, or the work was begun
            with another log or other settings.
        HoneyKerasError: If something is not there, does not open or cannot be written. Of the output there is nothing.
    """
    alpha = _checks.in_interval("alpha", alpha, 0, 1, closed="()")
    if not versions:
        raise InvalidArgumentError("`versions` must name what scores, one at least. Received: none.")
    named = _named(versions)
    output = as_path(output)
    check_absent(output)
    shards = logs.find_shards(logs_path)
    for source in versions:
        opened(source)
    work = output.with_name(f"{output.name}.partial")
    settings = Settings(
        versions=named,
        work=work,
        secret=work / "secret" if secret is None else as_path(secret),
        groups=max(1, -(-sum(shard.size for shard in shards) // _GROUP_BYTES)),
        alpha=alpha,
        client_of=client_of,
    )
    settings.load_client_of()
    _begin(work, shards, settings)
    # Before there are workers, of whom each would make one.
    settings.vault()
    _run(shards, settings, options, verbose)
    try:
        found = results.gathered(shards, settings, [work / f"{shard.number:05d}" / SEEN for shard in shards])
        with staged(output) as made:
            results.write(made, found, shards, settings, sorted(work.glob(f"{_VERDICTS}-*")))
    except InvalidArgumentError:
        shutil.rmtree(work)
        raise
    except OSError as error:
        raise StorageError(f"Cannot write {output}: {describe(error)}.") from None
    shutil.rmtree(work)
    return found


def _named(versions: Sequence[Source]) -> dict[str, Source]:
    """By their names; by their paths where two have one name, as copies for several recipients have."""
    for names in ([each.name for each in versions], [str(each.path) for each in versions]):
        if len(set(names)) == len(names):
            return dict(zip(names, versions, strict=True))
    raise InvalidArgumentError(f"Each version must be named once. Received: {', '.join(names)}.")


def _begin(work: Path, shards: Sequence[Shard], settings: Settings) -> None:
    """Makes the folder for what is kept, or sees to it that the one that is there is of the same work."""
    stated = plain(
        {
            # Of two models, versions have the same numbers.
            "versions": [(name, str(source.path.absolute())) for name, source in settings.versions.items()],
            "logs": [(str(shard.path.absolute()), shard.size) for shard in shards],
            "client_of": settings.client_of,
        }
    )
    if not (work / _SETTINGS).is_file():
        with staged(work) as made:
            made.mkdir(mode=0o700)
            write_json(made / _SETTINGS, stated)
    elif read_json(work / _SETTINGS, {"type": "object"}, what="what an audit was begun with") != stated:
        raise InvalidArgumentError(
            f"{work} must be of the same log and settings, to go on with. Received: others. Remove it, or choose "
            "another output."
        )


def _run(shards: Sequence[Shard], settings: Settings, options: Sequence[str], verbose: int) -> None:
    # Of a run that was cut off; this one may cut them otherwise.
    for path in settings.work.glob(f"{_VERDICTS}-*"):
        path.unlink()

    def done() -> int:
        return sum(1 for _ in settings.work.glob(f"*/{SEEN}"))

    with running.pipeline(
        options, doing="Auditing", unit="file", total=len(shards), done=done, verbose=verbose
    ) as pipeline:
        _ = (
            pipeline
            | "Log" >> beam.Create(list(shards))
            | "Audit" >> Audit(settings)
            | "Text" >> beam.Map(json.dumps)
            | "Write" >> beam.io.WriteToText(str(settings.work / _VERDICTS), shard_name_template="-SSSSS-of-NNNNN")
        )


def accused(found: Mapping[str, Any]) -> dict[str, Any]:
    """Of what `audit` gave, the clients that are accused."""
    return {name: each for name, each in found["clients"].items() if each["accused"]}
