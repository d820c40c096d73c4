"""A SavedModel as a Keras classifier."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from honeykeras import manifest, trusted_operations
from honeykeras._files import describe
from honeykeras._messages import reason
from honeykeras.errors import ModelError, StorageError
from honeykeras.outputs import softmax_input

FILE = "saved_model.pb"
_SIGNATURE = "serving_default"


def read(folder: Path) -> meta_graph_pb2.MetaGraphDef:
    """The graph of a SavedModel, without loading it.

    Raises:
        StorageError: If there is none, or it cannot be read.
        ModelError: If it is none.
    """
    try:
        (graph,) = saved_model_pb2.SavedModel.FromString((folder / FILE).read_bytes()).meta_graphs
    except OSError as error:
        raise StorageError(f"Cannot read {folder / FILE}: {describe(error)}.") from error
    except Exception:  # protobuf's own errors have changed their names.
        raise ModelError(f"{folder} must hold a SavedModel. Received: a damaged {FILE}.") from None
    return graph


def load(path: Path) -> keras.Model:
    """Reads a classifier from the folder of a SavedModel.

    What its signature `serving_default` computes stands in the model's graph as it is, with the weights as constants:
    it can be attacked like any other classifier, to the logits behind a softmax, but not trained.

    Nothing of it is run before its files were compared with its manifest, if it has one, and its operations with those
    of `trusted_operations`.

    Raises:
        ModelError: If the folder holds no SavedModel, one that does more than compute, or one that needs a key, or its
            signature is no classifier's.
        StorageError: If its files are not those of its manifest, or cannot be read.
    """
    if not (path / FILE).is_file():
        versions = sorted(folder.parent.name for folder in path.glob(f"*/{FILE}"))
        hint = f" Give one of the versions in it: {', '.join(versions)}." if versions else ""
        raise ModelError(f"{path} must hold a SavedModel. Received: a folder without {FILE}.{hint}")
    if (path / manifest.FILE).is_file() and manifest.check(path).identity.key_id is not None:
        raise ModelError(
            f"{path} must be a SavedModel that needs no key. Received: one that does. With its key, and the "
            "public key of its signature, load it by honeykeras.export.load or, on the command line, with "
            "--sealing-key and --public-key."
        )
    trusted_operations.check(read(path))
    return classifier(path, load_graph(path))


def load_graph(path: Path) -> Any:
    """What TensorFlow makes of a SavedModel. It runs what the graph has objects do when they are made.

    Raises:
        ModelError: If it cannot, with the reason.
    """
    try:
        return tf.saved_model.load(str(path))
    except Exception as error:  # A graph that was damaged ends in errors of all kinds.
        raise ModelError(f"{path} must be a SavedModel that can be loaded. Received: {reason(error)}") from None


def classifier(path: Path, loaded: Any, signature: str = _SIGNATURE, output: str | None = None) -> keras.Model:
    """What a signature computes, as a classifier.

    Args:
        path: The SavedModel's folder, for messages.
        loaded: What `load_graph` gave.
        signature: The signature.
        output: Which of its outputs. Defaults to the one that it has.

    Raises:
        ModelError: If the signature is no classifier's.
    """
    if signature not in loaded.signatures:
        raise ModelError(f"{path} must have the signature {signature!r}. Received: {sorted(loaded.signatures)}.")
    function = loaded.signatures[signature]
    inputs, outputs = function.structured_input_signature[1], sorted(function.structured_outputs)
    if len(inputs) != 1 or (output is None and len(outputs) != 1) or output not in (None, *outputs):
        raise ModelError(
            f"The signature {signature!r} of {path} must have one input and one output. "
            f"Received: inputs {sorted(inputs)} and outputs {outputs}."
        )
    (spec,) = inputs.values()
    if spec.dtype != tf.float32 or spec.shape.rank is None or None in spec.shape[1:]:
        raise ModelError(
            f"The signature {signature!r} of {path} must take float32 inputs of a stated shape. Received: {spec}."
        )
    given = keras.Input(spec.shape[1:])
    frozen = FrozenFunction(function, outputs.index(output) if output else 0)
    made = frozen(given)
    return keras.Model(given, keras.layers.Softmax()(made) if frozen.before_softmax else made)


class FrozenFunction(keras.layers.Layer):
    """One output of a function of one input, the variables that it is made of turned to constants.

    Attributes:
        before_softmax: Whether the output comes of a softmax, which was cut off.
    """

    def __init__(self, function: tf.types.experimental.ConcreteFunction, place: int = 0) -> None:
        """Freezes a function.

        Args:
            function: The function.
            place: Which of its outputs.

        Raises:
            ModelError: If the output is made of more than the input and variables.
        """
        # TensorFlow has no other way to turn the variables of a function into constants.
        from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

        super().__init__(trainable=False)
        try:
            frozen = convert_variables_to_constants_v2(function, lower_control_flow=False, aggressive_inlining=True)
        except Exception as error:  # As many kinds as there are graphs that change their variables.
            raise ModelError(
                "A SavedModel that is to be used as a classifier must compute with variables that it does not change. "
                f"Received: {reason(error)}"
            ) from None
        (given,) = [tensor for tensor in frozen.inputs if tensor.dtype != tf.resource]
        output = frozen.outputs[place]
        graph = _above(frozen.graph.as_graph_def(), output.op.name)
        others = {node.name for node in graph.node if node.op == "Placeholder"} - {given.op.name}
        if others:
            raise ModelError(
                "A SavedModel that is to be used as a classifier must compute with its input and variables alone. "
                f"Received: one that has other resources, {min(others)}."
            )

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


def _above(graph: tf.compat.v1.GraphDef, name: str) -> tf.compat.v1.GraphDef:
    """What a node is computed from, without what only has to be done before: it would bring in other outputs."""
    nodes = {node.name: node for node in graph.node}
    kept, unread = set(), [name]
    while unread:
        found = unread.pop()
        if found not in kept:
            kept.add(found)
            inputs = [tensor for tensor in nodes[found].input if not tensor.startswith("^")]
            nodes[found].input[:] = inputs
            unread.extend(tensor.partition(":")[0] for tensor in inputs)
    cut = tf.compat.v1.GraphDef(versions=graph.versions, library=graph.library)
    cut.node.extend(node for node in graph.node if node.name in kept)
    return cut


def _digest(graph: tf.compat.v1.GraphDef) -> bytes:
    """SHA-256 of what the nodes of a frozen graph do, constants included.

    Names and order are left out: they differ from one loading of a SavedModel to the next.
    """
    contents = []
    for node in graph.node:
        unnamed = type(node)(op=node.op, attr=node.attr)
        contents.append(hashlib.sha256(unnamed.SerializeToString(deterministic=True)).digest())
    return hashlib.sha256(b"".join(sorted(contents))).digest()
