"""`honeykeras export recalibrate`."""

from __future__ import annotations

from pathlib import Path

import click

from honeykeras import detectorfile
from honeykeras._files import read_passphrase
from honeykeras.cli import options
from honeykeras.cli.startup import load_tensorflow


@click.command(
    "recalibrate",
    **options.described(
        "honeykeras export recalibrate serving/mnist/1 --detector calibrated.hk --sealing-key model.key \\\n"
        "    --public-key signing.pub"
    ),
)
@options.version
@click.option(
    "--detector",
    "path",
    type=options.PATH,
    required=True,
    help="The detector that was calibrated anew, as `honeykeras detector calibrate` writes it.",
)
@options.detector_passphrase
@click.option(
    "--sealing-key",
    "sealing_key_path",
    type=options.PATH,
    required=True,
    help="File of the key that opens VERSION, and shall open the new one.",
)
@options.public_key
@options.unsigned
def recalibrate(
    version: Path,
    path: Path,
    detector_passphrase_file: Path | None,
    sealing_key_path: Path,
    public_key: Path | None,
    unsigned: bool,
) -> None:
    """Publish a version again, with another threshold of its detector.

    The model stays as it is, so its signature is verified first. The old version stays as well, until you remove it.
    """
    options.check_exists(version, options.AN_ARTIFACT)
    passphrase = read_passphrase(detector_passphrase_file)
    contents = detectorfile.read(path, passphrase)
    load_tensorflow()
    from honeykeras.export import SealingKey, rotation, verification

    # Before a key is read.
    verification.check(version, public_key=public_key, unsigned=unsigned)
    key = SealingKey.load(sealing_key_path)
    folder = rotation.recalibrate(version, contents, key, public_key=public_key, unsigned=unsigned)
    click.echo(f"Wrote {folder}, with the detector {detectorfile.identify(contents)}. Sign it.")
