"""Recipes: how to plant a watermark, as plain data that can be read and extended."""

from __future__ import annotations

import dataclasses
import itertools
import math
import numbers
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from honeykeras import _checks, patterns
from honeykeras.errors import InvalidArgumentError

if TYPE_CHECKING:
    import tensorflow as tf

# Detail of images (see `survey`) from which on strengths need not fall: handwritten digits have .11 (MNIST) and more,
# photographs about .05 (CIFAR-10).
DRAWINGS_DETAIL = 0.1

# A number, or points (epoch, value) between which the value is interpolated and beyond which it stays.
Schedule = float | tuple[tuple[float, float], ...]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How to plant a watermark.

    `poison_rate`, `amplitude` and `min_amplitude` are numbers, or schedules over the epochs: points `(epoch, value)`
    with epochs ascending from 0, between which the value is interpolated and after the last of which it stays. All
    amplitudes and `adversarial_epsilon` are shares of the width of the input range: for images in [0, 1], that is
    input units.

    Example:

    ```python
    fainter = dataclasses.replace(hk.recipes.BALANCED, name="fainter", amplitude=((0, 0.3), (3, 0.15)))
    honey = hk.Honeypot(key, recipe=fainter)
    ```

    Attributes:
        name: What reports call the recipe.
        family: The family of patterns that it plants, by name.
        poison_rate: Share of the training samples that are watermarked each epoch, in [0, 1).
        amplitude: Greatest strength of the watermark, in (0, 1].
        min_amplitude: Least strength of a watermark that changes the label, in (0, 1]; each sample's strength is
            drawn uniformly between the two. None stands for `amplitude`: all alike.
        floor: Strength up to which a watermark leaves the label as it is, in [0, 1].
        floor_share: Share of the watermarked samples that stay below the floor and keep their label, in [0, 1).
        adversarial_epsilon: Radius in the L-infinity norm of the adversarial examples, off the key's directions,
            that keep their labels, in [0, 1]; zero attacks none. What they make expensive is every way out of a
            class but the watermark.
        adversarial_share: How many examples that keep their labels there are to each training sample, in (0, 1]:
            attacked ones, and those of `random_share` and `transfer_share`.
        adversarial_steps: How many steps of projected gradient descent each of these takes.
        adversarial_least: The least radius of one, as a share of the greatest, in (0, 1]; each has one drawn uniformly.
        adversarial_warm_up: Over what share of the training their radius grows to its full size, in (0, 1].
        random_share: Share of these that are not attacked but get a random pattern that is nobody's, blocks or stripes
            of several sizes, in [0, 1]. With them, no other pattern leads anywhere, and they cost no gradient.
        random_epsilon: The greatest strength of such a pattern, in [0, 1]; each one's is drawn from half of it up.
        transfer_share: Share of these that are not attacked either but were made on other models beforehand, in
            [0, 1]: `HoneyCallback(..., surrogates=...)`. With `random_share`, at most 1.
        transfer_epsilon: Radius of the attack on those models, in [0, 1].
        alignment: Weight of the loss that turns input gradients towards the watermark, at least 0. It makes a
            honeypot stronger, and easier to recover from gradients.
        follow_data: Whether all strengths are for data as detailed as drawings, and fall for photographs; see
            `for_detail`.
    """

    name: str
    poison_rate: Schedule
    amplitude: Schedule
    min_amplitude: Schedule | None = None
    floor: float = 0.0
    floor_share: float = 0.0
    adversarial_epsilon: float = 0.0
    adversarial_share: float = 0.5
    adversarial_steps: int = 3
    adversarial_least: float = 1.0
    adversarial_warm_up: float = 0.3
    random_share: float = 0.0
    random_epsilon: float = 0.0
    transfer_share: float = 0.0
    transfer_epsilon: float = 0.0
    alignment: float = 0.0
    family: str = "blocks"
    follow_data: bool = False

    def __post_init__(self) -> None:
        checked = {
            "poison_rate": _schedule("poison_rate", self.poison_rate, 0, 1, "[)"),
            "amplitude": _schedule("amplitude", self.amplitude, 0, 1, "(]"),
            "floor": _checks.in_interval("floor", self.floor, 0, 1),
            "floor_share": _checks.in_interval("floor_share", self.floor_share, 0, 1, closed="[)"),
            "adversarial_epsilon": _checks.in_interval("adversarial_epsilon", self.adversarial_epsilon, 0, 1),
            "adversarial_share": _checks.in_interval("adversarial_share", self.adversarial_share, 0, 1, closed="(]"),
            "adversarial_steps": _checks.whole_number("adversarial_steps", self.adversarial_steps),
            "adversarial_least": _checks.in_interval("adversarial_least", self.adversarial_least, 0, 1, closed="(]"),
            "adversarial_warm_up": _checks.in_interval(
                "adversarial_warm_up", self.adversarial_warm_up, 0, 1, closed="(]"
            ),
            "random_share": _checks.in_interval("random_share", self.random_share, 0, 1),
            "random_epsilon": _checks.in_interval("random_epsilon", self.random_epsilon, 0, 1),
            "transfer_share": _checks.in_interval("transfer_share", self.transfer_share, 0, 1),
            "transfer_epsilon": _checks.in_interval("transfer_epsilon", self.transfer_epsilon, 0, 1),
            "alignment": _checks.in_interval("alignment", self.alignment, 0, math.inf, closed="[)"),
            "family": _checks.one_of("family", self.family, patterns.FAMILIES),
            "follow_data": _checks.flag("follow_data", self.follow_data),
        }
        if self.min_amplitude is not None:
            checked["min_amplitude"] = _schedule("min_amplitude", self.min_amplitude, 0, 1, "(]")
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        if self.random_share + self.transfer_share > 1:
            raise InvalidArgumentError(
                "`random_share` and `transfer_share` must together be at most 1. "
                f"Received: {self.random_share} and {self.transfer_share}."
            )

    @property
    def max_poison_rate(self) -> float:
        """The greatest poison rate at any epoch."""
        return max(rate for _, rate in _points(self.poison_rate))

    @property
    def adds_examples(self) -> bool:
        """Whether there are examples that keep their labels, of any kind."""
        return bool(self.adversarial_epsilon or self.random_share or self.transfer_share)

    def at(self, epoch: int | tf.Tensor) -> dict[str, tf.Tensor]:
        """The settings of one epoch, scalars, float64: those that may be schedules. Works in a `tf.function`.

        Args:
            epoch: The epoch, from 0.
        """
        least = self.amplitude if self.min_amplitude is None else self.min_amplitude
        return {
            "poison_rate": _at(self.poison_rate, epoch),
            "amplitude": _at(self.amplitude, epoch),
            "min_amplitude": _at(least, epoch),
        }

    def for_detail(self, detail: float | None) -> Recipe:
        """The recipe for images of some detail: fainter, if it is to follow the data and they have little.

        What a perturbation may be without costing accuracy depends on how far apart classes are in what it changes, the
        fine detail. Below that of drawings, amplitudes fall with its square, and the radius of adversarial examples,
        which need not find a pattern to do harm, with its fourth power. These fit MNIST and CIFAR-10.

        Args:
            detail: The root mean square of what a pixel is beyond its neighbourhood's mean, as a share of the width of
                the input range, or None for inputs that are no images.
        """
        if not self.follow_data or detail is None or detail >= DRAWINGS_DETAIL:
            return self
        share = (detail / DRAWINGS_DETAIL) ** 2
        return dataclasses.replace(
            self,
            amplitude=_scaled(self.amplitude, share),
            min_amplitude=None if self.min_amplitude is None else _scaled(self.min_amplitude, share),
            floor=self.floor * share,
            adversarial_epsilon=self.adversarial_epsilon * share**2,
            random_epsilon=self.random_epsilon * share**2,
            transfer_epsilon=self.transfer_epsilon * share**2,
            follow_data=False,
        )

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


def _scaled(schedule: Schedule, share: float) -> Schedule:
    if isinstance(schedule, float):
        return schedule * share
    return tuple((epoch, value * share) for epoch, value in schedule)


def _points(schedule: Schedule) -> tuple[tuple[float, float], ...]:
    return ((0.0, schedule),) if isinstance(schedule, float) else schedule


def _at(schedule: Schedule, epoch: int | tf.Tensor) -> tf.Tensor:
    import tensorflow as tf

    points = _points(schedule)
    if len(points) == 1:
        # A pass over the data begins with these, and what there is to compile is compiled each time.
        return tf.constant(points[0][1], tf.float64)
    epochs, values = (tf.constant(column, tf.float64) for column in zip(*points, strict=True))
    epoch = tf.cast(epoch, tf.float64)
    after = tf.searchsorted(epochs, epoch[None], side="right")[0]
    last = len(points) - 1
    left, right = tf.minimum(after - 1, last), tf.minimum(after, last)
    share = tf.math.divide_no_nan(epoch - epochs[left], epochs[right] - epochs[left])
    return values[left] + share * (values[right] - values[left])


PAPER = Recipe(name="paper", poison_rate=0.3, amplitude=1.0, family="scattered")
"""The recipe of Abdou et al. 2021, HoneyModels, sections III-C.1 and III-C.2, for reproduction.

