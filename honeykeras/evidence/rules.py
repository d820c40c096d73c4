"""`Rules`: what ledgers go by."""

from __future__ import annotations

import dataclasses

from honeykeras import _checks

ALPHA = 1e-3
"""How probable it may be that a client is accused whose queries do not depend on the key, however many it sends."""


@dataclasses.dataclass(frozen=True)
class Rules:
    """What ledgers go by. All ledgers of a model's clients have the same.

    Attributes:
        num_classes: How many classes there are.
        dimensions: How many dimensions the space of the key's family has.
        nearness: How near to an earlier query of the client one is that is taken for a near duplicate of it: Euclidean
            distance of codes.
        alpha: The probability, over the draw of the key, that a client is ever accused whose queries do not depend on
            the key, at most, in (0, 1).
        margin: By how much a query's projection may depend on the key although nobody attacks, as the model's answers
            do a little: in standard deviations a query of usual length. That much is never counted as evidence.
        window: Evidence is also summed afresh over so many queries, so that a long past hides nothing.
        remembered: How many earlier queries are remembered, to find near duplicates of.
    """

    num_classes: int
    dimensions: int
    nearness: float
    alpha: float = ALPHA
    margin: float = 0.05
    window: int = 64
    remembered: int = 32

    def __post_init__(self) -> None:
        _checks.whole_number("num_classes", self.num_classes, 2)
        _checks.whole_number("dimensions", self.dimensions)
        _checks.in_interval("nearness", self.nearness, 0, float("inf"), closed="[)")
        _checks.in_interval("alpha", self.alpha, 0, 1, closed="()")
        _checks.in_interval("margin", self.margin, 0, float("inf"), closed="[)")
        _checks.whole_number("window", self.window, 2)
        _checks.whole_number("remembered", self.remembered)
