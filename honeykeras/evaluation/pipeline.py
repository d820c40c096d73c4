"""`evaluate`: what a honeypot costs, what attacks reconstruct, what a detector catches, and the controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras
import numpy as np

from honeykeras import _checks
from honeykeras.attacks import AdversarialExamples, Attack, quantize
from honeykeras.data import Data, Split
from honeykeras.detection import Detector
from honeykeras.detection.calibration import check_sample_size
from honeykeras.errors import InvalidArgumentError, ModelError
from honeykeras.evaluation.results import (
    AttackDetection,
    Detection,
    DetectionRates,
    Evaluation,
    Reconstruction,
    Viability,
)
from honeykeras.evaluation.statistics import Proportion, mean
from honeykeras.keys import WatermarkKey
from honeykeras.outputs import predict_labels
from honeykeras.watermark import Watermark


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
    max_fpr: float = 0.05,
    samples: int = 500,
    verbose: int = 0,
) -> Evaluation:
    """Judges a honeypot, with its controls.

    The same pipeline runs three times: with the key on the model, with eight wrong keys on the model, and with
    the key on a model without a honeypot. Each time a detector is fitted on attacked images of
    `data.detector`, calibrated on the clean images of `data.calibration`, and judged on `data.test`. Only
    images that the model gets right are attacked, adversarial images are quantised to 8 bits, and only those
    that still fool the model then count.

    Args:
        model: The classifier with the honeypot.
        key: The key that it was trained with.
        data: The data set, in its disjoint parts.
        baseline: A classifier of the same kind, trained as long on the same data, without a honeypot.
        attacks: Which attacks to judge; no two of one name.
        max_fpr: The false positive rate that thresholds are calibrated to, in (0, 1).
        samples: How many images of a part each attack is run on, at most.
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
    honey = _Arena(model, data, attack_by_name, samples, verbose)
    plain = _Arena(baseline, data, attack_by_name, samples, verbose)
    decoys = key.control_decoys()
    wrong_keys = tuple(honey.detect(decoy, max_fpr) for decoy in decoys)
    return Evaluation(
        key_id=key.key_id,
        viability=Viability(honey.clean_accuracy, plain.clean_accuracy),
        reconstruction={
            name: _reconstruction(key, decoys, honey.test[name], plain.test[name]) for name in attack_by_name
        },
        detection=Detection(
            max_fpr=max_fpr,
            rates=honey.detect(key, max_fpr),
            wrong_key=_average(wrong_keys),
            wrong_keys=wrong_keys,
            no_honeypot=plain.detect(key, max_fpr),
        ),
    )


class _Arena:
    """One model, attacked on both parts."""

    def __init__(
        self, model: keras.Model, data: Data, attacks: Mapping[str, Attack], samples: int, verbose: int
    ) -> None:
        self._data = data
        self.clean_accuracy = Proportion.of(predict_labels(model, data.test.x) == data.test.y)

        def attack_all(split: Split) -> dict[str, AdversarialExamples]:
            right = correctly_classified(model, split, samples)
            return {
                name: attack.generate(model, right.x, right.y, verbose=verbose).quantize(model)
                for name, attack in attacks.items()
            }

        self._fit = attack_all(data.detector)
        self.test = attack_all(data.test)

    def detect(self, key: WatermarkKey, max_fpr: float) -> DetectionRates:
        """Fits, calibrates and judges a detector for `key`; nothing is detected where no attack ever succeeds."""
        if not any(examples.success.any() for examples in self._fit.values()):
            nothing = Proportion(0, 0)
            attacks = {
                name: AttackDetection(nothing, Proportion.of(examples.success)) for name, examples in self.test.items()
            }
            return DetectionRates(nothing, attacks)
        detector = Detector(key)
        clean = next(iter(self._fit.values())).x  # The same images for every attack.
        adversarial = np.concatenate([examples.successful for examples in self._fit.values()])
        detector.fit(clean, adversarial).calibrate(self._data.calibration.x, max_fpr)
        return DetectionRates(
            false_positives=Proportion.of(detector.flag(self._data.test.x)),
            attacks={
                name: AttackDetection(_flagged(detector, examples.successful), Proportion.of(examples.success))
                for name, examples in self.test.items()
            },
        )


def _flagged(detector: Detector, x: np.ndarray) -> Proportion:
    return Proportion.of(detector.flag(x)) if len(x) else Proportion(0, 0)


def _reconstruction(
    key: WatermarkKey, decoys: Sequence[WatermarkKey], honey: AdversarialExamples, plain: AdversarialExamples
) -> Reconstruction:
    def cosines(of: WatermarkKey, examples: AdversarialExamples) -> np.ndarray:
        return Watermark(of).cosine_similarity(examples.delta).numpy()

    # Averaged over the keys image by image: the images are what is sampled.
    wrong = np.mean([cosines(decoy, honey) for decoy in decoys], axis=0)
    return Reconstruction(mean(cosines(key, honey)), mean(wrong), mean(cosines(key, plain)), int(honey.success.sum()))


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
