"""`honeykeras export reseal`."""

from __future__ import annotations

from pathlib import Path

import click

from honeykeras.cli import options
from honeykeras.cli.startup import load_tensorflow


@click.command(
    "reseal",
    **options.described(
        "honeykeras export reseal serving/mnist/1 --old-key model.key --new-key next.key --public-key signing.pub"
    ),
)
@options.version
@click.option("--old-key", "old_path", type=options.PATH, required=True, help="File of the key that opens VERSION.")
@click.option(
    "--new-key",
    "new_path",
    type=options.PATH,
    required=True,
    help="File of the one that shall. Made if it is missing, and then stays.",
)
@options.public_key
@options.unsigned
def reseal(version: Path, old_path: Path, new_path: Path, public_key: Path | None, unsigned: bool) -> None:
    """Publish a version again, for another sealing key.

    The model stays as it is, so its signature is verified first. The old version stays as well, until you remove it.
    """
    options.check_exists(version, options.AN_ARTIFACT)
    load_tensorflow()
    from honeykeras.export import SealingKey, rotation, verification

    # Before a key is read.
    identity = verification.check(version, public_key=public_key, unsigned=unsigned)
    old = SealingKey.load(old_path)
    # Before one is made, which stays.
    rotation.check_opens(version, identity, old)
    new = SealingKey.load_or_make(new_path)
    folder = rotation.reseal(version, old, new, public_key=public_key, unsigned=unsigned)
    click.echo(f"Wrote {folder}, which the key {new.key_id} in {new_path} opens. Sign it.")
