"""TensorFlow Serving's JSON: requests in rows and columns to arrays, and arrays to what it answers.

As `util/json_tensor.cc` of TensorFlow Serving has it, to the last space: what clients parse, and what they compare.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson
import tensorflow as tf

from honeykeras.gateway.failures import RequestError, invalid
from honeykeras.gateway.tensors import Signature, Tensor, serialized

_SHOWN = 256
# No tensor has more dimensions.
_DEEPEST = 32
_INDENT = " " * 4
_BYTES_SUFFIX = "_bytes"


class Predict(NamedTuple):
    """What a request to `:predict` holds.

    Attributes:
        inputs: Arrays by name.
        in_rows: Whether it came in rows (`instances`), and is answered so.
    """

    inputs: dict[str, np.ndarray]
    in_rows: bool


def parse(body: bytes) -> dict[str, Any]:
    """The JSON object of a request's body. What follows it is ignored, as TensorFlow Serving does."""
    if not body.strip():
        raise invalid("JSON Parse error: The document is empty")
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = _parse_leniently(body)
    if not isinstance(document, dict):
        raise invalid(f"JSON Value: {_shown(document)} Is not object")
    return document


def _parse_leniently(body: bytes) -> Any:
    """What has NaN, or something after its end; or why it is no JSON."""
    try:
        return json.JSONDecoder().raw_decode(body.decode().lstrip())[0]
    except UnicodeDecodeError as error:
        raise invalid(f"JSON Parse error: Invalid encoding in string. at offset: {error.start}") from None
    except json.JSONDecodeError as error:
        raise invalid(f"JSON Parse error: Invalid value. at offset: {error.pos}") from None
    except (RecursionError, ValueError):
        # Lists in lists without end, and integers of thousands of digits.
        raise invalid("JSON Parse error: Terminate parsing due to Handler error. at offset: 0") from None


def signature_name(document: Mapping[str, Any]) -> str:
    """The signature that a request names; nothing if it leaves that to the server."""
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid(
            f"JSON Value: {_shown(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    return name


def predict_inputs(document: Mapping[str, Any], signature: Signature) -> Predict:
    """What a request to `:predict` asks of a signature.

    Raises:
        RequestError: If it is none that the signature takes.
    """
    if "instances" in document and "inputs" in document:
        raise invalid(
            f"JSON Value: {_shown(document)} Not formatted correctly expecting only one of 'inputs' or 'instances' "
            "keys to exist "
        )
    if "instances" in document:
        rows = document["instances"]
        if not isinstance(rows, list):
            raise invalid(f"JSON Value: {_shown(document)} Expecting 'instances' to be an list/array")
        if not rows:
            raise invalid(f"JSON Value: {_shown(document)} No values in 'instances' array")
        return Predict(_of_rows(rows, signature.inputs), in_rows=True)
    if "inputs" in document:
        return Predict(_of_columns(document["inputs"], signature.inputs), in_rows=False)
    raise invalid(f"JSON Value: {_shown(document)} Missing 'inputs' or 'instances' key")


def _of_rows(rows: list[Any], tensors: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    if not _is_named(rows[0]):
        if len(tensors) > 1:
            raise invalid(
                "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
                "tensorinfo_map"
            )
        for place, row in enumerate(rows):
            if _is_named(row):
                raise invalid(f"Expecting value/list but got object at item {place} of input list")
        ((name, tensor),) = tensors.items()
        return {name: _array(rows, tensor)}
    for place, row in enumerate(rows):
        if not _is_named(row):
            raise invalid(f"Expecting object but got list at item {place} of input list")
        if row.keys() != tensors.keys():
            raise invalid(
                f"Failed to process element: {place} of 'instances' list. JSON object: {_shown(row)} keys must be "
                f"equal to: {','.join(tensors)}"
            )
    return {name: _array([row[name] for row in rows], tensor) for name, tensor in tensors.items()}


def _of_columns(value: Any, tensors: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    if not _is_named(value):
        if len(tensors) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                "tensorinfo_map"
            )
        ((name, tensor),) = tensors.items()
        return {name: _array(value, tensor)}
    for name in tensors:
        if name not in value:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
    return {name: _array(value[name], tensor) for name, tensor in tensors.items()}


def examples(document: Mapping[str, Any]) -> list[bytes]:
    """The examples of a request to `:classify`, serialized as `tf.train.Example`.

    Raises:
        RequestError: If it holds none.
    """
    if "examples" not in document:
        raise invalid(
            f"JSON Value: {_shown(document)} When method is classify, key 'examples' is expected and was not found"
        )
    given = document["examples"]
    if not isinstance(given, list):
        raise invalid(f"JSON Value: {_shown(document)} Expecting 'examples' value to be an list/array")
    if not given:
        raise invalid(f"JSON Value: {_shown(document)} 'examples' value is an empty array")
    context = _example(document["context"]) if "context" in document else None
    return serialized(map(_example, given), context)


def _example(value: Any) -> tf.train.Example:
    if not isinstance(value, dict):
        raise invalid(f"Example must be JSON object but got JSON {_type(value)}")
    return tf.train.Example(
        features=tf.train.Features(feature={name: _feature(name, each) for name, each in value.items()})
    )


def _feature(name: str, value: Any) -> tf.train.Feature:
    values = value if isinstance(value, list) else [value]
    kinds = {_feature_kind(name, each) for each in values}
    if len(kinds) > 1:
        raise invalid(f"Unexpected element type in feature: {name} expecting type: {min(kinds)}")
    kind = kinds.pop() if kinds else "float"
    try:
        if kind == "bytes":
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[_bytes(each) for each in values]))
        if kind == "float":
            return tf.train.Feature(float_list=tf.train.FloatList(value=values))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=map(int, values)))
    except (OverflowError, ValueError):
        raise invalid(f"Feature: {name} has an element that is out of range") from None


