"""Making a report of an evaluation."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from honeykeras._documents import plain
from honeykeras._messages import first_line
from honeykeras.errors import InvalidArgumentError
from honeykeras.report import published
from honeykeras.report.files import SCHEMA_VERSION, check_report

# What makes evaluations loads TensorFlow, and reading reports does not need it.
if TYPE_CHECKING:
    from honeykeras.evaluation import (
        AttackDetection,
        ClientKind,
        Clients,
        Compared,
        Comparison,
        Detection,
        DetectionRates,
        Evaluation,
        Example,
        Indistinguishability,
        Proportion,
        Reconstruction,
        Recovery,
        Security,
        Viability,
        WithinBudget,
    )
    from honeykeras.sweep import SweepResult

# Of distributions over sub-samples, those are told.
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

_PACKAGES = ("honeykeras", "tensorflow", "keras", "numpy", "scikit-learn", "cleverhans")


def make(evaluation: Evaluation, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Turns an evaluation into the report's document.

    Args:
        evaluation: What was found.
        settings: How, as plain data: the data set, the recipe, the attacks, the seed and so on. Nothing secret.

    Returns:
        Plain JSON data in the form that `schema()` describes. A figure that does not exist, such as an interval
        of a single value, is None.

    Raises:
        InvalidArgumentError: If a control is missing: a detection rate says nothing without them; or if the settings
            are not what the schema says of them.
    """
    viability, detection = evaluation.viability, evaluation.detection
    _check_controls(detection)
    document = {
        "schema_version": SCHEMA_VERSION,
        "key_id": evaluation.key_id,
        "settings": dict(settings),
        "environment": environment(),
        "viability": {**_viability(viability), **_anchor(evaluation.adversarial_accuracy)},
        "reconstruction": {name: _cosines(found) for name, found in evaluation.reconstruction.items()},
        "detection": {
            "detector": detection.detector,
            "detector_id": detection.detector_id,
            "key_specific": detection.key_specific,
            "max_fpr": detection.max_fpr,
            **_rates(detection.rates),
            "controls": {
                "wrong_key": {
                    **_rates(detection.wrong_key),
                    "prediction_interval": detection.wrong_key_prediction,
                    "true_positive_rates": [rates.true_positives.value for rates in detection.wrong_keys],
                },
                "no_honeypot": _rates(detection.no_honeypot),
                "transfer": _rates(detection.transfer),
                "corruptions": {
                    name: {
                        "flagged": found.flagged.value,
                        "interval": found.flagged.interval,
                        "accuracy": found.accuracy.value,
                        "n": found.flagged.n,
                    }
                    for name, found in detection.corruptions.items()
                },
            },
            "exceeds_controls": detection.exceeds_controls,
            "published": published.DETECTION,
        },
        "baselines": {
            name: {
                "key_specific": found.key_specific,
                **_rates(found.rates),
                "controls": {"wrong_key": _rates(found.wrong_key), "no_honeypot": _rates(found.no_honeypot)},
            }
            for name, found in evaluation.baselines.items()
        },
        "examples": {name: [_example(each) for each in found] for name, found in evaluation.examples.items()},
        "security": _security(evaluation.security) if evaluation.security else None,
        "indistinguishability": _indistinguishability(evaluation.indistinguishability),
        "clients": _clients(evaluation.clients) if evaluation.clients else None,
        "compared": {name: _compared(found) for name, found in evaluation.compared.items()},
        "sweep": None,
    }
    return _checked(document)


def with_sweep(document: Mapping[str, Any], sweep: Sequence[SweepResult]) -> dict[str, Any]:
    """Adds a sweep to a report, in place of the one that it may hold.

    Args:
        document: The report.
        sweep: What `sweep.run` found.

    Returns:
        The report with the sweep; `document` is left as it is.
    """
    return _checked({**document, "sweep": [_sweep_point(result) for result in sweep]})


def environment() -> dict[str, Any]:
    """What machine and what versions this is."""
    return {
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "machine": platform.machine(),
        "cpu_count": os.cpu_count(),
    }


