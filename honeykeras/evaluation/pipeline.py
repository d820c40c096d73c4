"""`evaluate`: what a honeypot costs, what attacks reconstruct, what a detector catches, and the controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras

from honeykeras import _checks
from honeykeras._files import PathLike
from honeykeras.attacks import Attack
from honeykeras.data import Data
from honeykeras.detection import (
    KINDS,
    CalibratedDetector,
    Detector,
    KeyScoreDetector,
    PaperDetector,
    ScoresClasses,
)
from honeykeras.detection.calibration import check_sample_size
from honeykeras.errors import InvalidArgumentError
from honeykeras.evaluation.arena import Arena, attack_correct, check_attacks, check_name, samples_for
from honeykeras.evaluation.clients import judge_clients
from honeykeras.evaluation.comparison import compare
from honeykeras.evaluation.indistinguishability import judge_noticed
from honeykeras.evaluation.reconstruction import reconstruct
from honeykeras.evaluation.results import (
    BaselineDetection,
    Detection,
    Evaluation,
    Viability,
)
from honeykeras.evaluation.roc import mean_rates
from honeykeras.evaluation.security import assess
from honeykeras.evidence.honest import kinds
from honeykeras.keys import WatermarkKey
from honeykeras.names import ALPHA, MAX_FPR
from honeykeras.outputs import predict_labels
from honeykeras.patterns import Scattered


def evaluate(
    model: keras.Model,
    key: WatermarkKey,
    data: Data,
    *,
    baseline: keras.Model,
    attacks: Sequence[Attack],
    detector: CalibratedDetector | str | None = None,
    baseline_detectors: Sequence[str | type[CalibratedDetector]] = (),
    max_fpr: float | None = None,
    samples: int = 500,
    security: bool = False,
    yardstick: keras.Model | None = None,
    adversarial: keras.Model | None = None,
    clients: int = 0,
    alpha: float = ALPHA,
    curves: bool = False,
    seed: int = 0,
    verbose: int = 0,
    cache: PathLike | None = None,
) -> Evaluation:
    """Judges a honeypot, with its controls.

    The same pipeline runs three times: with the key on the model, with eight wrong keys on the model, and with
    the key on a model without a honeypot. The detector that is judged is the one that is given; the controls have
    detectors of the same kind, fitted as `fit_detector` does it: on clean and, if the kind learns from any, attacked
    images of `data.detector`, and calibrated on the clean images of `data.calibration`. All are judged on `data.test`.
    Two further controls go to the detector that has the key: adversarial images that were made on the model without a
    honeypot, and clean images after benign corruptions. Only
    images that the model gets right are attacked, adversarial images are quantised to 8 bits, and only those
    that still fool the model then count.

    Args:
        model: The classifier with the honeypot.
        key: The key that it was trained with.
        data: The data set, in its disjoint parts.
        baseline: A classifier of the same kind, trained as long on the same data, without a honeypot.
        attacks: Which attacks to judge; no two of one name.
        detector: The detector to judge: one that was fitted for `model` and calibrated, or the name of a kind, one of
            `detection.KINDS`, of which one is fitted here. Defaults to `"key"`, or to `"paper"` for a key of the
            paper's family.
        baseline_detectors: Further kinds of detectors to judge on the same images, beside the same controls: names, or
            subclasses of `detection.CalibratedDetector`.
        max_fpr: The false positive rate that thresholds are calibrated to, in (0, 1). Defaults to that of the detector
            that is given, or to 0.01.
        samples: How many images of a part each attack is run on, at most.
        security: Whether to also let attackers who know of the honeypot try to recover the key and to get past the
            detector; see `evaluation.Security`. It takes several times as long.
        yardstick: A further classifier like `baseline`, from another seed. With it, whether attackers can tell the
            honeypot from a model without one is judged, too; see `evaluation.Indistinguishability`.
        adversarial: A classifier that was trained adversarially, as `train(..., adversarial=True)` does it: what one
            would do instead of a honeypot. What fools it then stands beside what gets past the honeypot.
        clients: How many clients of each kind to simulate, honest ones and attackers, each with a ledger of its own;
            see `evaluation.Clients`. 0 simulates none.
        alpha: The probability, over the draw of the key, that a client is ever accused whose queries do not depend on
            it, at most; in (0, 1).
        curves: Whether to also run attacks of a fixed radius, and those who follow no gradient, at a quarter, half and
            three quarters of it. Of attacks that look for the smallest change, what gets past within each budget is
            told anyway; see `evaluation.Compared`.
        seed: Seed of the extractor's training, of the corruptions, of attackers who know of the honeypot, of two-sample
            tests, and of what clients send.
        verbose: 1 shows progress bars, 0 nothing.
        cache: As for `fit_detector`, where a detector is fitted here.

    Returns:
        The figures, with sample sizes and intervals. Of an attack that never succeeds, its success rate of zero is
        the only one that exists.

    Raises:
        InvalidArgumentError: If an argument breaks a rule, or key and data do not fit.
        ModelError: If a model does not fit the data, or gets none of it right.
    """
    # What does not fit is told now, and not after all else.
    _check_data(data, key, model, baseline, *(each for each in (yardstick, adversarial) if each is not None))
    attack_by_name = check_attacks(attacks, data.input_range)
    _checks.flag("security", security)
    _checks.flag("curves", curves)
    given = detector if isinstance(detector, CalibratedDetector) else None
    if given is not None:
        _check_given(given, key, model, max_fpr)
        max_fpr = given.calibration.max_fpr
    max_fpr = MAX_FPR if max_fpr is None else max_fpr
    check_sample_size(len(data.calibration), max_fpr)
    judged = get_kind(detector, key)(key) if given is None else given  # type: ignore[arg-type]
    others = _others(baseline_detectors, judged, key)
    if security and not isinstance(judged, ScoresClasses):
        raise InvalidArgumentError(
            f"`security` can be assessed with a detector that scores classes only, such as {Detector.name!r}. "
            f"Received: {judged.name!r}."
        )
    _check_clients(_checks.whole_number("clients", clients, 0), judged, attack_by_name, data)
    _checks.in_interval("alpha", alpha, 0, 1, closed="()")
    for each in (judged, *others):
        for classifier in (model, baseline):
            each.check_fits(classifier)
    honey, plain = (
        Arena(classifier, data, attack_by_name, samples, max_fpr, seed, verbose, cache)
        for classifier in (model, baseline)
    )
    hardened = Arena(adversarial, data, attack_by_name, samples, max_fpr, seed, verbose) if adversarial else None
    own = honey.fit(judged) if given is None else given
    controls = key.wrong_keys()
    wrong_keys = tuple(honey.detect(each) for each in honey.wrong_keys(key, judged))
    return Evaluation(
        key_id=key.key_id,
        viability=Viability(honey.clean_accuracy, plain.clean_accuracy),
        reconstruction={
            name: reconstruct(key, controls, (model, honey.test[name]), (baseline, plain.test[name]))
            for name in attack_by_name
        },
        detection=Detection(
            detector=judged.name,
            detector_id=own.detector_id if own else None,
            key_specific=judged.key_specific,
            max_fpr=max_fpr,
            rates=honey.detect(own),
            wrong_key=mean_rates(wrong_keys),
            wrong_keys=wrong_keys,
            no_honeypot=plain.detect(plain.detector(key, judged)),
            transfer=honey.detect(own, plain.test),
            corruptions=honey.judge_corruptions(own, seed),
        ),
        examples={name: honey.examples(own, name) for name in attack_by_name},
        baselines=_baselines(honey, plain, key, judged, others),
        security=assess(honey, plain, key, own, attacks, seed=seed) if security and own else None,
        indistinguishability=judge_noticed(honey, plain, yardstick, attacks, seed=seed) if yardstick else None,
        clients=judge_clients(honey, plain, key, own, attack_by_name, clients=clients, alpha=alpha, seed=seed)
        if clients and isinstance(own, KeyScoreDetector)
        else None,
        compared=compare(honey, plain, hardened, own, seed, curves),
        adversarial_accuracy=hardened.clean_accuracy if hardened else None,
    )


def fit_detector(
    model: keras.Model,
    key: WatermarkKey,
    data: Data,
    *,
    attacks: Sequence[Attack] = (),
    kind: str | type[CalibratedDetector] | None = None,
    max_fpr: float = MAX_FPR,
    samples: int = 500,
    seed: int = 0,
    verbose: int = 0,
    cache: PathLike | None = None,
) -> CalibratedDetector:
    """Fits and calibrates a detector on parts of the data that the tests leave alone.

    Args:
        model: The classifier with the honeypot.
        key: The key that it was trained with.
        data: The data set, in its disjoint parts.
        attacks: What a kind of detector that learns from attacks learns from.
        kind: The kind, one of `detection.KINDS` or a subclass of `detection.CalibratedDetector`. Defaults to `"key"`,
            or to `"paper"` for a key of the paper's family.
        max_fpr: The false positive rate that the threshold is calibrated to, in (0, 1).
        samples: How many images each attack is run on, at most.
        seed: Seed of the extractor's training.
        verbose: 1 shows progress bars, 0 nothing.
        cache: A folder to keep extractors in; one that was trained on the same images before is read from there.

    Returns:
        The detector, to judge (`evaluate`), to keep (`save`) and to export.

    Raises:
        InvalidArgumentError: If an argument breaks a rule, key and data do not fit, or there is no attack that succeeds
            to learn from.
        ModelError: If the model does not fit the data.
    """
    _check_data(data, key, model)
    check_sample_size(len(data.calibration), max_fpr)
    detector = get_kind(kind, key)(key)
    detector.check_fits(model)
    attacked = []
    if detector.needs_adversarial:
        used = check_attacks(attacks, data.input_range).values()
        attacked = [attack_correct(model, attack, data.detector, samples, verbose) for attack in used]
    fitted_on = samples_for(detector, data, attacked, verbose)
    if fitted_on is None:
        raise InvalidArgumentError(
            f"The detector {detector.name!r} must have attacks that succeed to learn from. Received: none."
        )
    detector.prepare(fitted_on, seed=seed, verbose=verbose, cache=cache)
    detector.fit(model, fitted_on, seed=seed, verbose=verbose)
    return detector.calibrate(data.calibration.inputs, max_fpr, verbose=verbose)


def _check_data(data: Data, key: WatermarkKey, *models: keras.Model) -> None:
    """Sees to it that a key and models are for a data set."""
    _checks.instance("data", data, Data, "a Data, such as data.load gives")
    data.check_key(key)
    for model in models:
        predict_labels(model, data.test.head(1).x, num_classes=data.num_classes)


def get_kind(
    kind: str | type[CalibratedDetector] | None, key: WatermarkKey, argument: str = "detector"
) -> type[CalibratedDetector]:
    """A kind of detector by its name, or itself; the one that suits a key if none is named."""
    if isinstance(kind, type) and issubclass(kind, CalibratedDetector):
        return kind
    default = PaperDetector if isinstance(key.pattern, Scattered) else Detector
    return default if kind is None else KINDS[_checks.one_of(argument, kind, KINDS)]


def _check_clients(clients: int, judged: CalibratedDetector, attacks: Mapping[str, Attack], data: Data) -> None:
    if clients and not isinstance(judged, KeyScoreDetector):
        raise InvalidArgumentError(
            f"`clients` can be simulated with a detector that has an extractor only, such as {Detector.name!r}. "
            f"Received: {judged.name!r}."
        )
    taken = ("alpha", "margin", *kinds(data.input_shape)) if clients else ()
    for name in attacks:
        check_name("An attack's", name, taken)


def _others(
    further: Sequence[str | type[CalibratedDetector]], judged: CalibratedDetector, key: WatermarkKey
) -> list[CalibratedDetector]:
    """Detectors of further kinds, not fitted."""
    others = [get_kind(kind, key, "baseline_detectors")(key) for kind in further]
    names = [judged.name, *(each.name for each in others)]
    for name in names:
        check_name("A kind of detector's", name)
    if len(set(names)) < len(names):
        raise InvalidArgumentError(
            f"`baseline_detectors` must hold no kind twice, nor that of `detector`, {judged.name!r}. "
            f"Received: {names[1:]}."
        )
    return others


def _check_given(detector: CalibratedDetector, key: WatermarkKey, model: keras.Model, max_fpr: float | None) -> None:
    calibrated = detector.calibration.max_fpr
    if detector.key_id != key.key_id:
        raise InvalidArgumentError(
            f"`detector` must be for the key that is judged, {key.key_id}. Received: one for the key {detector.key_id}."
        )
    detector.check_model(model)
    if max_fpr not in (None, calibrated):
        raise InvalidArgumentError(
            f"`max_fpr` must be that of the detector that is given, {calibrated:g}. Received: max_fpr={max_fpr!r}. "
            "Leave it out, or calibrate the detector to it."
        )


def _baselines(
    honey: Arena, plain: Arena, key: WatermarkKey, judged: CalibratedDetector, others: Sequence[CalibratedDetector]
) -> dict[str, BaselineDetection]:
    """Judges further kinds, each with what the ones before it took long to make."""
    found, ready = {}, [judged]
    for each in others:
        for other in ready:
            each.adopt(other)
        found[each.name] = _baseline(honey, plain, key, each)
        ready.append(each)
    return found


def _baseline(honey: Arena, plain: Arena, key: WatermarkKey, like: CalibratedDetector) -> BaselineDetection:
    own = honey.fit(like)
    return BaselineDetection(
        key_specific=like.key_specific,
        rates=honey.detect(own),
        wrong_key=mean_rates([honey.detect(wrong) for wrong in honey.wrong_keys(key, like)]),
        no_honeypot=plain.detect(plain.detector(key, like)),
    )
