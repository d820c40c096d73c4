"""What can be told of a training before it is begun: what would be planted, what it takes, and what will not work."""

from __future__ import annotations

import dataclasses
import math
import resource
import statistics
import sys
import time
import warnings
from typing import Any

import keras
import numpy as np

from honeykeras import passes, poisoning, survey
from honeykeras.callback import HoneyCallback
from honeykeras.data import Data
from honeykeras.detection.calibration import check_sample_size
from honeykeras.honeypot import Honeypot
from honeykeras.keys import WatermarkKey
from honeykeras.model_sources import Builder, Classifier
from honeykeras.models import has_branch
from honeykeras.outputs import Logits
from honeykeras.patterns import FAMILIES
from honeykeras.recipes import DRAWINGS_DETAIL, Recipe
from honeykeras.training import labelled_for

# Batches that are trained on, and how many of them are not timed: in those, functions are compiled.
_STEPS, _UNTIMED = 8, 3
# Samples and bytes that are looked at.
_MOST_SAMPLES, _MOST_BYTES = 2_000, 2**26
# Fewer in a class are learnt by heart.
_FEW_OF_A_CLASS = 50


@dataclasses.dataclass(frozen=True)
class Preflight:
    """What was found.

    Attributes:
        samples: How many there are, by part.
        input_shape: Shape of one input.
        input_range: Least and greatest value that an input may have, as text.
        values: Least and greatest value that inputs have.
        class_sizes: How many training samples each class has, by its name.
        detail: How detailed images are, as `Recipe.for_detail` takes it; None for other inputs.
        output: What the classifier gives, `logits` or `probabilities`.
        parameters: How many weights it trains.
        branch: Whether it has a branch.
        recipe: The recipe as it would be planted.
        family: The family of patterns, as plain data.
        poisoned: How many samples an epoch would be poisoned.
        epochs: How many epochs there would be.
        seconds: How long an epoch takes, `plain` and with the `honeypot`, from a few steps.
        memory: Peak resident memory of this process, with those steps, and of what buffers may add, in MB.
        problems: What will not work, or not well, a sentence each.
    """

    samples: dict[str, int]
    input_shape: tuple[int, ...]
    input_range: str
    values: tuple[float, float]
    class_sizes: dict[str, int]
    detail: float | None
    output: str
    parameters: int
    branch: bool
    recipe: Recipe
    family: dict[str, Any]
    poisoned: int
    epochs: int
    seconds: dict[str, float]
    memory: int
    problems: tuple[str, ...]


def preflight(
    data: Data,
    build: Builder,
    recipe: Recipe,
    *,
    epochs: int,
    batch_size: int = 128,
    max_fpr: float = 0.01,
    seed: int = 0,
) -> Preflight:
    """Looks at a data set and a classifier, and trains a few steps without a honeypot and with one, on a key of no use.

    Args:
        data: The data set.
        build: What makes the classifier.
        recipe: How it would be planted.
        epochs: How many epochs there would be.
        batch_size: How many samples a step.
        max_fpr: What the detector would be calibrated to.
        seed: Seed of the weights.

    Raises:
        InvalidArgumentError: If a detector could not be calibrated, or nothing could be planted.
        ModelError: If the classifier does not fit the data, or has no gradient.
    """
    check_sample_size(len(data.calibration), max_fpr)
    few = data.train.head(_MOST_SAMPLES, _MOST_BYTES)
    detail = survey.look_through(few.dataset().batch(batch_size), data.num_classes, data.input_range).detail
    planted = recipe.for_detail(detail)
    counts = np.bincount(data.train.y, minlength=data.num_classes)
    poisoned = poisoning.planned_samples(counts, planted.max_poison_rate)
    steps = math.ceil(len(data.train) / batch_size)
    classifier = build(data, seed=seed, steps=epochs * steps)
    logits = Logits(classifier.model, data.input_shape, data.num_classes)
    logits.check_gradient()
    family = FAMILIES[recipe.family].for_inputs(data.input_shape)
    key = WatermarkKey.generate(data.input_shape, data.num_classes, pattern=family, input_range=data.input_range)
    again = build(data, seed=seed, steps=epochs * steps)
    seconds, finite = {}, True
    for name, tried, honeypot in (("plain", classifier, None), ("honeypot", again, Honeypot(key, recipe))):
        timed = _Timed()
        size = _train(tried, data, honeypot, batch_size, timed)
        a_step = statistics.median(timed.seconds[_UNTIMED:] or timed.seconds)
        seconds[name] = round(a_step * len(data.train) / size, 3)
        finite &= timed.finite
    names = data.class_names or tuple(map(str, range(data.num_classes)))
    found = Preflight(
        samples={part: len(getattr(data, part)) for part in ("train", "detector", "calibration", "test")},
        input_shape=data.input_shape,
        input_range=str(data.input_range),
        values=(float(few.x.min()), float(few.x.max())),
        class_sizes=dict(zip(names, map(int, counts), strict=True)),
        detail=detail,
        output="probabilities" if logits.gives_probabilities else "logits",
        parameters=sum(math.prod(weight.shape) for weight in classifier.model.trainable_weights),
        branch=has_branch(classifier.model),
        recipe=planted,
        family={"name": family.name, **dataclasses.asdict(family)},
        poisoned=poisoned,
        epochs=epochs,
        seconds=seconds,
        memory=_peak_mb() + 2 * passes.most_shuffled_bytes(data.train.dataset()) // 2**20,
        problems=(),
    )
    return dataclasses.replace(found, problems=tuple(_problems(found, data, few.x, classifier, finite)))


