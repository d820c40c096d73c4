"""`model_card`: a report as a model card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from honeykeras.report import narrative
from honeykeras.report.optional import load_optional
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
    jinja2 = load_optional("jinja2")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("honeykeras.report", ""),
        autoescape=False,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=lambda share: "n/a" if share is None else f"{100 * share:.1f} %")
    detection = document["detection"]
    return environment.get_template("card.md.jinja").render(
        d=document,
        dataset=document["settings"].get("dataset", "not stated"),
        verdict=verdict(exceeds_controls=detection["exceeds_controls"], key_specific=detection["key_specific"]),
        attack_names=narrative.ATTACKS,
        measured=narrative.measured(document),
        limits=narrative.limits(document),
    )
