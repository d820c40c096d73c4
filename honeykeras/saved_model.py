"""A SavedModel as a Keras classifier."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from honeykeras.errors import ModelError
from honeykeras.outputs import softmax_input

_SIGNATURE = "serving_default"


def load(path: Path) -> keras.Model:
    """Reads a classifier from the folder of a SavedModel.

    What its signature `serving_default` computes stands in the model's graph as it is, with the weights as constants:
    it can be attacked like any other classifier, to the logits behind a softmax, but not trained.

    Raises:
        ModelError: If the folder holds no SavedModel, or its signature is no classifier's.
    """
    if not (path / "saved_model.pb").is_file():
        versions = sorted(folder.parent.name for folder in path.glob("*/saved_model.pb"))
        hint = f" Give one of the versions in it: {', '.join(versions)}." if versions else ""
        raise ModelError(f"{path} must hold a SavedModel. Received: a folder without saved_model.pb.{hint}")
    try:
        loaded = tf.saved_model.load(str(path))  # Its functions do not keep their variables alive.
    except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
        raise ModelError(f"{path} must hold a SavedModel. Received: {str(error).strip().splitlines()[0]}") from None
    signatures = loaded.signatures
    if _SIGNATURE not in signatures:
        raise ModelError(f"{path} must have the signature {_SIGNATURE!r}. Received: {sorted(signatures)}.")
    signature = signatures[_SIGNATURE]
    inputs, outputs = signature.structured_input_signature[1], signature.structured_outputs
    if len(inputs) != 1 or len(outputs) != 1:
        raise ModelError(
            f"The signature {_SIGNATURE!r} of {path} must have one input and one output. "
            f"Received: inputs {sorted(inputs)} and outputs {sorted(outputs)}."
        )
    (spec,) = inputs.values()
    if spec.dtype != tf.float32 or spec.shape.rank is None or None in spec.shape[1:]:
        raise ModelError(
            f"The signature {_SIGNATURE!r} of {path} must take float32 inputs of a stated shape. Received: {spec}."
        )
    given = keras.Input(spec.shape[1:])
    frozen = FrozenFunction(signature)
    outputs = frozen(given)
    return keras.Model(given, keras.layers.Softmax()(outputs) if frozen.before_softmax else outputs)


class FrozenFunction(keras.layers.Layer):
    """A function with one input and one output, its variables turned to constants.

    Attributes:
        before_softmax: Whether the function ends in a softmax, which was cut off.
    """

    def __init__(self, function: tf.types.experimental.ConcreteFunction) -> None:
        # TensorFlow has no other way to turn the variables of a function into constants.
        from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

        super().__init__(trainable=False)
        frozen = convert_variables_to_constants_v2(function, lower_control_flow=False, aggressive_inlining=True)
        (given,), (output,) = frozen.inputs, frozen.outputs
        graph = frozen.graph.as_graph_def()

        def run(x: tf.Tensor) -> tf.Tensor:
            (result,) = tf.graph_util.import_graph_def(graph, {given.name: x}, [output.name], name="")
            logits = softmax_input(result)
            self.before_softmax = logits is not None
            return result if logits is None else logits

        self._run = tf.compat.v1.wrap_function(run, [tf.TensorSpec(given.shape, given.dtype)])
        # So that two such models differ in their weights, as others do.
        digest = _digest(graph)
        self.add_weight(
            shape=(len(digest),), dtype="uint8", initializer="zeros", trainable=False, name="sha256"
        ).assign(np.frombuffer(digest, np.uint8))

    def call(self, inputs: Any) -> Any:
        return self._run(inputs)


def _digest(graph: tf.compat.v1.GraphDef) -> bytes:
    """SHA-256 of what the nodes of a frozen graph do, constants included.

    Names and order are left out: they differ from one loading of a SavedModel to the next.
    """
    contents = []
    for node in graph.node:
        unnamed = type(node)(op=node.op, attr=node.attr)
        contents.append(hashlib.sha256(unnamed.SerializeToString(deterministic=True)).digest())
    return hashlib.sha256(b"".join(sorted(contents))).digest()
