"""`honeykeras audit`: who attacked a model, from the log of its requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from honeykeras import _sources, detectorfile, names
from honeykeras._datasets import kind_of
from honeykeras._files import check_absent
from honeykeras.cli import options
from honeykeras.cli.startup import load_tensorflow
from honeykeras.errors import InvalidArgumentError


@click.command(
    "audit",
    **options.described(
        "honeykeras audit logs --artifact serving/mnist/2 --public-key signing.pub --past serving/mnist/1 \\\n"
        "    --output audit",
        "honeykeras audit queries.npz --detector detector.hk --model model.keras --dataset mnist --output audit",
        "honeykeras audit logs --artifact serving/mnist/2 --public-key signing.pub --output audit \\\n"
        "    -- --direct_num_workers=4 --direct_running_mode=multi_processing",
    ),
)
@click.argument("logs", type=options.PATH)
@options.beam_options
@click.option("--artifact", type=options.PATH, help="The version folder of the artifact that was served.")
@click.option("--detector", "detector_path", type=options.PATH, help="The detector file, in the place of an artifact.")
@options.detector_passphrase
@click.option("--model", "model_path", type=options.PATH, help=f"With --detector: the classifier, {options.A_MODEL}.")
@click.option(
    "--dataset",
    metavar="SOURCE",
    help="With --detector: clean inputs, as `honeykeras train` takes them; they say what is usual.",
)
@click.option(
    "--past", multiple=True, type=options.PATH, help="An artifact of an earlier version. Repeat it for several."
)
@click.option(
    "--past-detector", multiple=True, type=options.PATH, help="A detector of an earlier key for the same --model."
)
@click.option(
    "--alpha",
    type=options.RATE,
    default=names.ALPHA,
    show_default=True,
    help="Probability that a client is accused whose queries depend on no key, at most.",
)
@click.option(
    "--client-of",
    metavar="FUNCTION",
    help="Who asked, from a PredictionLog: file.py:function or package.module:function. Defaults to request_origin.",
)
@click.option(
    "--sealing-key",
    "sealing_keys",
    multiple=True,
    type=options.PATH,
    help="File of a key that opens an artifact, if that is not where it looks for it. Repeat it for several versions.",
)
@options.public_key
@options.unsigned
@click.option("--runner", default="DirectRunner", show_default=True, help="Beam's runner, such as FlinkRunner.")
@click.option(
    "--secret",
    type=options.PATH,
    help="File of the secret that seals what is kept between the steps. Made if it is not there. Defaults to one that "
    "lies with it.",
)
@click.option("--output", type=options.PATH, required=True, help="The folder to make.")
@options.verbose
def audit(
    logs: Path,
    beam_options: tuple[str, ...],
    artifact: Path | None,
    detector_path: Path | None,
    detector_passphrase_file: Path | None,
    model_path: Path | None,
    dataset: str | None,
    past: tuple[Path, ...],
    past_detector: tuple[Path, ...],
    alpha: float,
    client_of: str | None,
    sealing_keys: tuple[Path, ...],
    public_key: Path | None,
    unsigned: bool,
    runner: str,
    secret: Path | None,
    output: Path,
    verbose: int,
) -> None:
    """Find out who attacked a model, from the log of its requests.

    LOGS is a file or a folder: TFRecord files of PredictionLog, as `honeykeras serve --logs` or a server of TensorFlow
    writes them, or .npz files (x, client, time). Each client's queries are put to the detector, and its ledger is run
    over them in their order. Makes a folder with a page, audit.json and flags.jsonl. What is cut off, the same command
    continues. Options of Apache Beam stand after `--`.
    """
    check_absent(output)
    options.check_exists(logs, "a log of requests")
    if (artifact is None) == (detector_path is None):
        raise InvalidArgumentError(
            f"Either `--artifact` or `--detector` must be given. Received: {'neither' if artifact is None else 'both'}."
        )
    if (detector_path is not None or past_detector) and (model_path is None or dataset is None):
        raise InvalidArgumentError("`--detector` and `--past-detector` must come with `--model` and `--dataset`.")
    for path in (each for each in (artifact, *past) if each is not None):
        options.check_exists(path, options.AN_ARTIFACT)
    for path in (each for each in (detector_path, *past_detector) if each is not None):
        detectorfile.read_header(path)
    if model_path is not None:
        options.check_exists(model_path, options.A_MODEL)
    if dataset is not None:
        kind_of(dataset)
    if client_of is not None and not _sources.is_function(client_of):
        raise InvalidArgumentError(
            f"`--client-of` must be file.py:function or package.module:function. Received: {client_of}."
        )
    load_tensorflow()
    beam = options.read_runner(runner, beam_options, "Audits")
    from honeykeras.audit import Artifact, FittedDetector, accused
    from honeykeras.audit import audit as run
    from honeykeras.audit.scorers import Source

    def of_artifact(path: Path) -> Source:
        return Artifact(path, public_key, sealing_keys, unsigned)

    def of_detector(path: Path) -> Source:
        return FittedDetector(path, model_path or Path(), dataset or "", detector_passphrase_file)

    current = of_detector(detector_path) if detector_path is not None else of_artifact(artifact or Path())
    found = run(
        logs,
        [current, *map(of_artifact, past), *map(of_detector, past_detector)],
        output,
        alpha=alpha,
        client_of=client_of,
        secret=secret,
        options=beam or (),
        verbose=verbose,
    )
    _tell(found, accused(found), output)


def _tell(found: dict[str, Any], attackers: dict[str, Any], output: Path) -> None:
    log, traffic = found["log"], found["traffic"]
    click.echo(
        f"{traffic['accused']:,} of {traffic['clients']:,} clients accused, on {log['queries']:,} queries; "
        f"{log['set_aside']:,} records set aside"
    )
    for name, each in attackers.items():
        click.echo(f"{name or 'not named'}: at query {each['first_query']:,}, by the key of version {each['version']}")
    if log["without_client"]:
        click.echo(f"The log names no client of {log['without_client']:,} queries: all of these are taken for one.")
    if log["sampled"] < 1:
        click.echo(f"The log is a sample of {log['sampled']:.0%}: who is accused is accused later than by all queries.")
    click.echo(f"Open {output}/index.html.")
