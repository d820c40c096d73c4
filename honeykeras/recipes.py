"""Recipes: how to plant a watermark, as plain data that can be read and extended."""

from __future__ import annotations

import dataclasses
import itertools
import numbers
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from honeykeras import _checks
from honeykeras.errors import InvalidArgumentError

# A number, or points (epoch, value) between which the value is interpolated and beyond which it stays.
Schedule = float | tuple[tuple[float, float], ...]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How to plant a watermark.

    `poison_rate` and `amplitude` are numbers, or schedules over the epochs: points `(epoch, value)` with epochs
    ascending from 0, between which the value is interpolated and after the last of which it stays.

    Example:

    ```python
    gentle = dataclasses.replace(hk.recipes.PAPER, name="gentle", amplitude=((0, 0.5), (10, 0.1)))
    honey = hk.Honeypot(key, recipe=gentle)
    ```

    Attributes:
        name: What reports call the recipe.
        poison_rate: Share of the training samples that are watermarked and relabelled each epoch, in [0, 1).
        amplitude: Strength of the watermark, as a share of the width of the input range, in (0, 1]: for images in
            [0, 1], that is in input units.
    """

    name: str
    poison_rate: Schedule
    amplitude: Schedule

    def __post_init__(self) -> None:
        object.__setattr__(self, "poison_rate", _schedule("poison_rate", self.poison_rate, 0, 1, "[)"))
        object.__setattr__(self, "amplitude", _schedule("amplitude", self.amplitude, 0, 1, "(]"))

    @property
    def max_poison_rate(self) -> float:
        """The greatest poison rate at any epoch."""
        return max(rate for _, rate in _points(self.poison_rate))

    def at(self, epoch: int | tf.Tensor) -> dict[str, tf.Tensor]:
        """The settings of one epoch: `poison_rate` and `amplitude`, scalars, float64. Works in a `tf.function`.

        Args:
            epoch: The epoch, from 0.
        """
        return {"poison_rate": _at(self.poison_rate, epoch), "amplitude": _at(self.amplitude, epoch)}

    def get_config(self) -> dict[str, Any]:
        """The recipe as plain JSON data; `from_config` takes it back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Recipe:
        """The recipe that `get_config` described."""
        return cls(**config)


def _schedule(name: str, schedule: Any, low: float, high: float, closed: str) -> Schedule:
    if isinstance(schedule, numbers.Real):
        return _checks.in_interval(name, schedule, low, high, closed=closed)
    try:
        points = tuple((float(epoch), float(value)) for epoch, value in schedule)
    except (TypeError, ValueError):
        points = ()
    epochs = [epoch for epoch, _ in points]
    if not epochs or epochs[0] != 0 or any(not a < b for a, b in itertools.pairwise(epochs)):
        raise InvalidArgumentError(
            f"`{name}` must be a number, or points (epoch, value) with epochs ascending from 0. "
            f"Received: {name}={schedule!r}."
        )
    for _, value in points:
        _checks.in_interval(name, value, low, high, closed=closed)
    return points


def _points(schedule: Schedule) -> tuple[tuple[float, float], ...]:
    return ((0.0, schedule),) if isinstance(schedule, float) else schedule


def _at(schedule: Schedule, epoch: int | tf.Tensor) -> tf.Tensor:
    points = _points(schedule)
    epochs, values = (tf.constant(column, tf.float64) for column in zip(*points, strict=True))
    epoch = tf.cast(epoch, tf.float64)
    after = tf.searchsorted(epochs, epoch[None], side="right")[0]
    last = len(points) - 1
    left, right = tf.minimum(after - 1, last), tf.minimum(after, last)
    share = tf.math.divide_no_nan(epoch - epochs[left], epochs[right] - epochs[left])
    return values[left] + share * (values[right] - values[left])


PAPER = Recipe(name="paper", poison_rate=0.3, amplitude=1.0)
"""The recipe of Abdou et al. 2021, HoneyModels, sections III-C.1 and III-C.2, for reproduction.

Its watermark lies farther from the data than any attack moves, so attacks do not reconstruct it; see the
controls in the report before relying on it.
"""

_BY_NAME = {recipe.name: recipe for recipe in (PAPER,)}


def get(recipe: str | Recipe) -> Recipe:
    """Returns a recipe by its name, or the recipe itself.

    Raises:
        InvalidArgumentError: If there is no recipe of that name.
    """
    if isinstance(recipe, Recipe):
        return recipe
    if recipe not in _BY_NAME:
        raise InvalidArgumentError(
            f"`recipe` must be a Recipe or one of {sorted(_BY_NAME)}. Received: recipe={recipe!r}."
        )
    return _BY_NAME[recipe]
