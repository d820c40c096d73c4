"""What several commands share: options, and how they are read. Nothing here needs TensorFlow."""

from __future__ import annotations

import dataclasses
import functools
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from honeykeras import _datasets, names
from honeykeras._files import read_passphrase
from honeykeras.errors import InvalidArgumentError
from honeykeras.pipelines.classifiers import Classifier

PATH = click.Path(path_type=Path)
# What messages and help call what they take.
A_MODEL = "a .keras file or the folder of a SavedModel"
AN_ARTIFACT = "the version folder of an artifact"
# Nothing that is counted has more; what is larger is a slip, or would not fit TensorFlow's integers.
COUNT = click.IntRange(1, 2**31 - 1)


class Real(click.FloatRange):
    """A finite number in an interval."""

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} must be a finite number.", param, ctx)
        return number


class Numbers(click.ParamType):
    """Comma-separated numbers."""

    def __init__(self, kind: Callable[[str], float], name: str) -> None:
        self.kind, self.name = kind, name

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[float, ...]:
        try:
            return tuple(self.kind(part) for part in value.split(","))
        except ValueError:
            self.fail(f"{value!r} must be numbers separated by commas.", param, ctx)


def together(*options: Callable[..., Any]) -> Callable[..., Any]:
    """Several options as one decorator, shown in the order given."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def described(*examples: str) -> dict[str, Any]:
    """What every command is made with, so that its help ends in examples."""
    lines = "\n  ".join(examples)
    return {"epilog": f"\b\nExample:\n  {lines}", "context_settings": {"max_content_width": 100}}


@dataclasses.dataclass(frozen=True)
class DataSource:
    """What the options of `dataset` name.

    Attributes:
        source: What `data.load` reads.
        image_size: Height and width to resize images to, if any.
        features: What is in a folder of TFRecords, if it does not say.
    """

    source: str
    image_size: tuple[int, int] | None
    features: Path | None

    def load(self, *, seed: int, input_range: Any = (0.0, 1.0), verbose: int = 0) -> Any:
        """Loads the data set: a `Data`."""
        from honeykeras import data

        return data.load(
            self.source,
            seed=seed,
            input_range=input_range,
            image_size=self.image_size,
            features=self.features,
            verbose=verbose,
        )

    def settings(self) -> dict[str, Any]:
        """What is to be known to load it again, for `training.json` and reports."""
        size = {} if self.image_size is None else {"image_size": list(self.image_size)}
        return {"dataset": self.source, **size}


def dataset(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that name a data set; the command gets them as one `DataSource`, called `source`."""

    @functools.wraps(command)
    def with_source(
        *args: Any, dataset: str, image_size: tuple[int, ...] | None, features: Path | None, **options: Any
    ) -> Any:
        kind = _datasets.kind_of(dataset)
        if image_size is not None and (len(image_size) not in (1, 2) or min(image_size) < 1):
            raise InvalidArgumentError(
                f"`--image-size` must be one or two sizes, as 96 or 96,128. Received: {image_size}."
            )
        if features is not None:
            check_exists(features, "a file features.json")
            if kind != "folder":
                raise InvalidArgumentError(f"`--features` is for a folder of TFRecords. Received: {dataset}.")
        size = None if image_size is None else (image_size[0], image_size[-1])
        return command(*args, source=DataSource(dataset, size, features), **options)

    return together(
        click.option(
            "--dataset",
            metavar="SOURCE",
            default="digits",
            show_default=True,
            help="The data set: digits, a name of tensorflow-datasets (mnist, cifar100:3.0.2), a folder with a "
            "subfolder of images for each class, an .npz file (x_train, y_train, x_test, y_test; or x, y), a folder of "
            "TFRecords, or a function that returns one, file.py:function or package.module:function.",
        ),
        click.option(
            "--image-size",
            type=Numbers(int, "height,width"),
            help="Resize images to this, for example 96 or 96,128. Defaults to images as they are, all of one size.",
        ),
        click.option(
            "--features",
            type=PATH,
            help="For a folder of TFRecords without one: the file features.json, as tensorflow-datasets writes it.",
        ),
    )(with_source)


RATE = Real(0, 1, min_open=True, max_open=True)

