"""Elements of a labelled data set in one form: of one shape, with plain labels, and a hash that names each."""

from __future__ import annotations

import hashlib

import tensorflow as tf

from honeykeras._messages import reason
from honeykeras.data.labelled import Labelled
from honeykeras.errors import DatasetError

# A keyed hash, so that a seed decides which samples go together. TensorFlow has no strong one with more buckets.
_BUCKETS = 2**62


def uniform(labelled: Labelled, split: str, *, seed: int, image_size: tuple[int, int] | None = None) -> tf.data.Dataset:
    """Brings the elements of a split to one form.

    Args:
        labelled: What a source gives.
        split: The split.
        seed: Seed of the hashes.
        image_size: Height and width to resize images to; None takes them as they are.

    Returns:
        Elements `(x, y, hash)`, not batched: `x` uint8 or float32 of one shape, that of images with channels; `y` int64
        or string, scalar; `hash` of `x` alone, int64.

    Raises:
        DatasetError: If the elements are of another form.
    """
    samples = _unbatched(labelled.splits[split], labelled.name)
    x, y = samples.element_spec
    _check_types(x, y, labelled.name)
    key = [int.from_bytes(hashlib.sha256(b"part %d %d" % (seed, place)).digest()[:7], "big") for place in (0, 1)]
    shape = tf.TensorShape([*image_size, x.shape[2] if x.shape.rank == 3 else 1]) if image_size else x.shape
    if not shape.is_fully_defined():
        shape = _first_shape(labelled, split, samples)

    def brought(x: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        if image_size is not None:
            x = _resized(x, image_size)
        x = tf.ensure_shape(x, shape)
        if x.dtype == tf.uint8 and len(shape) == 2:
            x = x[..., None]
        x = x if x.dtype == tf.uint8 else tf.cast(x, tf.float32)
        return x, _plain(y), tf.strings.to_hash_bucket_strong(tf.io.serialize_tensor(x), _BUCKETS, key)

    return samples.map(brought, num_parallel_calls=tf.data.AUTOTUNE)


def _unbatched(samples: tf.data.Dataset, name: str) -> tf.data.Dataset:
    spec = samples.element_spec
    if not isinstance(spec, tuple) or len(spec) != 2 or not all(isinstance(part, tf.TensorSpec) for part in spec):
        raise DatasetError(f"{name} must give pairs (x, y). Received: elements {_shown(spec)}.")
    if samples.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise DatasetError(f"{name} must end. Received: an endless data set. Leave out its `repeat()`.")
    x, y = (part.shape for part in spec)
    if x.rank is None or y.rank is None:
        raise DatasetError(
            f"{name} must tell how many dimensions its elements have. Received: {_shown(spec)}. Set their shapes with "
            "`tf.ensure_shape`."
        )
    # An image has three dimensions; a batch of anything has as many samples as labels, and seldom says how many.
    batched = x.rank == 4 or (x.rank > 1 and y.rank > 0 and x[0] is None and y[0] is None)
    return samples.unbatch() if batched else samples


def _check_types(x: tf.TensorSpec, y: tf.TensorSpec, name: str) -> None:
    if x.shape.rank == 0 or not (x.dtype == tf.uint8 or x.dtype.is_floating):
        raise DatasetError(
            f"{name} must hold inputs of bytes (uint8), which are scaled, or of floating point, which are taken as "
            f"they are. Received: {x.dtype.name} of shape {x.shape}."
        )
    names_one = y.dtype.is_integer or y.dtype in (tf.bool, tf.string)
    one_hot = y.shape.rank == 1 and y.dtype != tf.string
    if not one_hot and not (names_one and y.shape in ([], [1])):
        raise DatasetError(
            f"{name} must hold labels that are whole numbers, texts or one-hot rows. Received: {y.dtype.name} of shape "
            f"{y.shape}."
        )


def unreadable(labelled: Labelled, split: str, samples: tf.data.Dataset, error: Exception) -> DatasetError:
    """What to raise for a pass that failed: which sample it was is found by reading one at a time."""
    number = 0
    try:
        for _ in samples:
            number += 1
    except Exception as found:  # A source is anybody's code.
        error = found
    return DatasetError(
        f"{labelled.name} must hold samples of one shape that can be read. Received: {reason(error)} at "
        f"{labelled.where(split, number)}. Images of several sizes need `image_size`."
    )


def _first_shape(labelled: Labelled, split: str, samples: tf.data.Dataset) -> tf.TensorShape:
    """The shape of the first element, which all others must have."""
    try:
        for x, _ in samples.take(1):
            return x.shape
    except Exception as error:  # A source is anybody's code.
        raise unreadable(labelled, split, samples, error) from error
    raise DatasetError(f"{labelled.name} must hold samples in {split}. Received: none.")


def _resized(x: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    image = x[..., None] if x.shape.rank == 2 else x
    resized = tf.image.resize(image, size, antialias=True)
    # Bytes again, on the 256 levels that files have.
    return tf.cast(tf.round(resized), x.dtype) if x.dtype == tf.uint8 else resized


def _plain(y: tf.Tensor) -> tf.Tensor:
    if y.shape.rank == 1:
        y = y[0] if y.shape[0] == 1 else tf.argmax(y)
    return y if y.dtype == tf.string else tf.cast(y, tf.int64)


def _shown(spec: object) -> str:
    text = str(spec)
    return text if len(text) <= 200 else f"{text[:197]}..."
