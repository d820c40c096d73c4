"""Attacks on Keras classifiers, in one call shape.

```python
examples = hk.attacks.PGD(epsilon=0.3).generate(model, x, y)
examples = hk.attacks.get("pgd", epsilon=0.3).generate(model, x, y).quantize(model)
shards = hk.attacks.craft(model, hk.attacks.CarliniWagner(), dataset, "adversarial")
```
"""

from __future__ import annotations

from typing import Any

from honeykeras import _checks
from honeykeras.attacks import adaptive
from honeykeras.attacks.base import Attack
from honeykeras.attacks.boundary import Boundary
from honeykeras.attacks.by_query import Oracle, QueryAttack
from honeykeras.attacks.carlini_wagner import CarliniWagner
from honeykeras.attacks.craft import craft
from honeykeras.attacks.examples import AdversarialExamples
from honeykeras.attacks.hop_skip_jump import HopSkipJump
from honeykeras.attacks.jsma import JSMA
from honeykeras.attacks.minimum_norm import DDN, FMNL0, FMNL2, FMNLinf, MinimumNorm
from honeykeras.attacks.nes import NES
from honeykeras.attacks.orthogonal import OrthogonalPGD, SelectivePGD
from honeykeras.attacks.pgd import PGD
from honeykeras.attacks.shards import Shards, feature_description
from honeykeras.attacks.square import Square
from honeykeras.attacks.super_deep_fool import SuperDeepFool
from honeykeras.attacks.unguided import Noise, RandomBlocks, Stripes
from honeykeras.ranges import quantize

__all__ = [
    "DDN",
    "FMNL0",
    "FMNL2",
    "JSMA",
    "NES",
    "PGD",
    "AdversarialExamples",
    "Attack",
    "Boundary",
    "CarliniWagner",
    "FMNLinf",
    "HopSkipJump",
    "MinimumNorm",
    "Noise",
    "Oracle",
    "OrthogonalPGD",
    "QueryAttack",
    "RandomBlocks",
    "SelectivePGD",
    "Shards",
    "Square",
    "Stripes",
    "SuperDeepFool",
    "adaptive",
    "craft",
    "feature_description",
    "get",
    "names",
    "quantize",
]

_BY_NAME: dict[str, type[Attack]] = {
    attack.name: attack
    for attack in (
        *(PGD, CarliniWagner, DDN, SuperDeepFool, FMNL2, FMNLinf, FMNL0, JSMA),
        *(NES, Square, Boundary, HopSkipJump),
        *(Noise, Stripes, RandomBlocks),
    )
}


def names() -> list[str]:
    """The names of the attacks that there are."""
    return list(_BY_NAME)


def get(name: str, **settings: Any) -> Attack:
    """Makes an attack by its name.

    Args:
        name: One of `names()`.
        **settings: Arguments of that attack.

    Raises:
        InvalidArgumentError: If there is no such attack, or a setting breaks one of its rules.
    """
    return _BY_NAME[_checks.one_of("attack", name, names())](**settings)
