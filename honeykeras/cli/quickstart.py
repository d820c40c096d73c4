"""The main job, end to end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import honeykeras as hk
from honeykeras import attacks, data, models, report, training
from honeykeras._files import staged
from honeykeras.detection.calibration import check_sample_size
from honeykeras.evaluation import Evaluation, evaluate
from honeykeras.export import save
from honeykeras.recipes import Recipe

# What the reference classifier needs to settle on each data set.
EPOCHS = {"digits": 20, "mnist": 3, "cifar10": 8}


def run(
    dataset: str,
    output: Path,
    *,
    recipe: Recipe,
    epochs: int | None,
    max_fpr: float,
    samples: int,
    seed: int,
    overwrite: bool,
    verbose: int,
) -> Evaluation:
    """Plants, attacks, detects, judges and exports; all of `output` appears at the end, or nothing."""
    with staged(output, overwrite=overwrite) as folder:
        folder.mkdir()
        click.echo(f"1/5  Loading {dataset}")
        parts = data.load(dataset, seed=seed)
        epochs = EPOCHS[dataset] if epochs is None else epochs
        # Told now, and not after the training.
        check_sample_size(len(parts.calibration), max_fpr)

        click.echo(f"2/5  Drawing a key, for {len(parts.train)} training images of shape {parts.input_shape}")
        key = hk.WatermarkKey.generate(parts.input_shape, parts.num_classes)
        key.save(folder / "watermark.key")

        click.echo(f"3/5  Training without a honeypot, then with one (recipe {recipe.name!r}), {epochs} epochs each")
        honeypot = hk.Honeypot(key, recipe)
        trained = training.train(parts, honeypot, epochs=epochs, seed=seed, verbose=verbose)
        save_trained(folder, trained)

        click.echo("4/5  Attacking both models and detecting the attacks, with the key and eight wrong ones")
        attack = attacks.PGD(epsilon=parts.epsilon, seed=seed)
        evaluation = evaluate(
            trained.model,
            key,
            parts,
            baseline=trained.baseline,
            attacks=[attack],
            max_fpr=max_fpr,
            samples=samples,
            verbose=verbose,
        )
        settings = {
            **training_settings(dataset, honeypot, epochs, seed),
            **evaluation_settings(dataset, [attack], samples, seed),
        }
        report.write(folder / "report.json", report.make(evaluation, settings))

        click.echo("5/5  Exporting for TensorFlow Serving")
        save(trained.model, folder / "serving" / dataset)
    return evaluation


def save_trained(folder: Path, trained: training.Trained) -> None:
    """Writes both models into a folder."""
    models.save(trained.model, folder / "model.keras")
    models.save(trained.baseline, folder / "baseline.keras")


def training_settings(dataset: str, honeypot: hk.Honeypot, epochs: int, seed: int) -> dict[str, Any]:
    """How models were trained, for a report. Nothing secret."""
    return {
        "dataset": dataset,
        "seed": seed,
        "key_id": honeypot.key.key_id,
        "watermark": honeypot.key.description["watermark"],
        "recipe": honeypot.recipe.get_config(),
        "epochs": epochs,
    }


def evaluation_settings(dataset: str, used: list[attacks.Attack], samples: int, seed: int) -> dict[str, Any]:
    """How models were judged, for a report."""
    return {
        "dataset": dataset,
        "seed": seed,
        "attacks": {attack.name: attack.get_config() for attack in used},
        "samples": samples,
    }