def _feature_kind(name: str, value: Any) -> str:
    if isinstance(value, (bool, int)):
        return "int64"
    if isinstance(value, float):
        return "float"
    if isinstance(value, str) or _is_base64(value):
        return "bytes"
    raise invalid(f"Feature: {name} has element with unexpected JSON type: {_type(value)}")


def _array(value: Any, tensor: Tensor) -> np.ndarray:
    """A value of JSON as an array of a tensor's dtype; its shape is for the signature to check.

    Raises:
        RequestError: If it is ragged, or of another type.
    """
    if tensor.dtype == object:
        shape = _shape_of(value)
        flat = [_string(each, tensor) for each in _leaves(value, shape)]
        array = np.empty(len(flat), object)
        array[:] = flat
        return array.reshape(shape)
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError):
        array = np.empty(0, object)
    wanted = {"f": "fiu", "i": "iu", "u": "iu", "b": "b"}[tensor.dtype.kind]
    if array.size == 0 and array.dtype != object:
        return array.astype(tensor.dtype)
    if array.dtype.kind not in wanted:
        raise _unlike(value, tensor)
    if tensor.dtype.kind != "b" and _has_truth(value, array.ndim):
        raise _unlike(value, tensor)
    if tensor.dtype.kind in "iu":
        bounds = np.iinfo(tensor.dtype)
        if array.min() < bounds.min or array.max() > bounds.max:
            raise _unlike(value, tensor)
    with np.errstate(over="ignore"):
        return array.astype(tensor.dtype)


def _has_truth(value: Any, ndim: int) -> bool:
    """Whether there is `true` or `false` among numbers, which NumPy takes for 1 and 0."""
    leaves: Iterable[Any] = [value]
    for _ in range(ndim):
        leaves = itertools.chain.from_iterable(leaves)
    return bool in set(map(type, leaves))


def _unlike(value: Any, tensor: Tensor) -> RequestError:
    """What is wrong with a value that does not become an array."""
    kind = f"DT_{tensor.kind.upper()}".replace("FLOAT32", "FLOAT").replace("FLOAT64", "DOUBLE")
    shape = _shape_of(value)
    try:
        for leaf in _leaves(value, shape):
            number = isinstance(leaf, (int, float)) and not isinstance(leaf, bool)
            if not number or (tensor.dtype.kind in "iu" and not isinstance(leaf, int)):
                return invalid(f"JSON Value: {_shown(leaf)} Type: {_type(leaf)} is not of expected type: {kind}")
    except RequestError as error:
        return error
    return invalid(f"JSON Value: {_shown(value)} Type: {_type(value)} is not of expected type: {kind}")


def _shape_of(value: Any) -> tuple[int, ...]:
    """The shape that its first elements say."""
    shape: list[int] = []
    while isinstance(value, list):
        shape.append(len(value))
        if len(shape) > _DEEPEST:
            raise invalid(f"Encountered list at unexpected level: {_DEEPEST} expected < {_DEEPEST}")
        if not value:
            break
        value = value[0]
    return tuple(shape)


def _leaves(value: Any, shape: Sequence[int], level: int = 0) -> Iterator[Any]:
    """What is in lists of lists of one shape, in order."""
    if not isinstance(value, list):
        if level != len(shape):
            raise invalid(
                f"JSON Value: {_shown(value)} found at incorrect level: {level + 1} in the JSON DOM. Expected at "
                f"level: {len(shape)}"
            )
        yield value
        return
    if level >= len(shape):
        raise invalid(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise invalid(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
        )
    for each in value:
        yield from _leaves(each, shape, level + 1)


def _string(value: Any, tensor: Tensor) -> bytes:
    if not isinstance(value, str) and not isinstance(value, dict):
        raise invalid(f"JSON Value: {_shown(value)} Type: {_type(value)} is not of expected type: DT_STRING")
    if isinstance(value, dict) and not _is_base64(value):
        raise invalid(f"JSON Value: {_shown(value)} not formatted correctly for base64 data")
    return _bytes(value)


def _bytes(value: str | Mapping[str, str]) -> bytes:
    if isinstance(value, str):
        # Half of a pair of surrogates is no text.
        return value.encode(errors="replace")
    try:
        return base64.b64decode(value["b64"], validate=True)
    except (binascii.Error, ValueError):
        raise invalid("Unable to base64 decode") from None


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str)


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and not _is_base64(value)


