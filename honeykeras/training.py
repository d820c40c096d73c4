"""Training a classifier, with a honeypot and without."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import keras
import tensorflow as tf

from honeykeras import _checks, _optimizers, model_sources
from honeykeras._files import PathLike, as_path
from honeykeras._messages import reason
from honeykeras.adversarial import AdversarialTraining, adversarial_epochs
from honeykeras.attacks import PGD
from honeykeras.callback import HoneyCallback
from honeykeras.checkpoints import Checkpoints
from honeykeras.data import Data
from honeykeras.errors import InvalidArgumentError
from honeykeras.honeypot import Honeypot
from honeykeras.passes import KeepsPasses, PassCounter, shuffled

Augmentation = Callable[[tf.Tensor], tf.Tensor]
"""From a batch of inputs to as many, in the same range."""

_PROBE_STEPS = 10
_BATCH_SIZE = 64


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
        adversarial: Trained adversarially instead, from the same weights, with as many passes through the model; None
            if that was not asked for.
    """

    model: keras.Model
    baseline: keras.Model
    history: dict[str, list[float]]
    baseline_history: dict[str, list[float]]
    yardstick: keras.Model | None = None
    adversarial: keras.Model | None = None


def train(
    data: Data,
    honeypot: Honeypot,
    *,
    epochs: int,
    batch_size: int = 128,
    build: model_sources.Builder | None = None,
    augment: Augmentation | None = None,
    checkpoints: PathLike | None = None,
    yardstick: bool = False,
    adversarial: bool = False,
    seed: int = 0,
    verbose: int = 0,
) -> Trained:
    """Trains a classifier twice: with a honeypot, and without as the control.

    Args:
        data: The data set; its training part is trained on, some of its detector part is probed.
        honeypot: What to plant.
        epochs: How many epochs, each of them.
        batch_size: How many images a step.
        build: What makes the classifier, compiled (`model_sources.get`). None trains the reference classifier.
        augment: What varies inputs at random, batch by batch and before the watermark is drawn on them: a function or a
            Keras layer, from `(batch, *input_shape)` to the same. What leaves the input range is clipped.
        checkpoints: A folder to keep how far the trainings have come, after each epoch. Trainings that were stopped go
            on from there, with the draws that they would have had. It is there still when all are done.
        yardstick: Whether to train a third, without a honeypot as well but from another seed. How far two such models
            are apart is what `evaluate(..., yardstick=...)` measures the honeypot by.
        adversarial: Whether to train one adversarially: what a user would do instead, and what
            `evaluate(..., adversarial=...)` puts beside the honeypot. It gets as many passes through the model, forward
            and backward, as the honeypot's training takes.
        seed: Seed of weights and shuffling.
        verbose: As for `model.fit`: 0, 1 or 2.

    Returns:
        The models and how their training went.

    Raises:
        InvalidArgumentError: If an argument breaks a rule, or the honeypot's key does not fit the data.
        ModelError: If the classifier does not fit the data.
    """
    # Told before the baseline is trained, and not after.
    _check(data, honeypot)

    def fit(
        name: str,
        honeypot: Honeypot | None,
        seed: int = seed,
        epochs: int = epochs,
        adversarial: bool = False,
    ) -> tuple[keras.Model, dict[str, list[float]]]:
        return fit_classifier(
            data,
            honeypot,
            adversarial=adversarial,
            epochs=epochs,
            batch_size=batch_size,
            build=build,
            augment=augment,
            checkpoints=None if checkpoints is None else as_path(checkpoints) / name,
            seed=seed,
            verbose=verbose,
        )

    baseline, baseline_history = fit("baseline", None)
    model, history = fit("model", honeypot)
    further, _ = fit("yardstick", None, seed=(_checks.seed(seed) + 1) % 2**32) if yardstick else (None, None)
    alike = adversarial_epochs(honeypot.recipe, epochs, len(data.train))
    hardened, _ = fit("adversarial", None, epochs=alike, adversarial=True) if adversarial else (None, None)
    return Trained(model, baseline, history, baseline_history, further, hardened)