def _train(
    classifier: Classifier, data: Data, honeypot: Honeypot | None, batch_size: int, timed: keras.callbacks.Callback
) -> int:
    """A few steps, on as large batches as there are; returns how large."""
    few = data.train.head(_STEPS * batch_size, 2 * _MOST_BYTES)
    size = max(1, min(batch_size, len(few) // _STEPS))
    batches = labelled_for(classifier, few.dataset().batch(size, drop_remainder=True), data.num_classes)
    callbacks = [timed]
    with warnings.catch_warnings():
        # Of so few samples, classes are uneven.
        warnings.simplefilter("ignore", UserWarning)
        if honeypot is not None:
            batches = batches.apply(honeypot.poison)
            # Others' images cost a step the same, whatever they were made on.
            surrogates = [classifier.model] if honeypot.recipe.transfer_share else []
            callbacks.insert(0, HoneyCallback(honeypot, surrogates=surrogates))
        classifier.model.fit(batches, epochs=1, callbacks=callbacks, verbose=0, shuffle=False)
    return size


class _Timed(keras.callbacks.Callback):
    """How long each step took, with what callbacks before this one did in it, and whether the loss was finite."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []
        self.finite = True
        self._last = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._last = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        now = time.perf_counter()
        self.seconds.append(now - self._last)
        self._last = now
        self.finite &= math.isfinite(float((logs or {}).get("loss", 0.0)))


def _problems(found: Preflight, data: Data, x: np.ndarray, classifier: Classifier, finite: bool) -> list[str]:
    said = []
    total = sum(found.class_sizes.values())
    smallest = min(found.class_sizes, key=lambda name: found.class_sizes[name])
    wanted = round(found.recipe.max_poison_rate * total)
    if not found.poisoned:
        said.append(f"Nothing would be planted: the class {smallest} has {found.class_sizes[smallest]} samples.")
    elif found.poisoned < wanted:
        said.append(
            f"The class {smallest} has {found.class_sizes[smallest]} of {total} samples, so that {found.poisoned} an "
            f"epoch would be poisoned instead of {wanted}."
        )
    if found.class_sizes[smallest] < _FEW_OF_A_CLASS:
        said.append(f"The class {smallest} has fewer than {_FEW_OF_A_CLASS} samples to learn from.")
    if found.detail is not None and found.detail < DRAWINGS_DETAIL and not found.branch:
        said.append(
            "The images have as little detail as photographs, in which nothing is planted without a branch "
            "(`--branch`)."
        )
    if found.recipe.alignment == 0 and found.recipe.family == "scattered":
        said.append("The recipe 'paper' plants nothing that attacks draw; it is for reproduction.")
    if not finite:
        said.append("The loss was not finite after a few steps.")
    constant = np.ptp(x.reshape(len(x), -1), axis=0) == 0
    if constant.mean() > 0.5:
        said.append(f"{constant.sum()} of {constant.size} features never vary.")
    expects_logits = getattr(classifier.model.loss, "from_logits", None)
    if isinstance(classifier.model.loss, str):
        expects_logits = False
    if expects_logits is not None and expects_logits != (found.output == "logits"):
        said.append(
            f"The model gives {found.output}, and its loss expects {'logits' if expects_logits else 'probabilities'} "
            "(`from_logits`)."
        )
    return said


def _peak_mb() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # In bytes on macOS, in KiB elsewhere.
    return int(peak // (2**20 if sys.platform == "darwin" else 2**10))
