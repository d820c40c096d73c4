"""`assess`: attackers who know of the honeypot, what they read of its key, and how far that takes them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from honeykeras.attacks import PGD, AdversarialExamples, Attack, CarliniWagner
from honeykeras.attacks.adaptive import Guarded, avoiding
from honeykeras.detection import CalibratedDetector, ScoresClasses
from honeykeras.evaluation.arena import Arena, Flags
from honeykeras.evaluation.evasion import Lenient, in_turns
from honeykeras.evaluation.recovery import from_gradients
from honeykeras.evaluation.results import AdaptiveDetection, Recovery, Security
from honeykeras.evaluation.statistics import Proportion, mean
from honeykeras.keys import WatermarkKey
from honeykeras.watermark import Watermark, cosine

# By how many logits a class is worth less for each unit of the detector's statistic above the threshold.
_GUARD_WEIGHT = 2.0

# Leads, in logits, that Carlini and Wagner's attack is made to reach.
_CONFIDENCES = (5.0, 20.0)

# The false positive rate that attackers who follow model and detector in turns are judged at as well.
_LENIENT_FPR = 0.05

_Estimates = dict[str, np.ndarray]
_Attackers = dict[str, Callable[[], AdversarialExamples]]


def assess(
    honey: Arena,
    plain: Arena,
    key: WatermarkKey,
    detector: CalibratedDetector,
    attacks: Sequence[Attack],
    *,
    seed: int,
) -> Security:
    """Lets attackers loose on a honeypot, and on the model without one.

    They have images of their own, those of `data.detector`, and what they attack are the test images. Each attack is
    in the hands of attackers with different knowledge:

    - `"freezes_half"`: knows that there are patterns all over the input, and leaves a random half of the features of
      each image alone;
    - `"avoids_perturbations"`: averages perturbations of its own, and keeps off those directions;
    - `"avoids_perturbations_of_other"`: the control of that, with averages over the other model's perturbations;
    - `"avoids_gradients"`: the same with averaged gradients;
    - `"avoids_key"`: knows the key, and keeps off its patterns;
    - `"evades_guessing_key"`: has the detector but for the key, puts averaged gradients in its place, and attacks
      model and detector together;
    - `"evades_knowing_key"`: has the detector and the key;
    - `"selective_guessed_key"`, `"orthogonal_guessed_key"`: has the detector with a key drawn at random, is after a
      class drawn at random, and follows the model until it says so and then the detector, or each orthogonally to the
      other (Bryniarski et al. 2021);
    - `"..._recovered_key"`, `"..._true_key"`: the same with averaged gradients in the key's place, and with the key;
    - `"..._at_5"`: those examples, judged at 5 % false positives, which makes what is undetected their SR@5;
    - `"confidence_5"`, `"confidence_20"`: wants to be surer than it needs to (Carlini-Wagner alone).

    Those that avoid or evade are there for projected gradient descent and Carlini-Wagner, those that follow in turns
    for the former; the saliency map attack has no directions.

    Args:
        honey: The model with the honeypot, attacked.
        plain: The model without, attacked.
        key: The key.
        detector: The detector that is judged, one that scores classes.
        attacks: The attacks.
        seed: Decides which features are frozen, and random inputs.

    Returns:
        What they reach, beside controls.
    """
    estimates = {arena: _estimate(arena, attacks, seed) for arena in (honey, plain)}
    recovery = {
        source: _recovery(key, estimates[honey][source], estimates[plain][source], honey.samples)
        for source in estimates[honey]
    }
    on_baseline, wrong_keys = plain.detector(key, detector), honey.wrong_keys(key, detector)
    attackers = {}
    for attack in attacks:
        on_honey = _attackers(honey, attack, key, detector, estimates[honey], estimates[plain], seed)
        on_plain = _attackers(plain, attack, key, on_baseline, estimates[plain], estimates[honey], seed)
        attackers[attack.name] = {
            name: _judge(detector, wrong_keys, on_baseline, on_honey[name](), on_plain[name]()) for name in on_honey
        }
        if type(attack) is PGD:
            attackers[attack.name] |= _in_turns(honey, plain, attack, key, detector, estimates, seed)
    return Security(recovery, attackers)


def _in_turns(
    honey: Arena,
    plain: Arena,
    attack: PGD,
    key: WatermarkKey,
    detector: CalibratedDetector,
    estimates: Mapping[Arena, _Estimates],
    seed: int,
) -> dict[str, AdaptiveDetection]:
    """Attackers who follow model and detector one at a time, judged at two false positive rates."""
    watermark, guess = Watermark(key), Watermark(key.wrong_keys()[0])
    detectors = {honey: detector, plain: plain.detector(key, detector)}
    made = {}
    for arena, on_it in detectors.items():
        known = {
            "guessed_key": guess.all_codes,
            "recovered_key": np.asarray(watermark.project(estimates[arena]["gradients"])),
            "true_key": watermark.all_codes,
        }
        made[arena] = dict(in_turns(arena, attack, on_it, known, seed))
    # Not the guess itself.
    wrong = honey.wrong_keys(key, detector)[1:]
    lenient = [
        None if each is None else Lenient(each, arena, _LENIENT_FPR)
        for each, arena in [(detector, honey), (detectors[plain], plain), *((each, honey) for each in wrong)]
    ]
    judges: dict[str, tuple[Flags | None, ...]] = {"": (detector, detectors[plain], *wrong), "_at_5": tuple(lenient)}
    return {
        f"{name}{suffix}": _judge(judge, others, on_plain, examples, made[plain][name])
        for name, examples in made[honey].items()
        for suffix, (judge, on_plain, *others) in judges.items()
    }


def _estimate(arena: Arena, attacks: Sequence[Attack], seed: int) -> _Estimates:
    """Estimates of the patterns, in widths of the input range, by what they are read off."""
    bounds = arena.data.input_range
    noise = bounds.from_unit(np.random.default_rng(seed).random(arena.own.x.shape, np.float32))
    return {
        "gradients": arena.averaged_gradients,
        "weights": from_gradients(arena.model, noise, input_range=bounds),
        **{attack.name: arena.averaged_perturbations(attack.name) for attack in attacks},
    }


def _recovery(key: WatermarkKey, honey: np.ndarray, plain: np.ndarray, n: int) -> Recovery:
    def cosines(of: WatermarkKey, estimates: np.ndarray) -> np.ndarray:
        found = np.flatnonzero(np.abs(estimates).reshape(len(estimates), -1).max(axis=1))
        if not len(found):
            return np.empty(0)
        return cosine(estimates[found], Watermark(of).patterns(found)).numpy()

    wrong = np.mean([cosines(wrong_key, honey) for wrong_key in key.wrong_keys()], axis=0)
    return Recovery(mean(cosines(key, honey)), mean(wrong), mean(cosines(key, plain)), n)


def _attackers(
    arena: Arena,
    attack: Attack,
    key: WatermarkKey,
    detector: CalibratedDetector | None,
    estimates: _Estimates,
    others: _Estimates,
    seed: int,
) -> _Attackers:
    """What each attacker does to a model: functions, as it takes a while."""
    x, y = arena.test[attack.name].x, arena.test[attack.name].y
    model, watermark = arena.model, Watermark(key)

    def run(attack: Attack, target: keras.Model = model, mask: np.ndarray | None = None) -> AdversarialExamples:
        return attack.generate(target, x, y, mask=mask, verbose=arena.verbose).quantize(model)

    half = np.random.default_rng(seed).random(x.shape) < 0.5
    attackers: _Attackers = {"freezes_half": functools.partial(run, attack, mask=half)}
    if type(attack) in (PGD, CarliniWagner):
        directions = {
            "avoids_perturbations": estimates[attack.name],
            "avoids_perturbations_of_other": others[attack.name],
            "avoids_gradients": estimates["gradients"],
            "avoids_key": watermark.patterns().numpy(),
        }
        for name, known in directions.items():
            attackers[name] = functools.partial(run, avoiding(attack, known))
        guesses = watermark.project(estimates["gradients"])
        codes = {"evades_guessing_key": guesses, "evades_knowing_key": watermark.codes(np.arange(key.num_classes))}
        for name, known in codes.items():
            attackers[name] = functools.partial(run, attack, _guarded(model, detector, np.asarray(known)))
    if isinstance(attack, CarliniWagner):
        for confidence in _CONFIDENCES:
            surer = CarliniWagner(**{**attack.get_config(), "confidence": confidence})
            attackers[f"confidence_{confidence:g}"] = functools.partial(run, surer)
    return attackers


def _guarded(model: keras.Model, detector: CalibratedDetector | None, codes: np.ndarray) -> keras.Model:
    """The model with the detector in it, as one sees it who takes `codes` for the key's."""
    if not isinstance(detector, ScoresClasses):
        return model
    secret = tf.constant(codes.ravel(), tf.float64)
    return Guarded(
        model,
        lambda x: detector.class_statistics(x, secret),
        detector.threshold,
        _GUARD_WEIGHT,
        detector.watermark.input_shape,
    )


def _judge(
    detector: Flags | None,
    wrong_keys: Sequence[Flags | None],
    on_baseline: Flags | None,
    on_honey: AdversarialExamples,
    on_plain: AdversarialExamples,
) -> AdaptiveDetection:
    rates = Arena.caught(detector, on_honey)
    wrong = [Arena.caught(each, on_honey).true_positives for each in wrong_keys]
    return AdaptiveDetection(
        rates=rates,
        wrong_key=Proportion(float(np.mean([each.count for each in wrong])), wrong[0].n),
        no_honeypot=Arena.caught(on_baseline, on_plain),
    )
