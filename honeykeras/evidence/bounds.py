"""How great a statistic must be before it accuses, so that chance does so with a stated probability at most.

At one moment, the statistic of a stream of queries that does not depend on the key is sub-Gaussian with variance 1
over the draw of the key, whatever the stream. The key is drawn once, so that later moments are no new draws: what
holds for all of them is a union over checkpoints, each with its share of the probability (docs/evidence.md).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from honeykeras import _checks

# Up to there each count is a checkpoint, later one where it has grown by an eighth: close enough together that waiting
# for the next one costs little, and far enough apart that there are some 70 among 10,000 queries.
_EACH = 8
_GROWTH = 1.125


def _grid() -> np.ndarray:
    counts = list(range(1, _EACH + 1))
    while counts[-1] < 2**53:
        counts.append(int(np.ceil(counts[-1] * _GROWTH)))
    return np.array(counts)


CHECKPOINTS = _grid()
"""The counts at which a growing sum is looked at, in order."""


def share(number: npt.ArrayLike) -> np.ndarray:
    """The share of a probability that the `number`-th look may use up, from 1; all shares together make 1."""
    number = np.asarray(number, np.float64)
    return 1 / (number * (number + 1))


def bound(alpha: np.ndarray | float) -> np.ndarray:
    """What a sub-Gaussian statistic of variance 1 passes, to either side, with probability `alpha` at most."""
    return np.sqrt(2 * np.log(2 / np.asarray(alpha, np.float64)))


def e_value(z: np.ndarray | float) -> np.ndarray:
    """How strongly a statistic speaks against chance, at one moment that was fixed beforehand: 1 is nothing.

    Its mean over the draw of the key is at most 1 for a stream that does not depend on it: a mixture of
    `exp(lambda * z - lambda ** 2 / 2)` over a normal `lambda` of variance `_SPREAD`.
    """
    return np.exp(_SPREAD * np.square(z) / (2 * (1 + _SPREAD))) / np.sqrt(1 + _SPREAD)


# Greatest where z is some 5, where accusations are made.
_SPREAD = 24.0


def e_bh(e_values: np.ndarray, alpha: float) -> np.ndarray:
    """Whom to accuse of many clients at once, so that a share `alpha` at most of them is innocent, in the mean.

    The e-BH procedure (Wang and Ramdas 2022, False discovery rate control with e-values), which holds however the
    clients depend on each other: they share one key.

    Args:
        e_values: One for each client, shape `(clients,)`, at moments that were fixed beforehand.
        alpha: The rate of false accusations among all accusations, in (0, 1).

    Returns:
        Whom to accuse, shape `(clients,)`, bool.
    """
    _checks.in_interval("alpha", alpha, 0, 1, closed="()")
    e_values = np.asarray(e_values, np.float64)
    ordered = np.sort(e_values)[::-1]
    enough = np.flatnonzero(ordered * np.arange(1, len(ordered) + 1) >= len(ordered) / alpha)
    return e_values >= ordered[enough[-1]] if len(enough) else np.zeros(len(e_values), bool)
