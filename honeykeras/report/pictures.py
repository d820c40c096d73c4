"""Images as PNG files in text."""

from __future__ import annotations

import base64

import numpy as np
import tensorflow as tf


def encode_png(image: np.ndarray) -> str:
    """An image as a PNG file, as `png`, in base64."""
    return base64.b64encode(png(image)).decode()


def png(image: np.ndarray) -> bytes:
    """An image as a PNG file.

    Args:
        image: Shape `(height, width, channels)`, one or three channels; what lies outside of [0, 1] is clipped.
    """
    levels = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
    return bytes(tf.io.encode_png(levels).numpy())