version = click.argument("version", type=PATH)
input_range = click.option(
    "--input-range",
    type=Numbers(float, "low,high"),
    default="0,1",
    show_default=True,
    help="Least and greatest value of the model's inputs: bytes are scaled to it, and numbers must lie in it.",
)
model = click.option(
    "--model",
    "model_path",
    type=PATH,
    required=True,
    help=f"The classifier: {A_MODEL}.",
)
key = click.option("--key", "key_path", type=PATH, required=True, help="The key file.")
passphrase = click.option("--passphrase-file", type=PATH, help="File whose first line is the key file's passphrase.")
detector_passphrase = click.option(
    "--detector-passphrase-file",
    type=PATH,
    help="File whose first line is the passphrase that protects the detector file.",
)
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
policy = click.option(
    "--policy",
    type=click.Choice(names.POLICIES),
    default=names.POLICIES[0],
    show_default=True,
    help="What clients of the sealed model are told of an input that is flagged: mislead (the model's label, and how "
    "sure it is goes up where it goes down), observe (the model's answer), decoy (the two most probable classes change "
    "places), uniform (all classes alike) or reject (all zeros). The last two can be seen by all.",
)

# How a classifier is read from an artifact that needs a key, as `load_model` does.
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
artifact = together(sealing_key, public_key, unsigned)

# What detector is meant: one from a file, or one that is fitted for the occasion.
detector_file = click.option(
    "--detector", "detector_path", type=PATH, help="A detector, as `honeykeras detector fit` writes it."
)
kind = click.option(
    "--kind",
    type=click.Choice(names.DETECTORS),
    help="Kind of detector: key (needs no attacks to learn from), logistic (learns on the same scores), full (whatever "
    "helps; no evidence of the key), paper or trapdoor (Shan et al.). Defaults to key, or to paper for a key of the "
    "paper's pattern.",
)
max_fpr = click.option(
    "--max-fpr", type=RATE, default=names.MAX_FPR, show_default=True, help="False positive rate to calibrate to."
)

# How work is spread over workers.
runner = click.option(
    "--runner",
    metavar="RUNNER",
    help="Spread the work over workers of Apache Beam: DirectRunner for this machine, FlinkRunner and others beyond "
    "it. Beam's own options stand after `--`. Defaults to this process.",
)
beam_options = click.argument("beam_options", nargs=-1, metavar="[-- BEAM OPTIONS]", type=click.UNPROCESSED)

cache = click.option(
    "--cache/--no-cache",
    default=True,
    show_default=True,
    help="Keep the trained extractor, which holds no secret, in the user's cache folder or $HONEYKERAS_CACHE, and take "
    "it from there where images and settings are the same.",
)


def read_key(path: Path, passphrase_file: Path | None) -> Any:
    """What `key` and `passphrase` name: a `WatermarkKey`."""
    from honeykeras.keys import WatermarkKey

    return WatermarkKey.load(path, read_passphrase(passphrase_file))


def read_runner(runner: str | None, beam_options: tuple[str, ...], what: str) -> list[str] | None:
    """What `runner` and `beam_options` say, as Beam takes it; None for this process. Loads Beam if it is needed."""
    if runner is None:
        if beam_options:
            raise InvalidArgumentError(
                f"Options of Beam must come with `--runner`. Received: {' '.join(beam_options)}."
            )
        return None
    from honeykeras._optional import load_optional

    # Beam says at the root of all logs what it could not import, though nothing here needs it.
    logging.getLogger().setLevel(logging.ERROR)
    load_optional("apache_beam", "audit", what)
    return [f"--runner={runner}", *beam_options]


def shown(value: Any) -> str:
    """A plain value for people."""
    # True and 1 are one to a dictionary.
    if value is None or isinstance(value, bool):
        return {True: "yes", False: "no", None: "none"}[value]
    return f"{value:,}" if isinstance(value, int) else str(value)


def check_exists(path: Path, what: str) -> None:
    """Raises `InvalidArgumentError` if there is nothing at a path that is read later on."""
    if not path.exists():
        raise InvalidArgumentError(f"There must be {what} at {path}. Received: no such file or folder.")


def check_model(model_path: Path, sealing_key_path: Path | None, public_key: Path | None, unsigned: bool) -> None:
    """What can be told of `model` and `artifact` before TensorFlow is loaded."""
    check_exists(model_path, A_MODEL)
    if (sealing_key_path or public_key or unsigned) and not model_path.is_dir():
        raise InvalidArgumentError(
            f"`--sealing-key`, `--public-key` and `--unsigned` are for {AN_ARTIFACT}. Received: {model_path}."
        )


def load_model(model_path: Path, sealing_key_path: Path | None, public_key: Path | None, unsigned: bool) -> Any:
    """What `model` and `artifact` name: a classifier, of an artifact that needs a key where they say so."""
    return Classifier(model_path, sealing_key_path, public_key, unsigned).open()
