"""`honeykeras export signing-keys` and `honeykeras export sign`."""

from __future__ import annotations

from pathlib import Path

import click

from honeykeras.cli import options


@click.command(
    "signing-keys",
    **options.described("honeykeras export signing-keys --private-key signing.pem --public-key signing.pub"),
)
@click.option("--private-key", type=options.PATH, required=True, help="File to make, readable by its owner alone.")
@click.option("--public-key", type=options.PATH, required=True, help="File to make, for whoever verifies.")
def signing_keys(private_key: Path, public_key: Path) -> None:
    """Draw a pair of keys to sign artifacts with."""
    from honeykeras.export.signing import write_key_pair

    write_key_pair(private_key, public_key)
    click.echo(f"Wrote {private_key} and {public_key}. Keep the first one secret.")


@click.command("sign", **options.described("honeykeras export sign serving/mnist/1 --private-key signing.pem"))
@options.version
@click.option("--private-key", type=options.PATH, required=True, help="PEM file of an EC key.")
@options.overwrite
def sign(version: Path, private_key: Path, overwrite: bool) -> None:
    """Sign a version, last of all.

    VERSION must be what was exported, in its place. Writes the signature beside the version folder. It is OpenSSF
    model-signing's, and `model_signing verify` reads it.
    """
    from honeykeras.export.signing import sign as write_signature

    click.echo(f"Wrote {write_signature(version, private_key, overwrite=overwrite)}.")
