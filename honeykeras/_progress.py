"""How far a long step has got, and how long it will take yet."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

# A step that is over sooner shows nothing, in seconds.
_DELAY = 2.0


def bar(
    doing: str, total: int | None, unit: str, verbose: int | bool, through: Iterable[Any] | None = None
) -> tqdm[Any]:
    """A progress bar on standard error, of a step that takes more than some seconds.

    Args:
        doing: What is done, as "Scoring".
        total: How many there are to do; None or below 0, as TensorFlow says it, if that is not known, and then no time
            left is shown.
        unit: What is counted, as "image".
        verbose: Nothing is shown if it is 0.
        through: What is gone through, if each element of it counts as one; otherwise call `update` with how many.

    Returns:
        The bar: a context manager, and an iterator through `through`.
    """
    known = None if total is None or total < 0 else total
    return tqdm(through, desc=doing, total=known, unit=f" {unit}", delay=_DELAY, disable=not verbose)
