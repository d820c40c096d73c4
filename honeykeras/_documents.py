"""JSON documents that come from outside: read within bounds, and by a schema, so that no code behind sees a stranger.

Neither TensorFlow nor Keras is imported here.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema

from honeykeras._files import PathLike, as_path, describe, write_atomic
from honeykeras._messages import first_line, json_path, shortened
from honeykeras.errors import HoneyKerasError, InvalidArgumentError, StorageError

_DEEPEST = 64
# What fits a float, and NumPy's and TensorFlow's widest integer.
_GREATEST_INTEGER = 2**63 - 1


def _is_integer(_: Any, value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


# To JSON Schema, 1.0 is an integer. To Python it is none.
_Validator = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer),
)


def read_json(
    path: PathLike,
    schema: Mapping[str, Any],
    *,
    what: str,
    error: type[HoneyKerasError] = InvalidArgumentError,
    hint: str = "",
    max_bytes: int = 2**24,
) -> Any:
    """Reads a JSON document.

    It must be a regular file in UTF-8, and not too large or deep. Its numbers are finite and fit 64 bits, its text can
    be encoded again.

    Args:
        path: The file.
        schema: What must hold of the document, as JSON Schema (draft 2020-12). `"integer"` means whole numbers written
            as such, and not 1.0.
        what: What messages call the document, with its article, as in `"a report"`.
        error: What to raise if the document is not as it must be.
        hint: What to do then, a sentence.
        max_bytes: How large the file may be.

    Returns:
        The document.

    Raises:
        InvalidArgumentError: If `path` can be no path.
        StorageError: If there is no such file, or it cannot be read.
        HoneyKerasError: `error`, if it is not such a document.
    """
    path = as_path(path)
    try:
        document = parse_json(read_regular(path, max_bytes), schema)
    except OSError as failure:
        raise StorageError(f"Cannot read {path}: {describe(failure)}.") from failure
    except ValueError as failure:
        advice = f" {hint}" if hint else ""
        raise error(f"{path} must be {what}. Received: {first_line(failure)}.{advice}") from None
    return document


def parse_json(content: bytes, schema: Mapping[str, Any]) -> Any:
    """A JSON document as `read_json` reads it, from what is in a file.

    Raises:
        ValueError: If it is no such document.
    """
    document = _parse(content)
    check(document, schema)
    return document


def check(document: Any, schema: Mapping[str, Any]) -> None:
    """Checks a document in memory as `read_json` does one in a file.

    Raises:
        ValueError: If it is not as the schema says, too deep, or has text that cannot be encoded.
    """
    _check_values(document)
    _check_schema(document, schema)


def write_json(path: PathLike, document: Any, *, overwrite: bool = False) -> None:
    """Writes a document as JSON, in one atomic step. Tuples become lists, and numbers that are not finite become null.

    Raises:
        StorageError: If there is a file at `path` already, or the disk refuses.
    """
    write_atomic(path, json.dumps(plain(document), indent=2, allow_nan=False).encode() + b"\n", overwrite=overwrite)


def plain(value: Any) -> Any:
    """A value as it comes back from a JSON file: tuples become lists and NaN becomes None, as JSON has neither."""
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_regular(path: PathLike, max_bytes: int) -> bytes:
    """The content of a regular file: neither a pipe, which could keep a reader waiting, nor a device without an end.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is no regular file, or larger than `max_bytes`.
    """
    with open(path, "rb", opener=_without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("no regular file")
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise ValueError(f"a file of more than {max_bytes} bytes")
    return content


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _parse(content: bytes) -> Any:
    try:
        return json.loads(content.decode(), parse_constant=_refuse, parse_float=_float, parse_int=_integer)
    except UnicodeDecodeError as error:
        raise ValueError(f"text that is not UTF-8, from byte {error.start}") from None
    except RecursionError:
        raise _too_deep() from None
    except json.JSONDecodeError as error:
        raise ValueError(f"no JSON: {error}") from None


def _refuse(constant: str) -> float:
    raise ValueError(f"a number that is not finite, {constant}")


def _float(digits: str) -> float:
    value = float(digits)
    return value if math.isfinite(value) else _refuse(shortened(digits))


def _integer(digits: str) -> int:
    # Python refuses to convert thousands of digits.
    if len(digits) > 20 or abs(int(digits)) > _GREATEST_INTEGER:
        raise ValueError(f"a number that does not fit 64 bits, {shortened(digits)}")
    return int(digits)


def _too_deep() -> ValueError:
    return ValueError(f"one nested deeper than {_DEEPEST} levels")


def _check_values(document: Any) -> None:
    """Looks for text that cannot be encoded, half a surrogate pair, and for what is too deep for code that recurses."""
    pending: list[tuple[Any, tuple[str | int, ...]]] = [(document, ())]
    while pending:
        value, place = pending.pop()
        if len(place) > _DEEPEST:
            raise _too_deep()
        for part in _texts(value):
            if not part.isascii() and any("\ud800" <= character <= "\udfff" for character in part):
                raise ValueError(f"at {json_path(place)}, text with half a surrogate pair, {shortened(repr(part))}")
        if isinstance(value, dict):
            pending.extend((entry, (*place, name)) for name, entry in value.items())
        elif isinstance(value, list):
            pending.extend((entry, (*place, index)) for index, entry in enumerate(value))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value


def _check_schema(document: Any, schema: Mapping[str, Any]) -> None:
    broken = jsonschema.exceptions.best_match(_Validator(schema).iter_errors(document))
    if broken:
        raise ValueError(f"at {json_path(broken.absolute_path)}, {shortened(broken.message)}")
