"""Audits: who attacked a model, from logs of its requests, on one machine or many, by Apache Beam.

```python
from honeykeras.audit import Artifact, audit

audit("logs", [Artifact(Path("serving/mnist/2"), public_key=Path("signing.pub"))], "audit")
```

What scores is an `Artifact` or a `FittedDetector`; `pipeline.Audit` is the pipeline, for one of your own.
"""

from __future__ import annotations

from honeykeras.audit.running import accused, audit
from honeykeras.audit.scorers import Artifact, FittedDetector

__all__ = ["Artifact", "FittedDetector", "accused", "audit"]
