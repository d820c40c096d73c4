"""`save`: a Keras classifier as a version folder that TensorFlow Serving loads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf

from honeykeras import _checks
from honeykeras._files import PathLike
from honeykeras.errors import ModelError, StorageError
from honeykeras.export.publish import new_version
from honeykeras.outputs import Logits


def save(
    model: keras.Model, path: PathLike, *, version: int | None = None, input_shape: Sequence[int] | None = None
) -> Path:
    """Exports a classifier as a SavedModel, in a new version folder, in one atomic step.

    Its one signature, `serving_default`, takes `inputs`, shape `(batch, *input_shape)`, float32, and gives
    `probabilities`, shape `(batch, num_classes)`, float32, whether the model's output is logits or
    probabilities.

    Args:
        model: The classifier.
        path: The model's folder, for example `serving/mnist`. It is what TensorFlow Serving is pointed at.
        version: Number of the version folder to make, at least 1. Defaults to one more than the highest there.
        input_shape: Shape of one input, without the batch. Needed only for a subclassed model, which does not
            tell.

    Returns:
        The version folder, for example `serving/mnist/1`.

    Raises:
        InvalidArgumentError: If `version` is no whole number of at least 1, or `input_shape` is no shape.
        ModelError: If the model is no classifier, or its input shape is not known.
        StorageError: If the version exists already, or the disk refuses. Versions that exist stay intact.
    """
    shape = _input_shape(model, input_shape)
    logits = Logits(model, shape)

    def predict(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probabilities": tf.nn.softmax(logits(inputs))}

    signature = keras.InputSpec(shape=(None, *shape), dtype="float32", name="inputs")
    with new_version(path, version) as folder:
        archive = keras.export.ExportArchive()
        archive.track(model)
        archive.add_endpoint("serving_default", predict, input_signature=[signature])
        try:
            archive.write_out(str(folder.scratch), verbose=False)
        except tf.errors.OpError as error:
            # TensorFlow puts the operation and the scratch path before the reason.
            reason = error.message.splitlines()[0].rsplit("; ", 1)[-1].split(" [Op:")[0]
            raise StorageError(
                f"Cannot write {folder.path}: {reason}. Nothing was changed there. Make room or choose another place."
            ) from error
    return folder.path


def _input_shape(model: keras.Model, stated: Sequence[int] | None) -> tuple[int, ...]:
    if stated is not None:
        return _checks.shape("input_shape", stated)
    known = getattr(model, "input_shape", None)
    if not isinstance(known, tuple) or len(known) < 2 or not all(isinstance(size, int) for size in known[1:]):
        raise ModelError(
            f"The shape of the model's one input must be known to export it. Received: input_shape={known}. "
            "Give it, without the batch, as `input_shape`."
        )
    return known[1:]
