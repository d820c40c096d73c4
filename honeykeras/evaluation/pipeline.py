"""`evaluate`: what a honeypot costs, what attacks reconstruct, what a detector catches, and the controls."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from honeykeras import _checks, corruptions
from honeykeras.attacks import AdversarialExamples, Attack, quantize
from honeykeras.data import Data, Split
from honeykeras.detection import KINDS, CalibratedDetector, Detector, KeyScoreDetector, PaperDetector, fit_extractor
from honeykeras.detection.calibration import check_sample_size
from honeykeras.detection.extractor import check_family
from honeykeras.errors import InvalidArgumentError, ModelError
from honeykeras.evaluation.results import (
    AttackDetection,
    Corruption,
    Detection,
    DetectionRates,
    Evaluation,
    Reconstruction,
    Viability,
)
from honeykeras.evaluation.statistics import Proportion, mean
from honeykeras.keys import WatermarkKey
from honeykeras.outputs import predict_labels
from honeykeras.patterns import Scattered
from honeykeras.watermark import Watermark

# Clean test images that each corruption is judged on, at most.
_MOST_CORRUPTED = 2000


def correctly_classified(model: keras.Model, split: Split, samples: int) -> Split:
    """The images that a model gets right: those that there is a point in attacking.

    Args:
        model: The classifier.
        split: Images and labels.
        samples: How many to return, at most; the first ones are taken.

    Returns:
        The images, quantised to 8 bits, and their labels.

    Raises:
        ModelError: If the model gets none right, or cannot take them.
    """
    samples = _checks.whole_number("samples", samples)
    x = quantize(_checks.inputs("x", split.x, None, (0, 1)))
    y = _checks.labels("y", split.y, len(x))
    right = np.flatnonzero(predict_labels(model, x) == y)[:samples]
    if not len(right):
        raise ModelError(f"The model must get some images right to be attacked. Received: none right of {len(x)}.")
    return Split(x[right], y[right])


def evaluate(
    model: keras.Model,
    key: WatermarkKey,
    data: Data,
    *,
    baseline: keras.Model,
    attacks: Sequence[Attack],
    detector: str | None = None,
    extractor: keras.Model | None = None,
    max_fpr: float = 0.01,
    samples: int = 500,
    seed: int = 0,
    verbose: int = 0,
) -> Evaluation:
    """Judges a honeypot, with its controls.

    The same pipeline runs three times: with the key on the model, with eight wrong keys on the model, and with
    the key on a model without a honeypot. Each time a detector is fitted (on attacked images of `data.detector`, if
    its kind learns from any), calibrated on the clean images of `data.calibration`, and judged on `data.test`. Two
    further controls go to the detector that has the key: adversarial images that were made on the model without a
    honeypot, and clean images after benign corruptions. Only
    images that the model gets right are attacked, adversarial images are quantised to 8 bits, and only those
    that still fool the model then count.

    Args:
        model: The classifier with the honeypot.
        key: The key that it was trained with.
        data: The data set, in its disjoint parts.
        baseline: A classifier of the same kind, trained as long on the same data, without a honeypot.
        attacks: Which attacks to judge; no two of one name.
        detector: The kind of detector, one of `detection.KINDS`. Defaults to `"key"`, or to `"paper"` for a key of the
            paper's family.
        extractor: An extractor for images like these, if there is one already. Otherwise, where the kind of detector
            needs one, it is trained on the clean images of `data.train`.
        max_fpr: The false positive rate that thresholds are calibrated to, in (0, 1).
        samples: How many images of a part each attack is run on, at most.
        seed: Seed of the extractor's training and of the corruptions.
        verbose: 1 shows progress bars, 0 nothing.

    Returns:
        The figures, with sample sizes and intervals. Of an attack that never succeeds, its success rate of zero is
        the only one that exists.

    Raises:
        InvalidArgumentError: If an argument breaks a rule, or key and data do not fit.
        ModelError: If a model does not fit the data, or gets none of it right.
    """
    attack_by_name = {attack.name: attack for attack in attacks}
    if not attacks or len(attack_by_name) != len(attacks):
        raise InvalidArgumentError(
            f"`attacks` must hold at least one attack, and none twice. Received: {list(attacks)}."
        )
    if targeted := [attack for attack in attacks if attack.targeted]:
        raise InvalidArgumentError(
            f"`attacks` must not be targeted: they get the images' own labels, to get away from. Received: {targeted}."
        )
    data.check_key(key)
    check_sample_size(len(data.calibration), max_fpr)
    kind = KINDS[_checks.one_of("detector", detector or _default_kind(key), KINDS)]
    if issubclass(kind, KeyScoreDetector):
        check_family(key.pattern)
        extractor = extractor or fit_extractor(data.train.x, key.pattern, seed=seed, verbose=verbose)
    make = _Maker(kind, extractor, max_fpr)
    honey = _Arena(model, data, attack_by_name, samples, make, verbose)
    plain = _Arena(baseline, data, attack_by_name, samples, make, verbose)
    decoys = key.control_decoys()
    wrong_keys = tuple(honey.detect(decoy) for decoy in decoys)
    return Evaluation(
        key_id=key.key_id,
        viability=Viability(honey.clean_accuracy, plain.clean_accuracy),
        reconstruction={
            name: _reconstruction(key, decoys, (model, honey.test[name]), (baseline, plain.test[name]))
            for name in attack_by_name
        },
        detection=Detection(
            detector=kind.name,
            key_specific=kind.key_specific,
            max_fpr=max_fpr,
            rates=honey.detect(key),
            wrong_key=_average(wrong_keys),
            wrong_keys=wrong_keys,
            no_honeypot=plain.detect(key),
            transfer=honey.detect(key, plain.test),
            corruptions=honey.judge_corruptions(key, seed),
        ),
    )


def _default_kind(key: WatermarkKey) -> str:
    return PaperDetector.name if isinstance(key.pattern, Scattered) else Detector.name


@dataclasses.dataclass(frozen=True)
class _Maker:
    """Makes detectors of one kind."""

    kind: type[CalibratedDetector]
    extractor: keras.Model | None
    max_fpr: float

    def __call__(
        self, key: WatermarkKey, model: keras.Model, examples: Sequence[AdversarialExamples], data: Data
    ) -> CalibratedDetector:
        arguments: dict[str, Any] = {}
        if self.kind.needs_adversarial:
            # The same images for every attack.
            arguments["negatives"] = examples[0].x
            arguments["adversarial"] = np.concatenate([example.successful for example in examples])
        if issubclass(self.kind, KeyScoreDetector):
            arguments["extractor"] = self.extractor
        return self.kind(key).fit(model, **arguments).calibrate(data.calibration.x, self.max_fpr)


class _Arena:
    """One model, attacked."""

    def __init__(
        self,
        model: keras.Model,
        data: Data,
        attacks: Mapping[str, Attack],
        samples: int,
        make_detector: _Maker,
        verbose: int,
    ) -> None:
        self._model, self._data, self._make_detector = model, data, make_detector
        self.clean_accuracy = Proportion.of(predict_labels(model, data.test.x) == data.test.y)

        def attack_all(split: Split) -> dict[str, AdversarialExamples]:
            right = correctly_classified(model, split, samples)
            return {
                name: attack.generate(model, right.x, right.y, verbose=verbose).quantize(model)
                for name, attack in attacks.items()
            }

        self._fit = list(attack_all(data.detector).values()) if make_detector.kind.needs_adversarial else []
        self.test = attack_all(data.test)

    def detect(self, key: WatermarkKey, examples: Mapping[str, AdversarialExamples] | None = None) -> DetectionRates:
        """Judges a detector for `key` on the attacks on this model, or on another's examples sent to this one."""
        examples = (
            self.test if examples is None else {name: made.quantize(self._model) for name, made in examples.items()}
        )
        success = {name: Proportion.of(made.success) for name, made in examples.items()}
        detector = self._detector(key)
        if detector is None:
            nothing = Proportion(0, 0)
            return DetectionRates(nothing, {name: AttackDetection(nothing, success[name]) for name in examples})
        return DetectionRates(
            false_positives=Proportion.of(detector.flag(self._data.test.x)),
            attacks={
                name: AttackDetection(_flagged(detector, made.successful), success[name])
                for name, made in examples.items()
            },
        )

    def judge_corruptions(self, key: WatermarkKey, seed: int) -> dict[str, Corruption]:
        """What a detector for `key` makes of benign corruptions of the clean test images."""
        x, y = self._data.test.x[:_MOST_CORRUPTED], self._data.test.y[:_MOST_CORRUPTED]
        detector = self._detector(key)
        if detector is None:
            return {}
        found = {}
        for name in corruptions.names(self._data.input_shape):
            corrupted = corruptions.corrupt(x, name, seed=seed)
            right = predict_labels(self._model, corrupted) == y
            found[name] = Corruption(_flagged(detector, corrupted), Proportion.of(right))
        return found

    def _detector(self, key: WatermarkKey) -> CalibratedDetector | None:
        """A detector for `key`; None if it has to learn from attacks, and none ever succeeds."""
        if self._make_detector.kind.needs_adversarial and not any(made.success.any() for made in self._fit):
            return None
        return self._make_detector(key, self._model, self._fit, self._data)


