"""`honeykeras evaluate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from honeykeras import detectorfile, names, provenance
from honeykeras._files import check_absent, read_passphrase
from honeykeras.cli import attacks, options
from honeykeras.cli.startup import load_tensorflow
from honeykeras.errors import InvalidArgumentError

if TYPE_CHECKING:
    from honeykeras.attacks import Attack
    from honeykeras.data import Data


@click.command(
    "evaluate",
    **options.described(
        "honeykeras evaluate --model trained/model.keras --baseline trained/baseline.keras \\\n"
        "    --key watermark.key --detector detector.hk --dataset mnist --output report.json"
    ),
)
@options.model
@options.artifact
@click.option(
    "--baseline", "baseline_path", type=options.PATH, required=True, help="The control: trained without a honeypot."
)
@options.key
@options.passphrase
@options.dataset
@attacks.chosen
@attacks.settings
@options.detector_file
@options.detector_passphrase
@options.kind
@click.option(
    "--baseline-detector",
    "baseline_detectors",
    type=click.Choice(names.DETECTORS),
    multiple=True,
    help="A further kind of detector to judge on the same images, such as trapdoor or full; repeatable.",
)
@click.option(
    "--max-fpr",
    type=options.RATE,
    help=f"False positive rate to calibrate to. Defaults to that of --detector, or to {names.MAX_FPR}.",
)
@options.samples
@options.cache
@click.option(
    "--security",
    is_flag=True,
    help="Also let attackers who know of the honeypot recover its key and evade its detector. Takes several times as "
    "long.",
)
@click.option(
    "--clients",
    type=click.IntRange(min=0),
    is_flag=False,
    flag_value=50,
    default=0,
    help="Also simulate so many clients of each kind, honest ones and attackers, and tell who of them is accused and "
    "when; 50 without a number. Takes some minutes.",
)
@click.option(
    "--alpha",
    type=options.RATE,
    default=names.ALPHA,
    show_default=True,
    help="With --clients: how probable it may be that a client is ever accused that knows nothing of the key.",
)
@click.option(
    "--yardstick",
    "yardstick_path",
    type=options.PATH,
    help="A further model without a honeypot, as `train --yardstick` makes it: also judge whether an attacker notices "
    "the honeypot.",
)
@click.option(
    "--adversarial",
    "adversarial_path",
    type=options.PATH,
    help="A model that was trained adversarially, as `train --baseline adversarial` makes it: what fools it then "
    "stands beside what gets past the honeypot.",
)
@click.option(
    "--curves",
    is_flag=True,
    help="Also run the attacks that have a radius, and those that follow no gradient, at a quarter, half and three "
    "quarters of it.",
)
@click.option(
    "--output",
    type=options.PATH,
    required=True,
    help="The report to write, JSON; beside it, the same as a page, .html.",
)
@options.seed
@options.overwrite
@options.verbose
def evaluate(
    model_path: Path,
    sealing_key_path: Path | None,
    public_key: Path | None,
    unsigned: bool,
    baseline_path: Path,
    key_path: Path,
    passphrase_file: Path | None,
    source: options.DataSource,
    attack_names: tuple[str, ...],
    detector_path: Path | None,
    detector_passphrase_file: Path | None,
    kind: str | None,
    baseline_detectors: tuple[str, ...],
    max_fpr: float | None,
    samples: int,
    cache: bool,
    security: bool,
    clients: int,
    alpha: float,
    yardstick_path: Path | None,
    adversarial_path: Path | None,
    curves: bool,
    output: Path,
    seed: int,
    overwrite: bool,
    verbose: int,
    **settings: Any,
) -> None:
    """Judge a honeypot beside its controls.

    The detector is the one of `--detector`, or one of a `--kind` that is fitted here and thrown away. The controls are
    detectors for wrong keys, and a model trained without a honeypot. Use the seed that the models were trained with:
    it decides which images they have not seen.
    """
    attacks.check(attack_names, settings)
    page = output.with_suffix(".html")
    if page == output:
        raise InvalidArgumentError(f"`--output` must not end in .html: the page goes beside it. Received: {output}.")
    for path in (output, page):
        check_absent(path, overwrite)
    options.check_model(model_path, sealing_key_path, public_key, unsigned)
    _check_models(model_path, baseline_path, yardstick_path, adversarial_path)
    key = options.read_key(key_path, passphrase_file)
    if detector_path is not None:
        _check_detector(detector_path, key.key_id, kind, max_fpr)
    trained = provenance.read(model_path)
    provenance.check(trained, key_id=key.key_id, seed=seed)
    passphrase = read_passphrase(detector_passphrase_file)
    load_tensorflow()
    import honeykeras as hk
    from honeykeras import detection
    from honeykeras.cli import table
    from honeykeras.detection import extractor_cache
    from honeykeras.evaluation import evaluate as judge

    model = options.load_model(model_path, sealing_key_path, public_key, unsigned)
    baseline = hk.models.load(baseline_path)
    yardstick, adversarial = (hk.models.load(path) if path else None for path in (yardstick_path, adversarial_path))
    data = source.load(seed=seed, input_range=key.input_range, verbose=verbose)
    provenance.check_data(trained, data)
    used = attacks.make(attack_names, settings, data, seed)
    evaluation = judge(
        model,
        key,
        data,
        baseline=baseline,
        attacks=used,
        detector=detection.load(detector_path, model, passphrase) if detector_path else kind,
        baseline_detectors=baseline_detectors,
        max_fpr=max_fpr,
        samples=samples,
        security=security,
        yardstick=yardstick,
        adversarial=adversarial,
        clients=clients,
        alpha=alpha,
        curves=curves,
        seed=seed,
        verbose=verbose,
        cache=extractor_cache.folder() if cache else None,
    )
    document = hk.report.make(evaluation, {**trained, **source.settings(), **settings_of(data, used, samples, seed)})
    hk.report.write(output, document, overwrite=overwrite)
    hk.report.write_page(page, document, overwrite=overwrite)
    table.show(evaluation)
    click.echo(f"Wrote {output} and {page}.")


def settings_of(data: Data, used: Sequence[Attack], samples: int, seed: int) -> Mapping[str, Any]:
    """How models were judged, for a report."""
    return {
        "class_names": None if data.class_names is None else list(data.class_names),
        "seed": seed,
        "attacks": {attack.name: attack.get_config() for attack in used},
        "samples": samples,
    }


def _check_models(
    model_path: Path, baseline_path: Path, yardstick_path: Path | None, adversarial_path: Path | None
) -> None:
    for path in filter(None, (baseline_path, yardstick_path, adversarial_path)):
        options.check_exists(path, options.A_MODEL)
    if model_path.resolve() == baseline_path.resolve():
        raise InvalidArgumentError(f"The baseline must be another model. Received: {model_path} for both.")
    for name, third in (("yardstick", yardstick_path), ("adversarial model", adversarial_path)):
        if third and third.resolve() in (model_path.resolve(), baseline_path.resolve()):
            raise InvalidArgumentError(f"The {name} must be a third model. Received: {third} for two.")


def _check_detector(path: Path, key_id: str, kind: str | None, max_fpr: float | None) -> None:
    """What of a detector's file can be told without opening it."""
    if kind is not None or max_fpr is not None:
        raise InvalidArgumentError(
            "`--kind` and `--max-fpr` are for a detector that is fitted here. Received: `--detector` as well."
        )
    header, _ = detectorfile.read_header(path)
    if header["key_id"] != key_id:
        raise InvalidArgumentError(
            f"The detector in {path} must be for the key that is judged, {key_id}. Received: one for "
            f"{header['key_id']}."
        )
