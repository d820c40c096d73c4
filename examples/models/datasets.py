"""Data sets that no catalogue has, as functions for `--dataset examples/models/datasets.py:glyphs`."""

import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont
from sklearn import datasets

# Letters, digits and signs that differ from each other at this size.
_GLYPHS = (
    "ABDEFGHJKLMNPQRSTUVWXYZabdefghijkmnpqrtuy0123456789"
    "\u0393\u0394\u0398\u039b\u039e\u03a0\u03a3\u03a6\u03a8\u03a9"
    "\u03b1\u03b2\u03b3\u03b4\u03b5\u03b6\u03b7\u03b8\u03bb\u03bc\u03be\u03c0\u03c3\u03c6\u03c8\u03c9"
    "?!&%#@+=<>/*{}[]()$~^\u00a7\u20ac"
)
_SIZE = 28


def glyphs(count: int = 16_000, seed: int = 0):
    """A hundred classes of rendered characters: six fonts, sizes, places and slants at random, 28 by 28, grey."""
    rng = np.random.default_rng(seed)
    names = ["DejaVu Sans", "DejaVu Serif", "DejaVu Sans Mono"]
    files = [
        font_manager.findfont(font_manager.FontProperties(family=name, weight=weight))
        for name in names
        for weight in ("normal", "bold")
    ]
    fonts = [ImageFont.truetype(file, size) for file in files for size in (16, 18, 20, 22)]
    y = rng.integers(len(_GLYPHS), size=count)
    x = np.empty((count, _SIZE, _SIZE, 1), np.uint8)
    for place, label in enumerate(y):
        image = Image.new("L", (_SIZE, _SIZE))
        middle = _SIZE / 2 + rng.uniform(-2, 2, 2)
        font = fonts[rng.integers(len(fonts))]
        ImageDraw.Draw(image).text(tuple(middle), _GLYPHS[label], fill=255, font=font, anchor="mm")
        x[place, ..., 0] = np.asarray(image.rotate(rng.uniform(-12, 12), Image.Resampling.BILINEAR))
    return {"train": (x, y), "class_names": list(_GLYPHS)}


def cancer():
    """Thirty measurements of cells (Wolberg et al. 1993), each scaled to [0, 1]; 569 samples."""
    x, y = datasets.load_breast_cancer(return_X_y=True)
    x = (x - x.min(axis=0)) / np.ptp(x, axis=0)
    return {"train": (x.astype(np.float32), y), "class_names": ["malignant", "benign"]}
