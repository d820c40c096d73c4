"""`honeykeras attack`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np

from honeykeras import names
from honeykeras._arrays import read_mask
from honeykeras._files import check_absent
from honeykeras.cli import attacks, options
from honeykeras.cli.startup import load_tensorflow
from honeykeras.errors import InvalidArgumentError
from honeykeras.pipelines.classifiers import Classifier


@click.command(
    "attack",
    **options.described(
        "honeykeras attack --model trained/model.keras --dataset mnist --attack cw --output adversarial",
        "honeykeras attack --model serving/mnist/1 --dataset mnist --attack jsma --target 3 --output threes",
        "honeykeras attack --model serving/mnist/1 --dataset mnist --public-key signing.pub \\\n"
        "    --sealing-key model.key --output adversarial",
        "honeykeras attack --model model.keras --dataset mnist --output adversarial --runner DirectRunner \\\n"
        "    -- --direct_num_workers=4 --direct_running_mode=multi_processing",
    ),
)
@options.model
@options.artifact
@options.dataset
@options.input_range
@click.option(
    "--attack",
    "attack_name",
    type=click.Choice(names.ATTACKS),
    default="pgd",
    show_default=True,
    help=f"Which attack: {attacks.NAMES}.",
)
@click.option(
    "--target", type=click.IntRange(min=0), help="The class that the model is to say. Defaults to any wrong one."
)
@click.option(
    "--mask", "mask_path", type=options.PATH, help="A .npy file: bool, shape of an image, where pixels may change."
)
@attacks.settings
@options.samples
@click.option("--batch-size", type=options.COUNT, default=128, show_default=True, help="Images attacked at a time.")
@click.option(
    "--format",
    "file_format",
    type=click.Choice(names.SHARD_FORMATS),
    default="npz",
    show_default=True,
    help="What the files of images are.",
)
@click.option("--shard-size", type=options.COUNT, default=1024, show_default=True, help="Images a file.")
@click.option("--output", type=options.PATH, required=True, help="The folder to fill, or to go on filling.")
@options.seed
@options.runner
@options.beam_options
@options.verbose
def attack(
    model_path: Path,
    sealing_key_path: Path | None,
    public_key: Path | None,
    unsigned: bool,
    source: options.DataSource,
    input_range: tuple[float, float],
    attack_name: str,
    target: int | None,
    mask_path: Path | None,
    samples: int,
    batch_size: int,
    file_format: str,
    shard_size: int,
    output: Path,
    seed: int,
    runner: str | None,
    beam_options: tuple[str, ...],
    verbose: int,
    **settings: Any,
) -> None:
    """Attack a classifier.

    On test images that it gets right. Fills a folder with files of x, x_adv (quantised to 8 bits), y, success (whether
    x_adv fools the model), queries and gradients. If it is interrupted, the same command goes on where it was.
    """
    from honeykeras.ranges import InputRange

    bounds = InputRange.of(input_range)
    attacks.check([attack_name], settings)
    options.check_model(model_path, sealing_key_path, public_key, unsigned)
    if not output.is_dir():
        check_absent(output, holds=())
    mask = read_mask(mask_path) if mask_path else None
    load_tensorflow()
    beam = options.read_runner(runner, beam_options, "Workers")
    import honeykeras as hk
    from honeykeras.evaluation import correctly_classified

    model = options.load_model(model_path, sealing_key_path, public_key, unsigned)
    data = source.load(seed=seed, input_range=bounds, verbose=verbose)
    if target is not None and target >= data.num_classes:
        raise InvalidArgumentError(f"`--target` must be a class from 0 to {data.num_classes - 1}. Received: {target}.")
    (chosen,) = attacks.make([attack_name], settings, data, seed, targeted=target is not None)
    images = correctly_classified(model, data.test, samples, data.input_range, num_classes=data.num_classes)
    if target is not None:
        others = images.x[images.y != target]
        images = hk.data.Split(others, np.full(len(others), target))
    given: dict[str, Any] = {
        "file_format": file_format, "shard_size": shard_size, "mask": mask, "batch_size": batch_size, "verbose": verbose
    }  # fmt: skip
    if beam is None:
        shards = hk.attacks.craft(model, chosen, images.dataset(), output, **given)
    else:
        from honeykeras.pipelines import crafting

        attacked = Classifier(model_path, sealing_key_path, public_key, unsigned)
        shards = crafting.craft(attacked, chosen, images.dataset(), output, options=beam, **given)
    what = "fooled the model" if target is None else f"made the model say {target}"
    click.echo(f"{attack_name} {what} on {shards.successes} of {len(shards)} images. They are in {output}.")
