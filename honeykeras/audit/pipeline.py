"""`Audit`: the pipeline of an audit, for Apache Beam.

Each file of a log is scored by one worker, which loads the model once; what it saw is kept sealed, in blocks by client
(`blocks`). Which blocks there are is grouped by a hash of the client, and each client's ledger is run over its queries
in their order. For a pipeline of one's own:

```python
with beam.Pipeline(options=options) as pipeline:
    verdicts = pipeline | beam.Create(logs.find_shards("logs")) | Audit(settings)
```
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np

from honeykeras import _sources, secretfile
from honeykeras._documents import plain
from honeykeras._files import staged
from honeykeras.audit import blocks, logs
from honeykeras.audit.blocks import Block, Queries
from honeykeras.audit.logs import Shard
from honeykeras.audit.scorers import Scored, Scorer, Source, opened
from honeykeras.audit.verdicts import judge
from honeykeras.evidence import Vault
from honeykeras.gateway.failures import RequestError
from honeykeras.gateway.prediction_logs import Damaged, Request

SEEN = "seen.json"

# So many inputs are put to a model at a time, at least, and so many queries are kept before they are written.
_AT_A_TIME, _KEPT = 256, 4096
# So many records that are set aside are named in each file of a log.
_NAMED = 100


@dataclasses.dataclass(frozen=True)
class Settings:
    """What workers go by. Nothing in it is secret.

    Attributes:
        versions: What scores, by what the version is called: of the one in question first, then of past ones.
        work: A folder that all workers reach, for what is kept between the steps.
        secret: File of the secret by which that is sealed, which all workers reach.
        groups: Into how many groups clients are cut. A worker has the list of one group's blocks in memory.
        alpha: The probability, over the draw of the keys, that a client is accused whose queries depend on none.
        client_of: Who asked, from a `PredictionLog`: a function, as `file.py:function` or `package.module:function`.
            None for what the log says.
    """

    versions: Mapping[str, Source]
    work: Path
    secret: Path
    groups: int
    alpha: float
    client_of: str | None = None

    @property
    def model(self) -> str | None:
        """The name of the model whose requests are looked at; None for all."""
        return next(iter(self.versions.values())).model

    def load_client_of(self) -> logs.ClientOf | None:
        """What tells who asked; None for what the log says."""
        return None if self.client_of is None else _sources.load_function(self.client_of, "client_of")

    def vault(self) -> Vault:
        """What seals what is kept between the steps."""
        return Vault(secretfile.read_or_make(self.secret, "audit's secret"))


class Audit(beam.PTransform):
    """Files of a log to verdicts: a `PCollection` of `Shard`s to one of pairs of client and what `judge` gives."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._settings = settings

    def expand(self, shards: Any) -> Any:
        return (
            shards
            | "Spread" >> beam.Reshuffle()
            | "Score" >> beam.ParDo(_Score(self._settings))
            | "Group" >> beam.GroupByKey()
            | "Judge" >> beam.ParDo(_Judge(self._settings))
        )


