"""`honeykeras export`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from honeykeras import _datasets, _sources, detectorfile, manifest, provenance
from honeykeras._files import make_folder, read_passphrase
from honeykeras.cli import options
from honeykeras.cli.deploy_kit import deploy_kit
from honeykeras.cli.recalibrate import recalibrate
from honeykeras.cli.reseal import reseal
from honeykeras.cli.signing import sign, signing_keys
from honeykeras.cli.startup import load_tensorflow
from honeykeras.errors import InvalidArgumentError
from honeykeras.export.sealing import SealingKey

# What says nothing of an artifact without a detector.
_WITH_DETECTOR = ("key_paths", "policy", "passphrase_file", "evidence")


@click.group(
    "export",
    invoke_without_command=True,
    **options.described(
        "honeykeras export --model trained/model.keras --output serving/mnist-public",
        "honeykeras export --model trained/model.keras --detector detector.hk \\\n"
        "    --sealing-key model.key --evidence mnist --output serving/mnist",
    ),
)
@click.option("--model", "model_path", type=options.PATH, help="The classifier: a .keras file. Required.")
@click.option(
    "--output", type=options.PATH, help="The model's folder, which TensorFlow Serving is pointed at. Required."
)
@click.option("--version", type=options.COUNT, help="Number of the version folder to make. Defaults to the next one.")
@click.option(
    "--class-names",
    help="What `classify` calls the classes, separated by commas. Defaults to their names in the training.json beside "
    "the model, or to numbers.",
)
@click.option(
    "--signature",
    metavar="SOURCE",
    help="Signatures of your own, by a function of the classifier that returns tf.functions by name: file.py:function "
    "or package.module:function.",
)
@click.option(
    "--keep-signature/--standard-signature",
    "keep",
    default=None,
    help="Whether to keep the signatures of the model: all of a SavedModel, or what Keras' own `export` would write. "
    "Defaults to keeping those of a SavedModel.",
)
@click.option(
    "--input-range",
    type=options.Numbers(float, "low,high"),
    help="Without --detector: least and greatest value of an input. What is beyond is clipped, and images are scaled "
    "to it. Defaults to inputs as they are, and images in 0,1.",
)
@click.option(
    "--detector",
    "detector_path",
    type=options.PATH,
    help="The model's detector, as `honeykeras detector fit` writes it: the artifact then holds it, sealed.",
)
@click.option(
    "--passphrase-file", type=options.PATH, help="With --detector: file whose first line is its file's passphrase."
)
@click.option(
    "--sealing-key",
    "sealing_key_path",
    type=options.PATH,
    help="With --detector: file of the key that opens the artifact. It is made if there is none, and then stays.",
)
@click.option(
    "--key-path",
    "key_paths",
    multiple=True,
    help="With --detector: where the server finds the sealing key, absolute or relative to the version folder; "
    "repeatable. Defaults to /run/secrets/model.key, then ../../../model.key.",
)
@options.policy
@click.option(
    "--evidence",
    metavar="SOURCE",
    help="With --detector: clean data, as --dataset of other commands takes it. The artifact then also has the "
    "signature `extended_evidence`, by which the operator keeps ledgers of clients without the key. Of the data that "
    "the model was trained on, the part for calibration is looked at; of other data, all.",
)
@click.pass_context
def export(
    context: click.Context,
    model_path: Path | None,
    output: Path | None,
    version: int | None,
    class_names: str | None,
    signature: str | None,
    keep: bool | None,
    input_range: tuple[float, float] | None,
    detector_path: Path | None,
    passphrase_file: Path | None,
    sealing_key_path: Path | None,
    key_paths: tuple[str, ...],
    policy: str,
    evidence: str | None,
) -> None:
    """Package a classifier for TensorFlow Serving.

    Writes a SavedModel into a new version folder, in one atomic step, once it was scanned for leaks and has answered
    its warmup requests. Without a detector it is one to hand out; with a detector, which is sealed in it, one for the
    host that is trusted.
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
    if (detector_path is None) != (sealing_key_path is None):
        raise InvalidArgumentError(
            "`--detector` and `--sealing-key` go together: a detector is exported sealed. Received: one of them."
        )
    needless = given.intersection(_WITH_DETECTOR)
    if detector_path is None and needless:
        option = min(needless).replace("key_paths", "key_path").replace("_", "-")
        raise InvalidArgumentError(f"`--{option}` is for a detector. Received: no `--detector`.")
    if detector_path is not None and input_range is not None:
        raise InvalidArgumentError(
            "`--input-range` is for an artifact without a detector, which has its own. Received: `--detector` as well."
        )
    if signature is not None and (keep or not _sources.is_function(signature)):
        raise InvalidArgumentError(
            "`--signature` must be file.py:function or package.module:function, without `--keep-signature`. Received: "
            f"{signature}{' and --keep-signature' if keep else ''}."
        )
    options.check_exists(model_path, options.A_MODEL)
    if evidence is not None:
        _datasets.kind_of(evidence)
    passphrase = read_passphrase(passphrase_file)
    num_classes = None
    if detector_path is not None and sealing_key_path is not None:
        num_classes = detectorfile.read_header(detector_path)[0]["description"].get("num_classes")
        if sealing_key_path.exists():
            SealingKey.load(sealing_key_path)
        make_folder(sealing_key_path.parent, sealing_key_path)
    load_tensorflow()
    from honeykeras import detection, models
    from honeykeras.evidence import Observer
    from honeykeras.export import KEY_PATHS, archive, save, save_guarded

    names = class_names.split(",") if class_names else provenance.class_names(model_path)
    if detector_path is None or sealing_key_path is None:
        model = models.load(model_path)
        own = _own_signatures(model, model_path, signature, keep)
        folder = save(model, output, version=version, class_names=names, input_range=input_range, own_signatures=own)
        click.echo(f"Wrote {folder}.")
        return
    key_paths = key_paths or KEY_PATHS
    # All that can be told before a key is made.
    archive.check_arguments(
        output, version, policy=policy, key_paths=key_paths, class_names=names, num_classes=num_classes
    )
    model = models.load(model_path)
    detector: Any = detection.load(detector_path, model, passphrase)
    own = _own_signatures(model, model_path, signature, keep)
    observer = None
    if evidence is not None:
        observer = Observer(detector, provenance.unseen(model_path, evidence, detector.watermark.input_range))
    # Made as late as can be: it stays, whatever becomes of the artifact.
    key = SealingKey.load_or_make(sealing_key_path)
    folder = save_guarded(
        model,
        output,
        detector,
        key,
        policy=policy,
        key_paths=key_paths,
        version=version,
        class_names=names,
        own_signatures=own,
        observer=observer,
    )
    click.echo(
        f"Wrote {folder}, with the detector {detector.detector_id}. It is opened by the key {key.key_id}, which is in "
        f"{sealing_key_path}."
    )


def _own_signatures(model: Any, path: Path, signature: str | None, keep: bool | None) -> Any:
    """What the options say of signatures; None for those of this package."""
    from honeykeras.export import kept_signatures

    if signature is not None:
        return _sources.load_function(signature, "signature")
    # An artifact has the signatures of this package, unless it was told otherwise, and those it gets again.
    kept_by_default = path.is_dir() and not (path / manifest.FILE).exists()
    if not (kept_by_default if keep is None else keep):
        return None
    return kept_signatures(path if path.is_dir() else model)


for _command in (reseal, recalibrate, signing_keys, sign, deploy_kit):
    export.add_command(_command)
