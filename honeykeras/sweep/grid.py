"""`points`: a recipe and its neighbours, one thing varied at a time; and what is found at each."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from honeykeras import _checks, patterns, recipes
from honeykeras.errors import InvalidArgumentError
from honeykeras.evaluation.results import Reconstruction
from honeykeras.evaluation.statistics import Proportion
from honeykeras.patterns import FAMILIES, Blocks, Scattered
from honeykeras.recipes import Recipe

_POISON_RATES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.6)
# Blocks cover the whole image, so that what is bearable is fainter.
_AMPLITUDES = {Scattered.name: (0.1, 0.25, 0.5, 1.0), Blocks.name: (0.1, 0.2, 0.3, 0.5)}
_WATERMARK_SIZES = (0.05, 0.1, 0.25, 0.5, 1.0)
_BLOCK_SIZES = (1, 2, 4, 7)


@dataclasses.dataclass(frozen=True)
class SweepPoint:
    """One honeypot of a sweep.

    Attributes:
        recipe: How it is planted.
        pattern: The family of patterns that its key draws from.
        varied: What sets it apart from the recipe that the sweep is about.
        value: The value of that.
    """

    recipe: Recipe
    pattern: patterns.Family
    varied: str
    value: float


@dataclasses.dataclass(frozen=True)
class SweepResult:
    """One point of a sweep: what the honeypot costs there, and how much of it attacks draw.

    Attributes:
        recipe: Name of the recipe that is varied.
        varied: What of it is: `"poison_rate"`, `"amplitude"`, and `"watermark_size"` or `"block_size"`.
        value: To which value.
        poisoned: How many of the training images are watermarked each epoch. Where a class is too small to give its
            part, that is less than the poison rate says; see `Honeypot.poison`.
        clean_accuracy: Of the model with the honeypot, on the clean test images.
        baseline_clean_accuracy: Of the model trained as long without one; the same at all points.
        reconstruction: How much of the watermark attacks draw, with the controls, by attack.
    """

    recipe: str
    varied: str
    value: float
    poisoned: Proportion
    clean_accuracy: Proportion
    baseline_clean_accuracy: Proportion
    reconstruction: Mapping[str, Reconstruction]

    def __str__(self) -> str:
        drawn = ", ".join(
            f"{attack} {found.cosine_similarity.value:.3f} (wrong key {found.wrong_key.value:.3f}, "
            f"no honeypot {found.no_honeypot.value:.3f}, n={found.n})"
            for attack, found in self.reconstruction.items()
        )
        return (
            f"{self.recipe}, {self.varied}={self.value:g}: accuracy {self.clean_accuracy.value:.2%} "
            f"(without {self.baseline_clean_accuracy.value:.2%}), {drawn}"
        )


def points(
    recipe: str | Recipe,
    input_shape: Sequence[int],
    *,
    pattern: patterns.Family | None = None,
    poison_rates: Sequence[float] = _POISON_RATES,
    sizes: Sequence[float] | None = None,
    amplitudes: Sequence[float] | None = None,
) -> list[SweepPoint]:
    """The points of a sweep around a recipe: poison rate, size of the watermark, and amplitude, one varied at a time.

    After Abdou et al. 2021, HoneyModels, Fig. 4. The recipe's own value is always among those of each, so that the
    same honeypot is a point of all three; `sweep` trains it once.

    The size of the watermark is `watermark_size`, the share of features that carry it, for the family `scattered`.
    The family `blocks` always covers the whole input, and what is varied instead is its counterpart, `block_size`,
    the side of its blocks in pixels: the larger, the fewer independent values a pattern has. By default those sizes
    are taken of which at least two go into the longer side of an image.

    Args:
        recipe: The recipe, or its name. What is varied must not be a schedule.
        input_shape: Shape of one input, without the batch.
        pattern: The family of patterns around which sizes are varied. Defaults to the recipe's, as it suits the inputs.
        poison_rates: Shares of the training samples that are watermarked, in [0, 1).
        sizes: Values of `watermark_size`, in (0, 1], or of `block_size`, whole numbers of at least 1.
        amplitudes: Greatest strengths, in (0, 1]. A least strength above one is lowered to it.

    Returns:
        The points, in this order and ascending.

    Raises:
        InvalidArgumentError: If a value breaks its rule, or what is to be varied is a schedule.
    """
    recipe, shape = recipes.get(recipe), _checks.shape("input_shape", input_shape)
    pattern = FAMILIES[recipe.family].for_inputs(shape) if pattern is None else pattern
    pattern.check(shape)
    for name in ("poison_rate", "amplitude", "min_amplitude"):
        if isinstance(getattr(recipe, name), tuple):
            raise InvalidArgumentError(
                f"`{name}` must be a number, not a schedule, for a sweep around the recipe. "
                f"Received: {name}={getattr(recipe, name)}. Make a recipe with `dataclasses.replace`."
            )
    if sizes is None:
        sizes = _sizes(pattern, shape)
    if amplitudes is None:
        amplitudes = _AMPLITUDES[pattern.name]
    changes = [
        *_around({"poison_rate": recipe.poison_rate}, poison_rates),
        *_around(_size(pattern), sizes),
        *_around({"amplitude": recipe.amplitude}, amplitudes),
    ]
    return [_point(recipe, pattern, shape, name, value) for name, value in changes]


def _around(own: Mapping[str, Any], values: Sequence[Any]) -> list[tuple[str, Any]]:
    """Each value once, ascending, with the one that there is already."""
    ((name, value),) = own.items()
    return [(name, each) for each in sorted({*values, value})]


def _size(pattern: patterns.Family) -> dict[str, float]:
    if isinstance(pattern, Blocks):
        return {"block_size": pattern.block_size}
    return {"watermark_size": pattern.watermark_size}


def _sizes(pattern: patterns.Family, shape: tuple[int, ...]) -> Sequence[float]:
    if isinstance(pattern, Scattered):
        return _WATERMARK_SIZES
    return [size for size in _BLOCK_SIZES if len(shape) == 3 and 2 * size <= max(shape[:2])]


def _point(recipe: Recipe, pattern: patterns.Family, shape: tuple[int, ...], varied: str, value: Any) -> SweepPoint:
    changes: dict[str, Any] = {varied: value}
    if varied in _size(pattern):
        pattern = dataclasses.replace(pattern, **changes)
        pattern.check(shape)
    elif varied == "amplitude" and isinstance(recipe.min_amplitude, float):
        recipe = dataclasses.replace(recipe, **changes, min_amplitude=min(recipe.min_amplitude, value))
    else:
        recipe = dataclasses.replace(recipe, **changes)
    return SweepPoint(recipe, pattern, varied, float(value))
