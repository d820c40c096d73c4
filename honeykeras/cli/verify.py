"""`honeykeras verify`."""

from __future__ import annotations

from pathlib import Path

import click

from honeykeras import manifest
from honeykeras.cli import options
from honeykeras.cli.startup import load_tensorflow
from honeykeras.errors import InvalidArgumentError


@click.command(
    "verify",
    **options.described(
        "honeykeras verify serving/mnist/1 --public-key signing.pub --sealing-key model.key --report report.json"
    ),
)
@options.version
@options.public_key
@options.sealing_key
@click.option("--key", "key_path", type=options.PATH, help="The watermark's key, of which nothing may be in any file.")
@options.passphrase
@click.option("--name", help="The model's name that is expected. Defaults to that of the folder that VERSION is in.")
@click.option(
    "--role",
    type=click.Choice(manifest.ROLES),
    help="What is expected: public (to hand out) or hosted (for the host that has the key).",
)
@click.option(
    "--report", "report_path", type=options.PATH, help="The report that judged the detector which must be in it."
)
@options.unsigned
def verify(
    version: Path,
    public_key: Path | None,
    sealing_key_path: Path | None,
    key_path: Path | None,
    passphrase_file: Path | None,
    name: str | None,
    role: str | None,
    report_path: Path | None,
    unsigned: bool,
) -> None:
    """Check an artifact.

    Its files, its signature, whether it is the one that is expected in its place, whether its detector is the one that
    a report judged, leaks, what operations its graph is made of, and at last that it answers its warmup requests with
    probabilities. The graph of an artifact that needs a key is run only if its signature is right.
    """
    options.check_exists(version, options.AN_ARTIFACT)
    detector_id = None if report_path is None else _judged(report_path)
    key = options.read_key(key_path, passphrase_file) if key_path else None
    load_tensorflow()
    from honeykeras.export import SealingKey
    from honeykeras.export import verify as checks

    sealing_key = SealingKey.load(sealing_key_path) if sealing_key_path else None
    made = checks(
        version,
        public_key=public_key,
        sealing_key=sealing_key,
        watermark_key=key,
        name=name,
        role=role,
        detector_id=detector_id,
        unsigned=unsigned,
    )
    for what, found in made:
        click.echo(f"{what}: {found}")


def _judged(report_path: Path) -> str:
    """The id of the detector that a report judged."""
    from honeykeras import report

    detector_id = report.read(report_path)["detection"].get("detector_id")
    if detector_id is None:
        raise InvalidArgumentError(
            f"{report_path} must name the detector that it judged. Received: a report of none. Evaluate again."
        )
    return detector_id
