"""`evaluate`: what a honeypot costs, what attacks reconstruct, what a detector catches, and the controls."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from honeykeras import _checks
from honeykeras.attacks import Attack
from honeykeras.data import Data
from honeykeras.detection import (
    KINDS,
    CalibratedDetector,
    Detector,
    KeyScoreDetector,
    PaperDetector,
    TrapdoorDetector,
    fit_extractor,
)
from honeykeras.detection.calibration import check_sample_size
from honeykeras.detection.extractor import check_family
from honeykeras.errors import InvalidArgumentError
from honeykeras.evaluation.arena import Arena, DetectorMaker, attack_correct, check_attacks
from honeykeras.evaluation.presence import judge_presence
from honeykeras.evaluation.reconstruction import reconstruct
from honeykeras.evaluation.results import (
    BaselineDetection,
    Detection,
    Evaluation,
    Viability,
)
from honeykeras.evaluation.roc import mean_rates
from honeykeras.evaluation.security import assess
from honeykeras.keys import WatermarkKey
from honeykeras.outputs import predict_labels
from honeykeras.patterns import Scattered


def evaluate(
    model: keras.Model,
    key: WatermarkKey,
    data: Data,
    *,
    baseline: keras.Model,
    attacks: Sequence[Attack],
    detector: str | None = None,
    extractor: keras.Model | None = None,
    baseline_detectors: Sequence[str] = (),
    max_fpr: float = 0.01,
    samples: int = 500,
    security: bool = False,
    yardstick: keras.Model | None = None,
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
        baseline_detectors: Further kinds of detectors to judge on the same images, beside the same controls.
        max_fpr: The false positive rate that thresholds are calibrated to, in (0, 1).
        samples: How many images of a part each attack is run on, at most.
        security: Whether to also let attackers who know of the honeypot try to recover the key and to get past the
            detector; see `evaluation.Security`. It takes several times as long.
        yardstick: A further classifier like `baseline`, from another seed. With it, whether attackers can tell the
            honeypot from a model without one is judged, too; see `evaluation.Indistinguishability`.
        seed: Seed of the extractor's training, of the corruptions, of attackers who know of the honeypot, and of
            two-sample tests.
        verbose: 1 shows progress bars, 0 nothing.

    Returns:
        The figures, with sample sizes and intervals. Of an attack that never succeeds, its success rate of zero is
        the only one that exists.

    Raises:
        InvalidArgumentError: If an argument breaks a rule, or key and data do not fit.
        ModelError: If a model does not fit the data, or gets none of it right.
    """
    # What does not fit is told now, and not after all else.
    _check_data(data, key, model, baseline, *([] if yardstick is None else [yardstick]))
    attack_by_name = check_attacks(attacks, data.input_range)
    _checks.flag("security", security)
    check_sample_size(len(data.calibration), max_fpr)
    kind = _get_kind(detector, key)
    others = [KINDS[_checks.one_of("baseline_detectors", name, KINDS)] for name in baseline_detectors]
    if len({kind, *others}) != 1 + len(others):
        raise InvalidArgumentError(
            f"`baseline_detectors` must hold no kind twice, nor that of `detector`, {kind.name!r}. "
            f"Received: {list(baseline_detectors)}."
        )
    if any(issubclass(each, KeyScoreDetector) for each in (kind, *others)):
        check_family(key.pattern)
        extractor = extractor or fit_extractor(
            data.train.x, key.pattern, input_range=data.input_range, seed=seed, verbose=verbose
        )
    if security and kind is not Detector:
        raise InvalidArgumentError(
            f"`security` can be assessed with the detector {Detector.name!r} only. Received: {kind.name!r}."
        )
    if TrapdoorDetector in (kind, *others):
        for judged in (model, baseline):
            TrapdoorDetector(key).fit(judged, data.detector.x[:1])
    make = DetectorMaker(kind, extractor, max_fpr)
    honey = Arena(model, data, attack_by_name, samples, make, verbose)
    plain = Arena(baseline, data, attack_by_name, samples, make, verbose)
    decoys = key.control_decoys()
    wrong_keys = tuple(honey.detect(decoy) for decoy in decoys)
    return Evaluation(
        key_id=key.key_id,
        viability=Viability(honey.clean_accuracy, plain.clean_accuracy),
        reconstruction={
            name: reconstruct(key, decoys, (model, honey.test[name]), (baseline, plain.test[name]))
            for name in attack_by_name
        },
        detection=Detection(
            detector=kind.name,
            key_specific=kind.key_specific,
            max_fpr=max_fpr,
            rates=honey.detect(key),
            wrong_key=mean_rates(wrong_keys),
            wrong_keys=wrong_keys,
            no_honeypot=plain.detect(key),
            transfer=honey.detect(key, plain.test),
            corruptions=honey.judge_corruptions(key, seed),
        ),
        examples={name: honey.examples(key, name) for name in attack_by_name},
        baselines={each.name: _baseline(honey, plain, key, DetectorMaker(each, extractor, max_fpr)) for each in others},
        security=assess(honey, plain, key, attacks, seed=seed) if security else None,
        indistinguishability=judge_presence(honey, plain, yardstick, attacks, seed=seed) if yardstick else None,
    )


