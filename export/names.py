"""Neutral names in an exported graph.

Names of operations stand in error texts and in profiles, where those of layers and scopes would tell how a model is
built, and that there is a second network in it. Each operation is called by its kind and a number, each function by
the signature that it computes and a number, so that what two artifacts have in common has the same names in both.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable, MutableMapping

from google.protobuf.message import Message
from tensorflow.core.framework import attr_value_pb2, function_pb2
from tensorflow.core.protobuf import meta_graph_pb2

_CALLS = ("PartitionedCall", "StatefulPartitionedCall")


def neutral(graph: meta_graph_pb2.MetaGraphDef) -> meta_graph_pb2.MetaGraphDef:
    """A graph with neutral names for what it computes.

    Variables and the tensors by which signatures are fed keep their names: the former are the model's own, the latter
    say which signature a request went to.

    Args:
        graph: The graph of a SavedModel.

    Returns:
        The same graph, with other names.
    """
    renamed = meta_graph_pb2.MetaGraphDef()
    renamed.CopyFrom(graph)
    _name_calls(renamed)
    for function in renamed.graph_def.library.function:
        _name_operations(function)
    _rename_functions(renamed, _function_names(renamed))
    renamed.graph_def.library.function.sort(key=lambda function: function.signature.name)
    return renamed


def _name_calls(graph: meta_graph_pb2.MetaGraphDef) -> None:
    """Calls what computes a signature after the signature: that it is, say, the third, tells how many there are."""
    calls = {node.name for node in graph.graph_def.node if node.op in _CALLS}
    names = {}
    for signature, described in graph.signature_def.items():
        for tensor in described.outputs.values():
            call, _, output = tensor.name.rpartition(":")
            if call in calls:
                names[call] = f"{signature}_outputs"
                tensor.name = f"{names[call]}:{output}"
    for node in graph.graph_def.node:
        node.name = names.get(node.name, node.name)


def _name_operations(function: function_pb2.FunctionDef) -> None:
    """Calls all within a function by its kind, in the order in which it stands there."""
    names = {argument.name: f"argument_{place}" for place, argument in enumerate(function.signature.input_arg)}
    counts: collections.Counter[str] = collections.Counter()
    for node in function.node_def:
        names[node.name] = f"{node.op}_{counts[node.op]}"
        counts[node.op] += 1
    for argument in function.signature.input_arg:
        argument.name = names[argument.name]
    for node in function.node_def:
        node.name = names[node.name]
        node.ClearField("experimental_debug_info")
        node.input[:] = [_of_tensor(tensor, names) for tensor in node.input]
        if "_class" in node.attr:
            colocated = node.attr["_class"].list.s
            colocated[:] = [_of_colocation(each, names) for each in colocated]
    results = {output.name: f"result_{place}" for place, output in enumerate(function.signature.output_arg)}
    for output in function.signature.output_arg:
        output.name = results[output.name]
    _replace(function.ret, {results[name]: _of_tensor(tensor, names) for name, tensor in function.ret.items()})
    _replace(function.control_ret, {names[node]: names[node] for node in function.control_ret.values()})
    function.signature.control_output[:] = sorted(function.control_ret)


def _of_tensor(tensor: str, names: dict[str, str]) -> str:
    """The new name of `node`, `node:output:0` or `^node`."""
    control = "^" if tensor.startswith("^") else ""
    node, separator, output = tensor[len(control) :].partition(":")
    return f"{control}{names[node]}{separator}{output}"


def _of_colocation(place: bytes, names: dict[str, str]) -> bytes:
    prefix, separator, node = place.decode().partition("@")
    return f"{prefix}{separator}{names.get(node, node)}".encode()


def _replace(entries: MutableMapping[str, str], new: dict[str, str]) -> None:
    entries.clear()
    for name, value in new.items():
        entries[name] = value


def _function_names(graph: meta_graph_pb2.MetaGraphDef) -> dict[str, str]:
    """New names of all functions: by the one signature that uses them, as shared by several, or as used by none."""
    functions = {function.signature.name: function for function in graph.graph_def.library.function}
    nodes = {node.name: node for node in graph.graph_def.node}

    def used(nodes: Iterable[Message], found: dict[str, None]) -> dict[str, None]:
        for node in nodes:
            for name in (called.name for attribute in node.attr.values() for called in _called(attribute)):
                if name in functions and name not in found:
                    found[name] = None
                    used(functions[name].node_def, found)
        return found

    calls = {signature: nodes.get(f"{signature}_outputs") for signature in sorted(graph.signature_def)}
    users = {signature: used([call], {}) for signature, call in calls.items() if call is not None}
    times = collections.Counter(name for names in users.values() for name in names)
    groups = {signature: [name for name in names if times[name] == 1] for signature, names in users.items()}
    groups["shared"] = list(dict.fromkeys(name for names in users.values() for name in names if times[name] > 1))
    groups["other"] = [name for name in used(graph.graph_def.node, {}) if not times[name]]
    groups["other"] += [name for name in functions if not times[name] and name not in groups["other"]]
    return {name: f"{group}_{number}" for group, names in groups.items() for number, name in enumerate(names)}


def _called(attribute: attr_value_pb2.AttrValue) -> list[attr_value_pb2.NameAttrList]:
    """The functions that an attribute names."""
    return [attribute.func] if attribute.HasField("func") else list(attribute.list.func)


def _rename_functions(graph: meta_graph_pb2.MetaGraphDef, names: dict[str, str]) -> None:
    """Renames functions wherever a SavedModel names them."""
    library, objects = graph.graph_def.library, graph.object_graph_def
    for node in (*graph.graph_def.node, *(node for function in library.function for node in function.node_def)):
        for attribute in node.attr.values():
            for function in _called(attribute):
                function.name = names.get(function.name, function.name)
    for function in library.function:
        function.signature.name = names[function.signature.name]
    for gradient in library.gradient:
        gradient.function_name = names[gradient.function_name]
        gradient.gradient_func = names[gradient.gradient_func]
    described = {names[name]: message.SerializeToString() for name, message in objects.concrete_functions.items()}
    objects.concrete_functions.clear()
    for name, content in described.items():
        objects.concrete_functions[name].ParseFromString(content)
    for node in objects.nodes:
        # Asked first: to set a field of one kind would end the kind that the node has.
        if node.HasField("function"):
            node.function.concrete_functions[:] = [names[name] for name in node.function.concrete_functions]
        if node.HasField("bare_concrete_function"):
            bare = node.bare_concrete_function
            bare.concrete_function_name = names[bare.concrete_function_name]
