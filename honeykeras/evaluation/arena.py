"""`Arena`: one model, attacked, and what detectors make of it."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import keras
import numpy as np

from honeykeras import _checks, _progress, corruptions
from honeykeras._files import PathLike
from honeykeras.attacks import AdversarialExamples, Attack
from honeykeras.data import Data, Part, Split
from honeykeras.detection import CalibratedDetector, Samples
from honeykeras.errors import InvalidArgumentError, ModelError
from honeykeras.evaluation.recovery import from_gradients, from_perturbations
from honeykeras.evaluation.results import AttackDetection, Corruption, DetectionRates, Example
from honeykeras.evaluation.roc import detection_rates
from honeykeras.evaluation.statistics import Proportion
from honeykeras.keys import WatermarkKey
from honeykeras.outputs import predict_labels
from honeykeras.ranges import UNIT, InputRange, quantize

# Of parts that are larger than memory may be, a sample of so many bytes is looked at.
_MOST_BYTES = 160 * 2**20
# Clean test images that each corruption is judged on, at most.
_MOST_CORRUPTED = 2000

# What reports take for the name of an attack or of a kind of detector, and what they call what is no user's attack.
_NAME = r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}"
_NO_ATTACKS = ("overall", "gradients", "weights", "transfer")

# Examples of each attack that a report shows, at most.
_MOST_EXAMPLES = 4


def correctly_classified(
    model: keras.Model,
    split: Part,
    samples: int,
    input_range: InputRange = UNIT,
    num_classes: int | None = None,
) -> Split:
    """The images that a model gets right: those that there is a point in attacking.

    Args:
        model: The classifier.
        split: Images and labels.
        samples: How many to return, at most; the first ones of `Part.mixed` are taken.
        input_range: Least and greatest value of an input.
        num_classes: If given, the number of classes that the model must have.

    Returns:
        The images, quantised to 8 bits, and their labels.

    Raises:
        ModelError: If the model gets none right, cannot take them, or has other classes.
    """
    _checks.instance("split", split, Part, "a part of a data set, such as Data.test")
    samples = _checks.whole_number("samples", samples)
    found: list[tuple[np.ndarray, np.ndarray]] = []
    wanted = samples
    for inputs, labels in split.mixed(2 * samples):
        x = quantize(_checks.inputs("x", inputs, None, input_range), input_range)
        y = _checks.labels("y", labels, len(x))
        right = np.flatnonzero(predict_labels(model, x, num_classes=num_classes) == y)[:wanted]
        found.append((x[right], y[right]))
        wanted -= len(right)
        if not wanted:
            break
    if wanted == samples:
        raise ModelError(f"The model must get some images right to be attacked. Received: none right of {len(split)}.")
    xs, ys = zip(*found, strict=True)
    return Split(np.concatenate(xs), np.concatenate(ys))


def correct(model: keras.Model, part: Part, verbose: int = 0) -> np.ndarray:
    """Which samples of a part a model gets right, shape `(n,)`, bool."""
    right = []
    with _progress.bar("Classifying", len(part), "image", verbose) as progress:
        for x, y in part.batches():
            right.append(predict_labels(model, x) == y)
            progress.update(len(x))
    return np.concatenate(right)


def attack_correct(
    model: keras.Model, attack: Attack, split: Part, samples: int, verbose: int = 0
) -> AdversarialExamples:
    """Attacks images that a model gets right, at most so many, and quantises what comes of them."""
    right = correctly_classified(model, split, samples, attack.input_range)
    return attack.generate(model, right.x, right.y, verbose=verbose).quantize(model)


def check_attacks(attacks: Sequence[Attack], input_range: InputRange) -> dict[str, Attack]:
    """The attacks by name, or `InvalidArgumentError` unless there are some, of different names and not targeted.

    They must also be for the range that inputs have.

    A name is that of a field in reports, beside those of what is not an attack.
    """
    _checks.instance("attacks", attacks, Sequence, "a list of attacks, such as [PGD()]")
    for attack in attacks:
        _checks.instance("attacks", attack, Attack, "a list of attacks, such as [PGD()]")
    by_name = {attack.name: attack for attack in attacks}
    for name in by_name:
        check_name("An attack's", name, _NO_ATTACKS)
    if not by_name or len(by_name) != len(attacks):
        raise InvalidArgumentError(
            f"`attacks` must hold at least one attack, and none twice. Received: {list(attacks)}."
        )
    if targeted := [attack for attack in attacks if attack.targeted]:
        raise InvalidArgumentError(
            f"`attacks` must not be targeted: they get the images' own labels, to get away from. Received: {targeted}."
        )
    for attack in attacks:
        if attack.input_range != input_range:
            raise InvalidArgumentError(
                f"`attacks` must be for the inputs of the data set, {input_range}. Received: {attack}."
            )
    return by_name


def check_name(whose: str, name: str, taken: Collection[str] = ()) -> None:
    """Raises `InvalidArgumentError` unless reports can hold a name; told before any work is done."""
    if not re.fullmatch(_NAME, name) or name in taken:
        beside = f", and not one of {', '.join(taken)}" if taken else ""
        raise InvalidArgumentError(
            f"{whose} `name` must be at most 64 letters, digits, '.', '+', '-' and '_', beginning with a letter or a "
            f"digit{beside}. Received: {name!r}."
        )


def samples_for(
    kind: CalibratedDetector | type[CalibratedDetector],
    data: Data,
    attacked: Sequence[AdversarialExamples],
    verbose: int = 0,
) -> Samples | None:
    """What a detector of a kind is fitted on; None if it learns from attacks, and none of those succeeded.

    Args:
        kind: The kind.
        data: The data set.
        attacked: What each attack made of images of `data.detector`, for a kind that learns from attacks.
        verbose: 1 shows progress bars, 0 nothing.
    """
    clean = data.train.head(len(data.train), _MOST_BYTES, verbose).x
    if not kind.needs_adversarial:
        return Samples(clean, held_out=data.detector.head(len(data.detector), _MOST_BYTES, verbose).x)
    if not any(made.success.any() for made in attacked):
        return None
    # The same images for every attack.
    successful = np.concatenate([made.successful for made in attacked])
    return Samples(clean, held_out=attacked[0].x, adversarial=successful)


class Flags(Protocol):
    """What says of inputs whether they are adversarial."""

    def flag(self, x: np.ndarray) -> np.ndarray:
        """Whether each input is flagged, shape `(batch,)`, bool."""
        ...


class Arena:
    """One model, attacked.

    Attributes:
        model: The model.
        data: The data set.
        samples: How many images of a part each attack is run on, at most.
        verbose: Whether progress bars are shown.
        clean_accuracy: The model's accuracy on the test images.
        attacks: The attacks, by name.
        test: What each attack made of test images, by name of the attack, quantised.
    """

    def __init__(
        self,
        model: keras.Model,
        data: Data,
        attacks: Mapping[str, Attack],
        samples: int,
        max_fpr: float,
        seed: int = 0,
        verbose: int = 0,
        cache: PathLike | None = None,
    ) -> None:
        """Attacks a model.

        Args:
            model: The model.
            data: The data set.
            attacks: The attacks, by name.
            samples: How many images of a part each attack is run on, at most.
            max_fpr: The false positive rate that detectors are calibrated to.
            seed: Seed of what is random in fitting them.
            verbose: 1 shows progress bars, 0 nothing.
            cache: A folder to keep extractors in, if any.
        """
        self.model, self.data, self.samples, self._cache = model, data, samples, cache
        self.attacks, self._max_fpr, self._seed, self.verbose = attacks, max_fpr, seed, verbose
        self._detectors: dict[tuple[str, str], CalibratedDetector | None] = {}
        self._attacked: dict[str, AdversarialExamples] = {}
        self.clean_accuracy = Proportion.of(correct(model, data.test, verbose))
        self.test = {name: self.attack(attack, data.test) for name, attack in attacks.items()}

    @functools.cached_property
    def own(self) -> Split:
        """Images of an attacker's own: those of the detector's part that the model gets right."""
        return correctly_classified(self.model, self.data.detector, self.samples, self.data.input_range)

    @functools.cached_property
    def averaged_gradients(self) -> np.ndarray:
        """What an attacker reads of the patterns off the model's gradients at these, as `recovery.from_gradients`."""
        return from_gradients(self.model, self.own.x, self.own.y, input_range=self.data.input_range)

    def averaged_perturbations(self, name: str) -> np.ndarray:
        """What an attacker reads off what an attack makes of those, as `recovery.from_perturbations`."""
        return from_perturbations(self.model, self._of_own(name))

    def _of_own(self, name: str) -> AdversarialExamples:
        """What an attack makes of images of the detector's part; made when it is first asked for, as it takes long."""
        if name not in self._attacked:
            self._attacked[name] = self.attack(self.attacks[name], self.data.detector)
        return self._attacked[name]

    def attack(self, attack: Attack, split: Part) -> AdversarialExamples:
        """Attacks images that the model gets right, and quantises what comes of them."""
        return attack_correct(self.model, attack, split, self.samples, self.verbose)

    def fit(self, detector: CalibratedDetector) -> CalibratedDetector | None:
        """Fits and calibrates a detector for this model; None if it has to learn from attacks, and none ever succeeds.

        Args:
            detector: One that is not fitted.
        """
        attacked = [self._of_own(name) for name in self.attacks] if detector.needs_adversarial else []
        samples = samples_for(detector, self.data, attacked, self.verbose)
        if samples is None:
            return None
        detector.prepare(samples, seed=self._seed, verbose=self.verbose, cache=self._cache)
        detector.fit(self.model, samples, seed=self._seed, verbose=self.verbose)
        return detector.calibrate(self.data.calibration.inputs, self._max_fpr, verbose=self.verbose)

    def wrong_keys(self, key: WatermarkKey, like: CalibratedDetector) -> list[CalibratedDetector | None]:
        """Detectors like another, for keys that were not planted."""
        return [self.detector(wrong_key, like) for wrong_key in key.wrong_keys()]

    def detector(self, key: WatermarkKey, like: CalibratedDetector) -> CalibratedDetector | None:
        """The detector for `key` that is like another one; see `fit`. It is fitted when it is first asked for."""
        name = like.name, key.key_id
        if name not in self._detectors:
            self._detectors[name] = self.fit(like.for_key(key))
        return self._detectors[name]

    def detect(
        self, detector: CalibratedDetector | None, examples: Mapping[str, AdversarialExamples] | None = None
    ) -> DetectionRates:
        """Judges a detector on `test`, or on other examples sent to this model; None is one that never flags."""
        examples = (
            self.test if examples is None else {name: made.quantize(self.model) for name, made in examples.items()}
        )
        scores = {name: np.full(len(made), np.nan) for name, made in examples.items()}
        if detector is None:
            return detection_rates(np.empty(0), scores, math.inf)
        for name, made in examples.items():
            if made.success.any():
                scores[name][made.success] = detector.score(made.successful, verbose=self.verbose)
        clean = detector.score(self.data.test.inputs, verbose=self.verbose)
        return detection_rates(clean, scores, detector.threshold)

    def examples(self, detector: CalibratedDetector | None, name: str) -> tuple[Example, ...]:
        """A few successes of an attack, of different classes, and what a detector makes of them."""
        made = self.test[name]
        if detector is None or made.x.ndim != 4 or made.x.shape[-1] not in (1, 3) or not made.success.any():
            return ()
        succeeded = np.flatnonzero(made.success)
        _, first = np.unique(made.y[succeeded], return_index=True)
        chosen = succeeded[np.sort(first)[:_MOST_EXAMPLES]]
        x, x_adv = made.x[chosen], made.x_adv[chosen]
        shown = (made.input_range.to_unit(images) for images in (x, x_adv))
        judged = zip(made.y[chosen], predict_labels(self.model, x_adv), detector.flag(x_adv), *shown, strict=True)
        return tuple(
            Example(int(label), int(predicted), bool(flagged), *images) for label, predicted, flagged, *images in judged
        )

    @staticmethod
    def caught(detector: Flags | None, examples: AdversarialExamples) -> AttackDetection:
        """What a detector makes of the examples that fool its model."""
        flagged = _flagged(detector, examples.successful) if detector else Proportion(0, 0)
        return AttackDetection(flagged, Proportion.of(examples.success))

    def judge_corruptions(self, detector: CalibratedDetector | None, seed: int) -> dict[str, Corruption]:
        """What a detector makes of benign corruptions of the clean test images."""
        if detector is None:
            return {}
        few, found = self.data.test.head(_MOST_CORRUPTED, _MOST_BYTES), {}
        for name in corruptions.names(self.data.input_shape):
            corrupted = corruptions.corrupt(few.x, name, input_range=self.data.input_range, seed=seed)
            right = predict_labels(self.model, corrupted) == few.y
            found[name] = Corruption(_flagged(detector, corrupted), Proportion.of(right))
        return found


def _flagged(detector: Flags, x: np.ndarray) -> Proportion:
    return Proportion.of(detector.flag(x)) if len(x) else Proportion(0, 0)
