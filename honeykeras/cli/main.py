"""The commands. TensorFlow is loaded inside them, so that `--help` answers at once."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from honeykeras import provenance
from honeykeras._arrays import read_mask
from honeykeras._files import check_absent, staged
from honeykeras.cli import export as artifacts
from honeykeras.cli import options
from honeykeras.cli.startup import load_tensorflow
from honeykeras.errors import HoneyKerasError, InvalidArgumentError

PROGRAM = "honeykeras"


_recipe = options.together(
    click.option(
        "--recipe",
        default="balanced",
        show_default=True,
        help="How to plant: secret (harder to recover), balanced, strong (drawn more surely), or paper for "
        "reproduction.",
    ),
    click.option("--poison-rate", type=float, help="Share of training samples to poison, instead of the recipe's."),
    click.option("--amplitude", type=float, help="Greatest strength of the watermark, a share of the input range."),
)
# The name of each is that of a setting in an attack's `get_config`. What is not given is None, and left to the attack.
_attack_settings = options.together(
    click.option(
        "--epsilon", type=float, help="pgd: radius of the ball. Defaults to what is customary for the data set."
    ),
    click.option("--norm", help="pgd: what the ball is measured in, inf or 2. Defaults to inf."),
    click.option("--steps", type=int, help="pgd: how many steps to take. Defaults to 40."),
    click.option("--step-size", type=float, help="pgd: how far each goes. Defaults to 2.5 * epsilon / steps."),
    click.option(
        "--random-start/--no-random-start", default=None, help="pgd: where to start. Defaults to a random point."
    ),
    click.option("--restarts", type=int, help="pgd: how many times to start, to keep the best. Defaults to 1."),
    click.option(
        "--early-stop/--no-early-stop", default=None, help="pgd: leave an image alone once it fools the model."
    ),
    click.option(
        "--confidence", type=float, help="cw: by how much the wrong class must lead, in logits. Defaults to 0."
    ),
    click.option("--binary-search-steps", type=int, help="cw: how many constants to try. Defaults to 5."),
    click.option("--max-iterations", type=int, help="cw: steps for each constant, at most. Defaults to 1000."),
    click.option("--learning-rate", type=float, help="cw: Adam's. Defaults to 0.01."),
    click.option("--initial-const", type=float, help="cw: the constant to start from. Defaults to 0.001."),
    click.option(
        "--abort-early/--no-abort-early", default=None, help="cw: stop where the loss does. Defaults to that."
    ),
    click.option("--theta", type=float, help="jsma: what is added to a feature. Defaults to 1."),
    click.option("--gamma", type=float, help="jsma: greatest share of features to change. Defaults to 0.145."),
    click.option(
        "--search", help="jsma: how features are chosen, pairs (the paper's) or top2 (ART's). Defaults to pairs."
    ),
)
_ATTACKS = "pgd (projected gradient descent), cw (Carlini-Wagner, L2) or jsma (Jacobian saliency map)"


def _command(name: str, example: str) -> Callable[..., Any]:
    return cli.command(name, **options.described(example))


@click.group(
    epilog="\b\nExample:\n  honeykeras quickstart --dataset mnist --output mnist-run",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(importlib.metadata.version(PROGRAM), prog_name=PROGRAM)
def cli() -> None:
    """Turn a Keras classifier into a honeypot for adversaries."""


@_command("keygen", "honeykeras keygen watermark.key --input-shape 28,28,1 --num-classes 10")
@click.argument("output", type=options.PATH)
@click.option(
    "--input-shape", type=options.Numbers(int, "shape"), required=True, help="Shape of one input, for example 28,28,1."
)
@click.option("--num-classes", type=click.IntRange(min=2), required=True, help="Number of classes.")
@click.option(
    "--input-range",
    type=options.Numbers(float, "low,high"),
    default="0,1",
    show_default=True,
    help="Range of all features alike; ranges of their own are for Python's `WatermarkKey.generate`.",
)
@click.option(
    "--pattern",
    type=click.Choice(["blocks", "scattered"]),
    default="blocks",
    show_default=True,
    help="Family of patterns: blocks, or the paper's scattered features.",
)
@click.option("--block-size", type=options.COUNT, help="blocks: side in pixels. Defaults to what suits the inputs.")
@click.option("--watermark-size", type=float, help="scattered: share of the features marked. Defaults to 0.25.")
@click.option("--signed/--unsigned", default=None, help="scattered: +1 and -1, or +1 throughout. Defaults to that.")
@options.passphrase
@options.overwrite
def keygen(
    output: Path,
    input_shape: tuple[int, ...],
    num_classes: int,
    input_range: tuple[float, float],
    pattern: str,
    block_size: int | None,
    watermark_size: float | None,
    signed: bool | None,
    passphrase_file: Path | None,
    overwrite: bool,
) -> None:
    """Draw a new key.

    Writes it to OUTPUT, readable by its owner alone.
    """
    load_tensorflow()
    import honeykeras as hk

    settings: dict[str, Any] = {"block_size": block_size, "watermark_size": watermark_size, "signed": signed}
    given = {name: value for name, value in settings.items() if value is not None}
    family = hk.patterns.FAMILIES[pattern].for_inputs(hk._checks.shape("input_shape", input_shape))
    for name in given:
        if name not in family.__dataclass_fields__:
            raise InvalidArgumentError(f"`--{name.replace('_', '-')}` is no setting of the pattern {pattern!r}.")
    family = dataclasses.replace(family, **given)
    key = hk.WatermarkKey.generate(input_shape, num_classes, pattern=family, input_range=input_range)
    key.save(output, options.read_passphrase(passphrase_file), overwrite=overwrite)
    click.echo(f"Wrote key {key.key_id} to {output}. Keep it secret.")


@_command("train", "honeykeras train --dataset mnist --key watermark.key --epochs 3 --output trained")
@options.dataset
@options.key
@options.passphrase
@_recipe
@click.option(
    "--epochs", type=options.COUNT, default=5, show_default=True, help="Epochs, with the honeypot and without."
)
@click.option("--batch-size", type=options.COUNT, default=128, show_default=True, help="Images a step.")
@click.option(
    "--yardstick",
    is_flag=True,
    help="Also train a third without a honeypot, from another seed, for `evaluate --yardstick`.",
)
@click.option(
    "--output", type=options.PATH, required=True, help="Folder to make. One that is there already is refused."
)
@options.seed
@options.overwrite
@options.verbose
def train(
    dataset: str,
    key_path: Path,
    passphrase_file: Path | None,
    recipe: str,
    poison_rate: float | None,
    amplitude: float | None,
    epochs: int,
    batch_size: int,
    yardstick: bool,
    output: Path,
    seed: int,
    overwrite: bool,
    verbose: int,
) -> None:
    """Train a classifier with a honeypot, and without.

    The classifier is the reference one, a small convolutional net; the one without a honeypot is the control.
    Writes model.keras, baseline.keras and training.json into the output folder, and yardstick.keras if asked to.
    """
    load_tensorflow()
    import honeykeras as hk
    from honeykeras.cli import quickstart as steps

    check_absent(output, overwrite, steps.TRAINED)
    recipe_data = _get_recipe(recipe, poison_rate, amplitude)
    key = hk.WatermarkKey.load(key_path, options.read_passphrase(passphrase_file))
    data = hk.data.load(dataset, seed=seed)
    data.check_key(key)
    honeypot = hk.Honeypot(key, recipe_data)
    trained = hk.training.train(
        data, honeypot, epochs=epochs, batch_size=batch_size, yardstick=yardstick, seed=seed, verbose=verbose
    )
    with staged(output, overwrite=overwrite, holds=steps.TRAINED) as folder:
        folder.mkdir()
        settings = {**provenance.settings_of(dataset, honeypot, epochs=epochs, seed=seed), "batch_size": batch_size}
        steps.save_trained(folder, trained, settings)
        written = [name for name in steps.TRAINED if (folder / name).exists()]
    click.echo(f"Wrote {', '.join(written)} to {output}.")


@_command(
    "attack",
    "honeykeras attack --model trained/model.keras --dataset mnist --attack cw --output adversarial\n"
    "  honeykeras attack --model serving/mnist/1 --dataset mnist --attack jsma --target 3 --output threes\n"
    "  honeykeras attack --model serving/mnist/1 --dataset mnist --public-key signing.pub --sealing-key model.key \\\n"
    "    --output adversarial",
)
@options.model
@options.artifact
@options.dataset
@click.option("--attack", "attack_name", default="pgd", show_default=True, help=f"Which attack: {_ATTACKS}.")
@click.option(
    "--target", type=click.IntRange(min=0), help="The class that the model is to say. Defaults to any wrong one."
)
@click.option(
    "--mask", "mask_path", type=options.PATH, help="A .npy file: bool, shape of an image, where pixels may change."
)
@_attack_settings
@options.samples
@click.option("--batch-size", type=options.COUNT, default=128, show_default=True, help="Images attacked at a time.")
@click.option(
    "--format", "file_format", default="npz", show_default=True, help="What the files of images are: npz or tfrecord."
)
@click.option("--shard-size", type=options.COUNT, default=1024, show_default=True, help="Images a file.")
@click.option("--output", type=options.PATH, required=True, help="The folder to fill, or to go on filling.")
@options.seed
@options.verbose
def attack(
    model_path: Path,
    sealing_key_path: Path | None,
    public_key: Path | None,
    unsigned: bool,
    dataset: str,
    attack_name: str,
    target: int | None,
    mask_path: Path | None,
    samples: int,
    batch_size: int,
    file_format: str,
    shard_size: int,
    output: Path,
    seed: int,
    verbose: int,
    **settings: Any,
) -> None:
    """Attack a classifier.

    On test images that it gets right. Fills a folder with files of x, x_adv (quantised to 8 bits), y, success (whether
    x_adv fools the model), queries and gradients. If it is interrupted, the same command goes on where it was.
    """
    mask = read_mask(mask_path) if mask_path else None
    load_tensorflow()
    import honeykeras as hk
    from honeykeras.evaluation import correctly_classified

    model = options.load_model(model_path, sealing_key_path, public_key, unsigned)
    data = hk.data.load(dataset, seed=seed)
    (chosen,) = _get_attacks([attack_name], settings, data, seed, targeted=target is not None)
    images = correctly_classified(model, data.test, samples, num_classes=data.num_classes)
    if target is not None:
        if target >= data.num_classes:
            raise InvalidArgumentError(
                f"`--target` must be a class from 0 to {data.num_classes - 1}. Received: {target}."
            )
        others = images.x[images.y != target]
        images = hk.data.Split(others, np.full(len(others), target))
    shards = hk.attacks.craft(
        model,
        chosen,
        images.dataset(),
        output,
        file_format=file_format,
        shard_size=shard_size,
        mask=mask,
        batch_size=batch_size,
        verbose=verbose,
    )
    what = "fooled the model" if target is None else f"made the model say {target}"
    click.echo(f"{attack_name} {what} on {shards.successes} of {len(shards)} images. They are in {output}.")


@_command(
    "evaluate",
    "honeykeras evaluate --model trained/model.keras --baseline trained/baseline.keras \\\n"
    "    --key watermark.key --dataset mnist --output report.json",
)
@options.model
@options.artifact
@click.option(
    "--baseline", "baseline_path", type=options.PATH, required=True, help="The control: trained without a honeypot."
)
@options.key
@options.passphrase
@options.dataset
@click.option(
    "--attack",
    "attack_names",
    multiple=True,
    default=["pgd"],
    show_default=True,
    help=f"Which: {_ATTACKS}; repeatable.",
)
@_attack_settings
@options.detector
@click.option(
    "--baseline-detector",
    "baseline_detectors",
    multiple=True,
    help="A further kind of detector to judge on the same images, such as trapdoor or full; repeatable.",
)
@options.max_fpr
@options.samples
@click.option(
    "--security",
    is_flag=True,
    help="Also let attackers who know of the honeypot recover its key and evade its detector. Takes several times as "
    "long.",
)
@click.option(
    "--yardstick",
    "yardstick_path",
    type=options.PATH,
    help="A further model without a honeypot, as `train --yardstick` makes it: also judge whether an attacker notices "
    "the honeypot.",
)
@click.option(
    "--output",
    type=options.PATH,
    required=True,
    help="The report to write, JSON; beside it, the same as a page, .html.",
)
@options.seed
@options.overwrite
@options.verbose
def evaluate(
    model_path: Path,
    sealing_key_path: Path | None,
    public_key: Path | None,
    unsigned: bool,
    baseline_path: Path,
    key_path: Path,
    passphrase_file: Path | None,
    dataset: str,
    attack_names: tuple[str, ...],
    detector: str | None,
    baseline_detectors: tuple[str, ...],
    max_fpr: float,
    samples: int,
    security: bool,
    yardstick_path: Path | None,
    output: Path,
    seed: int,
    overwrite: bool,
    verbose: int,
    **settings: Any,
) -> None:
    """Judge a honeypot beside its controls.

    The controls are detectors for wrong keys, and a model trained without a honeypot. Use the seed that the models
    were trained with: it decides which images they have not seen.
    """
    trained = provenance.read(model_path)
    load_tensorflow()
    import honeykeras as hk
    from honeykeras.cli import quickstart, table
    from honeykeras.evaluation import evaluate as judge

    page = output.with_suffix(".html")
    if page == output:
        raise InvalidArgumentError(f"`--output` must not end in .html: the page goes beside it. Received: {output}.")
    for path in (output, page):
        check_absent(path, overwrite)
    key = hk.WatermarkKey.load(key_path, options.read_passphrase(passphrase_file))
    if model_path.resolve() == baseline_path.resolve():
        raise InvalidArgumentError(f"The baseline must be another model. Received: {model_path} for both.")
    if yardstick_path and yardstick_path.resolve() in (model_path.resolve(), baseline_path.resolve()):
        raise InvalidArgumentError(f"The yardstick must be a third model. Received: {yardstick_path} for two.")
    provenance.check(trained, dataset=dataset, key_id=key.key_id, seed=seed)
    model = options.load_model(model_path, sealing_key_path, public_key, unsigned)
    baseline = hk.models.load(baseline_path)
    yardstick = hk.models.load(yardstick_path) if yardstick_path else None
    data = hk.data.load(dataset, seed=seed)
    attacks = _get_attacks(attack_names, settings, data, seed)
    evaluation = judge(
        model,
        key,
        data,
        baseline=baseline,
        attacks=attacks,
        detector=detector,
        baseline_detectors=baseline_detectors,
        max_fpr=max_fpr,
        samples=samples,
        security=security,
        yardstick=yardstick,
        seed=seed,
        verbose=verbose,
    )
    used = {**trained, **quickstart.evaluation_settings(dataset, attacks, samples, seed)}
    document = hk.report.make(evaluation, used)
    hk.report.write(output, document, overwrite=overwrite)
    hk.report.write_page(page, document, overwrite=overwrite)
    table.show(evaluation)
    click.echo(f"Wrote {output} and {page}.")


@_command(
    "report",
    "honeykeras report report.json --output report.html --model-card card.md --model-card card.json \\\n"
    "    --tensorboard logs\n"
    "  honeykeras report report.json --key watermark.key --output secret.html",
)
@click.argument("document_path", metavar="REPORT", type=options.PATH)
@click.option("--output", type=options.PATH, help="The page to write, HTML.")
@click.option(
    "--key",
    "key_path",
    type=options.PATH,
    help="The key file: the page then shows the watermark, and is to be kept secret.",
)
@options.passphrase
@click.option(
    "--model-card",
    "model_cards",
    type=options.PATH,
    multiple=True,
    help="A model card to write: JSON if it ends in .json, Markdown otherwise; repeatable.",
)
@click.option("--tensorboard", type=options.PATH, help="A folder to write TensorBoard's events into.")
@options.overwrite
def report(
    document_path: Path,
    output: Path | None,
    key_path: Path | None,
    passphrase_file: Path | None,
    model_cards: tuple[Path, ...],
    tensorboard: Path | None,
    overwrite: bool,
) -> None:
    """Show a report to people.

    Makes a page, a model card or TensorBoard's events of REPORT, the JSON that `evaluate` and `quickstart` write.
    """
    if not (output or model_cards or tensorboard):
        raise InvalidArgumentError("Say what to write: `--output`, `--model-card` or `--tensorboard`. Received: none.")
    if key_path and not output:
        raise InvalidArgumentError(
            "`--key` is for the page: say where it goes with `--output`. Received: no `--output`."
        )
    import honeykeras as hk

    for path in filter(None, (output, *model_cards)):
        check_absent(path, overwrite)
    document = hk.report.read(document_path)
    # A watermark is drawn, and events are written, by TensorFlow.
    if key_path or tensorboard:
        load_tensorflow()
    key = hk.WatermarkKey.load(key_path, options.read_passphrase(passphrase_file)) if key_path else None
    if output:
        hk.report.write_page(output, document, key=key, overwrite=overwrite)
    for path in model_cards:
        hk.report.write_model_card(path, document, overwrite=overwrite)
    if tensorboard:
        hk.report.write_summaries(document, tensorboard)
    click.echo(f"Wrote {', '.join(str(path) for path in (output, *model_cards, tensorboard) if path)}.")


@_command("quickstart", "honeykeras quickstart --dataset mnist --output mnist-run")
@options.dataset
@click.option(
    "--output",
    type=options.PATH,
    default="honeykeras-run",
    show_default=True,
    help="Folder to make. One that is there already is refused.",
)
@_recipe
@click.option(
    "--epochs", type=options.COUNT, help="Epochs, with the honeypot and without. Defaults to what the data set needs."
)
@options.detector
@options.max_fpr
@options.samples
@click.option(
    "--policy",
    default="uniform",
    show_default=True,
    help="What the sealed model tells clients of an input that is flagged: uniform, reject, decoy or observe.",
)
@options.seed
@options.overwrite
@options.verbose
def quickstart(
    dataset: str,
    output: Path,
    recipe: str,
    poison_rate: float | None,
    amplitude: float | None,
    epochs: int | None,
    detector: str | None,
    max_fpr: float,
    samples: int,
    policy: str,
    seed: int,
    overwrite: bool,
    verbose: int,
) -> None:
    """Do the main job, end to end.

    Trains a classifier as a honeypot, attacks it, detects the attacks, judges that beside its controls, and
    exports the model twice: to hand out, and with the detector sealed in it. Writes watermark.key, model.keras,
    baseline.keras, training.json, report.json, report.html, model_card.md, model_card.json, serving/ and model.key,
    which opens the sealed one, into the output folder: all of them at the end, or nothing.
    """
    load_tensorflow()
    from honeykeras.cli import quickstart as steps
    from honeykeras.cli import table

    evaluation = steps.run(
        dataset,
        output,
        recipe=_get_recipe(recipe, poison_rate, amplitude),
        epochs=epochs,
        detector=detector,
        max_fpr=max_fpr,
        samples=samples,
        policy=policy,
        seed=seed,
        overwrite=overwrite,
        verbose=verbose,
    )
    table.show(evaluation)
    click.echo(f"Wrote {', '.join(steps.QUICKSTART)} to {output}.")


for _artifact_command in (artifacts.export, artifacts.verify, artifacts.inspect):
    cli.add_command(_artifact_command)


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


def _get_recipe(name: str, poison_rate: float | None, amplitude: float | None) -> Any:
    from honeykeras import recipes

    recipe = recipes.get(name)
    if poison_rate is None and amplitude is None:
        return recipe
    return dataclasses.replace(
        recipe,
        name=f"{name}, changed",
        poison_rate=recipe.poison_rate if poison_rate is None else poison_rate,
        amplitude=recipe.amplitude if amplitude is None else amplitude,
    )


def _get_attacks(
    names: Sequence[str], settings: Mapping[str, Any], data: Any, seed: int, *, targeted: bool = False
) -> list[Any]:
    """Makes attacks, each with those of the settings given that it has."""
    from honeykeras import attacks

    for name in names:
        if name not in attacks.names():
            raise InvalidArgumentError(f"`--attack` must be one of {attacks.names()}. Received: {name!r}.")
    given = {name: value for name, value in settings.items() if value is not None}
    known = {name: attacks.get(name).get_config() for name in names}
    for setting in given:
        if not any(setting in config for config in known.values()):
            raise InvalidArgumentError(f"`--{setting.replace('_', '-')}` is no setting of {' or '.join(names)}.")
    if "pgd" in names and "epsilon" not in given:
        if given.get("norm", "inf") != "inf":
            raise InvalidArgumentError(
                "`--epsilon` must be given: data sets have a customary radius for L-infinity only."
            )
        given["epsilon"] = data.epsilon
    return [
        attacks.get(
            name,
            **{setting: given[setting] for setting in given if setting in known[name]},
            targeted=targeted,
            seed=seed,
        )
        for name in names
    ]
