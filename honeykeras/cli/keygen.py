"""`honeykeras keygen`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from honeykeras import names
from honeykeras._files import check_absent, read_passphrase
from honeykeras.cli import options
from honeykeras.errors import InvalidArgumentError


@click.command("keygen", **options.described("honeykeras keygen watermark.key --input-shape 28,28,1 --num-classes 10"))
@click.argument("output", type=options.PATH)
@click.option(
    "--input-shape", type=options.Numbers(int, "shape"), required=True, help="Shape of one input, for example 28,28,1."
)
@click.option("--num-classes", type=click.IntRange(min=2), required=True, help="Number of classes.")
@click.option(
    "--input-range",
    type=options.Numbers(float, "low,high"),
    default="0,1",
    show_default=True,
    help="Range of all features alike; ranges of their own are for Python's `WatermarkKey.generate`.",
)
@click.option(
    "--pattern",
    type=click.Choice(names.FAMILIES),
    default="blocks",
    show_default=True,
    help="Family of patterns: blocks, or the paper's scattered features.",
)
@click.option("--block-size", type=options.COUNT, help="blocks: side in pixels. Defaults to what suits the inputs.")
@click.option(
    "--watermark-size",
    type=options.Real(0, 1, min_open=True),
    help="scattered: share of the features marked. Defaults to 0.25.",
)
@click.option(
    "--signed/--unsigned", default=None, help="scattered: +1 and -1, or +1 throughout. Defaults to +1 throughout."
)
@options.passphrase
@options.overwrite
def keygen(
    output: Path,
    input_shape: tuple[int, ...],
    num_classes: int,
    input_range: tuple[float, float],
    pattern: str,
    block_size: int | None,
    watermark_size: float | None,
    signed: bool | None,
    passphrase_file: Path | None,
    overwrite: bool,
) -> None:
    """Draw a new key.

    Writes it to OUTPUT, readable by its owner alone.
    """
    from honeykeras import _checks, patterns
    from honeykeras.keys import WatermarkKey

    check_absent(output, overwrite)
    settings: dict[str, Any] = {"block_size": block_size, "watermark_size": watermark_size, "signed": signed}
    given = {name: value for name, value in settings.items() if value is not None}
    family = patterns.FAMILIES[pattern].for_inputs(_checks.shape("input_shape", input_shape))
    for name in given:
        if name not in family.__dataclass_fields__:
            raise InvalidArgumentError(f"`--{name.replace('_', '-')}` is no setting of the pattern {pattern!r}.")
    family = dataclasses.replace(family, **given)
    key = WatermarkKey.generate(input_shape, num_classes, pattern=family, input_range=input_range)
    key.save(output, read_passphrase(passphrase_file), overwrite=overwrite)
    click.echo(f"Wrote key {key.key_id} to {output}. Keep it secret.")
