"""`Rules`: what ledgers go by."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from honeykeras import _checks
from honeykeras.evidence.observations import ANSWER_PREFIX
from honeykeras.names import ALPHA

LEAST_MARGIN = 0.05
"""The least margin that is taken off: clean inputs show some hundredths."""


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
            do: in standard deviations of a query. That much is not counted as evidence, `LEAST_MARGIN` from the first
            query on and the rest after `grace`. An `Observer` measures it.
        grace: For how many usual queries the rest is not taken off: a dependence that is faint takes far more of them
            to add up, and an attacker who sends one image in ten, fewer.
        window: Evidence is also summed afresh over so many queries, so that a long past hides nothing.
        remembered: How many earlier queries are remembered, to find near duplicates of.
    """

    num_classes: int
    dimensions: int
    nearness: float
    alpha: float = ALPHA
    margin: float = LEAST_MARGIN
    grace: float = 256.0
    window: int = 128
    remembered: int = 32

    def __post_init__(self) -> None:
        _checks.whole_number("num_classes", self.num_classes, 2)
        _checks.whole_number("dimensions", self.dimensions)
        _checks.in_interval("nearness", self.nearness, 0, float("inf"), closed="[)")
        _checks.in_interval("alpha", self.alpha, 0, 1, closed="()")
        _checks.in_interval("margin", self.margin, 0, float("inf"), closed="[)")
        _checks.in_interval("grace", self.grace, 0, float("inf"), closed="[)")
        _checks.whole_number("window", self.window, 2)
        _checks.whole_number("remembered", self.remembered)

    @classmethod
    def of_answers(cls, answers: Mapping[str, Any], **settings: Any) -> Rules:
        """Those that an artifact's signature `extended_evidence` tells, with any queries.

        Args:
            answers: Arrays or tensors by the names of its outputs, of one query at least.
            **settings: What is to be other than the defaults: `alpha`, `grace`, `window` or `remembered`.
        """
        projections, views, nearness, margin = (
            np.asarray(answers[f"{ANSWER_PREFIX}{name}"])
            for name in ("reading_projections", "views", "nearness", "margin")
        )
        num_classes, dimensions = projections.shape[1], views.shape[1]
        return cls(num_classes, dimensions, float(nearness[0]), **{"margin": float(margin[0]), **settings})

    def allowed(self, weight: Any, maximum: Callable[[Any, Any], Any] = np.maximum) -> Any:
        """How much of a sum of projections may be nobody's doing.

        Args:
            weight: The sum of the lengths of what was added.
            maximum: The greater of two, for what `weight` is: `tf.maximum` for tensors.
        """
        least = min(self.margin, LEAST_MARGIN)
        return least * weight + (self.margin - least) * maximum(weight - self.grace, 0)
