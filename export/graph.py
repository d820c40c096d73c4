"""What can be changed in the graph of a SavedModel that was written."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from honeykeras.export.sealing import SealingKey
from honeykeras.saved_model import FILE, read


def write(folder: Path, graph: meta_graph_pb2.MetaGraphDef) -> None:
    """Writes a graph in the place of another."""
    saved = saved_model_pb2.SavedModel(saved_model_schema_version=1, meta_graphs=[graph])
    (folder / FILE).write_bytes(saved.SerializeToString(deterministic=True))


def key_paths(graph: meta_graph_pb2.MetaGraphDef) -> list[str]:
    """Where an artifact looks for its key; nothing if it needs none."""
    return [
        path.decode(errors="replace") for node in key_path_nodes(graph) for path in node.attr["value"].tensor.string_val
    ]


@contextlib.contextmanager
def opened(folder: Path, key: SealingKey | None) -> Iterator[Path]:
    """An artifact as it is, or a copy that finds the key which is given, wherever it would look for it.

    The copy is there for as long as the block runs. The key is in this process's memory alone: on a disk, a process
    that is killed would leave it.
    """
    if key is None:
        yield folder
        return
    with _in_memory(key) as key_file, tempfile.TemporaryDirectory() as private:
        copy = Path(private, "1")
        shutil.copytree(folder, copy, copy_function=_link)
        (copy / FILE).unlink()
        graph = read(folder)
        for node in key_path_nodes(graph):
            paths = node.attr["value"].tensor.string_val
            paths[:] = [key_file.encode()] * len(paths)
        write(copy, graph)
        yield copy


@contextlib.contextmanager
def _in_memory(key: SealingKey) -> Iterator[str]:
    """The path of a key file in TensorFlow's file system for this process's memory."""
    path = f"ram://{secrets.token_hex(16)}/key"
    with tf.io.gfile.GFile(path, "wb") as file:
        file.write(key._secret)
    try:
        yield path
    finally:
        tf.io.gfile.remove(path)


def key_path_nodes(graph: meta_graph_pb2.MetaGraphDef) -> list[tf.compat.v1.NodeDef]:
    """The constants that the files to look for are made of: one, where nobody tampered with the graph."""
    return [
        node
        for function in graph.graph_def.library.function
        if any(node.op == "MatchingFiles" for node in function.node_def)
        for node in function.node_def
        if _is_path_list(node)
    ]


def _is_path_list(node: tf.compat.v1.NodeDef) -> bool:
    return (
        node.op == "Const"
        and node.attr["dtype"].type == tf.string.as_datatype_enum
        and len(node.attr["value"].tensor.tensor_shape.dim) == 1
    )


def _link(source: str, target: str) -> None:
    os.symlink(os.path.abspath(source), target)
