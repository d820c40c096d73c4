"""`honeykeras score`."""

from __future__ import annotations

from pathlib import Path

import click

from honeykeras import detectorfile
from honeykeras._files import check_absent, read_passphrase
from honeykeras.cli import options
from honeykeras.cli.startup import load_tensorflow
from honeykeras.pipelines.classifiers import Classifier

_PARTS = ("test", "calibration", "train", "all")


@click.command(
    "score",
    **options.described(
        "honeykeras score --detector detector.hk --model model.keras --dataset mnist --output scores.npz",
        "honeykeras score --detector detector.hk --model model.keras --dataset records/ --part all \\\n"
        "    --output scores.npz --runner DirectRunner -- --direct_num_workers=4 \\\n"
        "    --direct_running_mode=multi_processing",
    ),
)
@click.option("--detector", "detector_path", type=options.PATH, required=True, help="The detector file.")
@options.detector_passphrase
@options.model
@options.dataset
@click.option(
    "--part",
    type=click.Choice(_PARTS),
    default="test",
    show_default=True,
    help="Which part of the data set, as the seed cuts it.",
)
@click.option("--output", type=options.PATH, required=True, help="The .npz file to write, readable by its owner alone.")
@options.overwrite
@options.seed
@options.runner
@options.beam_options
@options.verbose
def score(
    detector_path: Path,
    detector_passphrase_file: Path | None,
    model_path: Path,
    source: options.DataSource,
    part: str,
    output: Path,
    overwrite: bool,
    seed: int,
    runner: str | None,
    beam_options: tuple[str, ...],
    verbose: int,
) -> None:
    """Score a data set by a detector.

    Writes label, predicted, score and flag of each image, in their order. Exact scores beside their images are
    equations in the key: keep the file as secret as the detector.
    """
    check_absent(output, overwrite)
    detectorfile.read_header(detector_path)
    options.check_exists(model_path, options.A_MODEL)
    passphrase = read_passphrase(detector_passphrase_file)
    load_tensorflow()
    beam = options.read_runner(runner, beam_options, "Workers")
    from honeykeras import detection
    from honeykeras.evaluation import Proportion
    from honeykeras.pipelines import scoring

    classifier = Classifier(model_path)
    bounds = detection.load(detector_path, classifier.open(), passphrase).watermark.input_range
    data = source.load(seed=seed, input_range=bounds, verbose=verbose)
    found = scoring.score(
        detector_path,
        classifier,
        data.samples() if part == "all" else getattr(data, part).dataset(),
        output,
        passphrase_file=detector_passphrase_file,
        options=beam,
        overwrite=overwrite,
        verbose=verbose,
    )
    flagged = Proportion.of(found["flag"])
    low, high = flagged.interval
    right = (found["label"] == found["predicted"]).mean()
    click.echo(
        f"{flagged.value:.2%} of {flagged.n:,} images flagged (95 %: {low:.2%} to {high:.2%}); the model gets "
        f"{right:.2%} right. The scores are in {output}."
    )
