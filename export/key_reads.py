"""Which files an artifact's graph reads: the sealed file and the key's, where `sealed_vector` has it do so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from honeykeras import trusted_operations
from honeykeras.errors import ModelError
from honeykeras.export import graph, sealed_vector
from honeykeras.export.sealed_detector import SEALED_FILE

_READS = ("ReadFile", "MatchingFiles")


def check(described: Any, needs_key: bool) -> int:
    """Looks through the graph of an artifact, as `trusted_operations.check` does; returns how many operations it has.

    One that needs a key may read two files besides: its own that is sealed, and the one that its list of places for
    the key finds. The list is one constant, and how a place is made of it and of the version folder is compared, one
    operation after the other, with how the opener does it. What is done with a key that was read is not compared:
    that is what a signature is for.

    Args:
        described: The artifact's `MetaGraphDef`.
        needs_key: Whether it is one that needs a key.

    Raises:
        ModelError: If there is an operation that is not listed, or another file could be read.
    """
    return trusted_operations.check(described, _allowed(described) if needs_key else ())


def _allowed(described: Any) -> set[trusted_operations.Place]:
    """The operations that may read files.

    Raises:
        ModelError: If the function that reads files does not read those of the opener, and each of them once.
    """
    reading = [
        function
        for function in described.graph_def.library.function
        if any(node.op in _READS for node in function.node_def)
    ]
    if not reading:
        return set()
    lists = [list(node.attr["value"].tensor.string_val) for node in graph.key_path_nodes(described)]
    if len(reading) != 1 or len(lists) != 1 or not lists[0]:
        raise _other_files("several functions that read files, or other than one list of places for the key")
    (function,) = reading
    _check_arguments(described, function)
    expected = _opener(lists[0])
    wanted, found = _Function(expected), _Function(function)
    (key,) = [node for node in expected.node_def if node.op == "ReadFile"]
    sealed: list[Any] = []
    keys: list[Any] = []
    for node in function.node_def:
        if node.op == "ReadFile":
            (sealed if wanted.is_same("asset_path", found, _first_input(node)) else keys).append(node)
    if len(sealed) != 1 or len(keys) != 1 or not wanted.is_same(key.input[0], found, _first_input(keys[0])):
        raise _other_files("other ways to a file than the opener's")
    matching = [node for node in found.above(_first_input(keys[0])) if node.op == "MatchingFiles"]
    if len(matching) != sum(node.op == "MatchingFiles" for node in function.node_def):
        raise _other_files("more searches for files than the opener's")
    return {(function.signature.name, node.name) for node in (*sealed, *keys, *matching)}


def _opener(key_paths: list[bytes]) -> Any:
    """How the opener reads the key, as a function of a graph."""

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([], tf.string, name="asset_path")])
    def read(asset_path: tf.Tensor) -> tf.Tensor:
        with tf.device("/CPU:0"):
            return tf.io.read_file(sealed_vector.find_key_file(asset_path, key_paths))

    return read.get_concrete_function().function_def


class _Function:
    """A function of a graph, to go back in from a tensor to what it is made of."""

    def __init__(self, function: Any) -> None:
        self.arguments = [argument.name for argument in function.signature.input_arg]
        self.nodes = {node.name: node for node in function.node_def}

    def is_same(self, tensor: str, other: _Function, other_tensor: str) -> bool:
        """Whether a tensor is made as one of another function is. It goes as far back as this one, and no further."""
        if tensor in self.arguments:
            return other_tensor in other.arguments and self.arguments.index(tensor) == other.arguments.index(
                other_tensor
            )
        name, _, output = tensor.partition(":")
        other_name, _, other_output = other_tensor.partition(":")
        node, twin = self.nodes[name], other.nodes.get(other_name)
        if twin is None or output != other_output or not _is_alike(node, twin):
            return False
        inputs, twins = _inputs(node), _inputs(twin)
        return len(inputs) == len(twins) and all(
            self.is_same(each, other, another) for each, another in zip(inputs, twins, strict=True)
        )

    def above(self, tensor: str) -> Iterator[Any]:
        """The operations that a tensor is made by."""
        unread, seen = [tensor], set()
        while unread:
            name = unread.pop().partition(":")[0]
            if name in self.nodes and name not in seen:
                seen.add(name)
                yield self.nodes[name]
                unread.extend(_inputs(self.nodes[name]))


def _inputs(node: Any) -> list[str]:
    return [tensor for tensor in node.input if not tensor.startswith("^")]


def _first_input(node: Any) -> str:
    return next(iter(_inputs(node)), "")


def _is_alike(node: Any, twin: Any) -> bool:
    """Whether two operations do the same with their inputs."""
    from tensorflow.python.framework import op_def_registry

    if node.op != twin.op:
        return False
    for attribute in op_def_registry.get(node.op).attr:
        name = attribute.name
        # What is written leaves out what is as it would be anyway.
        given, other = (each.attr.get(name, attribute.default_value) for each in (node, twin))
        if given != other and not (given.HasField("tensor") and _is_equal(given.tensor, other.tensor)):
            return False
    return True


def _is_equal(tensor: Any, other: Any) -> bool:
    """Whether two constants are the same, which can be written in several ways."""
    try:
        # Only what has as many values is unpacked.
        return tensor.tensor_shape == other.tensor_shape and np.array_equal(
            tf.make_ndarray(tensor), tf.make_ndarray(other)
        )
    except (ValueError, TypeError):
        return False


def _check_arguments(described: Any, function: Any) -> None:
    """What is read as the sealed file must be the artifact's own, and nobody may call the function with another.

    Raises:
        ModelError: If it is not.
    """
    name, objects = function.signature.name, described.object_graph_def
    if [asset.filename for asset in described.asset_file_def] != [SEALED_FILE]:
        raise _other_files(f"other assets than {SEALED_FILE}")
    calls = [
        (caller, call) for caller, call, named in trusted_operations.references(described) if named == name and call
    ]
    bound = objects.concrete_functions[name].bound_inputs if name in objects.concrete_functions else []
    if len(bound) != len(function.signature.input_arg) or not _is_asset(objects, bound):
        raise _other_files("another argument for what reads files than the asset")
    nodes = {node.name: node for node in described.graph_def.node}
    for caller, call in calls:
        if caller or not _is_path_of(described.asset_file_def[0], _first_input(nodes[call]), nodes):
            raise _other_files("another argument for what reads files than the asset")


def _is_asset(objects: Any, bound: Any) -> bool:
    return bool(bound) and 0 <= bound[0] < len(objects.nodes) and objects.nodes[bound[0]].HasField("asset")


def _is_path_of(asset: Any, tensor: str, nodes: Any) -> bool:
    """Whether a tensor in no function is an asset's path: a variable that is assigned the path, and nothing else."""
    placeholder, read = (nodes.get(name.partition(":")[0]) for name in (asset.tensor_info.name, tensor))
    if placeholder is None or placeholder.op != "Placeholder" or read is None or read.op != "ReadVariableOp":
        return False
    variable = nodes.get(_first_input(read))
    if variable is None or variable.op != "VarHandleOp":
        return False
    users = [node for node in nodes.values() if variable.name in _inputs(node)]
    assigned = [_inputs(node)[1:] for node in users if node.op == "AssignVariableOp"]
    return assigned == [[placeholder.name]] and all(
        node.op in ("AssignVariableOp", "ReadVariableOp", "VarIsInitializedOp") for node in users
    )


def _other_files(received: str) -> ModelError:
    return ModelError(
        f"An artifact that needs a key must read its own sealed file and its key's, and no other. Received: {received}."
    )
