"""`honeykeras traffic`: what a gateway's clients send."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import click

from honeykeras._files import check_absent
from honeykeras.cli import options
from honeykeras.cli.startup import load_tensorflow
from honeykeras.errors import InvalidArgumentError, StorageError

_SECONDS = 10


@click.group("traffic", **options.described("honeykeras traffic status http://127.0.0.1:8502"))
def traffic() -> None:
    """Look at what a gateway's clients send, and calibrate on it."""


@traffic.command("status", **options.described("honeykeras traffic status http://127.0.0.1:8502"))
@click.argument("url")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(url: str, as_json: bool) -> None:
    """Tell how many false alarms there are on a gateway's own traffic, and who is accused.

    URL is that of the gateway's private port. The rate has an interval at 95 %, and is of what clients send that are
    not accused.
    """
    state = _get(url)
    if as_json:
        click.echo(json.dumps({**state["traffic"], "accused": _accused(state)}, indent=1))
        return
    alarms = state["traffic"]["false_alarms"]
    low, high = (f"{end:.2%}" for end in alarms["interval"])
    rate = "nothing was sent yet" if alarms["rate"] is None else f"{alarms['rate']:.2%} ({low} to {high})"
    click.echo(f"false alarms: {rate} of {alarms['n']:,} inputs; calibrated to {alarms['calibrated_to']:.2%}")
    actions = ", ".join(f"{name} {count:,}" for name, count in sorted(state["traffic"]["actions"].items()))
    would = "would have been done" if state["policy"]["shadow"] else "was done"
    click.echo(f"what {would}: {actions or 'nothing'}")
    click.echo(f"accused: {', '.join(_accused(state)) or 'nobody'}")
    for alert in state["traffic"]["alerts"]:
        click.echo(f"alert: {alert}")


def _accused(state: dict[str, Any]) -> list[str]:
    return [each["name"] for each in state["clients"] if each["accused_at"]]


def _get(url: str) -> dict[str, Any]:
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise InvalidArgumentError(f"The URL must begin with http:// or https://. Received: {url}.")
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/state", timeout=_SECONDS) as response:  # noqa: S310 - see above
            found = json.load(response)
    except (OSError, ValueError) as error:
        why = getattr(error, "reason", None) or error
        raise StorageError(f"A gateway's private port must answer at {url}. Received: {why}.") from None
    if not isinstance(found, dict) or not {"traffic", "policy", "clients"} <= found.keys():
        raise StorageError(f"A gateway's private port must answer at {url}. Received: another page.")
    return found


@traffic.command(
    "export",
    **options.described(
        "honeykeras traffic export logs --without 203.0.113.9 --per-client 100 --output clean.npz",
        "honeykeras detector calibrate --detector detector.hk --model model.keras --dataset clean.npz \\\n"
        "    --max-fpr 0.01 --output calibrated.hk",
        "honeykeras export recalibrate serving/mnist/1 --detector calibrated.hk --sealing-key model.key \\\n"
        "    --public-key signing.pub",
    ),
)
@click.argument("logs", type=options.PATH)
@click.option("--output", type=options.PATH, required=True, help="The .npz file to write, readable by its owner alone.")
@click.option("--without", multiple=True, metavar="CLIENT", help="Leave a client out, such as one that was accused.")
@click.option("--per-client", type=options.COUNT, help="Take so many inputs of a client, at most.")
@options.overwrite
def export(logs: Path, output: Path, without: tuple[str, ...], per_client: int | None, overwrite: bool) -> None:
    """Write what clients sent as a data set, to calibrate a detector on.

    LOGS is the folder of `honeykeras serve --logs`. Labels are what the clients were told.
    """
    check_absent(output, overwrite)
    options.check_exists(logs, "a folder of logs")
    load_tensorflow()
    from honeykeras.gateway import log_reading

    inputs, clients = log_reading.export_clean(
        logs, output, without=without, per_client=per_client, overwrite=overwrite
    )
    click.echo(f"Wrote {inputs:,} inputs of {clients:,} clients to {output}.")
