"""The commands around artifacts for TensorFlow Serving."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from honeykeras import provenance
from honeykeras._files import make_folder
from honeykeras.cli import options
from honeykeras.cli.startup import load_tensorflow
from honeykeras.errors import InvalidArgumentError

_VERSION = click.argument("version", type=options.PATH)
# What says nothing of an artifact without a detector.
_WITH_KEY = ("key_paths", "policy", "dataset", "detector", "max_fpr", "samples", "seed")


@click.group(
    "export",
    invoke_without_command=True,
    **options.described(
        "honeykeras export --model trained/model.keras --output serving/mnist-public\n"
        "  honeykeras export --model trained/model.keras --key watermark.key --dataset mnist \\\n"
        "    --sealing-key model.key --output serving/mnist"
    ),
)
@click.option("--model", "model_path", type=options.PATH, help="The classifier: a .keras file. Required.")
@click.option(
    "--output", type=options.PATH, help="The model's folder, which TensorFlow Serving is pointed at. Required."
)
@click.option("--version", type=options.COUNT, help="Number of the version folder to make. Defaults to the next one.")
@click.option("--class-names", help="What `classify` calls the classes, separated by commas. Defaults to numbers.")
@click.option(
    "--input-range",
    type=options.Numbers(float, "low,high"),
    help="Without --key: least and greatest value of an input. What is beyond is clipped, and images are scaled to it. "
    "Defaults to inputs as they are, and images in 0,1.",
)
@click.option("--key", "key_path", type=options.PATH, help="The key file: the artifact then holds a detector, sealed.")
@options.passphrase
@click.option(
    "--sealing-key",
    "sealing_key_path",
    type=options.PATH,
    help="With --key: file of the key that opens the artifact. It is made if there is none, and then stays.",
)
@click.option(
    "--key-path",
    "key_paths",
    multiple=True,
    help="With --key: where the server finds the sealing key, absolute or relative to the version folder; repeatable. "
    "Defaults to /run/secrets/model.key, then ../../../model.key.",
)
@click.option(
    "--policy",
    default="uniform",
    show_default=True,
    help="With --key: what clients are told of an input that is flagged: uniform (all classes alike), reject (all "
    "zeros), decoy (the two most probable classes change places) or observe (the model's answer).",
)
@options.dataset
@options.detector
@options.max_fpr
@options.samples
@options.seed
@click.pass_context
def export(
    context: click.Context,
    model_path: Path | None,
    output: Path | None,
    version: int | None,
    class_names: str | None,
    input_range: tuple[float, ...] | None,
    key_path: Path | None,
    passphrase_file: Path | None,
    sealing_key_path: Path | None,
    key_paths: tuple[str, ...],
    policy: str,
    dataset: str,
    detector: str | None,
    max_fpr: float,
    samples: int,
    seed: int,
) -> None:
    """Package a classifier for TensorFlow Serving.

    Writes a SavedModel into a new version folder, in one atomic step, once it was scanned for leaks and has answered
    its warmup requests. Without a key it is one to hand out; with a key, one for the host that is trusted, with the
    detector sealed in it. The detector is fitted and calibrated on the data set that the model was trained on.
    """
    given = {name for name in context.params if context.get_parameter_source(name) is ParameterSource.COMMANDLINE}
    if context.invoked_subcommand is not None:
        if given:
            raise click.UsageError(
                f"Options of 'export' itself do nothing for '{context.invoked_subcommand}'. Give those that it has "
                "after its name.",
                context,
            )
        return
    if model_path is None or output is None:
        missing = "--model" if model_path is None else "--output"
        raise click.UsageError(f"Missing option '{missing}'.", context)
    if (key_path is None) != (sealing_key_path is None):
        raise InvalidArgumentError(
            "`--key` and `--sealing-key` go together: a detector is exported sealed. Received: one of them."
        )
    needless = given.intersection(_WITH_KEY)
    if key_path is None and needless:
        option = min(needless).replace("key_paths", "key_path").replace("_", "-")
        raise InvalidArgumentError(f"`--{option}` is for a detector, which `--key` asks for. Received: no `--key`.")
    if key_path is not None and input_range is not None:
        raise InvalidArgumentError(
            "`--input-range` is for an artifact without a detector, which has its key's. Received: `--key` as well."
        )
    trained = provenance.read(model_path) if key_path else {}
    load_tensorflow()
    import honeykeras as hk
    from honeykeras import attacks
    from honeykeras.evaluation import fit_detector
    from honeykeras.export import KEY_PATHS, SealingKey, archive, save, save_guarded

    names = class_names.split(",") if class_names else None
    if key_path is None or sealing_key_path is None:
        model = hk.models.load(model_path)
        folder = save(model, output, version=version, class_names=names, input_range=input_range)  # type: ignore[arg-type]
        click.echo(f"Wrote {folder}.")
        return
    key = hk.WatermarkKey.load(key_path, options.read_passphrase(passphrase_file))
    # All that can be told before a detector is fitted.
    key_paths = key_paths or KEY_PATHS
    archive.check_arguments(
        output, version, policy=policy, key_paths=key_paths, class_names=names, num_classes=key.num_classes
    )
    provenance.check(trained, dataset=dataset, key_id=key.key_id, seed=seed)
    model, data = hk.models.load(model_path), hk.data.load(dataset, seed=seed)
    attack = attacks.PGD(epsilon=data.epsilon, seed=seed)
    # Told before the detector is fitted.
    if sealing_key_path.exists():
        SealingKey.load(sealing_key_path)
    make_folder(sealing_key_path.parent, sealing_key_path)
    fitted = fit_detector(
        model, key, data, attacks=[attack], detector=detector, max_fpr=max_fpr, samples=samples, seed=seed
    )
    # Made as late as can be: it stays, whatever becomes of the artifact.
    sealing_key = SealingKey.load_or_make(sealing_key_path)
    folder = save_guarded(
        model,
        output,
        fitted,
        sealing_key,
        policy=policy,
        key_paths=key_paths,
        version=version,
        class_names=names,
    )
    click.echo(f"Wrote {folder}, which the key {sealing_key.key_id} in {sealing_key_path} opens.")


@export.command(
    "reseal",
    **options.described(
        "honeykeras export reseal serving/mnist/1 --old-key model.key --new-key next.key --public-key signing.pub"
    ),
)
@_VERSION
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


@export.command(
    "signing-keys",
    **options.described("honeykeras export signing-keys --private-key signing.pem --public-key signing.pub"),
)
@click.option("--private-key", type=options.PATH, required=True, help="File to make, readable by its owner alone.")
@click.option("--public-key", type=options.PATH, required=True, help="File to make, for whoever verifies.")
def signing_keys(private_key: Path, public_key: Path) -> None:
    """Draw a pair of keys to sign artifacts with."""
    load_tensorflow()
    from honeykeras.export.signing import write_key_pair

    write_key_pair(private_key, public_key)
    click.echo(f"Wrote {private_key} and {public_key}. Keep the first one secret.")


@export.command("sign", **options.described("honeykeras export sign serving/mnist/1 --private-key signing.pem"))
@_VERSION
@click.option("--private-key", type=options.PATH, required=True, help="PEM file of an EC key.")
@options.overwrite
def sign(version: Path, private_key: Path, overwrite: bool) -> None:
    """Sign a version, last of all.

    VERSION must be what was exported, in its place. Writes the signature beside the version folder. It is OpenSSF
    model-signing's, and `model_signing verify` reads it.
    """
    load_tensorflow()
    from honeykeras.export.signing import sign as write_signature

    click.echo(f"Wrote {write_signature(version, private_key, overwrite=overwrite)}.")


@export.command(
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
@click.option("--replicas", type=options.COUNT, default=2, show_default=True, help="Kubernetes: how many servers.")
@options.overwrite
def deploy_kit(
    output: Path, name: str, base_path: str, key_path: Path, batching: bool, replicas: int, overwrite: bool
) -> None:
    """Write what TensorFlow Serving is run with.

    A folder with a compose file, Kubernetes manifests, the server's configuration and a README that walks from
    `model.fit` to `curl`.
    """
    load_tensorflow()
    from honeykeras.export import SealingKey
    from honeykeras.export.deployment import write_kit

    key_id = SealingKey.load(key_path).key_id
    write_kit(
        output, name=name, base_path=base_path, key_id=key_id, batching=batching, replicas=replicas, overwrite=overwrite
    )
    click.echo(f"Wrote {output}. Begin with its README.md.")


@click.command(
    "verify",
    **options.described("honeykeras verify serving/mnist/1 --public-key signing.pub --sealing-key model.key"),
)
@_VERSION
@options.public_key
@options.sealing_key
@click.option("--key", "key_path", type=options.PATH, help="The watermark's key, of which nothing may be in any file.")
@options.passphrase
@click.option("--name", help="The model's name that is expected. Defaults to that of the folder that VERSION is in.")
@click.option("--role", help="What is expected: public (to hand out) or hosted (for the host that has the key).")
@options.unsigned
def verify(
    version: Path,
    public_key: Path | None,
    sealing_key_path: Path | None,
    key_path: Path | None,
    passphrase_file: Path | None,
    name: str | None,
    role: str | None,
    unsigned: bool,
) -> None:
    """Check an artifact.

    Its files, its signature, whether it is the one that is expected in its place, leaks, what operations its graph is
    made of, and at last that it answers its warmup requests with probabilities. The graph of an artifact that needs a
    key is run only if its signature is right.
    """
    load_tensorflow()
    import honeykeras as hk
    from honeykeras.export import SealingKey
    from honeykeras.export import verify as checks

    key = hk.WatermarkKey.load(key_path, options.read_passphrase(passphrase_file)) if key_path else None
    sealing_key = SealingKey.load(sealing_key_path) if sealing_key_path else None
    made = checks(
        version,
        public_key=public_key,
        sealing_key=sealing_key,
        watermark_key=key,
        name=name,
        role=role,
        unsigned=unsigned,
    )
    for what, found in made:
        click.echo(f"{what}: {found}")


@click.command("inspect", **options.described("honeykeras inspect serving/mnist/1"))
@_VERSION
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def inspect(version: Path, as_json: bool) -> None:
    """Describe an artifact.

    Its signatures, size and versions, and which key it needs. Nothing of it is secret; it is not loaded.
    """
    load_tensorflow()
    from honeykeras.export import inspect as describe

    described = describe(version)
    if as_json:
        click.echo(json.dumps(described, indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False)
    for name, value in described.items():
        table.add_row(name.replace("_", " "), _lines(value))
    Console().print(table)


def _lines(value: Any) -> str:
    if isinstance(value, dict):
        return "\n".join(
            f"{name}: {', '.join(_sides(each['inputs']))} -> {', '.join(_sides(each['outputs']))}"
            for name, each in value.items()
        )
    if isinstance(value, list):
        return "\n".join(value)
    return {True: "yes", False: "no", None: "none"}.get(value, f"{value:,}" if isinstance(value, int) else str(value))


def _sides(tensors: dict[str, str]) -> list[str]:
    return [f"{name} {what}" for name, what in tensors.items()]
