"""Evidence per client: what a client's queries say together, with a bound on accusing one by chance.

An `Observer` sees in queries what evidence is made of, and a client's `Ledger` adds it up. Over the draw of the key, a
client whose queries do not depend on it is ever accused with a probability that was chosen, whatever it sends.

```python
observer = hk.evidence.Observer(detector, data.calibration.inputs)
ledger = observer.ledger(alpha=1e-3)
evidence = ledger.update(observer.observe(queries))
```
"""

from __future__ import annotations

from honeykeras.evidence.attribution import attribute
from honeykeras.evidence.bounds import e_bh
from honeykeras.evidence.ledger import Evidence, Ledger
from honeykeras.evidence.observations import Observations
from honeykeras.evidence.observer import Observer
from honeykeras.evidence.rules import Rules
from honeykeras.evidence.storage import Vault

__all__ = ["Evidence", "Ledger", "Observations", "Observer", "Rules", "Vault", "attribute", "e_bh"]
