"""`honeykeras serve`: a guarded model as a service."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from honeykeras.cli import options
from honeykeras.cli.startup import load_tensorflow
from honeykeras.errors import InvalidArgumentError

# What `honeykeras quickstart` calls it.
_PUBLIC_KEY = "signing.pub"
_PORT = click.IntRange(0, 65535)


@click.command(
    "serve",
    **options.described(
        "honeykeras serve mnist-run --port 8501",
        "honeykeras serve serving --public-key signing.pub --policy policy.toml --logs logs",
        "honeykeras serve --upstream tensorflow-serving:8500 --model mnist --host 0.0.0.0 --redis redis://redis/0 \\\n"
        "    --secret /run/secrets/gateway",
    ),
)
@click.argument("folder", type=options.PATH, required=False)
@click.option("--port", type=_PORT, default=8501, show_default=True, help="Port of the REST API; 0 takes a free one.")
@click.option("--grpc-port", type=_PORT, help="Port of the gRPC API, as TensorFlow Serving's 8500. Defaults to none.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address that clients reach.")
@click.option("--tls-certificate", type=options.PATH, help="Speak TLS with clients, with this certificate (PEM).")
@click.option("--tls-key", type=options.PATH, help="The private key of that, readable by its owner alone.")
@click.option("--client-ca", type=options.PATH, help="Ask clients for certificates that this authority signed.")
@click.option(
    "--private-port",
    type=_PORT,
    default=8502,
    show_default=True,
    help="Port of the page that shows who attacks, and of metrics and health. Keep it from clients.",
)
@click.option("--private-host", default="127.0.0.1", show_default=True, help="Address that operators reach.")
@click.option("--policy", "policy_path", type=options.PATH, help="What is done of flags and accusations: a TOML file.")
@click.option("--policy-key", type=options.PATH, help="The public key that policies must be signed for.")
@click.option("--shadow", is_flag=True, help="Answer as the bare model would, and log what the policy would have done.")
@click.option("--logs", type=options.PATH, help="Folder for requests and flagged inputs. Defaults to writing none.")
@options.sealing_key
@options.public_key
@options.unsigned
@click.option("--upstream", metavar="HOST:PORT", help="A TensorFlow Serving that has the artifacts, by gRPC.")
@click.option("--model", "models", multiple=True, help="Name of a model behind --upstream. Repeat it for several.")
@click.option("--upstream-ca", type=options.PATH, help="Speak TLS with --upstream, signed by this authority (PEM).")
@click.option("--redis", metavar="URL", help="The Redis that replicas share what they know of clients in.")
@click.option("--secret", type=options.PATH, help="File of the secret that replicas share. Made if it is not there.")
def serve(
    folder: Path | None,
    port: int,
    grpc_port: int | None,
    host: str,
    tls_certificate: Path | None,
    tls_key: Path | None,
    client_ca: Path | None,
    private_port: int,
    private_host: str,
    policy_path: Path | None,
    policy_key: Path | None,
    shadow: bool,
    logs: Path | None,
    sealing_key_path: Path | None,
    public_key: Path | None,
    unsigned: bool,
    upstream: str | None,
    models: tuple[str, ...],
    upstream_ca: Path | None,
    redis: str | None,
    secret: Path | None,
) -> None:
    """Serve guarded models, and punish who attacks them.

    Speaks TensorFlow Serving's API. FOLDER is a folder of models, as `serving/`, or what `honeykeras quickstart` left;
    the names of models are those of their folders. Each client has a ledger, and what becomes of who is flagged or
    accused is a policy's to say: by default, silently, other answers.
    """
    _check(folder, upstream, models, redis, secret)
    if (tls_certificate is None) != (tls_key is None) or (client_ca is not None and tls_key is None):
        raise InvalidArgumentError(
            "`--tls-certificate` and `--tls-key` must be given together, and `--client-ca` with them."
        )
    if folder is not None:
        options.check_exists(folder, "a folder of artifacts")
        if public_key is None and not unsigned and (folder / _PUBLIC_KEY).is_file():
            public_key = folder / _PUBLIC_KEY
    load_tensorflow()
    from honeykeras._optional import load_optional

    for package in ("fastapi", "pydantic", "uvicorn"):
        load_optional(package, "gateway", "A gateway")
    from honeykeras.gateway import assembly
    from honeykeras.gateway.running import Ports, Tls

    tls = None if tls_certificate is None or tls_key is None else Tls(tls_certificate, tls_key, client_ca)
    settings = assembly.Settings(
        folder=folder,
        upstream=upstream,
        models=models,
        authority=upstream_ca,
        public_key=public_key,
        unsigned=unsigned,
        sealing_key=sealing_key_path,
        policy=policy_path,
        policy_key=policy_key,
        shadow=shadow,
        logs=logs,
        redis=redis,
        secret=secret,
        ports=Ports(host, port, grpc_port, private_host, private_port, tls),
    )
    assembly.serve(settings, _say)


def _check(
    folder: Path | None, upstream: str | None, models: tuple[str, ...], redis: str | None, secret: Path | None
) -> None:
    """What can be told of the options before TensorFlow is loaded."""
    if (folder is None) == (upstream is None):
        raise InvalidArgumentError(
            "Either a folder of artifacts or `--upstream` must be given. Received: "
            f"{'neither' if folder is None else 'both'}."
        )
    if (upstream is None) != (not models):
        raise InvalidArgumentError("`--model` names the models behind `--upstream`: both must be given, or neither.")
    if redis is not None and secret is None:
        raise InvalidArgumentError(
            "`--redis` must come with `--secret`, by which replicas seal and open what they keep there."
        )


def _say(ports: Any, models: list[str]) -> None:
    for name in models:
        scheme = "http" if ports.tls is None else "https"
        click.echo(f"Serving {scheme}://{ports.host}:{ports.rest}/v1/models/{name}")
    if ports.grpc is not None:
        click.echo(f"gRPC at {ports.host}:{ports.grpc}")
    click.echo(f"Who attacks: http://{ports.private_host}:{ports.private}/")
