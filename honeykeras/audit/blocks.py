"""Queries of a client as they are kept between the steps of an audit: blocks in files, sealed.

A folder holds what was seen in one file of a log:

    00003/
    ├── seen.json      what was read, and where the blocks of each client are
    └── blocks         the blocks, one after the other

What is seen in queries is key material (`evidence.Observations`), and a runner may write what it hands on anywhere. So
it is handed on in these files alone, and no block opens without the secret that the workers share.
"""

from __future__ import annotations

import dataclasses
import io
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from honeykeras.audit.scorers import Scored
from honeykeras.evidence import Observations, Rules, Vault

BLOCKS = "blocks"

# Of each query besides what each version sees: when it came, which file, record and row it is, its flag and score.
_PLACE = np.dtype([("time", "<f8"), ("shard", "<i8"), ("number", "<i8"), ("row", "<i8")])
_HEAD = struct.Struct("<QQ")
_LENGTH = struct.Struct("<Q")
# So many queries are put together, if there are as many, before a ledger takes them.
_STRETCH = 512
# Of a version: classes, dimensions, nearness and margin.
_RULES = struct.Struct("<QQdd")


class Block(NamedTuple):
    """Where a block is, and what may be known of it without opening it.

    Attributes:
        shard: Which file of the log it is of.
        start: Where in the file of blocks it begins.
        length: How many bytes it has.
        queries: How many queries.
        first: When the first came; NaN if that is not known.
    """

    shard: int
    start: int
    length: int
    queries: int
    first: float


@dataclasses.dataclass(frozen=True)
class Queries:
    """Queries of one client.

    Attributes:
        places: When each came, and where in the log it is: an array of `time`, `shard`, `number` and `row`.
        versions: What was seen in them, by the name of the version whose key looked; first of the one in question.
    """

    places: np.ndarray
    versions: Mapping[str, Scored]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, chosen: np.ndarray | slice) -> Queries:
        return Queries(self.places[chosen], {name: each[chosen] for name, each in self.versions.items()})

    @classmethod
    def joined(cls, parts: Sequence[Queries]) -> Queries:
        """Several, one after the other."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            np.concatenate([part.places for part in parts]),
            {name: Scored.joined([part.versions[name] for part in parts]) for name in parts[0].versions},
        )


def places(count: int) -> np.ndarray:
    """Room for the places of queries."""
    return np.zeros(count, _PLACE)


def write(file: io.BufferedIOBase, vault: Vault, client: str, queries: Queries) -> tuple[int, int]:
    """Appends a block; returns where it begins and how long it is."""
    start = file.tell()
    parts = [_HEAD.pack(len(queries), len(queries.versions)), queries.places.tobytes()]
    for name, scored in queries.versions.items():
        rules = scored.rules
        encoded = name.encode()
        parts += [
            _LENGTH.pack(len(encoded)),
            encoded,
            _RULES.pack(rules.num_classes, rules.dimensions, rules.nearness, rules.margin),
            np.asarray(scored.flags, np.bool_).tobytes(),
            np.asarray(scored.scores, np.float32).tobytes(),
            scored.seen.to_bytes(),
        ]
    sealed = vault.seal_bytes(client, b"".join(parts))
    file.write(sealed)
    return start, len(sealed)


def read(folder: Path, vault: Vault, client: str, block: Block) -> Queries:
    """A block's queries.

    Raises:
        KeyFileError: If it does not open.
        OSError: If the file cannot be read.
    """
    with (folder / BLOCKS).open("rb") as file:
        file.seek(block.start)
        content = io.BytesIO(vault.open_bytes(client, file.read(block.length)))
    count, versions = _HEAD.unpack(content.read(_HEAD.size))
    found = np.frombuffer(content.read(count * _PLACE.itemsize), _PLACE)
    seen: dict[str, Scored] = {}
    for _ in range(versions):
        (length,) = _LENGTH.unpack(content.read(_LENGTH.size))
        name = content.read(length).decode()
        classes, dimensions, nearness, margin = _RULES.unpack(content.read(_RULES.size))
        seen[name] = Scored(
            np.frombuffer(content.read(count), np.bool_),
            np.frombuffer(content.read(4 * count), np.float32),
            Observations.from_bytes(content, count, classes, dimensions),
            Rules(classes, dimensions, nearness, margin=margin),
        )
    return Queries(found, seen)


def in_order(blocks: Sequence[Block], opened: Iterator[Queries]) -> Iterator[Queries]:
    """A client's queries in the order in which they came, in stretches.

    No more of them are in memory than a stretch, and what overlaps in time with it. Where times are the same or not
    known, the order is that of the log's files, and of records within.

    Args:
        blocks: Where they are, sorted by `order`.
        opened: The queries of each.
    """
    waiting: list[Queries] = []
    for block, queries in zip(blocks, opened, strict=True):
        if sum(map(len, waiting)) >= _STRETCH:
            together = _sorted(Queries.joined(waiting))
            ready = _before(together.places, block)
            if ready:
                yield together[:ready]
            waiting = [together[ready:]] if ready < len(together) else []
        waiting.append(queries)
    if waiting:
        yield _sorted(Queries.joined(waiting))


def order(block: Block) -> tuple[float, int, int]:
    """By what blocks are sorted for `in_order`."""
    return (float(_when(np.array(block.first))), block.shard, block.start)


def _sorted(queries: Queries) -> Queries:
    at = queries.places
    return queries[np.lexsort((at["row"], at["number"], at["shard"], _when(at["time"])))]


def _before(at: np.ndarray, block: Block) -> int:
    """How many queries, in their order, came before those of a block, whatever these are."""
    first = float(_when(np.array(block.first)))
    times = _when(at["time"])
    # What came at the same time in an earlier file came before.
    return int(np.count_nonzero((times < first) | ((times == first) & (at["shard"] < block.shard))))


def _when(times: np.ndarray) -> np.ndarray:
    # Without a time, before all that have one.
    return np.where(np.isnan(times), -np.inf, times)
