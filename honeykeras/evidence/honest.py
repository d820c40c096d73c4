"""What clients send who attack nobody: what explains a model, repeats itself, wears or drifts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from honeykeras import corruptions
from honeykeras.ranges import quantize

# Cells a side that explanation tools switch on and off, at most, and how many queries they ask about an image.
_CELLS = 7
_QUERIES = 100
# Frames that a camera sees of one scene.
_FRAMES = 25

Sessions = list[np.ndarray]
"""Queries about one thing each, shape `(queries, *input_shape)`, in the order in which they are sent."""


def kinds(input_shape: tuple[int, ...]) -> list[str]:
    """The kinds of clients that there are for inputs of a shape."""
    return ["clean", *corruptions.names(input_shape), *_makers(input_shape)]


def sessions(x: np.ndarray, kind: str, *, seed: int = 0) -> Sessions:
    """What honest clients of a kind send.

    Args:
        x: Clean inputs, shape `(n, *input_shape)`, float32 in [0, 1].
        kind: One of `kinds`.
        seed: Seed of what is random.

    Returns:
        Sessions that clients of that kind draw from. Queries are on 256 levels.
    """
    if kind == "clean":
        return list(x[:, None])
    if kind in corruptions.names(x.shape[1:]):
        return list(corruptions.corrupt(x, kind, seed=seed)[:, None])
    make, draw = _makers(x.shape[1:])[kind], np.random.default_rng([seed, *kind.encode()])
    return [quantize(np.clip(make(image, draw), 0, 1).astype(np.float32)) for image in x[: _IMAGES[kind]]]


def retries(image: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """The same again, and again with what an encoder leaves of it."""
    encoded = np.round(image * 31) / 31
    return np.stack([image, image, encoded, image + draw.normal(0, 0.01, image.shape)])


def one_image(image: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """One input a thousand times."""
    return np.repeat(image[None], 1000, axis=0)


def video(image: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """What a camera sees of one scene: it trembles, and the light changes."""
    steps = np.cumsum(draw.integers(-1, 2, (_FRAMES, 2)) * (draw.random((_FRAMES, 1)) < 0.3), axis=0)
    light = 1 + np.cumsum(draw.normal(0, 0.01, _FRAMES))
    frames = [np.roll(image, step, axis=(0, 1)) * bright for step, bright in zip(steps, light, strict=True)]
    return np.stack(frames) + draw.normal(0, 0.01, (_FRAMES, *image.shape))


def lime(image: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """A random half of the cells in the image's mean colour (Ribeiro et al. 2016)."""
    return _masked(image, draw.random((_QUERIES, _count(image))) < 0.5)


def kernel_shap(image: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Coalitions of cells, most of them of few or of almost all (Lundberg and Lee 2017)."""
    count = _count(image)
    sizes = np.arange(1, count)
    weights = (count - 1) / (sizes * (count - sizes))
    chosen = draw.choice(sizes, _QUERIES, p=weights / weights.sum())
    order = np.argsort(draw.random((_QUERIES, count)), axis=1)
    return _masked(image, order < chosen[:, None])


def occlusion(image: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Each cell hidden in turn (Zeiler and Fergus 2014)."""
    return np.concatenate([image[None], _masked(image, ~np.eye(_count(image), dtype=bool))])


def saliency(image: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Each cell a little brighter in turn, as finite differences ask."""
    cells = np.eye(_count(image))
    return np.concatenate([image[None], image + 0.05 * _spread(cells, image.shape)])


_Maker = Callable[[np.ndarray, np.random.Generator], np.ndarray]

_FOR_ALL: Mapping[str, _Maker] = {
    "retries": retries,
    "one_image": one_image,
    "lime": lime,
    "kernel_shap": kernel_shap,
    "occlusion": occlusion,
    "saliency": saliency,
}
_FOR_IMAGES: Mapping[str, _Maker] = {"video": video}
# Of how many inputs there are sessions of each kind, at most.
_IMAGES = {
    "retries": 400,
    "one_image": 20,
    "lime": 40,
    "kernel_shap": 40,
    "occlusion": 40,
    "saliency": 40,
    "video": 100,
}


def _makers(input_shape: tuple[int, ...]) -> Mapping[str, _Maker]:
    return {**_FOR_ALL, **(_FOR_IMAGES if len(input_shape) == 3 else {})}


def _count(image: np.ndarray) -> int:
    """How many cells there are: of an image a grid, of another input its features."""
    return math.prod(min(_CELLS, side) for side in image.shape[:2]) if image.ndim == 3 else image.size


def _spread(cells: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A value for each cell, shape `(n, cells)`, as inputs of a shape."""
    if len(shape) != 3:
        return cells.reshape(-1, *shape)
    rows, columns = (min(_CELLS, side) for side in shape[:2])
    grid = cells.reshape(-1, rows, columns)
    place = [np.arange(side) * cells_a_side // side for side, cells_a_side in zip(shape, (rows, columns), strict=False)]
    return grid[:, place[0]][:, :, place[1]][..., None]


def _masked(image: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """The image with the cells that are not kept in its mean colour."""
    mean = image.mean(axis=(0, 1), keepdims=True) if image.ndim == 3 else image.mean()
    return np.where(_spread(kept, image.shape), image, mean)