def _type(value: Any) -> str:
    if value is None:
        return "Null"
    if isinstance(value, bool):
        return str(value)
    names = ((dict, "Object"), (list, "Array"), (str, "String"))
    return next((name for kind, name in names if isinstance(value, kind)), "Number")


def _shown(value: Any) -> str:
    """The beginning of a value, for messages; no more of it is written than is shown."""
    parts, length = [], 0
    try:
        for part in json.JSONEncoder(ensure_ascii=False).iterencode(value):
            parts.append(part)
            length += len(part)
            if length > _SHOWN:
                break
    except RecursionError:
        pass
    return "".join(parts)[:_SHOWN].encode(errors="replace").decode()


def rows(outputs: Mapping[str, np.ndarray]) -> str:
    """An answer in rows, `predictions`; the names of outputs stand there if there are several."""
    counts = {len(value) if value.ndim else None for value in outputs.values()}
    if len(counts) != 1 or None in counts:
        raise invalid(f"Tensors have inconsistent batch sizes: {sorted(map(str, counts))}")
    written = {name: [_line(row, name) for row in value] for name, value in sorted(outputs.items())}
    if len(written) == 1:
        ((_, lines),) = written.items()
        inside = ", ".join(lines)
    else:
        within = _INDENT * 3
        inside = ",".join(
            f"\n{_INDENT * 2}{{\n"
            + ",\n".join(f"{within}{text(name)}: {line}" for name, line in zip(written, lines, strict=True))
            + f"\n{_INDENT * 2}}}"
            for lines in zip(*written.values(), strict=True)
        )
    return f'{{\n{_INDENT}"predictions": [{inside}\n{_INDENT}]\n}}'


def columns(outputs: Mapping[str, np.ndarray]) -> str:
    """An answer in columns, `outputs`."""
    written = {name: _block(value, name, 1 + (len(outputs) > 1)) for name, value in sorted(outputs.items())}
    if len(written) == 1:
        ((_, inside),) = written.items()
    else:
        lines = ",\n".join(f"{_INDENT * 2}{text(name)}: {each}" for name, each in written.items())
        inside = f"{{\n{lines}\n{_INDENT}}}"
    return f'{{\n{_INDENT}"outputs": {inside}\n}}'


def classifications(classes: np.ndarray, scores: np.ndarray) -> str:
    """An answer to `:classify`: for each input, pairs of a label and its score."""
    lines = [
        "[" + ", ".join(f"[{text(label)}, {_number(score)}]" for label, score in zip(*row, strict=True)) + "]"
        for row in zip(classes, scores, strict=True)
    ]
    return f'{{\n{_INDENT}"results": [{", ".join(lines)}\n{_INDENT}]\n}}'


def error(message: str) -> str:
    """What a client is told that has no answer."""
    return f'{{\n{_INDENT}"error": {text(message)}\n}}'


def _line(value: Any, name: str) -> str:
    if isinstance(value, np.ndarray):
        return f"[{', '.join(_line(each, name) for each in value)}]"
    return _value(value, name)


def _block(value: Any, name: str, level: int) -> str:
    if not (isinstance(value, np.ndarray) and value.ndim):
        return _value(value, name)
    if not len(value):
        return "[]"
    within = _INDENT * (level + 1)
    lines = ",\n".join(f"{within}{_block(each, name, level + 1)}" for each in value)
    return f"[\n{lines}\n{_INDENT * level}]"


def _value(value: Any, name: str) -> str:
    value = value[()] if isinstance(value, np.ndarray) else value
    if isinstance(value, bytes):
        if not name.endswith(_BYTES_SUFFIX):
            return text(value)
        return f'{{ "b64": {text(base64.b64encode(value))} }}'
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    return str(int(value)) if isinstance(value, np.integer) else _number(value)


def text(value: str | bytes) -> str:
    """Text as JSON has it."""
    return json.dumps(value.decode(errors="replace") if isinstance(value, bytes) else value, ensure_ascii=False)


def _number(value: np.floating) -> str:
    """A float in as few digits as tell it from others: six, or all that its type holds."""
    if not np.isfinite(value):
        return "NaN" if np.isnan(value) else "-Infinity" if value < 0 else "Infinity"
    written = f"{value:g}"
    if type(value)(written) != value:
        written = f"{value:.9g}" if isinstance(value, np.float32) else f"{value:.17g}"
    return written if "." in written or "e" in written else f"{written}.0"