def _checked(document: dict[str, Any]) -> dict[str, Any]:
    """The document as plain data, which `read` would take."""
    document = plain(document)
    try:
        check_report(document)
    except ValueError as error:
        raise InvalidArgumentError(
            f"A report must be as its schema says. Received, from the evaluation and its settings: {first_line(error)}."
        ) from None
    return document


def _check_controls(detection: Detection) -> None:
    judged = set(detection.rates.attacks)
    controls = {
        "wrong_key": detection.wrong_key,
        "no_honeypot": detection.no_honeypot,
        "transfer": detection.transfer,
        **{f"wrong_keys[{index}]": rates for index, rates in enumerate(detection.wrong_keys)},
    }
    missing = [name for name, rates in controls.items() if set(rates.attacks) != judged]
    if len(detection.wrong_keys) < 2:
        missing.append("wrong_keys, at least two")
    if missing:
        raise InvalidArgumentError(
            "A report must have every attack under every control. Missing: "
            f"{', '.join(missing)}. Judge with `honeykeras.evaluate`, which runs them all."
        )


def _viability(found: Viability | SweepResult) -> dict[str, Any]:
    return {
        "clean_accuracy": found.clean_accuracy.value,
        "clean_accuracy_interval": found.clean_accuracy.interval,
        "baseline_clean_accuracy": found.baseline_clean_accuracy.value,
        "baseline_clean_accuracy_interval": found.baseline_clean_accuracy.interval,
        "n": found.clean_accuracy.n,
    }


def _anchor(accuracy: Proportion | None) -> dict[str, Any]:
    """The accuracy of the model that was trained adversarially."""
    if accuracy is None:
        return {}
    return {"adversarial_clean_accuracy": accuracy.value, "adversarial_clean_accuracy_interval": accuracy.interval}


def _sweep_point(result: SweepResult) -> dict[str, Any]:
    return {
        "recipe": result.recipe,
        "varied": result.varied,
        "value": result.value,
        "poisoned_rate": result.poisoned.value,
        **_viability(result),
        "reconstruction": {name: _cosines(found) for name, found in result.reconstruction.items()},
    }


def _cosines(found: Reconstruction | Recovery) -> dict[str, Any]:
    estimates = {name: getattr(found, name) for name in ("cosine_similarity", "wrong_key", "no_honeypot")}
    return {
        **{name: estimate.value for name, estimate in estimates.items()},
        "intervals": {name: estimate.interval for name, estimate in estimates.items()},
        "n": found.n,
    }


def _attack(attack: AttackDetection) -> dict[str, Any]:
    return {
        "true_positive_rate": attack.true_positives.value,
        "interval": attack.true_positives.interval,
        "n": attack.true_positives.n,
        "attack_success_rate": attack.attack_success.value,
        "n_attacked": attack.attack_success.n,
        "undetected_rate": attack.undetected.value,
        "undetected_interval": attack.undetected.interval,
    }


def _compared(found: Compared) -> dict[str, Any]:
    return {
        "norm": found.norm,
        "budget": found.budget,
        **_within(found.counted),
        "curve": [{"budget": each.budget, **_within(each)} for each in found.curve],
    }


def _within(found: WithinBudget) -> dict[str, Any]:
    return {
        "honeypot": _attack(found.honeypot),
        "plain": _fooled(found.plain),
        "adversarial": _fooled(found.adversarial),
    }


def _fooled(found: Proportion | None) -> dict[str, Any] | None:
    return None if found is None else {"fooled_rate": found.value, "interval": found.interval, "n": found.n}


def _security(security: Security) -> dict[str, Any]:
    return {
        "recovery": {source: _cosines(found) for source, found in security.recovery.items()},
        "attackers": {
            attack: {
                name: {
                    **_attack(found.rates),
                    "controls": {
                        "wrong_key": found.wrong_key.value,
                        "no_honeypot": _attack(found.no_honeypot),
                    },
                }
                for name, found in attackers.items()
            }
            for attack, attackers in security.attackers.items()
        },
    }


