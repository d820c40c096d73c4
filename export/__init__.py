"""Packaging a trained classifier for TensorFlow Serving.

```python
from honeykeras import export

export.save(model, "serving/mnist-public")  # to hand out: writes serving/mnist-public/1/, then 2/, ...

sealing_key = export.SealingKey.generate()
sealing_key.save("model.key")  # beside serving/, or what is mounted at /run/secrets/model.key
export.save_guarded(model, "serving/mnist", detector, sealing_key, policy="decoy")  # for the trusted host
```
"""

from honeykeras.export.archive import KEY_PATHS, save, save_guarded
from honeykeras.export.inspection import inspect
from honeykeras.export.loading import load
from honeykeras.export.policies import POLICIES
from honeykeras.export.rotation import reseal
from honeykeras.export.sealing import SealingKey
from honeykeras.export.verification import Check, verify

__all__ = [
    "KEY_PATHS",
    "POLICIES",
    "Check",
    "SealingKey",
    "inspect",
    "load",
    "reseal",
    "save",
    "save_guarded",
    "verify",
]
