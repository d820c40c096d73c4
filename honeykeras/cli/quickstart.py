"""The main job, end to end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

import honeykeras as hk
from honeykeras import _checks, attacks, data, models, provenance, report, training
from honeykeras._files import staged
from honeykeras.detection import KeyScoreDetector
from honeykeras.detection.calibration import check_sample_size
from honeykeras.evaluation import Evaluation, evaluate, fit_detector
from honeykeras.export import POLICIES, SealingKey, save, save_guarded
from honeykeras.recipes import Recipe

# What each command leaves in its folder.
TRAINED = ("model.keras", "baseline.keras", "yardstick.keras", provenance.FILE)
QUICKSTART = (
    "model.keras",
    "baseline.keras",
    provenance.FILE,
    "watermark.key",
    "report.json",
    "report.html",
    "model_card.md",
    "model_card.json",
    "serving",
    "model.key",
)


def run(
    dataset: str,
    output: Path,
    *,
    recipe: Recipe,
    epochs: int | None,
    detector: str | None,
    max_fpr: float,
    samples: int,
    policy: str,
    seed: int,
    overwrite: bool,
    verbose: int,
) -> Evaluation:
    """Plants, attacks, detects, judges and exports; all of `output` appears at the end, or nothing."""
    _checks.one_of("policy", policy, POLICIES)
    with staged(output, overwrite=overwrite, holds=QUICKSTART) as folder:
        folder.mkdir()
        click.echo(f"1/5  Loading {dataset}")
        parts = data.load(dataset, seed=seed)
        epochs = training.EPOCHS[dataset] if epochs is None else epochs
        # Told now, and not after the training.
        check_sample_size(len(parts.calibration), max_fpr)

        click.echo(f"2/5  Drawing a key, for {len(parts.train)} training images of shape {parts.input_shape}")
        family = hk.patterns.FAMILIES[recipe.family].for_inputs(parts.input_shape)
        key = hk.WatermarkKey.generate(parts.input_shape, parts.num_classes, pattern=family)
        key.save(folder / "watermark.key")

        click.echo(f"3/5  Training without a honeypot, then with one (recipe {recipe.name!r}), {epochs} epochs each")
        honeypot = hk.Honeypot(key, recipe)
        trained = training.train(parts, honeypot, epochs=epochs, seed=seed, verbose=verbose)
        used = provenance.settings_of(dataset, honeypot, epochs=epochs, seed=seed)
        save_trained(folder, trained, used)

        click.echo("4/5  Attacking both models and detecting the attacks, with the key and eight wrong ones")
        attack = attacks.PGD(epsilon=parts.epsilon, seed=seed)
        judging: dict[str, Any] = {
            "attacks": [attack],
            "detector": detector,
            "max_fpr": max_fpr,
            "samples": samples,
            "seed": seed,
            "verbose": verbose,
        }
        fitted = fit_detector(trained.model, key, parts, **judging)
        extractor = fitted.extractor if isinstance(fitted, KeyScoreDetector) else None
        evaluation = evaluate(trained.model, key, parts, baseline=trained.baseline, extractor=extractor, **judging)
        settings = {**used, **evaluation_settings(dataset, [attack], samples, seed)}
        document = report.make(evaluation, settings)
        report.write(folder / "report.json", document)
        report.write_page(folder / "report.html", document)
        for name in ("model_card.md", "model_card.json"):
            report.write_model_card(folder / name, document)

        click.echo("5/5  Exporting for TensorFlow Serving, to hand out, and with the detector sealed in it")
        sealing_key = SealingKey.generate()
        sealing_key.save(folder / "model.key")
        save(trained.model, folder / "serving" / f"{dataset}-public", keep_secret=fitted)
        save_guarded(trained.model, folder / "serving" / dataset, fitted, sealing_key, policy=policy)
    return evaluation


def save_trained(folder: Path, trained: training.Trained, settings: Mapping[str, Any]) -> None:
    """Writes the models into a folder, and how they were trained."""
    models.save(trained.model, folder / "model.keras")
    models.save(trained.baseline, folder / "baseline.keras")
    if trained.yardstick:
        models.save(trained.yardstick, folder / "yardstick.keras")
    provenance.write(folder, settings, history=trained.history, baseline_history=trained.baseline_history)


def evaluation_settings(dataset: str, used: list[attacks.Attack], samples: int, seed: int) -> dict[str, Any]:
    """How models were judged, for a report."""
    return {
        "dataset": dataset,
        "seed": seed,
        "attacks": {attack.name: attack.get_config() for attack in used},
        "samples": samples,
    }
