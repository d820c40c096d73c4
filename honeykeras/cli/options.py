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


class Numbers(click.ParamType):
    """Comma-separated numbers."""

    def __init__(self, kind: Callable[[str], float], name: str) -> None:
        self.kind, self.name = kind, name

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[float, ...]:
        try:
            return tuple(self.kind(part) for part in value.split(","))
        except ValueError:
            self.fail(f"{value!r} must be numbers separated by commas.", param, ctx)


def described(example: str) -> dict[str, Any]:
    """What every command is made with, so that its help ends in an example."""
    return {"epilog": f"\b\nExample:\n  {example}", "context_settings": {"max_content_width": 100}}


PATH = click.Path(path_type=Path)
public_key = click.option("--public-key", type=PATH, help="The public key that an artifact must be signed for.")
unsigned = click.option(
    "--unsigned",
    is_flag=True,
    help="Run the graph of an artifact that needs a key unverified: one that was tampered with gives the key away.",
)
sealing_key = click.option(
    "--sealing-key",
    "sealing_key_path",
    type=PATH,
    help="File of the key that opens an artifact, if that is not where it looks for it.",
)
# How a classifier is read from an artifact that needs a key, as `load_model` does.
artifact = together(sealing_key, public_key, unsigned)
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


def load_model(model_path: Path, sealing_key_path: Path | None, public_key: Path | None, unsigned: bool) -> Any:
    """What `model` and `artifact` name: a classifier, of an artifact that needs a key where they say so."""
    import honeykeras as hk
    from honeykeras import export

    if sealing_key_path is None and public_key is None and not unsigned:
        return hk.models.load(model_path)
    if not model_path.is_dir():
        raise InvalidArgumentError(
            "`--sealing-key`, `--public-key` and `--unsigned` are for the version folder of an artifact. Received: "
            f"{model_path}."
        )
    key = export.SealingKey.load(sealing_key_path) if sealing_key_path else None
    return export.load(model_path, sealing_key=key, public_key=public_key, unsigned=unsigned)
