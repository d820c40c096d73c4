"""`honeykeras train`."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from honeykeras import names, provenance
from honeykeras._documents import read_json, write_json
from honeykeras._files import check_absent, staged
from honeykeras.cli import fitting as fitting_options
from honeykeras.cli import options
from honeykeras.cli import recipe as recipes
from honeykeras.cli.startup import load_tensorflow
from honeykeras.errors import DatasetError, InvalidArgumentError, ModelError

if TYPE_CHECKING:
    from honeykeras.training import Trained

WRITTEN = ("model.keras", "baseline.keras", "yardstick.keras", "adversarial.keras", provenance.FILE)
"""What the command leaves in its folder."""


@click.command(
    "train", **options.described("honeykeras train --dataset mnist --key watermark.key --epochs 3 --output trained")
)
@options.dataset
@options.key
@options.passphrase
@recipes.options
@fitting_options.options
@click.option(
    "--yardstick",
    is_flag=True,
    help="Also train a third without a honeypot, from another seed, for `evaluate --yardstick`.",
)
@click.option(
    "--baseline",
    type=click.Choice(names.BASELINES),
    default="plain",
    show_default=True,
    help="What is trained beside the honeypot: plain, or adversarial as well, which is what one would do instead: "
    "adversarial.keras, by PGD of five steps with as many passes, for `evaluate --adversarial`.",
)
@click.option(
    "--output", type=options.PATH, required=True, help="Folder to make. One that is there already is refused."
)
@click.option(
    "--resume",
    is_flag=True,
    help="Go on with a training that was stopped, from its last whole epoch. How far one has come is kept beside the "
    "output, in a folder of its name and .partial.",
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
    fitting: fitting_options.Fitting,
    yardstick: bool,
    baseline: str,
    output: Path,
    resume: bool,
    seed: int,
    overwrite: bool,
    verbose: int,
) -> None:
    """Train a classifier with a honeypot, and without.

    The one without a honeypot is the control: the same classifier, from the same weights, trained as long, on inputs
    in the key's range. Writes model.keras, baseline.keras and training.json into the output folder, and
    yardstick.keras and adversarial.keras if asked to.
    """
    check_absent(output, overwrite, WRITTEN)
    planted = recipes.get(recipe, poison_rate, amplitude)
    key = options.read_key(key_path, passphrase_file)
    load_tensorflow()
    import honeykeras as hk

    data = source.load(seed=seed, input_range=key.input_range, verbose=verbose)
    honeypot = hk.Honeypot(key, planted)
    epochs = fitting.epochs_for(data)
    further = {**source.settings(), **fitting.settings()}
    settings = {**provenance.settings_of(data, honeypot, epochs=epochs, seed=seed), **further}
    with _kept(output, settings, resume) as checkpoints:
        trained = hk.training.train(
            data,
            honeypot,
            **fitting.arguments(data),
            checkpoints=checkpoints,
            yardstick=yardstick,
            adversarial=baseline == "adversarial",
            seed=seed,
            verbose=verbose,
        )
        with staged(output, overwrite=overwrite, holds=WRITTEN) as folder:
            folder.mkdir()
            write(folder, trained, {**provenance.settings_of(data, honeypot, epochs=epochs, seed=seed), **further})
            written = [name for name in WRITTEN if (folder / name).exists()]
    click.echo(f"Wrote {', '.join(written)} to {output}.")


@contextlib.contextmanager
def _kept(output: Path, settings: Mapping[str, Any], resume: bool) -> Iterator[Path]:
    """The folder of what is kept of a training on the way; one that is there already must be of the same training.

    It stays if the block is interrupted, to go on with, and not if the block ends, or a mistake ends it.
    """
    folder = output.with_name(f"{output.name}.partial")
    path = folder / "settings.json"
    goes_on = path.exists()
    if goes_on and not resume:
        raise InvalidArgumentError(
            f"There must be no training that was stopped at {folder}. Go on with it (`--resume`), or remove the folder."
        )
    if goes_on:
        begun = read_json(path, {"type": "object"}, what="the settings of a training that was stopped")
        provenance.check(begun, action="resumed", **settings)
    else:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_json(path, settings)
    try:
        yield folder
    except (DatasetError, InvalidArgumentError, ModelError):
        if not goes_on:
            shutil.rmtree(folder)
        raise
    except KeyboardInterrupt:
        click.echo(f"How far the training has come is in {folder}; `--resume` goes on from there.", err=True)
        raise
    shutil.rmtree(folder)


def write(folder: Path, trained: Trained, settings: Mapping[str, Any]) -> None:
    """Writes the models into a folder, and how they were trained."""
    from honeykeras import models

    models.save(trained.model, folder / "model.keras")
    models.save(trained.baseline, folder / "baseline.keras")
    for name in ("yardstick", "adversarial"):
        further = getattr(trained, name)
        if further:
            models.save(further, folder / f"{name}.keras")
    provenance.write(folder, settings, history=trained.history, baseline_history=trained.baseline_history)
