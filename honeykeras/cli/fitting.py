"""Options that say what is trained, and how."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from honeykeras import _sources, names
from honeykeras.cli.options import COUNT, check_exists, together
from honeykeras.errors import InvalidArgumentError

if TYPE_CHECKING:
    import tensorflow as tf

    from honeykeras.data import Data
    from honeykeras.model_sources import Builder


@dataclasses.dataclass(frozen=True)
class Fitting:
    """What the options name.

    Attributes:
        source: What `model_sources.get` reads; None for the reference classifier.
        branch: Whether it gets a branch; None where inputs are images.
        augment: The function that varies inputs, if any.
        epochs: How many epochs, if that is said.
        batch_size: How many images a step.
        strategy: How the training is spread over devices, if it is.
    """

    source: str | None
    branch: bool | None
    augment: str | None
    epochs: int | None
    batch_size: int
    strategy: str | None

    def build(self) -> Builder:
        """What makes the classifier."""
        from honeykeras import model_sources

        return model_sources.get(self.source, branch=self.branch, strategy=self._strategy())

    def arguments(self, data: Data) -> dict[str, Any]:
        """What `training.train` takes."""
        return {
            "epochs": self.epochs_for(data),
            "batch_size": self.batch_size,
            "build": self.build(),
            "augment": None if self.augment is None else _sources.load_function(self.augment, "augment"),
        }

    def epochs_for(self, data: Data) -> int:
        """How many epochs: what the data set needs, unless it was said."""
        from honeykeras import training

        return training.default_epochs(len(data.train)) if self.epochs is None else self.epochs

    def settings(self) -> dict[str, Any]:
        """What is to be known to train alike, for `training.json` and reports."""
        named = {"model": self.source, "branch": self.branch, "augment": self.augment, "strategy": self.strategy}
        given = {name: value for name, value in named.items() if value is not None}
        return {"batch_size": self.batch_size, **given}

    def _strategy(self) -> tf.distribute.Strategy | None:
        import tensorflow as tf

        if self.strategy is None:
            return None
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([device.name for device in devices])


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that say what is trained; the command gets them as one `Fitting`, called `fitting`."""

    @functools.wraps(command)
    def with_fitting(
        *args: Any,
        model: str | None,
        branch: bool | None,
        augment: str | None,
        epochs: int | None,
        batch_size: int,
        strategy: str | None,
        **options: Any,
    ) -> Any:
        _check_sources(model, augment)
        return command(*args, fitting=Fitting(model, branch, augment, epochs, batch_size, strategy), **options)

    return together(
        click.option(
            "--model",
            metavar="SOURCE",
            help="The classifier: a function of (input_shape, num_classes) that returns a compiled Keras model, "
            "file.py:function or package.module:function, or a .keras file, which is fine-tuned. Defaults to a small "
            "convolutional net.",
        ),
        click.option(
            "--branch/--no-branch",
            default=None,
            help="Whether to give the classifier a branch, by which it sees faint watermarks. Defaults to a branch "
            "for images.",
        ),
        click.option(
            "--augment",
            metavar="SOURCE",
            help="A function or Keras layer that varies a batch of inputs at random, before the watermark: "
            "file.py:function or package.module:function.",
        ),
        click.option(
            "--epochs",
            type=COUNT,
            help="Epochs, with the honeypot and without. Defaults to what the data set needs.",
        ),
        click.option("--batch-size", type=COUNT, default=128, show_default=True, help="Images a step."),
        click.option(
            "--strategy",
            type=click.Choice(names.STRATEGIES),
            help="Spread the training over the devices of this machine: mirrored (all GPUs, each with a part of every "
            "batch).",
        ),
    )(with_fitting)


def _check_sources(model: str | None, augment: str | None) -> None:
    """What can be told of sources before TensorFlow is loaded."""
    if model is not None and not _sources.is_function(model):
        if not model.endswith(".keras"):
            raise InvalidArgumentError(
                f"`--model` must be file.py:function, package.module:function or a .keras file. Received: {model}."
            )
        check_exists(Path(model), "a .keras file")
    if augment is not None and not _sources.is_function(augment):
        raise InvalidArgumentError(
            f"`--augment` must be file.py:function or package.module:function. Received: {augment}."
        )
