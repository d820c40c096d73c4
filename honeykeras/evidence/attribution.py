"""`attribute`: on which version's key a client's attack was made."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from honeykeras.errors import InvalidArgumentError
from honeykeras.evidence.ledger import Evidence
from honeykeras.evidence.observations import Observations
from honeykeras.evidence.observer import Observer
from honeykeras.keys import WatermarkKey
from honeykeras.names import ALPHA


def attribute(
    x: np.ndarray,
    versions: Mapping[str, Observer],
    *,
    past_keys: Mapping[str, WatermarkKey] | None = None,
    alpha: float = ALPHA,
) -> dict[str, Evidence]:
    """Looks at a client's queries with the key of each version, as each version's own model sees them.

    An attack that was made on one version leads to that version's key. Copies of a version share its key: a key for
    each recipient is what tells recipients apart.

    Args:
        x: A client's queries, in their order, shape `(n, *input_shape)`.
        versions: An observer for each version, by its name.
        past_keys: Keys of versions whose models are not at hand, by name. What their models took the queries for is not
            known: all queries are looked at with the pattern of each class, which takes more of them. Views are those
            of the first of `versions`.
        alpha: The probability, over the draw of the keys, that any version is accused of queries that depend on none of
            their keys. Each has its part of it.

    Returns:
        The evidence by version, the strongest first; of those that accuse, the first did so with the fewest queries.

    Raises:
        InvalidArgumentError: If there is no version, two have one name, a key is for other inputs or classes, or the
            queries have the wrong shape, dtype or range.
    """
    past_keys = past_keys or {}
    if not versions:
        raise InvalidArgumentError("`versions` must name at least one version's observer. Received: none.")
    if shared := set(versions) & set(past_keys):
        raise InvalidArgumentError(f"Versions must have names of their own. Received: {sorted(shared)} twice.")
    each = alpha / (len(versions) + len(past_keys))
    seen = {name: observer.observe(x) for name, observer in versions.items()}
    found = {name: _judge(seen[name], observer, each) for name, observer in versions.items()}
    first = next(iter(versions))
    for name, key in past_keys.items():
        found[name] = _without_model(seen[first], versions[first], key, each)
    return dict(sorted(found.items(), key=lambda each: _rank(each[1])))


def _judge(seen: Observations, observer: Observer, alpha: float) -> Evidence:
    return observer.ledger(alpha=alpha).update(seen)


def _without_model(seen: Observations, observer: Observer, key: WatermarkKey, alpha: float) -> Evidence:
    """The strongest evidence that all queries were led to one class, whichever."""
    if key.description != observer.description:
        raise InvalidArgumentError(
            f"The keys of `past_keys` must be like the one of `versions`: {observer.description.get_config()}. "
            f"Received: {key.description.get_config()}."
        )
    patterns = np.reshape(key.draw_codes(), (key.num_classes, -1))
    by_class = [
        _judge(
            dataclasses.replace(seen, classes=np.full(len(seen), label)).under(patterns),
            observer,
            alpha / key.num_classes,
        )
        for label in range(key.num_classes)
    ]
    return min(by_class, key=_rank)


def _rank(evidence: Evidence) -> tuple[float, float]:
    return (evidence.accused_at or float("inf"), -abs(evidence.statistic))