class _Score(beam.DoFn):
    """A file of a log to what was seen in it, by group of clients."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def setup(self) -> None:
        settings = self._settings
        self._versions = {name: opened(source) for name, source in settings.versions.items()}
        self._vault = settings.vault()
        self._client_of = settings.load_client_of()

    def process(self, shard: Shard) -> Iterator[tuple[int, tuple[int, dict[str, list[Block]]]]]:
        folder = self._settings.work / f"{shard.number:05d}"
        if not (folder / SEEN).is_file():
            with staged(folder) as made:
                made.mkdir(mode=0o700)
                self._look(shard, made)
        seen = json.loads((folder / SEEN).read_bytes())
        groups: dict[int, dict[str, list[Block]]] = collections.defaultdict(dict)
        for client, found in seen["clients"].items():
            # JSON has no NaN.
            groups[_group(client, self._settings.groups)][client] = [
                Block(shard.number, start, length, queries, float("nan") if first is None else first)
                for start, length, queries, first in found
            ]
        for group, clients in groups.items():
            yield group, (shard.number, clients)

    def _look(self, shard: Shard, folder: Path) -> None:
        with (folder / blocks.BLOCKS).open("wb") as file:
            reading = _Reading(self._versions, self._settings.model, shard, file, self._vault)
            for each in logs.read(shard.path, self._client_of):
                reading.add(each)
            reading.end()
        (folder / SEEN).write_text(json.dumps(plain(reading.seen)), encoding="utf-8")


class _Reading:
    """Requests of a file, from what was asked to what was seen."""

    def __init__(
        self, versions: Mapping[str, Scorer], model: str | None, shard: Shard, file: Any, vault: Vault
    ) -> None:
        self._versions, self._model, self._shard = versions, model, shard
        self._file, self._vault = file, vault
        self._waiting: dict[tuple[str, ...], list[_Prepared]] = collections.defaultdict(list)
        # How many rows wait.
        self._rows = 0
        self._kept: dict[str, list[Queries]] = collections.defaultdict(list)
        self.seen: dict[str, Any] = {
            "records": 0,
            "queries": 0,
            "unnamed": 0,
            "untimed": 0,
            "sampled": 1.0,
            "other_models": collections.Counter(),
            "set_aside": 0,
            "named": [],
            "clients": collections.defaultdict(list),
        }

    def add(self, each: Request | Damaged) -> None:
        """Takes a record."""
        self.seen["records"] += 1
        if isinstance(each, Damaged):
            self._set_aside(each.number, each.why)
            return
        if self._model is not None and each.model not in ("", self._model):
            self.seen["other_models"][each.model] += 1
            return
        prepared = []
        for name, scorer in self._versions.items():
            try:
                prepared.append(scorer.prepared(each.signature, each.inputs))
            except RequestError as error:
                self._set_aside(each.number, f"version {name} cannot take it: {error.message}")
                return
        self.seen["sampled"] = min(self.seen["sampled"], each.sampled)
        request = _Prepared(each, [inputs for _, inputs in prepared])
        self._waiting[tuple(signature for signature, _ in prepared)].append(request)
        self._rows += request.count
        if self._rows >= _AT_A_TIME:
            self._score()

    def end(self) -> None:
        """Takes what waits, and writes what is kept."""
        self._score()
        self._write()

    def _score(self) -> None:
        for signatures, waiting in self._waiting.items():
            self._score_together(signatures, waiting)
        self._waiting.clear()
        self._rows = 0
        if sum(len(each) for kept in self._kept.values() for each in kept) >= _KEPT:
            self._write()

    def _score_together(self, signatures: tuple[str, ...], waiting: list[_Prepared]) -> None:
        try:
            found = self._scored(signatures, waiting)
        except RequestError as error:
            if len(waiting) == 1:
                self._set_aside(waiting[0].request.number, error.message)
                return
            # One of them is at fault; the others are not.
            for each in waiting:
                self._score_together(signatures, [each])
            return
        start = 0
        for each in waiting:
            part = slice(start, start + each.count)
            start = part.stop
            at = blocks.places(each.count)
            at["time"], at["shard"] = each.request.time, self._shard.number
            at["number"], at["row"] = each.request.number, np.arange(each.count)
            queries = Queries(at, {name: scored[part] for name, scored in found.items()})
            self._kept[each.request.client].append(queries)
            self.seen["queries"] += each.count
            self.seen["unnamed"] += each.count * (not each.request.client)
            self.seen["untimed"] += each.count * bool(np.isnan(each.request.time))

    def _scored(self, signatures: tuple[str, ...], waiting: list[_Prepared]) -> dict[str, Scored]:
        found = {}
        for place, (name, scorer) in enumerate(self._versions.items()):
            inputs = [each.inputs[place] for each in waiting]
            together = {one: np.concatenate([each[one] for each in inputs]) for one in inputs[0]}
            found[name] = scorer.score(signatures[place], together)
        return found

    def _write(self) -> None:
        for client, kept in self._kept.items():
            queries = Queries.joined(kept)
            start, length = blocks.write(self._file, self._vault, client, queries)
            times = queries.places["time"]
            # Without a time it comes before all that have one.
            first = float("nan") if np.isnan(times).any() else float(times.min())
            self.seen["clients"][client].append((start, length, len(queries), first))
        self._kept.clear()

    def _set_aside(self, number: int, why: str) -> None:
        self.seen["set_aside"] += 1
        if len(self.seen["named"]) < _NAMED:
            self.seen["named"].append((number, why))


class _Prepared:
    """A request, as each version takes it."""

    def __init__(self, request: Request, inputs: list[Mapping[str, np.ndarray]]) -> None:
        self.request, self.inputs = request, inputs
        self.count = max(len(each) for each in inputs[0].values())


class _Judge(beam.DoFn):
    """The blocks of a group of clients to verdicts."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def setup(self) -> None:
        self._vault = self._settings.vault()

    def process(
        self, group: tuple[int, Iterable[tuple[int, dict[str, list[Block]]]]]
    ) -> Iterator[tuple[str, tuple[dict[str, Any], list[dict[str, Any]]]]]:
        clients: dict[str, list[Block]] = collections.defaultdict(list)
        for _, found in group[1]:
            for client, its_blocks in found.items():
                clients[client] += its_blocks
        for client, its_blocks in clients.items():
            in_order = sorted(its_blocks, key=blocks.order)
            yield client, judge(blocks.in_order(in_order, self._opened(client, in_order)), self._settings.alpha)

    def _opened(self, client: str, its_blocks: list[Block]) -> Iterator[Queries]:
        for each in its_blocks:
            yield blocks.read(self._settings.work / f"{each.shard:05d}", self._vault, client, each)


def _group(client: str, groups: int) -> int:
    return int.from_bytes(hashlib.blake2b(client.encode(), digest_size=8).digest(), "big") % groups
