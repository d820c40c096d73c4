"""`.keras` files from outside: looked through before Keras reads them, and read within the bounds of what is in them.

    model.keras              a zip archive, nothing in it compressed
    ├── metadata.json        the version of Keras
    ├── config.json          the layers
    └── model.weights.h5     the variables

Keras runs no code that is in such a file, unless it is told to. But it believes it: how long a text is that it unpacks,
how deeply it is nested, how many units a layer has.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import keras
import tensorflow as tf

from honeykeras import _archives
from honeykeras._documents import parse_json
from honeykeras._files import describe
from honeykeras._messages import reason, shortened
from honeykeras.errors import ModelError

_CONFIG, _METADATA, _VARIABLES = "config.json", "metadata.json", "model.weights.h5"
# Far more than any model's layers take.
_MAX_TEXT = 2**24
_OBJECT = {
    "type": "object",
    "required": ["class_name", "config"],
    "properties": {"class_name": {"type": "string"}, "config": {"type": "object"}},
}
# Layers that hold code, or read it from elsewhere.
_UNSAFE = {"__lambda__", "FlaxLayer", "JaxLayer", "TFSMLayer", "TorchModuleWrapper"}
# Elements of variables for each byte of the file's: an optimizer keeps some for each weight, which may not be saved,
# and weights may be of half precision.
_MOST_PER_BYTE = 8
# Of metrics and the like.
_MOST_BESIDE = 2**20


def load(path: Path) -> keras.Model:
    """Reads a model.

    Raises:
        ModelError: If there is no such file, or it holds no model that can be read.
    """
    try:
        size = _check(path)
        with tf.variable_creator_scope(_bounded(_MOST_PER_BYTE * size + _MOST_BESIDE)), warnings.catch_warnings():
            # Of a model in a model, whose optimizer never made a step. Nothing here goes on with an optimizer's state.
            warnings.filterwarnings("ignore", "Skipping variable loading for optimizer")
            model = keras.models.load_model(path)
        if not isinstance(model, keras.Model):
            raise ValueError(f"an object of the class {type(model).__name__}")
    except OSError as error:
        raise _refused(path, describe(error)) from None
    except Exception as error:  # Keras raises whatever the code does that it hands a config to.
        raise _refused(path, reason(error)) from None
    return model


def _check(path: Path) -> int:
    """Looks through a file; returns how many bytes its variables take.

    Raises:
        OSError: If it cannot be read.
        ValueError: If Keras did not write it.
    """
    if path.suffix != ".keras":
        raise ValueError("a file of another name")
    with _archives.opened(path, [_METADATA, _CONFIG, _VARIABLES]) as members:
        _check_layers(parse_json(_content(members, _CONFIG, _MAX_TEXT), _OBJECT))
        parse_json(_content(members, _METADATA, _MAX_TEXT), {"type": "object"})
        variables = _content(members, _VARIABLES)
    _check_variables(variables)
    return len(variables)


def _content(members: dict[str, _archives.Member], name: str, most: float = math.inf) -> bytes:
    member = members[name]
    if member.size > most:
        raise ValueError(f"one of {member.size} bytes as {name}")
    content = member.file.read()
    if len(content) != member.size:
        raise ValueError(f"one whose {name} is cut off")
    return content


def _check_layers(config: Any) -> None:
    for value in _objects(config):
        name = value.get("class_name")
        if isinstance(name, str) and name in _UNSAFE:
            what = "a lambda" if name == "__lambda__" else f"a layer of the class {name}"
            raise ValueError(f"one with {what}, which brings code of its own. Build it of layers that have none")


def _objects(document: Any) -> Iterator[dict[str, Any]]:
    """All objects in a JSON document."""
    pending = [document]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            yield value
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)


def _check_variables(content: bytes) -> None:
    """Raises `ValueError` unless variables are there with all their bytes, as Keras writes them."""
    stated = 0

    # h5py stops at the first name that is returned.
    def stands_elsewhere(name: str, link: Any) -> str | None:
        return None if isinstance(link, h5py.HardLink) else name

    def is_strange(name: str, item: Any) -> str | None:
        nonlocal stated
        if not isinstance(item, h5py.Dataset):
            return None
        stated += item.size * item.dtype.itemsize
        strange = item.chunks is not None or item.external or item.is_virtual or item.dtype.kind not in "biufcV"
        return name if strange else None

    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            name = file.visititems_links(stands_elsewhere) or file.visititems(is_strange)
    except Exception as error:  # As many kinds as there are ways to damage such a file.
        raise ValueError(f"variables that cannot be read ({reason(error)})") from None
    if name is not None:
        raise ValueError(f"variables that are not as Keras writes them, {shortened(repr(name))}")
    if stated > len(content):
        raise ValueError(f"variables of {stated} bytes, of which {len(content)} are there")


def _bounded(most: int) -> Callable[..., Any]:
    """Makes variables until they have more elements in all than there may be; of these, no memory is taken."""
    made, graph = 0, tf.__internal__.FuncGraph("initial_values")

    def make(next_creator: Callable[..., Any], **kwargs: Any) -> Any:
        nonlocal made
        value = kwargs["initial_value"]
        # In a graph, values have shapes and take no memory.
        with graph.as_default():
            made += math.prod((value() if callable(value) else tf.convert_to_tensor(value)).shape)
        if made > most:
            raise ValueError(f"layers with at least {made} weights, far more than are there")
        return next_creator(**kwargs)

    return make


def _refused(path: Path, received: str) -> ModelError:
    return ModelError(f"{path} must hold a Keras model, in the .keras format. Received: {received}.")
