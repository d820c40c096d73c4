"""Signatures that a model has already, so that its clients need not change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from honeykeras import saved_model
from honeykeras._files import PathLike, as_path
from honeykeras.errors import InvalidArgumentError, ModelError
from honeykeras.export.signatures import DEFAULT, Classify, OwnSignatures

# What Keras calls the one output of a model that it exports.
_KERAS_OUTPUT = "output_0"


def kept_signatures(model: keras.Model | PathLike) -> OwnSignatures:
    """The signatures of a model that is served already, as `save` and `save_guarded` take them.

    Args:
        model: A Keras model, whose signature is the one that `model.export` writes; or the folder of a SavedModel, all
            of whose signatures are kept. Each must take one float32 tensor, as `serving_default` does, and give one of
            the same classes.

    Raises:
        InvalidArgumentError: If a signature takes or gives anything else. A function of one's own can then say what
            becomes of it.
        ModelError: If there is no such model.
    """
    if isinstance(model, keras.Model):
        return _of_model(model)
    folder = as_path(model)
    # Looked through, and of a classifier.
    core = saved_model.load(folder)
    loaded = saved_model.load_graph(folder)
    classifiers: dict[str, tuple[keras.Model, str, str]] = {}
    for name, function in loaded.signatures.items():
        try:
            classifier = saved_model.classifier(folder, loaded, name)
            if (classifier.input_shape, classifier.output_shape) != (core.input_shape, core.output_shape):
                raise ModelError(f"inputs of shape {classifier.input_shape} to outputs of {classifier.output_shape}")
        except ModelError as error:
            raise InvalidArgumentError(
                f"A signature that is kept must take one float32 tensor of shape {core.input_shape} and give one of "
                f"shape {core.output_shape}. Received: {name!r} of {folder}: {error} Make the signatures by a function "
                "of your own (`--signature`)."
            ) from None
        (given,), (output,) = function.structured_input_signature[1], function.structured_outputs
        classifiers[name] = classifier, given, output

    def own(classify: Classify) -> Mapping[str, Any]:
        return {
            name: _signature(classify, core.input_shape, given, output, None if name == DEFAULT else classifier)
            for name, (classifier, given, output) in classifiers.items()
        }

    return own


def _of_model(model: keras.Model) -> OwnSignatures:
    try:
        (given,) = model.inputs
    except (AttributeError, TypeError, ValueError):
        raise InvalidArgumentError(
            "A model whose signature is kept must have one input. Received: another. Make the signatures by a function "
            "of your own (`--signature`)."
        ) from None
    if given.dtype != "float32":
        raise InvalidArgumentError(
            f"A model whose signature is kept must take float32 inputs. Received: {given.dtype}. Make the signatures "
            "by a function of your own (`--signature`)."
        )
    return lambda classify: {DEFAULT: _signature(classify, given.shape, given.name, _KERAS_OUTPUT)}


def _signature(
    classify: Classify, shape: Any, given: str, output: str, model: keras.Model | None = None
) -> tf.types.experimental.PolymorphicFunction:
    @tf.function(input_signature=[tf.TensorSpec([None, *shape[1:]], tf.float32, name=given)])
    def signature(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {output: classify(x, model)}

    return signature
