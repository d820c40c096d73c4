"""`report.json` as a file, and what must hold of one.

Its schema is `schema.json` beside this file; `docs/report.md` explains it. What is read has passed it, so that pages,
cards, plots and events find all that they show.
"""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Iterator, Mapping
from typing import Any

from honeykeras._documents import check, read_json, write_json
from honeykeras._files import PathLike
from honeykeras._messages import first_line, json_path
from honeykeras.errors import InvalidArgumentError

SCHEMA_VERSION = 4

# What stands for all attacks together, among their names.
_OVERALL = "overall"
# Room for examples of large images.
_MAX_BYTES = 2**26


def read(path: PathLike) -> dict[str, Any]:
    """Reads a report that `write` wrote.

    Raises:
        StorageError: If the file cannot be read.
        InvalidArgumentError: If it holds no report of this schema version.
    """
    versioned = {
        "type": "object",
        "required": ["schema_version"],
        "properties": {"schema_version": {"const": SCHEMA_VERSION}},
    }
    document = read_json(
        path,
        versioned,
        what=f"a report of schema version {SCHEMA_VERSION}",
        hint="Evaluate again to have one.",
        max_bytes=_MAX_BYTES,
    )
    try:
        check_report(document)
    except ValueError as error:
        raise InvalidArgumentError(
            f"{path} must be as the schema of reports says. Received: {first_line(error)}. Evaluate again to have one."
        ) from None
    return document


def write(path: PathLike, document: Mapping[str, Any], *, overwrite: bool = False) -> None:
    """Writes a document as JSON, in one atomic step.

    Raises:
        StorageError: If there is a file at `path` already, or the disk refuses.
    """
    write_json(path, document, overwrite=overwrite)


def schema() -> dict[str, Any]:
    """The JSON Schema of the report."""
    return json.loads(importlib.resources.files(__package__).joinpath("schema.json").read_text(encoding="utf-8"))


def check_report(document: Mapping[str, Any]) -> None:
    """Checks a report by its schema, and that what belongs together in it agrees.

    Raises:
        ValueError: If it is no report; the message says where.
    """
    check(document, schema())
    detection = document["detection"]
    attacks = set(detection["attacks"])
    for place, rates in _arms(document):
        _same_names(attacks, rates["attacks"], *place, "attacks")
        _check_roc(rates["roc"], attacks, detection["roc"]["at"], *place, "roc")
    for attack, views in (document["indistinguishability"] or {}).items():
        for view, judged in views.items():
            _same_length(
                judged["honeypot"]["tests"],
                judged["yardstick"]["tests"],
                "indistinguishability",
                attack,
                view,
                "yardstick",
                "tests",
            )
    points = document["sweep"] or []
    for index, point in enumerate(points):
        _same_names(points[0]["reconstruction"], point["reconstruction"], "sweep", index, "reconstruction")


def _arms(document: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    """All rates of detectors, with where they stand."""
    detection = document["detection"]
    yield ("detection",), detection
    for name in ("wrong_key", "no_honeypot", "transfer"):
        yield ("detection", "controls", name), detection["controls"][name]
    for kind, judged in document["baselines"].items():
        yield ("baselines", kind), judged
        for name, rates in judged["controls"].items():
            yield ("baselines", kind, "controls", name), rates


def _check_roc(roc: Mapping[str, Any], attacks: set[str], rates: Mapping[str, Any], *place: str) -> None:
    names = {*attacks, _OVERALL}
    for attack, heights in roc["true_positive_rates"].items():
        _same_length(roc["false_positive_rates"], heights, *place, "true_positive_rates", attack)
    _same_names(names, roc["true_positive_rates"], *place, "true_positive_rates")
    _same_names(names, roc["auc"], *place, "auc")
    _same_names(rates, roc["at"], *place, "at")
    for rate, at in roc["at"].items():
        _same_names(names, at, *place, "at", rate)


def _same_names(expected: Any, found: Any, *place: str | int) -> None:
    if differing := sorted(set(expected) ^ set(found)):
        raise ValueError(f"at {json_path(place)}, {differing[0]!r} missing here, or elsewhere")


def _same_length(expected: Any, found: Any, *place: str | int) -> None:
    if len(expected) != len(found):
        raise ValueError(f"at {json_path(place)}, {len(found)} values where {len(expected)} belong")