def fit_classifier(
    data: Data,
    honeypot: Honeypot | None,
    *,
    epochs: int,
    adversarial: bool = False,
    batch_size: int = 128,
    build: model_sources.Builder | None = None,
    augment: Augmentation | None = None,
    checkpoints: PathLike | None = None,
    seed: int = 0,
    verbose: int = 0,
) -> tuple[keras.Model, dict[str, list[float]]]:
    """Trains a classifier once, as `train` does each time: with a honeypot, without, or adversarially.

    Trainings of one seed start from the same weights and see the images in the same order.

    Args:
        data: The data set; its training part is trained on, some of its detector part is probed.
        honeypot: What to plant; None trains without.
        epochs: How many epochs.
        adversarial: Without a honeypot, whether to train adversarially, at the data's customary radius.
        batch_size: How many images a step.
        build: As for `train`.
        augment: As for `train`.
        checkpoints: A folder to keep how far the training has come, after each epoch, and the model in the end.
        seed: Seed of weights and shuffling.
        verbose: As for `model.fit`: 0, 1 or 2.

    Returns:
        The model, and how its training went, epoch by epoch, by metric.

    Raises:
        InvalidArgumentError: If an argument breaks a rule, or the honeypot's key does not fit the data.
        ModelError: If the classifier does not fit the data.
    """
    _checks.instance("data", data, Data, "a Data, such as data.load gives")
    if honeypot is not None:
        _check(data, honeypot)
    if _checks.flag("adversarial", adversarial) and honeypot is not None:
        raise InvalidArgumentError(
            "`adversarial` is for a training without a honeypot, which has adversarial examples of its own. Received: "
            "both."
        )
    _checks.whole_number("epochs", epochs)
    _checks.whole_number("batch_size", batch_size)
    _checks.seed(seed)
    steps = epochs * math.ceil(len(data.train) / batch_size)
    classifier = (build or model_sources.get(None))(data, seed=seed, steps=steps)
    model, kept = classifier.model, None if checkpoints is None else Checkpoints(as_path(checkpoints))
    samples = labelled_for(classifier, _samples(data, augment), data.num_classes)
    if honeypot is not None:
        samples = samples.apply(honeypot.poison)
    if kept and kept.finished:
        kept.restore(model)
        return model, kept.history()
    counter = PassCounter()
    callbacks: list[keras.callbacks.Callback] = [KeepsPasses(counter)]
    if honeypot is not None:
        callbacks.append(
            HoneyCallback(
                honeypot,
                probe=data.detector.dataset(),
                attack=PGD(data.epsilon, steps=_PROBE_STEPS, input_range=data.input_range),
                backup_dir=None if kept is None else kept.folder,
            )
        )
    if adversarial:
        callbacks.append(
            AdversarialTraining(
                samples,
                data.epsilon,
                input_shape=data.input_shape,
                num_classes=data.num_classes,
                input_range=data.input_range,
                seed=seed,
                backup_dir=None if kept is None else kept.folder,
            )
        )
    if kept:
        callbacks += kept.callbacks()
    # After the poisoning: what hardens the model goes through the data set that was poisoned, and is not to count here.
    batches = shuffled(samples.unbatch(), seed, counter, size=len(data.train)).batch(batch_size)
    _optimizers.build(model)
    history = model.fit(
        batches.prefetch(2),
        epochs=epochs,
        callbacks=callbacks,
        class_weight=None if classifier.class_weight is None else dict(classifier.class_weight),
        verbose=verbose,
        # Keras would otherwise warn that it cannot shuffle a data set, which is shuffled already.
        shuffle=False,
    )
    if kept:
        kept.finish(model)
        return model, kept.history()
    return model, history.history


def labelled_for(classifier: model_sources.Classifier, batches: tf.data.Dataset, num_classes: int) -> tf.data.Dataset:
    """Batches of inputs and class indices, with labels as the classifier's loss takes them."""
    return batches.map(lambda x, y: (x, tf.one_hot(y, num_classes))) if classifier.one_hot else batches


def _samples(data: Data, augment: Augmentation | None) -> tf.data.Dataset:
    """What is trained on, in batches that are quick to handle and not yet those of the training."""
    samples = data.train.dataset().batch(_BATCH_SIZE)
    if augment is not None:
        varied = _augmentation(augment, data)
        samples = samples.map(lambda x, y: (varied(x), y), num_parallel_calls=tf.data.AUTOTUNE)
    return samples


def _augmentation(augment: Augmentation, data: Data) -> Augmentation:
    """What a user's function does, in the input range, once it was tried."""
    low, high = data.input_range.ends()

    def varied(x: tf.Tensor) -> tf.Tensor:
        made = augment(x, training=True) if isinstance(augment, keras.Layer) else augment(x)
        return tf.ensure_shape(tf.clip_by_value(tf.cast(made, tf.float32), low, high), x.shape)

    tried = data.train.head(2).x
    try:
        varied(tf.constant(tried))
    except Exception as error:  # Anybody's code.
        raise InvalidArgumentError(
            f"`augment` must turn a batch of inputs into another of the same shape. Received: {type(error).__name__}: "
            f"{reason(error)}, with one of shape {tried.shape}."
        ) from error
    return varied


def _check(data: Data, honeypot: Honeypot) -> None:
    _checks.instance("data", data, Data, "a Data, such as data.load gives")
    _checks.instance("honeypot", honeypot, Honeypot, "a Honeypot")
    data.check_key(honeypot.key)
