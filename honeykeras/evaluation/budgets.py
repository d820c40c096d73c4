"""How much an attacker may change: the budgets within which what gets past is counted."""

from __future__ import annotations

import math

from honeykeras.attacks import Attack
from honeykeras.data import Data

NARROWER = (0.25, 0.5, 0.75)
"""Shares of its radius that an attack of a fixed one can be run at, too."""

SHARES = (*NARROWER, 1.0, 1.5, 2.0)
"""Shares of the customary budget that are told of an attack that looks for the smallest change."""

# Of the features, as Papernot et al. 2016 allow JSMA.
_FEATURES = 0.145


def customary(data: Data, norm: str) -> float:
    """The budget that attacks on a data set customarily have.

    Args:
        data: The data set.
        norm: `"inf"`, `"2"` or `"0"`; see `Attack.norm`.

    Returns:
        For `"inf"` the data set's radius. For `"2"` two sevenths of how far the corners of that cube are, in widths of
        the input range to one digit: 2.0 for MNIST and 0.5 for CIFAR-10, as is usual. For `"0"` the features that JSMA
        may change, 14.5 %, one at least.
    """
    features = math.prod(data.input_shape)
    if norm == "inf":
        return data.epsilon
    if norm == "0":
        return float(max(1, math.floor(_FEATURES * features)))
    width = float(data.input_range.working.width)
    return width * float(f"{data.epsilon / width * math.sqrt(features) / 3.5:.0e}")


def radius(attack: Attack) -> float | None:
    """The radius by which an attack moves inputs; None of one that moves them as little as it can."""
    return attack.get_config().get("epsilon")


def narrowed(attack: Attack, share: float) -> Attack:
    """An attack with a share of its radius, and of the size of its steps."""
    config = attack.get_config()
    lengths = {name: share * config[name] for name in ("epsilon", "step_size") if config.get(name) is not None}
    return type(attack).from_config({**config, **lengths})
