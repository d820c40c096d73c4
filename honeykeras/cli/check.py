"""`honeykeras check`."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import click

from honeykeras.cli import fitting as fitting_options
from honeykeras.cli import options
from honeykeras.cli import recipe as recipes
from honeykeras.cli.startup import load_tensorflow

if TYPE_CHECKING:
    from honeykeras.preflight import Preflight

# Classes that are listed one by one, at most.
_MOST_LISTED = 12


@click.command(
    "check", **options.described("honeykeras check --model mine.py:resnet --dataset photos/ --image-size 96")
)
@options.dataset
@options.input_range
@fitting_options.options
@recipes.options
@options.max_fpr
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@options.seed
@options.verbose
def check(
    source: options.DataSource,
    input_range: tuple[float, float],
    fitting: fitting_options.Fitting,
    recipe: str,
    poison_rate: float | None,
    amplitude: float | None,
    max_fpr: float,
    as_json: bool,
    seed: int,
    verbose: int,
) -> None:
    """Tell what a training would do, before it is begun.

    Reads the data, makes the classifier, and trains a few steps, without a honeypot and with one: what would be
    planted, how long that takes, and what will not work. Writes nothing. What cannot work at all is an error.
    """
    planted = recipes.get(recipe, poison_rate, amplitude)
    load_tensorflow()
    from honeykeras.preflight import preflight

    data = source.load(seed=seed, input_range=input_range, verbose=0 if as_json else verbose)
    found = preflight(
        data,
        fitting.build(),
        planted,
        epochs=fitting.epochs_for(data),
        batch_size=fitting.batch_size,
        max_fpr=max_fpr,
        seed=seed,
    )
    if as_json:
        click.echo(json.dumps({**dataclasses.asdict(found), "recipe": found.recipe.get_config()}, indent=1))
        return
    _show(found)


def _show(found: Preflight) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, said in _rows(found).items():
        table.add_row(name, str(said))
    console = Console()
    console.print(table, highlight=False)
    for problem in found.problems:
        console.print(f"[bold]Problem:[/bold] {problem}", highlight=False)
    if not found.problems:
        console.print("Nothing speaks against it.", highlight=False)


def _rows(found: Preflight) -> dict[str, Any]:
    recipe, sizes = found.recipe, found.class_sizes
    low, high = found.values
    listed = ", ".join(f"{name} {count}" for name, count in list(sizes.items())[:_MOST_LISTED])
    plain, honeypot = found.seconds["plain"], found.seconds["honeypot"]
    return {
        "samples": ", ".join(f"{count} {part}" for part, count in found.samples.items()),
        "inputs": f"shape {found.input_shape}, in {found.input_range}; from {low:.3g} to {high:.3g} as found",
        "classes": f"{len(sizes)}: {listed}{', ...' if len(sizes) > _MOST_LISTED else ''}",
        "detail": "no images" if found.detail is None else f"{found.detail:.3f} of the input range",
        "model": f"{found.parameters:,} weights, {found.output}, {'with' if found.branch else 'without'} a branch",
        "planted": f"recipe {recipe.name!r}, family {found.family['name']!r}, {_amplitude(recipe)} of the range, "
        f"{found.poisoned} samples an epoch",
        "time": f"{plain:.2g} s an epoch without a honeypot, {honeypot:.2g} s with one; "
        f"{_duration(found.epochs * (plain + honeypot))} in all, for {found.epochs} epochs each"
        + (", and once what two small networks take" if recipe.transfer_share else ""),
        "memory": f"about {found.memory:,} MB",
    }


def _amplitude(recipe: Any) -> str:
    points = recipe.amplitude if isinstance(recipe.amplitude, tuple) else ((0, recipe.amplitude),)
    return f"up to {max(value for _, value in points):.3f}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
