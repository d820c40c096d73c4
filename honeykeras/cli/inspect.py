"""`honeykeras inspect`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from honeykeras.cli import options
from honeykeras.cli.startup import load_tensorflow


@click.command("inspect", **options.described("honeykeras inspect serving/mnist/1"))
@options.version
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def inspect(version: Path, as_json: bool) -> None:
    """Describe an artifact.

    Its signatures, size and versions, and which key it needs. Nothing of it is secret; it is not loaded.
    """
    options.check_exists(version, options.AN_ARTIFACT)
    load_tensorflow()
    from honeykeras.export import inspect as describe

    described = describe(version)
    if as_json:
        click.echo(json.dumps(described, indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False)
    for name, value in described.items():
        table.add_row(name.replace("_", " "), _lines(value))
    Console().print(table)


def _lines(value: Any) -> str:
    if isinstance(value, dict):
        return "\n".join(
            f"{name}: {', '.join(_sides(each['inputs']))} -> {', '.join(_sides(each['outputs']))}"
            for name, each in value.items()
        )
    if isinstance(value, list):
        return "\n".join(value)
    return options.shown(value)


def _sides(tensors: dict[str, str]) -> list[str]:
    return [f"{name} {what}" for name, what in tensors.items()]