def _indistinguishability(found: Mapping[str, Mapping[str, Indistinguishability]] | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        attack: {
            looked_at: {"honeypot": _comparison(judged.honeypot), "yardstick": _comparison(judged.yardstick)}
            for looked_at, judged in views.items()
        }
        for attack, views in found.items()
    }


def _clients(clients: Clients) -> dict[str, Any]:
    kinds = {name: _client_kind(kind) for name, kind in clients.kinds.items()}
    return {"alpha": clients.alpha, "margin": clients.margin, **kinds}


def _client_kind(kind: ClientKind) -> dict[str, Any]:
    spreads = ("queries_to_accusation", "attacked_to_accusation", "fooled_before_accusation")
    found = {name: getattr(kind, name) for name in spreads}
    return {
        "honest": kind.honest,
        "n": kind.accused.n,
        "queries": kind.queries,
        "accused": kind.accused.value,
        "interval": kind.accused.interval,
        **{name: None if spread is None else dataclasses.asdict(spread) for name, spread in found.items()},
        "dependence": kind.dependence.value,
        "dependence_interval": kind.dependence.interval,
        "curve": dataclasses.asdict(kind.curve),
        "controls": {"wrong_key": kind.wrong_key.value, "no_honeypot": kind.no_honeypot.value},
    }


def _comparison(comparison: Comparison) -> dict[str, Any]:
    discrepancies = comparison.discrepancies
    return {
        "bandwidth": discrepancies.bandwidth,
        "squared_mmd_quantiles": {
            name: np.quantile(getattr(discrepancies, name), _QUANTILES).tolist()
            for name in ("within_first", "within_second", "across")
        },
        "tests": [
            {
                "n": test.n,
                "squared_mmd": test.squared_mmd,
                "p_value": test.p_value,
                "classifier_accuracy": test.classifier_accuracy.value,
                "classifier_accuracy_interval": test.classifier_accuracy.interval,
            }
            for test in comparison.tests
        ],
    }


def _rates(rates: DetectionRates) -> dict[str, Any]:
    from honeykeras.evaluation.roc import FALSE_POSITIVE_RATES, OPERATING_POINTS

    return {
        "false_positive_rate": rates.false_positives.value,
        "false_positive_rate_interval": rates.false_positives.interval,
        "n_clean": rates.false_positives.n,
        "attacks": {name: _attack(attack) for name, attack in rates.attacks.items()},
        "overall": {
            "true_positive_rate": rates.true_positives.value,
            "interval": rates.true_positives.interval,
            "n": rates.true_positives.n,
            "balanced_accuracy": rates.balanced_accuracy.value,
            "balanced_accuracy_interval": rates.balanced_accuracy.interval,
        },
        "roc": {
            "false_positive_rates": FALSE_POSITIVE_RATES,
            "true_positive_rates": {name: roc.true_positive_rates for name, roc in rates.roc.items()},
            "auc": {name: roc.auc for name, roc in rates.roc.items()},
            "at": {
                str(rate): {
                    name: {
                        "true_positive_rate": roc.at[rate].value,
                        "interval": roc.at[rate].interval,
                        "n": roc.at[rate].n,
                    }
                    for name, roc in rates.roc.items()
                }
                for rate in OPERATING_POINTS
            },
        },
    }


def _example(example: Example) -> dict[str, Any]:
    from honeykeras.report.pictures import encode_png

    delta = example.x_adv - example.x
    # As strong as shows all of it: half the range is to either side of grey.
    amplification = 0.5 / max(float(np.abs(delta).max()), 1e-6)
    return {
        "label": example.label,
        "predicted": example.predicted,
        "flagged": example.flagged,
        "clean": encode_png(example.x),
        "adversarial": encode_png(example.x_adv),
        "difference": encode_png(0.5 + amplification * delta),
        "amplification": amplification,
    }
