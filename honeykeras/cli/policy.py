"""`honeykeras policy`: what a gateway does of flags and accusations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from honeykeras._files import check_absent
from honeykeras.cli import options
from honeykeras.cli.startup import load_tensorflow

EXAMPLE = """\
# What `honeykeras serve` does. What is left out is as here.
version = 1
shadow = false      # true: answers are the model's, and what would have been done is logged
max_fpr = 0.01      # what the detector was calibrated to

[clients]
identify = "address"    # or "header", set by a proxy; "key" or "certificate", of a client's own
header = "x-client-id"
trusted_proxies = []    # addresses or networks, such as "10.0.0.0/8"
observed_only = []      # clients whose answers are never changed: explanation tools, tests
rate = ""               # such as "600/minute"
remembered = 5000
without_store = "open"  # or "closed": refuse requests while the Redis of replicas does not answer

[flag]                  # an input is flagged, of a client that is not accused
action = "mislead"      # observe, mislead, decoy, reject, slow or ban
delay = "1s"            # of slow
duration = "1h"         # of ban

[accusation]            # all answers to a client that is accused
action = "decoy"
delay = "1s"
duration = "7d"         # then it begins anew

[evidence]
alpha = 0.001           # how probable it may be that a client is accused whose queries do not depend on the key

[logs]
sample = 1.0
pseudonyms = false
file_size = "64 MB"
total_size = "1 GB"
flagged = 1000

[limits]
body = "16 MB"
deadline = "10s"

[serve]                 # mnist = 2: which version is served; the greatest where none is given

# [labels.mnist]        # further versions, at /v1/models/mnist/labels/canary
# canary = 3
"""


@click.group("policy", **options.described("honeykeras policy install next.toml policy.toml"))
def policy() -> None:
    """Say what a gateway does of flags and accusations.

    A policy is a TOML file, which `honeykeras serve --policy` reads at its start, and again at SIGHUP.
    """


_policy_key = click.option("--policy-key", type=options.PATH, help="The public key that it must be signed for.")
_file = click.argument("path", metavar="POLICY", type=options.PATH)


def _files() -> Any:
    load_tensorflow()
    from honeykeras._optional import load_optional

    load_optional("pydantic", "gateway", "A policy")
    from honeykeras.gateway import policy_files

    return policy_files


@policy.command("example", **options.described("honeykeras policy example --output policy.toml"))
@click.option("--output", type=options.PATH, help="The file to write. Defaults to printing it.")
@options.overwrite
def example(output: Path | None, overwrite: bool) -> None:
    """Write the policy that is in force where none is given, with what can be changed."""
    if output is None:
        click.echo(EXAMPLE, nl=False)
        return
    from honeykeras._files import write_atomic

    check_absent(output, overwrite)
    write_atomic(output, EXAMPLE.encode(), overwrite=overwrite)
    click.echo(f"Wrote {output}. Change it, then: honeykeras serve --policy {output} ...")


@policy.command("check", **options.described("honeykeras policy check policy.toml --policy-key signing.pub"))
@_file
@_policy_key
def check(path: Path, policy_key: Path | None) -> None:
    """Check a policy, and its signature if there is a key for it."""
    found = _files().read(path, policy_key)
    click.echo(
        f"{path} is right: version {found.version}, flagged: {found.flag.action}, accused: {found.accusation.action}"
        f"{', in the shadow' if found.shadow else ''}."
    )


@policy.command("sign", **options.described("honeykeras policy sign policy.toml --private-key signing.pem"))
@_file
@click.option("--private-key", type=options.PATH, required=True, help="The private key, a PEM file.")
def sign(path: Path, private_key: Path) -> None:
    """Sign a policy, for gateways that take no other (`--policy-key`)."""
    click.echo(f"Wrote {_files().sign(path, private_key)}.")


@policy.command("install", **options.described("honeykeras policy install next.toml /etc/gateway/policy.toml"))
@click.argument("new", type=options.PATH)
@_file
@_policy_key
def install(new: Path, path: Path, policy_key: Path | None) -> None:
    """Put the policy NEW in the place of POLICY, which is kept.

    Gateways read it at SIGHUP.
    """
    found = _files().install(new, path, policy_key)
    click.echo(f"Policy version {found.version} is at {path}. Tell the gateway: kill -HUP PID")


@policy.command("rollback", **options.described("honeykeras policy rollback /etc/gateway/policy.toml"))
@_file
@_policy_key
def rollback(path: Path, policy_key: Path | None) -> None:
    """Put the policy that was in force before back in its place, with the versions of models that it serves."""
    found = _files().rollback(path, policy_key)
    click.echo(f"Policy version {found.version} is at {path} again. Tell the gateway: kill -HUP PID")