def _flagged(detector: CalibratedDetector, x: np.ndarray) -> Proportion:
    return Proportion.of(detector.flag(x)) if len(x) else Proportion(0, 0)


def _reconstruction(
    key: WatermarkKey,
    decoys: Sequence[WatermarkKey],
    honey: tuple[keras.Model, AdversarialExamples],
    plain: tuple[keras.Model, AdversarialExamples],
) -> Reconstruction:
    def cosines(of: WatermarkKey, attacked: tuple[keras.Model, AdversarialExamples]) -> np.ndarray:
        model, examples = attacked
        if not examples.success.any():
            return np.empty(0)
        led_to = predict_labels(model, examples.successful)
        return Watermark(of).cosine_similarity(examples.delta, led_to).numpy()

    # Averaged over the keys image by image: the images are what is sampled.
    wrong = np.mean([cosines(decoy, honey) for decoy in decoys], axis=0)
    return Reconstruction(
        mean(cosines(key, honey)), mean(wrong), mean(cosines(key, plain)), int(honey[1].success.sum())
    )


def _average(rates: Sequence[DetectionRates]) -> DetectionRates:
    """The mean of rates over the same samples; the sample size stays that of one."""

    def average(proportions: Sequence[Proportion]) -> Proportion:
        return Proportion(float(np.mean([proportion.count for proportion in proportions])), proportions[0].n)

    return DetectionRates(
        false_positives=average([rate.false_positives for rate in rates]),
        attacks={
            name: AttackDetection(average([rate.attacks[name].true_positives for rate in rates]), attack.attack_success)
            for name, attack in rates[0].attacks.items()
        },
    )
