"""Options that say how to plant."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from honeykeras import names
from honeykeras.cli.options import Real, together

if TYPE_CHECKING:
    from honeykeras.recipes import Recipe

options = together(
    click.option(
        "--recipe",
        type=click.Choice(names.RECIPES),
        default="balanced",
        show_default=True,
        help="How to plant: balanced, hardened (hard to fool otherwise as well, and slower to train), or paper for "
        "reproduction.",
    ),
    click.option(
        "--poison-rate",
        type=Real(0, 1, max_open=True),
        help="Share of training samples to poison, instead of the recipe's.",
    ),
    click.option(
        "--amplitude",
        type=Real(0, 1, min_open=True),
        help="Greatest strength of the watermark, a share of the input range.",
    ),
)


def get(name: str, poison_rate: float | None, amplitude: float | None) -> Recipe:
    """The recipe that the options name."""
    from honeykeras import recipes

    recipe = recipes.get(name)
    if poison_rate is None and amplitude is None:
        return recipe
    return dataclasses.replace(
        recipe,
        name=f"{name}, changed",
        poison_rate=recipe.poison_rate if poison_rate is None else poison_rate,
        amplitude=recipe.amplitude if amplitude is None else amplitude,
    )
