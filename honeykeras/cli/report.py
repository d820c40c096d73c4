"""`honeykeras report`."""

from __future__ import annotations

from pathlib import Path

import click

from honeykeras import report as reports
from honeykeras._files import check_absent
from honeykeras.cli import options
from honeykeras.cli.startup import load_tensorflow
from honeykeras.errors import InvalidArgumentError


@click.command(
    "report",
    **options.described(
        "honeykeras report report.json --output report.html --model-card card.md --model-card card.json \\\n"
        "    --tensorboard logs",
        "honeykeras report report.json --key watermark.key --output secret.html",
    ),
)
@click.argument("document_path", metavar="REPORT", type=options.PATH)
@click.option("--output", type=options.PATH, help="The page to write, HTML.")
@click.option(
    "--key",
    "key_path",
    type=options.PATH,
    help="The key file: the page then shows the watermark, and is to be kept secret.",
)
@options.passphrase
@click.option(
    "--model-card",
    "model_cards",
    type=options.PATH,
    multiple=True,
    help="A model card to write: JSON if it ends in .json, Markdown otherwise; repeatable.",
)
@click.option("--tensorboard", type=options.PATH, help="A folder to write TensorBoard's events into.")
@options.overwrite
def report(
    document_path: Path,
    output: Path | None,
    key_path: Path | None,
    passphrase_file: Path | None,
    model_cards: tuple[Path, ...],
    tensorboard: Path | None,
    overwrite: bool,
) -> None:
    """Show a report to people.

    Makes a page, a model card or TensorBoard's events of REPORT, the JSON that `evaluate` and `quickstart` write.
    """
    if not (output or model_cards or tensorboard):
        raise InvalidArgumentError("Say what to write: `--output`, `--model-card` or `--tensorboard`. Received: none.")
    if key_path and not output:
        raise InvalidArgumentError(
            "`--key` is for the page: say where it goes with `--output`. Received: no `--output`."
        )
    for path in filter(None, (output, *model_cards)):
        check_absent(path, overwrite)
    document = reports.read(document_path)
    key = options.read_key(key_path, passphrase_file) if key_path else None
    # A watermark is drawn, and events are written, by TensorFlow.
    if key or tensorboard:
        load_tensorflow()
    if output:
        reports.write_page(output, document, key=key, overwrite=overwrite)
    for path in model_cards:
        reports.write_model_card(path, document, overwrite=overwrite)
    if tensorboard:
        reports.write_summaries(document, tensorboard)
    click.echo(f"Wrote {', '.join(str(path) for path in (output, *model_cards, tensorboard) if path)}.")
