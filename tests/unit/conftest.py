"""Evaluations whose figures are made up, for what shows them, and what keeps the tests of this folder short."""

import dataclasses
import math

import numpy as np
import pytest
import tensorflow as tf

from honeykeras.detection import extractor
from honeykeras.evaluation import (
    AdaptiveDetection,
    AttackDetection,
    BaselineDetection,
    ClientKind,
    Clients,
    Compared,
    Comparison,
    Corruption,
    Curve,
    Detection,
    DetectionRates,
    Discrepancies,
    Estimate,
    Evaluation,
    Example,
    Indistinguishability,
    Proportion,
    Reconstruction,
    Recovery,
    Roc,
    Security,
    Spread,
    TwoSampleTest,
    Viability,
    WithinBudget,
)
from honeykeras.evaluation.roc import FALSE_POSITIVE_RATES, OPERATING_POINTS
from honeykeras.sweep import SweepResult

CLEAN = np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4, 1)
ADVERSARIAL = np.clip(CLEAN + np.float32(0.1) * np.where(np.arange(16) % 2, 1, -1).reshape(4, 4, 1), 0, 1)


def _optimise(graphs):
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": not graphs})


@pytest.fixture(scope="module", autouse=True)
def graphs_as_they_are():
    """Graphs are optimised for many runs, and here most run once: without it, these tests take a sixth less time.

    What is served, what runs in programs of its own, and an extractor's training, which runs its graph often, is
    optimised.
    """
    train = extractor._train

    def train_optimised(*args, **kwargs):
        _optimise(True)
        try:
            return train(*args, **kwargs)
        finally:
            _optimise(False)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extractor, "_train", train_optimised)
        _optimise(False)
        yield
        _optimise(True)


def _rates(caught):
    found = Proportion(caught, 40)
    roc = Roc(0.8, tuple(rate**0.5 for rate in FALSE_POSITIVE_RATES), dict.fromkeys(OPERATING_POINTS, found))
    return DetectionRates(
        Proportion(5, 100), found, {"pgd": AttackDetection(found, Proportion(40, 50))}, {"pgd": roc, "overall": roc}
    )


@pytest.fixture(scope="session")
def right(digits, classifier):
    """Test digits that the classifier gets right."""
    x, y = digits.test.x, digits.test.y
    chosen = classifier.predict(x, verbose=0).argmax(axis=1) == y
    return x[chosen][:40], y[chosen][:40]


@pytest.fixture
def rates():
    """A function: the rates of a detector that catches so many of 40."""
    return _rates


@pytest.fixture
def reconstruction():
    return Reconstruction(
        Estimate(0.3, (0.2, 0.4)), Estimate(0.1, (0.0, 0.2)), Estimate(math.nan, (math.nan, math.nan)), 40
    )


@pytest.fixture
def evaluation(reconstruction):
    return Evaluation(
        key_id="0123456789abcdef",
        viability=Viability(Proportion(98, 100), Proportion(99, 100)),
        reconstruction={"pgd": reconstruction},
        detection=Detection(
            detector="key",
            detector_id="fedcba9876543210",
            key_specific=True,
            max_fpr=0.05,
            rates=_rates(36),
            wrong_key=_rates(2.5),
            wrong_keys=tuple(_rates(count) for count in (2, 3)),
            no_honeypot=_rates(4),
            transfer=_rates(1),
            corruptions={"blur": Corruption(Proportion(3, 100), Proportion(97, 100))},
        ),
        examples={"pgd": (Example(3, 8, True, CLEAN, ADVERSARIAL),)},
        baselines={"trapdoor": BaselineDetection(False, _rates(20), _rates(4), _rates(2))},
    )


@pytest.fixture
def full_evaluation(evaluation):
    """The same, with all that is only there if it was asked for."""
    recovery = Recovery(Estimate(0.4, (0.3, 0.5)), Estimate(0.0, (-0.1, 0.1)), Estimate(0.0, (-0.1, 0.1)), 40)
    adaptive = AdaptiveDetection(
        AttackDetection(Proportion(13, 40), Proportion(40, 50)),
        Proportion(1, 40),
        AttackDetection(Proportion(2, 40), Proportion(40, 50)),
    )
    evading = {"freezes_half": adaptive, "avoids_perturbations_of_other": adaptive}
    spread = np.linspace(0, 0.1, 1000)
    told = tuple(TwoSampleTest(n, 0.02, 0.01, Proportion(0.8 * n, n)) for n in (50, 100))
    comparison = Comparison(Discrepancies(spread, spread, 2 * spread, 1.5), told)
    views = {view: Indistinguishability(comparison, comparison) for view in ("images", "perturbations")}
    curve = Curve((1, 2, 40), (0.5, -1.5, 9.0), (4.5, 4.8, 5.5))
    chance = Estimate(0.02, (-0.1, 0.1))
    honest = ClientKind(
        True, Proportion(0, 9), 1000, Spread(None, None), None, None, chance, curve, Proportion(0, 9), Proportion(0, 9)
    )
    attacking = dataclasses.replace(
        honest,
        honest=False,
        accused=Proportion(8, 9),
        queries_to_accusation=Spread(30.0, None),
        attacked_to_accusation=Spread(3.0, None),
        fooled_before_accusation=Spread(2.0, None),
        no_honeypot=Proportion(0, 0),
    )

    def within(budget, plain, adversarial):
        return WithinBudget(budget, adaptive.rates, plain, adversarial)

    few = Proportion(10, 50)
    return dataclasses.replace(
        evaluation,
        compared={
            "pgd": Compared("inf", 0.3, (within(0.15, Proportion(20, 50), None), within(0.3, Proportion(49, 50), few))),
            "stripes": Compared("inf", 0.3, (within(0.3, Proportion(20, 50), Proportion(50, 50)),)),
            "transfer": Compared("inf", 0.3, (within(0.3, None, Proportion(50, 50)),)),
        },
        adversarial_accuracy=Proportion(97, 100),
        clients=Clients(1e-3, 0.2, {"clean": honest, "pgd_one_in_10": attacking}),
        security=Security({"gradients": recovery, "weights": recovery}, {"pgd": evading}),
        indistinguishability={"pgd": views},
    )


@pytest.fixture
def sweep_results(reconstruction):
    return [
        SweepResult(
            recipe,
            varied,
            value,
            Proportion(30, 100),
            Proportion(97, 100),
            Proportion(99, 100),
            {"pgd": reconstruction},
        )
        for recipe, size in (("paper", "watermark_size"), ("balanced", "block_size"))
        for varied, values in (("poison_rate", (0.1, 0.3)), (size, (1, 2)), ("amplitude", (0.2, 0.4)))
        for value in values
    ]
