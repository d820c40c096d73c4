"""What several commands share: options, and how they are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from honeykeras.errors import InvalidArgumentError


def together(*options: Callable[..., Any]) -> Callable[..., Any]:
    """Several options as one decorator, shown in the order given."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def described(example: str) -> dict[str, Any]:
    """What every command is made with, so that its help ends in an example."""
    return {"epilog": f"\b\nExample:\n  {example}", "context_settings": {"max_content_width": 100}}


PATH = click.Path(path_type=Path)
COUNT = click.IntRange(min=1)
RATE = click.FloatRange(0, 1, min_open=True, max_open=True)
dataset = click.option("--dataset", default="digits", show_default=True, help="digits, mnist or cifar10.")
model = click.option(
    "--model",
    "model_path",
    type=PATH,
    required=True,
    help="The classifier: a .keras file, or the folder of a SavedModel.",
)
key = click.option("--key", "key_path", type=PATH, required=True, help="The key file.")
passphrase = click.option("--passphrase-file", type=PATH, help="File whose first line is the key file's passphrase.")
seed = click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    help="Seed of splits, weights and attacks.",
)
overwrite = click.option("--overwrite", is_flag=True, help="Replace what is at the output already.")
verbose = click.option(
    "--verbose", type=click.IntRange(0, 2), default=1, show_default=True, help="As in Keras: 0, 1 or 2."
)
samples = click.option(
    "--samples", type=COUNT, default=500, show_default=True, help="How many images to attack, at most."
)
detector = click.option(
    "--detector",
    help="key (needs no attacks to learn from), logistic (learns on the same scores), full (whatever helps; no "
    "evidence of the key), paper or trapdoor (Shan et al.). Defaults to key, or to paper for a key of the paper's "
    "pattern.",
)
max_fpr = click.option(
    "--max-fpr", type=RATE, default=0.01, show_default=True, help="False positive rate to calibrate to."
)


def read_passphrase(path: Path | None) -> str | None:
    """What `passphrase` names: the first line of a private file."""
    if path is None:
        return None
    from honeykeras._files import read_file

    try:
        return read_file(path, "passphrase file", private=True).decode().split("\n", 1)[0].rstrip("\r")
    except UnicodeDecodeError:
        # Without the reason: it would repeat a byte of the passphrase.
        raise InvalidArgumentError(f"The passphrase file {path} must be text in UTF-8.") from None
