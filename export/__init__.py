"""Packaging a trained classifier for TensorFlow Serving.

```python
from honeykeras import export

export.save(model, "serving/mnist")  # writes serving/mnist/1/, then 2/, ...
```
"""

from honeykeras.export.archive import save

__all__ = ["save"]
