"""`honeykeras export deploy-kit`."""

from __future__ import annotations

from pathlib import Path

import click

from honeykeras.cli import options


@click.command(
    "deploy-kit",
    **options.described(
        "honeykeras export deploy-kit deployment --name mnist --base-path serving/mnist \\\n    --sealing-key model.key"
    ),
)
@click.argument("output", type=options.PATH)
@click.option("--name", required=True, help="What the server calls the model; part of its address.")
@click.option("--base-path", required=True, help="The model's folder, which holds the versions.")
@click.option(
    "--sealing-key", "key_path", type=options.PATH, required=True, help="What opens the versions: no others are served."
)
@click.option(
    "--batching",
    is_flag=True,
    help="Have the server batch requests. Only behind a front that checks them: an empty one would never be answered.",
)
@click.option(
    "--replicas", type=options.COUNT, default=2, show_default=True, help="Kubernetes: how many servers, and gateways."
)
@click.option(
    "--gateway-image",
    default="honeykeras-gateway:latest",
    show_default=True,
    help="What the gateway's image is called, with its registry and tag.",
)
@options.overwrite
def deploy_kit(
    output: Path,
    name: str,
    base_path: str,
    key_path: Path,
    batching: bool,
    replicas: int,
    gateway_image: str,
    overwrite: bool,
) -> None:
    """Write what a guarded service is run with.

    A folder with a compose file, manifests for Kubernetes and KServe, what TensorFlow Serving, the gateway, Redis,
    Prometheus and Grafana read, and a README that walks from `model.fit` to `curl`.
    """
    from honeykeras.export.deployment import write_kit
    from honeykeras.export.sealing import SealingKey

    key_id = SealingKey.load(key_path).key_id
    write_kit(
        output,
        name=name,
        base_path=base_path,
        key_id=key_id,
        batching=batching,
        replicas=replicas,
        gateway_image=gateway_image,
        overwrite=overwrite,
    )
    click.echo(f"Wrote {output}. Begin with its README.md.")
