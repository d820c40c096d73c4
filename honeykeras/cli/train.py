"""`honeykeras train`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from honeykeras import provenance
from honeykeras._files import check_absent, staged
from honeykeras.cli import options
from honeykeras.cli import recipe as recipes
from honeykeras.cli.startup import load_tensorflow

if TYPE_CHECKING:
    from honeykeras.training import Trained

WRITTEN = ("model.keras", "baseline.keras", "yardstick.keras", provenance.FILE)
"""What the command leaves in its folder."""


@click.command(
    "train", **options.described("honeykeras train --dataset mnist --key watermark.key --epochs 3 --output trained")
)
@options.dataset
@options.key
@options.passphrase
@recipes.options
@click.option(
    "--epochs", type=options.COUNT, default=5, show_default=True, help="Epochs, with the honeypot and without."
)
@click.option("--batch-size", type=options.COUNT, default=128, show_default=True, help="Images a step.")
@click.option(
    "--yardstick",
    is_flag=True,
    help="Also train a third without a honeypot, from another seed, for `evaluate --yardstick`.",
)
@click.option(
    "--output", type=options.PATH, required=True, help="Folder to make. One that is there already is refused."
)
@options.seed
@options.overwrite
@options.verbose
def train(
    source: options.DataSource,
    key_path: Path,
    passphrase_file: Path | None,
    recipe: str,
    poison_rate: float | None,
    amplitude: float | None,
    epochs: int,
    batch_size: int,
    yardstick: bool,
    output: Path,
    seed: int,
    overwrite: bool,
    verbose: int,
) -> None:
    """Train a classifier with a honeypot, and without.

    The classifier is the reference one, a small convolutional net, for inputs in the key's range; the one without a
    honeypot is the control. Writes model.keras, baseline.keras and training.json into the output folder, and
    yardstick.keras if asked to.
    """
    check_absent(output, overwrite, WRITTEN)
    planted = recipes.get(recipe, poison_rate, amplitude)
    key = options.read_key(key_path, passphrase_file)
    load_tensorflow()
    import honeykeras as hk

    data = source.load(seed=seed, input_range=key.input_range, verbose=verbose)
    honeypot = hk.Honeypot(key, planted)
    trained = hk.training.train(
        data, honeypot, epochs=epochs, batch_size=batch_size, yardstick=yardstick, seed=seed, verbose=verbose
    )
    with staged(output, overwrite=overwrite, holds=WRITTEN) as folder:
        folder.mkdir()
        settings = provenance.settings_of(data, honeypot, epochs=epochs, seed=seed)
        settings |= {**source.settings(), "batch_size": batch_size}
        write(folder, trained, settings)
        written = [name for name in WRITTEN if (folder / name).exists()]
    click.echo(f"Wrote {', '.join(written)} to {output}.")


def write(folder: Path, trained: Trained, settings: Mapping[str, Any]) -> None:
    """Writes the models into a folder, and how they were trained."""
    from honeykeras import models

    models.save(trained.model, folder / "model.keras")
    models.save(trained.baseline, folder / "baseline.keras")
    if trained.yardstick:
        models.save(trained.yardstick, folder / "yardstick.keras")
    provenance.write(folder, settings, history=trained.history, baseline_history=trained.baseline_history)
