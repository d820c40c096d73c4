"""honeykeras turns a Keras classifier into a honeypot for adversaries.

After "HoneyModels: Machine Learning Honeypots" (Abdou et al. 2021, arXiv:2202.10309). A guided tour, in the
order in which data walks through:

- `WatermarkKey` is the secret, `Watermark` what it draws on an input, `recipes` say how to plant it;
- `Honeypot` plants it: `dataset.apply(honeypot.poison)` and `HoneyCallback` in a plain `model.fit`;
- `attacks` attack the model, and `Detector` tells their results from clean inputs, with the key (`detection` has
  other kinds; `corruptions` make what it must not flag);
- `evidence` adds up what a client's queries say together, and accuses it with a bound on doing so by chance;
- `evaluate` says what it costs and what it is worth, beside its controls, `sweep` does so over many recipes; `report`
  writes that down;
- `honeykeras.export`, a package of its own, makes a SavedModel for TensorFlow Serving;
- `data`, `models` and `training` hold data sets, a reference classifier, and its training with its baseline.

Names are loaded when they are first used, so that `import honeykeras` and the command line's `--help` do not
wait for TensorFlow.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from honeykeras import (
        attacks,
        corruptions,
        data,
        detection,
        errors,
        evidence,
        models,
        patterns,
        recipes,
        report,
        sweep,
        training,
    )
    from honeykeras.adversarial import AdversarialTraining
    from honeykeras.callback import HoneyCallback
    from honeykeras.detection import Detector, DetectorLayer
    from honeykeras.evaluation import evaluate
    from honeykeras.honeypot import Honeypot
    from honeykeras.keys import WatermarkKey
    from honeykeras.ranges import InputRange
    from honeykeras.recipes import Recipe
    from honeykeras.watermark import Watermark

__all__ = [
    "AdversarialTraining",
    "Detector",
    "DetectorLayer",
    "HoneyCallback",
    "Honeypot",
    "InputRange",
    "Recipe",
    "Watermark",
    "WatermarkKey",
    "attacks",
    "corruptions",
    "data",
    "detection",
    "errors",
    "evaluate",
    "evidence",
    "models",
    "patterns",
    "recipes",
    "report",
    "sweep",
    "training",
]

_HOMES = {
    "AdversarialTraining": "adversarial",
    "Detector": "detection",
    "DetectorLayer": "detection",
    "HoneyCallback": "callback",
    "Honeypot": "honeypot",
    "InputRange": "ranges",
    "Recipe": "recipes",
    "Watermark": "watermark",
    "WatermarkKey": "keys",
    "evaluate": "evaluation",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.metadata.version("honeykeras")
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
