"""What gets past a honeypot, attacker by attacker, beside what fools a plain and an adversarially trained model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

from honeykeras.attacks import PGD, AdversarialExamples, Attack, Noise, RandomBlocks, Square, Stripes
from honeykeras.detection import CalibratedDetector
from honeykeras.evaluation import budgets
from honeykeras.evaluation.arena import Arena, attack_correct
from honeykeras.evaluation.results import Compared, WithinBudget
from honeykeras.evaluation.statistics import Proportion

TRANSFER = "transfer"
"""The attacker who has a plain model alone: what was made on it is sent to the others."""

# Square asks so often, about so many images at most.
_QUERIES, _MOST_QUERIED = 300, 100


class _Made(NamedTuple):
    """What an attacker made for each model; None where there is none, or where it is the attacker's own."""

    honey: AdversarialExamples
    plain: AdversarialExamples | None
    adversarial: AdversarialExamples | None

    def within(self, norm: str, budget: float) -> _Made:
        """The same, of which only what lies within a budget counts."""
        plain, adversarial = (each and _counting(each, norm, budget) for each in (self.plain, self.adversarial))
        return _Made(_counting(self.honey, norm, budget), plain, adversarial)


@dataclasses.dataclass(frozen=True)
class _Attacker:
    """One attacker.

    Attributes:
        attack: How it attacks.
        make: What an attack makes for each model, in its hands.
        made: What `attack` made.
    """

    attack: Attack
    make: Callable[[Attack], _Made]
    made: _Made


def unguided(arena: Arena, seed: int) -> list[Attack]:
    """Attackers who follow no gradient of the model: nothing but chance, and Square."""
    bounds, epsilon = arena.data.input_range, arena.data.epsilon
    drawn = (kind(epsilon, input_range=bounds, seed=seed) for kind in (Noise, Stripes, RandomBlocks))
    return [*drawn, Square(epsilon, _QUERIES, input_range=bounds, seed=seed)]


def compare(
    honey: Arena,
    plain: Arena,
    adversarial: Arena | None,
    detector: CalibratedDetector | None,
    seed: int,
    curves: bool = False,
) -> dict[str, Compared]:
    """Puts models beside each other.

    Args:
        honey: The model with the honeypot, attacked.
        plain: The model without, attacked.
        adversarial: A model that was trained adversarially, attacked; None where there is none.
        detector: The detector that is judged.
        seed: Seed of what is random.
        curves: Whether attacks of a fixed radius are run at shares of it, too.

    Returns:
        By attacker: those that the models were attacked with, those who follow no gradient, and who has another model.
    """
    found = {}
    for name, attacker in _attackers(honey, plain, adversarial, seed).items():
        attack, radius = attacker.attack, budgets.radius(attacker.attack)
        if radius is None:
            budget = budgets.customary(honey.data, attack.norm)
            made = [(share * budget, attacker.made.within(attack.norm, share * budget)) for share in budgets.SHARES]
        else:
            budget = radius
            shares = budgets.NARROWER if curves else ()
            narrower = [(share * budget, attacker.make(budgets.narrowed(attack, share))) for share in shares]
            made = [*narrower, (budget, attacker.made)]
        found[name] = Compared(attack.norm, budget, tuple(_judged(detector, at, each) for at, each in made))
    return found


def _attackers(honey: Arena, plain: Arena, adversarial: Arena | None, seed: int) -> dict[str, _Attacker]:
    def on_each(attack: Attack) -> _Made:
        return _Made(_run(honey, attack), _run(plain, attack), _run(adversarial, attack) if adversarial else None)

    def on_plain(attack: Attack, made: AdversarialExamples | None = None) -> _Made:
        made = made or _run(plain, attack)
        return _Made(made.quantize(honey.model), None, made.quantize(adversarial.model) if adversarial else None)

    found = {}
    for name, attack in honey.attacks.items():
        made = _Made(honey.test[name], plain.test[name], adversarial.test[name] if adversarial else None)
        found[name] = _Attacker(attack, on_each, made)
    for attack in unguided(honey, seed):
        if attack.name not in found:
            found[attack.name] = _Attacker(attack, on_each, on_each(attack))
    usual = plain.attacks.get(PGD.name) or PGD(plain.data.epsilon, input_range=plain.data.input_range, seed=seed)
    found[TRANSFER] = _Attacker(usual, on_plain, on_plain(usual, plain.test.get(PGD.name)))
    return found


def _run(arena: Arena, attack: Attack) -> AdversarialExamples:
    samples = min(arena.samples, _MOST_QUERIED) if isinstance(attack, Square) else arena.samples
    return attack_correct(arena.model, attack, arena.data.test, samples, arena.verbose)


def _judged(detector: CalibratedDetector | None, budget: float, made: _Made) -> WithinBudget:
    plain, adversarial = (
        None if each is None else Proportion.of(each.success) for each in (made.plain, made.adversarial)
    )
    return WithinBudget(budget, Arena.caught(detector, made.honey), plain, adversarial)


def _counting(made: AdversarialExamples, norm: str, budget: float) -> AdversarialExamples:
    """The same examples, of which only those within a budget count as successful."""
    return dataclasses.replace(made, success=made.success & (made.distance(norm) <= budget * (1 + 1e-6)))
