"""Packaging a trained classifier for TensorFlow Serving.

```python
from honeykeras import export

export.save(model, "serving/mnist-public")  # to hand out: writes serving/mnist-public/1/, then 2/, ...

sealing_key = export.SealingKey.generate()
sealing_key.save("model.key")  # beside serving/, or what is mounted at /run/secrets/model.key
export.save_guarded(model, "serving/mnist", detector, sealing_key, policy="decoy")  # for the trusted host
```

Names are loaded when they are first used, so that what needs no TensorFlow does not wait for it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from honeykeras.export.archive import KEY_PATHS, save, save_guarded
    from honeykeras.export.inspection import inspect
    from honeykeras.export.kept import kept_signatures
    from honeykeras.export.loading import load
    from honeykeras.export.policies import POLICIES
    from honeykeras.export.rotation import recalibrate, reseal
    from honeykeras.export.sealing import SealingKey
    from honeykeras.export.verification import Check, verify

__all__ = [
    "KEY_PATHS",
    "POLICIES",
    "Check",
    "SealingKey",
    "inspect",
    "kept_signatures",
    "load",
    "recalibrate",
    "reseal",
    "save",
    "save_guarded",
    "verify",
]

_HOMES = {
    "KEY_PATHS": "archive",
    "POLICIES": "policies",
    "Check": "verification",
    "SealingKey": "sealing",
    "inspect": "inspection",
    "kept_signatures": "kept",
    "load": "loading",
    "recalibrate": "rotation",
    "reseal": "rotation",
    "save": "archive",
    "save_guarded": "archive",
    "verify": "verification",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
