"""`honeykeras quickstart`: the main job, end to end."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from honeykeras import provenance
from honeykeras._files import check_absent, staged
from honeykeras.cli import evaluate, options, train
from honeykeras.cli import fitting as fitting_options
from honeykeras.cli import recipe as recipes
from honeykeras.cli.startup import load_tensorflow

if TYPE_CHECKING:
    from honeykeras.evaluation import Evaluation
    from honeykeras.recipes import Recipe

WRITTEN = (
    "model.keras",
    "baseline.keras",
    provenance.FILE,
    "watermark.key",
    "detector.hk",
    "report.json",
    "report.html",
    "model_card.md",
    "model_card.json",
    "serving",
    "model.key",
    "signing.pem",
    "signing.pub",
)
"""What the command leaves in its folder."""


@click.command("quickstart", **options.described("honeykeras quickstart --dataset mnist --output mnist-run"))
@options.dataset
@click.option(
    "--output",
    type=options.PATH,
    default="honeykeras-run",
    show_default=True,
    help="Folder to make. One that is there already is refused.",
)
@options.input_range
@recipes.options
@fitting_options.options
@options.kind
@options.max_fpr
@options.samples
@options.cache
@options.policy
@options.seed
@options.overwrite
@options.verbose
def quickstart(
    source: options.DataSource,
    output: Path,
    input_range: tuple[float, float],
    recipe: str,
    poison_rate: float | None,
    amplitude: float | None,
    fitting: fitting_options.Fitting,
    kind: str | None,
    max_fpr: float,
    samples: int,
    cache: bool,
    policy: str,
    seed: int,
    overwrite: bool,
    verbose: int,
) -> None:
    """Do the main job, end to end.

    Trains a classifier as a honeypot, fits a detector, attacks, judges the detector beside its controls, and exports
    the model twice: to hand out, and with that detector sealed in it. Writes watermark.key, model.keras,
    baseline.keras, training.json, detector.hk, report.json, report.html, model_card.md, model_card.json, serving/,
    model.key, which opens the sealed one, and signing.pem and signing.pub, by which both are signed, into the output
    folder: all of them at the end, or nothing. `honeykeras serve` serves what it leaves.
    """
    check_absent(output, overwrite, WRITTEN)
    planted = recipes.get(recipe, poison_rate, amplitude)
    load_tensorflow()
    from honeykeras.cli import table

    with staged(output, overwrite=overwrite, holds=WRITTEN) as folder:
        folder.mkdir()
        evaluation = run(
            source,
            folder,
            input_range=input_range,
            recipe=planted,
            fitting=fitting,
            kind=kind,
            max_fpr=max_fpr,
            samples=samples,
            cache=cache,
            policy=policy,
            seed=seed,
            verbose=verbose,
        )
    table.show(evaluation)
    click.echo(f"Wrote {', '.join(WRITTEN)} to {output}. Serve it: honeykeras serve {output}")


def run(
    source: options.DataSource,
    folder: Path,
    *,
    input_range: tuple[float, float],
    recipe: Recipe,
    fitting: fitting_options.Fitting,
    kind: str | None,
    max_fpr: float,
    samples: int,
    cache: bool,
    policy: str,
    seed: int,
    verbose: int,
) -> Evaluation:
    """Plants, fits, judges and exports, into a folder."""
    import honeykeras as hk
    from honeykeras import attacks, report, training
    from honeykeras.detection import KeyScoreDetector, extractor_cache
    from honeykeras.detection.calibration import check_sample_size
    from honeykeras.evaluation import evaluate as judge
    from honeykeras.evaluation import fit_detector
    from honeykeras.evidence import Observer
    from honeykeras.export import SealingKey, save, save_guarded, signing

    click.echo(f"1/5  Loading {source.source}")
    parts = source.load(seed=seed, input_range=input_range, verbose=verbose)
    epochs = fitting.epochs_for(parts)
    # Told now, and not after the training.
    check_sample_size(len(parts.calibration), max_fpr)

    click.echo(f"2/5  Drawing a key, for {len(parts.train)} training images of shape {parts.input_shape}")
    family = hk.patterns.FAMILIES[recipe.family].for_inputs(parts.input_shape)
    key = hk.WatermarkKey.generate(parts.input_shape, parts.num_classes, pattern=family, input_range=parts.input_range)
    key.save(folder / "watermark.key")

    click.echo(f"3/5  Training without a honeypot, then with one (recipe {recipe.name!r}), {epochs} epochs each")
    honeypot = hk.Honeypot(key, recipe)
    trained = training.train(parts, honeypot, **fitting.arguments(parts), seed=seed, verbose=verbose)
    settings = provenance.settings_of(parts, honeypot, epochs=epochs, seed=seed)
    settings |= {**source.settings(), **fitting.settings()}
    train.write(folder, trained, settings)

    click.echo("4/5  Fitting a detector, attacking both models, and judging it with the key and eight wrong ones")
    used = [attacks.PGD(epsilon=parts.epsilon, input_range=parts.input_range, seed=seed)]
    common: dict[str, Any] = {"attacks": used, "samples": samples, "seed": seed, "verbose": verbose}
    folder_of_extractors = extractor_cache.folder() if cache else None
    detector = fit_detector(trained.model, key, parts, kind=kind, max_fpr=max_fpr, cache=folder_of_extractors, **common)
    detector.save(folder / "detector.hk")
    evaluation = judge(trained.model, key, parts, baseline=trained.baseline, detector=detector, **common)
    document = report.make(evaluation, {**settings, **evaluate.settings_of(parts, used, samples, seed)})
    report.write(folder / "report.json", document)
    report.write_page(folder / "report.html", document)
    for name in ("model_card.md", "model_card.json"):
        report.write_model_card(folder / name, document)

    click.echo("5/5  Exporting for TensorFlow Serving, to hand out, and with the detector sealed in it")
    sealing_key = SealingKey.generate()
    sealing_key.save(folder / "model.key")
    # What stands in a URL.
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", parts.name).strip(".-") or "model"
    named: dict[str, Any] = {"class_names": parts.class_names}
    public = save(trained.model, folder / "serving" / f"{name}-public", keep_secret=detector, **named)
    # The other kinds do not look with an extractor.
    observer = (
        Observer(detector, parts.calibration.inputs, verbose=verbose)
        if isinstance(detector, KeyScoreDetector)
        else None
    )
    guarded: dict[str, Any] = {"policy": policy, "observer": observer, **named}
    hosted = save_guarded(trained.model, folder / "serving" / name, detector, sealing_key, **guarded)
    signing.write_key_pair(folder / "signing.pem", folder / "signing.pub")
    for version in (public, hosted):
        signing.sign(version, folder / "signing.pem")
    return evaluation
