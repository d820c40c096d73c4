"""The program: its commands, and what becomes of a mistake.

No module of the command line imports TensorFlow before it must, so that help and mistakes are answered at once.
"""

from __future__ import annotations

import importlib.metadata
import warnings
from typing import Any

import click

from honeykeras.cli.attack import attack
from honeykeras.cli.audit import audit
from honeykeras.cli.check import check
from honeykeras.cli.detector import detector
from honeykeras.cli.evaluate import evaluate
from honeykeras.cli.export import export
from honeykeras.cli.inspect import inspect
from honeykeras.cli.keygen import keygen
from honeykeras.cli.policy import policy
from honeykeras.cli.quickstart import quickstart
from honeykeras.cli.report import report
from honeykeras.cli.score import score
from honeykeras.cli.serve import serve
from honeykeras.cli.traffic import traffic
from honeykeras.cli.train import train
from honeykeras.cli.verify import verify
from honeykeras.errors import HoneyKerasError

PROGRAM = "honeykeras"


@click.group(
    epilog="\b\nExample:\n  honeykeras quickstart --dataset mnist --output mnist-run",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(importlib.metadata.version(PROGRAM), prog_name=PROGRAM)
def cli() -> None:
    """Turn a Keras classifier into a honeypot for adversaries."""


for _command in (
    keygen, check, train, attack, detector, evaluate, report, quickstart, export, verify, inspect,
    serve, policy, traffic, audit, score,
):  # fmt: skip
    cli.add_command(_command)


def run(arguments: list[str] | None = None) -> int:
    """Runs the command line.

    A user's mistake is one line on stderr, and exit status 2.

    Args:
        arguments: The words after the program's name. Defaults to the process's own.

    Returns:
        The exit status.
    """
    try:
        with warnings.catch_warnings():
            # Shown, and not raised, whatever Python was told to do with warnings.
            warnings.filterwarnings("default", category=UserWarning)
            warnings.showwarning = _show_warning
            status = cli.main(arguments, prog_name=PROGRAM, standalone_mode=False)
        return status if isinstance(status, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.ClickException as error:
        return _fail(error.format_message())
    except HoneyKerasError as error:
        return _fail(str(error))
    except (click.Abort, KeyboardInterrupt):
        click.echo(f"{PROGRAM}: interrupted", err=True)
        return 130


def _fail(message: str) -> int:
    click.echo(f"{PROGRAM}: error: {' '.join(message.split())}", err=True)
    return 2


def _show_warning(message: Any, category: Any, filename: str, lineno: int, file: Any = None, line: Any = None) -> None:
    # Others are for developers.
    if issubclass(category, UserWarning):
        click.echo(f"{PROGRAM}: warning: {' '.join(str(message).split())}", err=True)