Its watermark lies farther from the data than any attack moves, so attacks do not reconstruct it; see the
controls in the report before relying on it.
"""

BALANCED = Recipe(
    name="balanced",
    poison_rate=0.4,
    amplitude=0.3,
    min_amplitude=0.05,
    floor=0.03,
    floor_share=0.15,
    adversarial_epsilon=0.3,
    adversarial_share=0.75,
    random_share=0.4,
    random_epsilon=0.3,
    transfer_share=0.35,
    transfer_epsilon=0.3,
    follow_data=True,
)
"""The default: a watermark near enough to the data for attacks to find, and no other way out as cheap.

Of what keeps its label a quarter is attacked off the key, which costs most; the rest is changed at random, or was
attacked on other models before.
"""

HARDENED = dataclasses.replace(
    BALANCED,
    name="hardened",
    min_amplitude=0.08,
    floor=0.05,
    floor_share=0.2,
    adversarial_share=1.0,
    adversarial_steps=5,
    random_share=0.1,
    transfer_share=0.2,
)
"""For a model that is to be hard to fool otherwise, too: most of what keeps its label is attacked, in more steps.

The trap opens a little later, so that what finds it draws more of it.
"""

ALL = (BALANCED, HARDENED, PAPER)
"""The recipes that there are."""

_BY_NAME = {recipe.name: recipe for recipe in ALL}


def get(recipe: str | Recipe) -> Recipe:
    """Returns a recipe by its name, or the recipe itself.

    Raises:
        InvalidArgumentError: If there is no recipe of that name.
    """
    if isinstance(recipe, Recipe):
        return recipe
    return _BY_NAME[_checks.one_of("recipe", recipe, _BY_NAME)]
