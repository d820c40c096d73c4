"""What gets past a honeypot, attacker by attacker, beside what fools a plain and an adversarially trained model."""

from __future__ import annotations

from honeykeras.attacks import PGD, AdversarialExamples, Attack, Noise, RandomBlocks, Square, Stripes
from honeykeras.detection import CalibratedDetector
from honeykeras.evaluation.arena import Arena, attack_correct
from honeykeras.evaluation.results import Compared
from honeykeras.evaluation.statistics import Proportion

TRANSFER = "transfer"
"""The attacker who has a plain model alone: what was made on it is sent to the others."""

# Square asks so often, about so many images at most.
_QUERIES, _MOST_QUERIED = 300, 100


def unguided(arena: Arena, seed: int) -> list[Attack]:
    """Attackers who follow no gradient of the model: nothing but chance, and Square."""
    bounds, epsilon = arena.data.input_range, arena.data.epsilon
    drawn = (kind(epsilon, input_range=bounds, seed=seed) for kind in (Noise, Stripes, RandomBlocks))
    return [*drawn, Square(epsilon, _QUERIES, input_range=bounds, seed=seed)]


def compare(
    honey: Arena, plain: Arena, adversarial: Arena | None, detector: CalibratedDetector | None, seed: int
) -> dict[str, Compared]:
    """Puts models beside each other.

    Args:
        honey: The model with the honeypot, attacked.
        plain: The model without, attacked.
        adversarial: A model that was trained adversarially, attacked; None where there is none.
        detector: The detector that is judged.
        seed: Seed of what is random.

    Returns:
        By attacker: those that the models were attacked with, those who follow no gradient, and who has another model.
    """
    found = {
        name: _compared(detector, made, plain.test[name], adversarial.test[name] if adversarial else None)
        for name, made in honey.test.items()
    }
    for attack in unguided(honey, seed):
        if attack.name not in found:
            on_adversarial = _run(adversarial, attack) if adversarial else None
            found[attack.name] = _compared(detector, _run(honey, attack), _run(plain, attack), on_adversarial)
    usual = PGD(plain.data.epsilon, input_range=plain.data.input_range, seed=seed)
    made = plain.test.get(PGD.name) or _run(plain, usual)
    on_adversarial = made.quantize(adversarial.model) if adversarial else None
    found[TRANSFER] = _compared(detector, made.quantize(honey.model), None, on_adversarial)
    return found


def _run(arena: Arena, attack: Attack) -> AdversarialExamples:
    samples = min(arena.samples, _MOST_QUERIED) if isinstance(attack, Square) else arena.samples
    return attack_correct(arena.model, attack, arena.data.test, samples, arena.verbose)


def _compared(
    detector: CalibratedDetector | None,
    honey: AdversarialExamples,
    plain: AdversarialExamples | None,
    adversarial: AdversarialExamples | None,
) -> Compared:
    fooled = (None if each is None else Proportion.of(each.success) for each in (plain, adversarial))
    return Compared(Arena.caught(detector, honey), *fooled)
