"""`inspect`: what an operator wants to know of an artifact, without loading it and without its key."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from honeykeras import manifest
from honeykeras._files import PathLike, as_path
from honeykeras.export import graph, sealing, signing, warmup
from honeykeras.export.sealed_detector import SEALED_PATH

# TensorFlow puts this entry into every SavedModel, for its loader alone.
_INIT_OP = "__saved_model_init_op"


def inspect(version: PathLike) -> dict[str, Any]:
    """Describes a version folder, as plain data. Nothing in it is secret.

    Args:
        version: The version folder, for example `serving/mnist/1`.

    Returns:
        `version`, its name; `name`, `role` and `build_id`, those of its manifest; `bytes`, the size of all files;
        `files`, how many; `tensorflow`, the version that wrote it; `signatures`, for each its `method`, `inputs` and
        `outputs`, with dtype and shape; `class_names`, what `classify` calls the classes, if it is there;
        `warmup_requests`, how many; `has_manifest`; `is_signed`, whether there is a
        signature beside it, not whether it is right; and for an artifact that needs a key `sealing_key_id`,
        `artifact_id` and `key_paths`, all None otherwise.

    Raises:
        KeyFileError: If its sealed file is damaged.
        ModelError: If it is no SavedModel, or has warmup requests that it does not take.
        StorageError: If it cannot be read, or its manifest is none.
    """
    version = as_path(version)
    described = graph.read(version)
    identity = manifest.read(version).identity if (version / manifest.FILE).is_file() else None
    files = [path for path in version.rglob("*") if path.is_file()]
    sealed = version / SEALED_PATH
    key_id, artifact_id = sealing.read_ids(sealed.read_bytes()) if sealed.is_file() else (None, None)
    return {
        "version": version.absolute().name,
        "name": identity and identity.name,
        "role": identity and identity.role,
        "build_id": identity and identity.build_id,
        "bytes": sum(path.stat().st_size for path in files),
        "files": len(files),
        "tensorflow": described.meta_info_def.tensorflow_version,
        "signatures": {
            name: {
                "method": signature.method_name,
                "inputs": {key: _tensor(info) for key, info in sorted(signature.inputs.items())},
                "outputs": {key: _tensor(info) for key, info in sorted(signature.outputs.items())},
            }
            for name, signature in sorted(described.signature_def.items())
            if name != _INIT_OP
        },
        "class_names": _class_names(described),
        "warmup_requests": len(warmup.read(version, described)) if (version / warmup.FILE).is_file() else 0,
        "has_manifest": (version / manifest.FILE).is_file(),
        "is_signed": signing.signature_path(version).is_file(),
        "sealing_key_id": key_id,
        "artifact_id": artifact_id,
        "key_paths": graph.key_paths(described) or None,
    }


def _class_names(described: Any) -> list[str] | None:
    """The constant row that `classify` repeats for each input."""
    for function in described.graph_def.library.function:
        constants = {node.name: node for node in function.node_def if node.op == "Const"}
        for node in function.node_def:
            row = constants.get(node.input[0].partition(":")[0]) if node.op == "Tile" else None
            if row is not None and row.attr["dtype"].type == tf.string.as_datatype_enum:
                return [name.decode(errors="replace") for name in tf.make_ndarray(row.attr["value"].tensor)[0].tolist()]
    return None


def _tensor(info: Any) -> str:
    sizes = ["batch" if dim.size < 0 else str(dim.size) for dim in info.tensor_shape.dim]
    try:
        name = tf.as_dtype(info.dtype).name
    except TypeError:
        name = f"type {info.dtype}"
    return f"{name} ({', '.join(sizes)})"
