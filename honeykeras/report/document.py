"""Making and writing `report.json`. Its schema is `schema.json` beside this file; `docs/report.md` explains it."""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import json
import math
import os
import platform
from collections.abc import Mapping
from typing import Any

from honeykeras._files import PathLike, write_atomic
from honeykeras.evaluation import DetectionRates, Evaluation

SCHEMA_VERSION = 2

_PACKAGES = ("honeykeras", "tensorflow", "keras", "numpy", "scikit-learn", "cleverhans")


def make(evaluation: Evaluation, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Turns an evaluation into the report's document.

    Args:
        evaluation: What was found.
        settings: How, as plain data: the data set, the recipe, the attacks, the seed and so on. Nothing secret.

    Returns:
        Plain JSON data in the form that `schema()` describes. A figure that does not exist, such as an interval
        of a single value, is None.
    """
    viability, detection = evaluation.viability, evaluation.detection
    document = {
        "schema_version": SCHEMA_VERSION,
        "key_id": evaluation.key_id,
        "settings": dict(settings),
        "environment": environment(),
        "viability": {
            "clean_accuracy": viability.clean_accuracy.value,
            "clean_accuracy_interval": viability.clean_accuracy.interval,
            "baseline_clean_accuracy": viability.baseline_clean_accuracy.value,
            "baseline_clean_accuracy_interval": viability.baseline_clean_accuracy.interval,
            "n": viability.clean_accuracy.n,
        },
        "reconstruction": {
            name: {
                "cosine_similarity": found.cosine_similarity.value,
                "wrong_key": found.wrong_key.value,
                "no_honeypot": found.no_honeypot.value,
                "intervals": {
                    "cosine_similarity": found.cosine_similarity.interval,
                    "wrong_key": found.wrong_key.interval,
                    "no_honeypot": found.no_honeypot.interval,
                },
                "n": found.n,
            }
            for name, found in evaluation.reconstruction.items()
        },
        "detection": {
            "detector": detection.detector,
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
        },
    }
    return _plain(document)


def write(path: PathLike, document: Mapping[str, Any], *, overwrite: bool = False) -> None:
    """Writes a document as JSON, in one atomic step.

    Raises:
        StorageError: If there is a file at `path` already, or the disk refuses.
    """
    write_atomic(path, json.dumps(_plain(document), indent=2, allow_nan=False).encode() + b"\n", overwrite=overwrite)


def schema() -> dict[str, Any]:
    """The JSON Schema of the report."""
    return json.loads(importlib.resources.files(__package__).joinpath("schema.json").read_text())


def environment() -> dict[str, Any]:
    """What machine and what versions this is."""
    return {
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "machine": platform.machine(),
        "cpu_count": os.cpu_count(),
    }


def _rates(rates: DetectionRates) -> dict[str, Any]:
    return {
        "false_positive_rate": rates.false_positives.value,
        "false_positive_rate_interval": rates.false_positives.interval,
        "n_clean": rates.false_positives.n,
        "attacks": {
            name: {
                "true_positive_rate": attack.true_positives.value,
                "interval": attack.true_positives.interval,
                "n": attack.true_positives.n,
                "attack_success_rate": attack.attack_success.value,
                "n_attacked": attack.attack_success.n,
            }
            for name, attack in rates.attacks.items()
        },
        "overall": {
            "true_positive_rate": rates.true_positives.value,
            "interval": rates.true_positives.interval,
            "n": rates.true_positives.n,
            "balanced_accuracy": rates.balanced_accuracy.value,
            "balanced_accuracy_interval": rates.balanced_accuracy.interval,
        },
    }


def _plain(value: Any) -> Any:
    """Tuples become lists and NaN becomes None: JSON has neither."""
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
