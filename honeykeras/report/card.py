"""A report as a model card, for people and for machines."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import Any

from honeykeras._files import PathLike, as_path, write_atomic
from honeykeras._optional import templates
from honeykeras.report import narrative
from honeykeras.report.files import write
from honeykeras.report.verdict import verdict


def model_card(document: Mapping[str, Any]) -> str:
    """Turns a report into a model card in Markdown, with the same figures.

    It tells that the model is a honeypot: keep it for those who may know.

    After Mitchell et al. 2019, Model Cards for Model Reporting.

    Args:
        document: A report, as `make` or `read` gives it.

    Raises:
        MissingDependencyError: If Jinja2 is not installed.
    """
    environment = templates("honeykeras.report", lstrip_blocks=True)
    environment.filters.update(
        percent=lambda share: "n/a" if share is None else f"{100 * share:.1f} %",
        attack_name=narrative.attack_name,
        budget=narrative.budget,
        text=_escape,
    )
    detection = document["detection"]
    return environment.get_template("card.md.jinja").render(
        d=document,
        dataset=document["settings"].get("dataset", "not stated"),
        verdict=verdict(exceeds_controls=detection["exceeds_controls"], key_specific=detection["key_specific"]),
        measured=narrative.measured(document),
        limits=narrative.limits(document),
    )


def model_card_json(document: Mapping[str, Any]) -> dict[str, Any]:
    """Turns a report into a model card as data, with the same figures.

    The names are those of the schema of TensorFlow's Model Card Toolkit. Like `model_card`, it tells that the model is
    a honeypot.

    Args:
        document: A report, as `make` or `read` gives it.

    Returns:
        Plain JSON data. Each detection rate stands beside the false positive rate and the controls of the same slice.
    """
    detection, viability = document["detection"], document["viability"]
    controls = {"wrong keys": detection["controls"]["wrong_key"], "no honeypot": detection["controls"]["no_honeypot"]}
    rates = {"with the key": detection, **{f"control: {name}": found for name, found in controls.items()}}
    metrics = [
        _metric("accuracy", "clean images", viability["clean_accuracy"], viability["clean_accuracy_interval"]),
        _metric(
            "accuracy",
            "clean images; control: no honeypot",
            viability["baseline_clean_accuracy"],
            viability["baseline_clean_accuracy_interval"],
        ),
    ]
    for whose, found in rates.items():
        metrics.append(
            _metric(
                "false_positive_rate",
                f"{found['n_clean']} clean images; {whose}",
                found["false_positive_rate"],
                found["false_positive_rate_interval"],
            )
        )
        for name, attack in found["attacks"].items():
            slice_ = f"{narrative.attack_name(name)}, of {attack['n']}; {whose}"
            metrics.append(_metric("true_positive_rate", slice_, attack["true_positive_rate"], attack["interval"]))
            metrics.append(_metric("attack_success_rate", slice_, attack["attack_success_rate"], None))
    dataset = document["settings"].get("dataset", "not stated")
    shown = verdict(exceeds_controls=detection["exceeds_controls"], key_specific=detection["key_specific"])
    return {
        "schema_version": "0.0.2",
        "model_details": {
            "name": f"classifier of {dataset}",
            "overview": f"A honeypot for adversaries, with a detector that knows the key {document['key_id']}. {shown}",
            "version": {"name": document["environment"]["packages"]["honeykeras"]},
        },
        "model_parameters": {"data": [{"name": dataset}]},
        "quantitative_analysis": {"performance_metrics": metrics},
        "considerations": {
            "use_cases": [{"description": f"Classification of inputs like those of {dataset}."}],
            "limitations": [{"description": line} for line in narrative.limits(document)],
        },
    }


def write_model_card(path: PathLike, document: Mapping[str, Any], *, overwrite: bool = False) -> None:
    """Writes a report's model card: as data if the path ends in `.json`, in Markdown otherwise.

    Args:
        path: The file to write.
        document: A report, as `make` or `read` gives it.
        overwrite: Whether a file that is there already may be replaced.

    Raises:
        MissingDependencyError: If Jinja2 is needed, and not installed.
        StorageError: If there is a file already, or the disk refuses.
    """
    if as_path(path).suffix == ".json":
        write(path, model_card_json(document), overwrite=overwrite)
    else:
        write_atomic(path, model_card(document).encode(), overwrite=overwrite)


def _escape(text: str) -> str:
    """Text that Markdown shows as it is: neither markup nor HTML."""
    # Not everything that reads Markdown takes a backslash before "<".
    text = html.escape(" ".join(text.split()), quote=False)
    return re.sub(r"[\\`*_\[\]|~$#!]", lambda found: f"\\{found[0]}", text)


def _metric(kind: str, slice_: str, value: float | None, interval: Any) -> dict[str, Any]:
    low, high = interval or (None, None)
    bounds = {"lower_bound": low, "upper_bound": high}
    return {"type": kind, "slice": slice_, "value": value, "confidence_interval": bounds}