def fit_detector(
    model: keras.Model,
    key: WatermarkKey,
    data: Data,
    *,
    attacks: Sequence[Attack] = (),
    detector: str | None = None,
    extractor: keras.Model | None = None,
    max_fpr: float = 0.01,
    samples: int = 500,
    seed: int = 0,
    verbose: int = 0,
) -> CalibratedDetector:
    """The detector that `evaluate` judges: fitted and calibrated on parts of the data that the tests leave alone.

    Args:
        model: The classifier with the honeypot.
        key: The key that it was trained with.
        data: The data set, in its disjoint parts.
        attacks: What a kind of detector that learns from attacks learns from.
        detector: As for `evaluate`, as are all others.
        extractor: As for `evaluate`.
        max_fpr: As for `evaluate`.
        samples: As for `evaluate`.
        seed: As for `evaluate`.
        verbose: As for `evaluate`.

    Raises:
        InvalidArgumentError: If an argument breaks a rule, key and data do not fit, or there is no attack that succeeds
            to learn from.
        ModelError: If the model does not fit the data.
    """
    _check_data(data, key, model)
    check_sample_size(len(data.calibration), max_fpr)
    kind = _get_kind(detector, key)
    if issubclass(kind, KeyScoreDetector) and extractor is None:
        extractor = fit_extractor(
            data.train.x, check_family(key.pattern), input_range=data.input_range, seed=seed, verbose=verbose
        )
    examples = []
    if kind.needs_adversarial:
        used = check_attacks(attacks, data.input_range).values()
        examples = [attack_correct(model, attack, data.detector, samples, verbose) for attack in used]
        if not any(made.success.any() for made in examples):
            raise InvalidArgumentError(
                f"The detector {kind.name!r} must have attacks that succeed to learn from. Received: none."
            )
    return DetectorMaker(kind, extractor, max_fpr)(key, model, examples, data)


def _check_data(data: Data, key: WatermarkKey, *models: keras.Model) -> None:
    """Sees to it that a key and models are for a data set."""
    _checks.instance("data", data, Data, "a Data, such as data.load gives")
    data.check_key(key)
    for model in models:
        predict_labels(model, data.test.x[:1], num_classes=data.num_classes)


def _get_kind(name: str | None, key: WatermarkKey) -> type[CalibratedDetector]:
    default = PaperDetector.name if isinstance(key.pattern, Scattered) else Detector.name
    return KINDS[_checks.one_of("detector", default if name is None else name, KINDS)]


def _baseline(honey: Arena, plain: Arena, key: WatermarkKey, make: DetectorMaker) -> BaselineDetection:
    return BaselineDetection(
        key_specific=make.kind.key_specific,
        rates=honey.detect(key, make=make),
        wrong_key=mean_rates([honey.detect(decoy, make=make) for decoy in key.control_decoys()]),
        no_honeypot=plain.detect(key, make=make),
    )
