"""What the paper prints, to stand beside what is measured."""

from __future__ import annotations

from collections.abc import Mapping

DETECTION: Mapping[str, str | float] = {
    "source": "Abdou et al. 2021, HoneyModels, Table I",
    "balanced_accuracy": 0.695,
    "true_positive_rate": 0.54,
    "false_positive_rate": 0.141,
}
"""Detection over all attacks. The paper calls the balanced accuracy accuracy, and has no intervals and no controls."""
