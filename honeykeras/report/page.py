"""`render`: a report as one HTML file that needs nothing else."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from honeykeras._files import PathLike, write_atomic
from honeykeras._optional import load_optional, templates
from honeykeras.errors import InvalidArgumentError
from honeykeras.report import narrative
from honeykeras.report.figures import TITLES, figures, svg
from honeykeras.report.verdict import lost, verdict

if TYPE_CHECKING:
    from honeykeras.keys import WatermarkKey


def render(document: Mapping[str, Any], *, key: WatermarkKey | None = None) -> str:
    """Turns a report into a page for people: one file, for phones as well, light and dark, without a script.

    Args:
        document: A report, as `make` or `read` gives it.
        key: The key that it is about. With it, the page shows the watermark, and is secret.

    Returns:
        HTML. The same report gives the same page.

    Raises:
        InvalidArgumentError: If the key is another one.
        MissingDependencyError: If Jinja2 or matplotlib is not installed.
    """
    environment = templates("honeykeras.report", autoescape=True)
    safe = load_optional("markupsafe").Markup
    environment.filters.update(percent=_percent, number=_number, attack_name=narrative.attack_name)
    environment.filters["budget"] = narrative.budget
    environment.filters["class_name"] = functools.partial(_class_name, document["settings"].get("class_names"))
    detection = document["detection"]
    judged = {name: detection[name] for name in ("exceeds_controls", "key_specific")}
    return environment.get_template("page.html.jinja").render(
        d=document,
        dataset=document["settings"].get("dataset", "data not stated"),
        verdict=verdict(**judged),
        shown=all(judged.values()),
        compared=document.get("compared", {}),
        lost=lost(document.get("compared", {})),
        anchored="adversarial_clean_accuracy" in document["viability"],
        # What matplotlib wrote has its text escaped.
        plots={name: safe(svg(name, made)) for name, made in figures(document).items()},
        titles=TITLES,
        patterns=_patterns(document, key) if key else [],
        measured=narrative.measured(document),
        commands=narrative.commands(document),
        settings=json.dumps(document["settings"], indent=2),
        limits=narrative.limits(document),
    )


def write_page(
    path: PathLike, document: Mapping[str, Any], *, key: WatermarkKey | None = None, overwrite: bool = False
) -> None:
    """Writes what `render` gives, in one atomic step; if it shows the watermark, readable by its owner alone.

    Raises:
        StorageError: If there is a file at `path` already, or the disk refuses.
    """
    mode = 0o600 if key else 0o666
    write_atomic(path, render(document, key=key).encode(), mode=mode, overwrite=overwrite)


def _patterns(document: Mapping[str, Any], key: WatermarkKey) -> list[str]:
    if key.key_id != document["key_id"]:
        raise InvalidArgumentError(
            f"The key must be that of the report, {document['key_id']}. Received: the key {key.key_id}."
        )
    if len(key.input_shape) != 3 or key.input_shape[-1] not in (1, 3):
        raise InvalidArgumentError(
            "A watermark can be shown for images of one or three channels. "
            f"Received: a key for inputs of shape {key.input_shape}. Make the page without the key."
        )
    from honeykeras.report.pictures import encode_png
    from honeykeras.watermark import Watermark

    return [encode_png(0.5 + 0.5 * pattern) for pattern in np.asarray(Watermark(key).patterns())]


def _class_name(names: Sequence[str] | None, label: int) -> str:
    return names[label] if names is not None and label < len(names) else f"class {label}"


def _percent(share: float | None, clip: bool = False) -> str:
    if share is None:
        return "n/a"
    share = min(max(share, 0.0), 1.0) if clip else share
    return f"{100 * share:.1f}".replace("100.0", "100")


def _number(value: float | None, digits: int) -> str:
    return "n/a" if value is None else f"{value:.{digits}f}"
