"""`judge_noticed`: whether an attacker notices a honeypot by what attacks make of the model."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

from honeykeras.attacks import AdversarialExamples, Attack
from honeykeras.data import Split
from honeykeras.evaluation.arena import Arena, attack_correct
from honeykeras.evaluation.results import Comparison, Indistinguishability
from honeykeras.evaluation.two_samples import compare, two_sample_tests

# Points in a sub-sample, as in Abdou et al. 2021, Fig. 5, and how many queries an attacker may spend on a model.
_SUBSAMPLE = 50
_BUDGETS = (50, 100, 200, 500)
# Images for each that is to be attacked.
_TRIED = 16


def judge_noticed(
    honey: Arena, plain: Arena, yardstick: keras.Model, attacks: Sequence[Attack], *, seed: int
) -> dict[str, dict[str, Indistinguishability]]:
    """Compares what attacks make of a model with a honeypot and of one without.

    The models are attacked on images of their own: test images are divided into two halves, of which one goes to the
    model with the honeypot (and to `yardstick`), the other to the model without. So samples are independent, as the
    tests suppose.

    Args:
        honey: The model with the honeypot.
        plain: The model without.
        yardstick: A further model without, from another seed: how far apart two models without are is what the
            honeypot is measured by.
        attacks: The attacks.
        seed: Decides sub-samples, permutations and the classifier's weights.

    Returns:
        By attack, and by what the attacker looks at: `"images"` or `"perturbations"`. An attack that succeeds too
        rarely for two sub-samples is left out.
    """
    # Enough for each half to have as many as are wanted that models get right.
    few = honey.data.test.head(_TRIED * honey.samples, verbose=honey.verbose)
    ours, theirs = (Split(few.x[start::2], few.y[start::2]) for start in (0, 1))
    found = {}
    for attack in attacks:
        with_honeypot = _samples(honey.attack(attack, ours))
        without = _samples(plain.attack(attack, theirs))
        further = _samples(attack_correct(yardstick, attack, ours, honey.samples, honey.verbose))
        fewest = min(len(sample["images"]) for sample in (with_honeypot, without, further))
        if fewest >= 2 * _SUBSAMPLE:
            budgets = [budget for budget in _BUDGETS if budget <= fewest]
            found[attack.name] = {
                looked_at: Indistinguishability(
                    honeypot=_compare(with_honeypot[looked_at], without[looked_at], budgets, seed),
                    yardstick=_compare(further[looked_at], without[looked_at], budgets, seed),
                )
                for looked_at in without
            }
    return found


def _samples(examples: AdversarialExamples) -> dict[str, np.ndarray]:
    bounds = examples.input_range
    return {"images": bounds.to_unit(examples.successful), "perturbations": examples.delta / bounds.width}


def _compare(first: np.ndarray, second: np.ndarray, budgets: Sequence[int], seed: int) -> Comparison:
    return Comparison(
        compare(first, second, size=_SUBSAMPLE, seed=seed), two_sample_tests(first, second, budgets, seed=seed)
    )
