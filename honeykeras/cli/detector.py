"""`honeykeras detector`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from honeykeras import detectorfile, provenance
from honeykeras._files import check_absent, read_passphrase
from honeykeras.cli import attacks, options
from honeykeras.cli.startup import load_tensorflow
from honeykeras.errors import InvalidArgumentError


@click.group("detector", **options.described("honeykeras detector inspect detector.hk"))
def detector() -> None:
    """Fit detectors, calibrate them anew, and look at them.

    A detector is fitted once: the file is what `evaluate` judges and `export` seals.
    """


@detector.command(
    "fit",
    **options.described(
        "honeykeras detector fit --model trained/model.keras --key watermark.key --dataset mnist \\\n"
        "    --output detector.hk"
    ),
)
@options.model
@options.key
@options.passphrase
@options.dataset
@options.kind
@attacks.chosen
@attacks.settings
@options.max_fpr
@options.samples
@options.cache
@click.option("--output", type=options.PATH, required=True, help="The file to write, readable by its owner alone.")
@options.detector_passphrase
@options.seed
@options.overwrite
@options.verbose
def fit(
    model_path: Path,
    key_path: Path,
    passphrase_file: Path | None,
    source: options.DataSource,
    kind: str | None,
    attack_names: tuple[str, ...],
    max_fpr: float,
    samples: int,
    cache: bool,
    output: Path,
    detector_passphrase_file: Path | None,
    seed: int,
    overwrite: bool,
    verbose: int,
    **settings: Any,
) -> None:
    """Fit and calibrate a detector for a model.

    On images that neither the model was trained on nor `evaluate` tests on, if the seed is that of the training.
    Attacks are for the kinds that learn from them.
    """
    attacks.check(attack_names, settings)
    check_absent(output, overwrite)
    options.check_exists(model_path, options.A_MODEL)
    key = options.read_key(key_path, passphrase_file)
    passphrase = read_passphrase(detector_passphrase_file)
    trained = provenance.read(model_path)
    provenance.check(trained, key_id=key.key_id, seed=seed)
    load_tensorflow()
    import honeykeras as hk
    from honeykeras.detection import extractor_cache
    from honeykeras.evaluation import fit_detector

    model = hk.models.load(model_path)
    data = source.load(seed=seed, input_range=key.input_range, verbose=verbose)
    provenance.check_data(trained, data)
    fitted = fit_detector(
        model,
        key,
        data,
        attacks=attacks.make(attack_names, settings, data, seed),
        kind=kind,
        max_fpr=max_fpr,
        samples=samples,
        seed=seed,
        verbose=verbose,
        cache=extractor_cache.folder() if cache else None,
    )
    fitted.save(output, passphrase, overwrite=overwrite)
    click.echo(f"Wrote detector {fitted.detector_id} to {output}. Keep it as secret as the key.")


@detector.command(
    "calibrate",
    **options.described(
        "honeykeras detector calibrate --detector detector.hk --model trained/model.keras \\\n"
        "    --dataset fresh/ --max-fpr 0.001 --output calibrated.hk"
    ),
)
@click.option("--detector", "path", type=options.PATH, required=True, help="The detector file.")
@options.detector_passphrase
@options.model
@options.dataset
@click.option("--max-fpr", type=options.RATE, required=True, help="False positive rate to calibrate to.")
@click.option("--output", type=options.PATH, required=True, help="The file to write, readable by its owner alone.")
@options.overwrite
@options.verbose
def calibrate(
    path: Path,
    detector_passphrase_file: Path | None,
    model_path: Path,
    source: options.DataSource,
    max_fpr: float,
    output: Path,
    overwrite: bool,
    verbose: int,
) -> None:
    """Give a detector another threshold, from fresh clean data.

    All of the data set is taken: clean inputs such as the model now gets, none of which it was trained on. Neither the
    key is needed nor anything trained. The new detector has an id of its own; `honeykeras export recalibrate`
    puts it into an artifact.
    """
    check_absent(output, overwrite)
    options.check_exists(model_path, options.A_MODEL)
    passphrase = read_passphrase(detector_passphrase_file)
    detectorfile.read_header(path)
    trained = provenance.read(model_path)
    load_tensorflow()
    import honeykeras as hk

    fitted = hk.detection.load(path, hk.models.load(model_path), passphrase)
    data = source.load(seed=trained.get("seed", 0), input_range=fitted.watermark.input_range, verbose=verbose)
    if trained and data.digest == trained["digest"]:
        raise InvalidArgumentError(
            f"`--dataset` must be fresh clean data. Received: {data.source}, which the model was trained on."
        )
    fitted.calibrate(data.everything(), max_fpr, verbose=verbose)
    fitted.save(output, passphrase, overwrite=overwrite)
    click.echo(
        f"Wrote detector {fitted.detector_id}, calibrated on {fitted.calibration.samples} inputs, to {output}. Keep it "
        "as secret as the key."
    )


@detector.command("inspect", **options.described("honeykeras detector inspect detector.hk"))
@click.argument("path", metavar="DETECTOR", type=options.PATH)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def inspect(path: Path, as_json: bool) -> None:
    """Describe a detector file.

    What is public of it: its id, its kind, and which key and model it is for. It needs no passphrase.
    """
    header, encrypted = detectorfile.read_header(path)
    described = {
        "detector_id": header["detector_id"],
        "kind": header["kind"],
        "key_id": header["key_id"],
        "model": header["model"],
        "max_fpr": header["max_fpr"],
        "calibrated_on": header["samples"],
        "passphrase": encrypted,
    }
    if as_json:
        click.echo(json.dumps(described, indent=1))
        return
    for name, value in described.items():
        click.echo(f"{name.replace('_', ' ')}: {options.shown(value)}")
