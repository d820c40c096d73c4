"""Training the reference classifier, with a honeypot and without."""

from __future__ import annotations

import dataclasses
import math

import keras

from honeykeras import _checks
from honeykeras.callback import HoneyCallback
from honeykeras.data import Data
from honeykeras.honeypot import Honeypot
from honeykeras.models import add_branch, small_cnn

_SHUFFLE_BUFFER = 10_000
_LEARNING_RATE = 1e-3


def default_epochs(samples: int) -> int:
    """How many epochs the reference classifier needs to settle on so many training samples."""
    return max(3, min(120, round(200_000 / samples)))


@dataclasses.dataclass(frozen=True)
class Trained:
    """Two classifiers that differ in the honeypot alone, and perhaps a third.

    Attributes:
        model: Trained with the honeypot.
        baseline: Trained as long on the same data, from the same weights, without it.
        history: The honeypot's training, epoch by epoch, by metric.
        baseline_history: The baseline's training, likewise.
        yardstick: Trained like the baseline, from other weights and in another order; None if that was not asked for.
    """

    model: keras.Model
    baseline: keras.Model
    history: dict[str, list[float]]
    baseline_history: dict[str, list[float]]
    yardstick: keras.Model | None = None


def train(
    data: Data,
    honeypot: Honeypot,
    *,
    epochs: int,
    batch_size: int = 128,
    yardstick: bool = False,
    seed: int = 0,
    verbose: int = 0,
) -> Trained:
    """Trains the reference classifier twice: with a honeypot, and without as the control.

    Where the data set's images need one, the classifier has a branch (`models.add_branch`), in all trainings. The
    learning rate falls to zero along a cosine.

    Args:
        data: The data set; its training part is trained on, some of its detector part is probed.
        honeypot: What to plant.
        epochs: How many epochs, each of them.
        batch_size: How many images a step.
        yardstick: Whether to train a third, without a honeypot as well but from another seed. How far two such models
            are apart is what `evaluate(..., yardstick=...)` measures the honeypot by.
        seed: Seed of weights and shuffling.
        verbose: As for `model.fit`: 0, 1 or 2.

    Returns:
        The models and how their training went.

    Raises:
        InvalidArgumentError: If an argument breaks a rule, or the honeypot's key does not fit the data.
    """
    # Told before the baseline is trained, and not after.
    _check(data, honeypot)

    def fit(honeypot: Honeypot | None, seed: int = seed) -> tuple[keras.Model, dict[str, list[float]]]:
        return fit_reference(data, honeypot, epochs=epochs, batch_size=batch_size, seed=seed, verbose=verbose)

    baseline, baseline_history = fit(None)
    model, history = fit(honeypot)
    further, _ = fit(None, seed=(_checks.seed(seed) + 1) % 2**32) if yardstick else (None, None)
    return Trained(model, baseline, history, baseline_history, further)


def fit_reference(
    data: Data,
    honeypot: Honeypot | None,
    *,
    epochs: int,
    batch_size: int = 128,
    seed: int = 0,
    verbose: int = 0,
) -> tuple[keras.Model, dict[str, list[float]]]:
    """Trains the reference classifier once, as `train` does each time: with a honeypot, or without.

    Trainings of one seed start from the same weights and see the images in the same order.

    Args:
        data: The data set; its training part is trained on, some of its detector part is probed.
        honeypot: What to plant; None trains without.
        epochs: How many epochs.
        batch_size: How many images a step.
        seed: Seed of weights and shuffling.
        verbose: As for `model.fit`: 0, 1 or 2.

    Returns:
        The model, and how its training went, epoch by epoch, by metric.

    Raises:
        InvalidArgumentError: If an argument breaks a rule, or the honeypot's key does not fit the data.
    """
    _checks.instance("data", data, Data, "a Data, such as data.load gives")
    if honeypot is not None:
        _check(data, honeypot)
    _checks.whole_number("epochs", epochs)
    _checks.whole_number("batch_size", batch_size)
    _checks.seed(seed)
    callbacks = []
    if honeypot is not None:
        callbacks.append(HoneyCallback(honeypot, probe=data.detector.dataset()))
    batches = data.train.dataset().shuffle(_SHUFFLE_BUFFER, seed=seed).batch(batch_size)
    if honeypot is not None:
        batches = batches.apply(honeypot.poison)
    model = _classifier(data, epochs * math.ceil(len(data.train) / batch_size), seed)
    # Keras would otherwise warn that it cannot shuffle a data set, which is shuffled already.
    history = model.fit(batches.prefetch(2), epochs=epochs, callbacks=callbacks, verbose=verbose, shuffle=False)
    return model, history.history


def _check(data: Data, honeypot: Honeypot) -> None:
    _checks.instance("data", data, Data, "a Data, such as data.load gives")
    _checks.instance("honeypot", honeypot, Honeypot, "a Honeypot")
    data.check_key(honeypot.key)


def _classifier(data: Data, steps: int, seed: int) -> keras.Model:
    model = small_cnn(data.input_shape, data.num_classes, input_range=data.input_range, seed=seed)
    if data.needs_branch:
        model = add_branch(model, input_range=data.input_range, seed=seed)
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(_LEARNING_RATE, steps)),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model
