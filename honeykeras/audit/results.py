"""What an audit found, as files: `audit.json`, `flags.jsonl`, images, and a page for people."""

from __future__ import annotations

import collections
import itertools
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from honeykeras._documents import write_json
from honeykeras._optional import load_optional, templates
from honeykeras.audit import logs
from honeykeras.audit.logs import Shard
from honeykeras.audit.pipeline import Settings
from honeykeras.errors import InvalidArgumentError
from honeykeras.evaluation.statistics import Proportion
from honeykeras.report import figures
from honeykeras.report.pictures import png

REPORT, PAGE, FLAGS, IMAGES = "audit.json", "index.html", "flags.jsonl", "images"

VERSION = 1
# On the page: so many clients, lines in the plot, images, and records that were set aside.
_CLIENTS, _LINES, _IMAGES, _SET_ASIDE = 100, 12, 48, 20


def gathered(shards: Sequence[Shard], settings: Settings, seen: Sequence[Path]) -> dict[str, Any]:
    """What was read of a log, before who sent it.

    Raises:
        InvalidArgumentError: If there is nothing in it that the model takes.
    """
    total: collections.Counter[str] = collections.Counter()
    others: collections.Counter[str] = collections.Counter()
    set_aside: list[dict[str, Any]] = []
    sampled = 1.0
    for shard, path in zip(shards, seen, strict=True):
        document = json.loads(path.read_bytes())
        total.update({name: document[name] for name in ("records", "queries", "unnamed", "untimed", "set_aside")})
        others.update(document["other_models"])
        sampled = min(sampled, document["sampled"])
        set_aside += [{"file": str(shard.path), "record": number, "why": why} for number, why in document["named"]]
    if not total["queries"]:
        model = settings.model
        if set_aside:
            first = set_aside[0]
            what = f"{total['set_aside']} that it does not; record {first['record']} of {first['file']}: {first['why']}"
        elif others:
            what = f"those of {', '.join(sorted(others))}"
        else:
            what = "none"
        raise InvalidArgumentError(
            f"The log must hold requests {f'to the model {model!r} ' if model else ''}that it takes. Received: {what}."
        )
    return {
        "version": VERSION,
        "alpha": settings.alpha,
        "versions": list(settings.versions),
        "model": settings.model,
        "log": {
            "files": len(shards),
            "records": total["records"],
            "queries": total["queries"],
            "without_client": total["unnamed"],
            "without_time": total["untimed"],
            "sampled": sampled,
            "other_models": dict(others),
            "set_aside": total["set_aside"],
        },
        "set_aside": set_aside,
        "clients": {},
    }


def write(
    folder: Path, found: dict[str, Any], shards: Sequence[Shard], settings: Settings, verdicts: Sequence[Path]
) -> None:
    """Writes all of it into a folder that is made, and completes `found` by clients.

    Args:
        folder: The folder.
        found: As `gathered` gave it.
        shards: The log's files.
        settings: What workers went by.
        verdicts: Files of a verdict a line, as `pipeline.Audit` gave them.
    """
    folder.mkdir(parents=True, mode=0o700)
    clients: dict[str, Any] = {}
    with (folder / FLAGS).open("w", encoding="utf-8") as flags:
        for path in verdicts:
            with path.open(encoding="utf-8") as lines:
                for client, (verdict, flagged) in map(json.loads, lines):
                    clients[client] = verdict
                    for each in flagged:
                        file = str(shards[each.pop("shard")].path)
                        flags.write(json.dumps({"client": client, "file": file, **each}) + "\n")
    # Who was accused first, then who has most against it.
    found["clients"] = {name: clients[name] for name in sorted(clients, key=lambda name: _rank(name, clients[name]))}
    found["traffic"] = _traffic(found)
    images = _images(folder, found, shards, settings)
    for each in found["clients"].values():
        del each["images"]
    write_json(folder / REPORT, found)
    (folder / PAGE).write_text(render(found, images), encoding="utf-8")


def _rank(name: str, verdict: Mapping[str, Any]) -> tuple[Any, ...]:
    return (
        not verdict["accused"],
        verdict["accused_on"] or 0,
        -abs(verdict["statistic"] or 0),
        -verdict["flags"],
        name,
    )


def _traffic(found: Mapping[str, Any]) -> dict[str, Any]:
    """What share of the traffic came from who is accused, and how often others are flagged."""
    accused = [each for each in found["clients"].values() if each["accused"]]
    others = [each for each in found["clients"].values() if not each["accused"]]
    queries, flags = (sum(each[name] for each in others) for name in ("queries", "flags"))
    rate = Proportion(flags, queries)
    return {
        "clients": len(found["clients"]),
        "accused": len(accused),
        "queries_of_accused": sum(each["queries"] for each in accused),
        "share_of_accused": sum(each["queries"] for each in accused) / found["log"]["queries"],
        "flag_rate_of_others": rate.value if queries else None,
        "flag_rate_interval": list(rate.interval),
    }


def _images(
    folder: Path, found: Mapping[str, Any], shards: Sequence[Shard], settings: Settings
) -> list[dict[str, Any]]:
    """Writes images of who is accused; returns what the page shows of them."""
    wanted: dict[int, dict[tuple[int, int], str]] = collections.defaultdict(dict)
    theirs = ((client, each) for client, one in found["clients"].items() if one["accused"] for each in one["images"])
    for client, each in itertools.islice(theirs, _IMAGES):
        wanted[each["shard"]][each["record"], each["row"]] = client
    client_of = settings.load_client_of()
    shown: list[dict[str, Any]] = []
    for shard, places in wanted.items():
        last = max(number for number, _ in places)
        for each in logs.read(shards[shard].path, client_of):
            for number, row in sorted(places):
                if each.number == number and (image := _image(each, row)) is not None:
                    name = f"{len(shown):04d}.png"
                    (folder / IMAGES).mkdir(exist_ok=True)
                    (folder / IMAGES / name).write_bytes(image)
                    shown.append({"client": places[number, row], "name": name, "record": number, "row": row})
            if each.number >= last:
                break
    order = {client: place for place, client in enumerate(found["clients"])}
    return sorted(shown, key=lambda each: order[each["client"]])


def _image(request: Any, row: int) -> bytes | None:
    """An input as a PNG file, if it is an image or one that is encoded."""
    value = next(iter(request.inputs.values()))[row]
    if isinstance(value, bytes):
        return value if value.startswith(b"\x89PNG") else None
    if value.ndim != 3 or value.shape[-1] not in (1, 3):
        return None
    scaled = value.astype(np.float32)
    low, high = min(0.0, float(scaled.min())), max(1.0, float(scaled.max()))
    return png((scaled - low) / (high - low))


def render(found: Mapping[str, Any], images: Sequence[Mapping[str, Any]] = ()) -> str:
    """The page of an audit: one HTML file, with images beside it.

    Args:
        found: What `audit.json` holds.
        images: Which images are beside it, and of whom.
    """
    environment = templates("honeykeras.audit", autoescape=True)
    environment.filters.update(moment=_moment, share=_share)
    safe = load_optional("markupsafe").Markup
    clients = list(found["clients"].items())
    lines = [(name or "all", each["accused"], each["moments"]) for name, each in clients if len(each["moments"]) > 1][
        :_LINES
    ]
    return environment.get_template("page.html.jinja").render(
        d=found,
        clients=clients[:_CLIENTS],
        plot=safe(figures.svg("evidence", figures.evidence(lines))) if lines else "",
        images=images,
        set_aside=found["set_aside"][:_SET_ASIDE],
    )


def _moment(when: float | None) -> str:
    return "not known" if when is None else time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(when))


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"
