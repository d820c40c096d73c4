"""How messages put what came from outside: in one line, not too long, whatever it holds."""

from __future__ import annotations

import re
from collections.abc import Iterable

_LONGEST = 200
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
# What Keras and TensorFlow begin with before they say why.
_WHERE = ("Exception encountered", "Graph execution error", "Detected at node", "<stack traces unavailable", 'File "')
# Which operation it was, and where in the graph.
_OPERATION = re.compile(
    r"\{\{.*?\}\} | \[Op:.*| \[\[\{\{.*"
    r"|Error in user-defined function passed to \S+ transformation with iterator: \S+: "
)


def first_line(error: BaseException) -> str:
    """What an error says first, or its type's name where it says nothing."""
    lines = (line for line in str(error).splitlines() if line.strip())
    return shortened(next(lines, type(error).__name__).strip())


def reason(error: BaseException) -> str:
    """Why, as an error of Keras's or TensorFlow's has it, in one line: they say where as well, at length."""
    return shortened(_why(error))


def file_reason(error: BaseException) -> str:
    """The same of an error that TensorFlow had with a file, without the path, which comes first."""
    return shortened(_why(error).rsplit("; ", 1)[-1])


def _why(error: BaseException) -> str:
    lines = [line.strip() for line in _ANSI.sub("", str(getattr(error, "message", error))).splitlines()]
    asserted = (line for line in lines if line.startswith("assertion failed"))
    said = (line for line in lines if line and not line.startswith(_WHERE))
    return _OPERATION.sub("", next(asserted, next(said, ""))).strip() or type(error).__name__


def shortened(text: str) -> str:
    """A text with what cannot be printed escaped, and cut where it is too long for a message."""
    text = "".join(part if part.isprintable() else part.encode("unicode_escape").decode() for part in text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 4]} ..."


def json_path(parts: Iterable[str | int]) -> str:
    """Where in a document something stands, as in `$.files[0]['a name']`."""
    names = (f".{part}" if isinstance(part, str) and part.isidentifier() else f"[{part!r}]" for part in parts)
    return shortened("".join(["$", *names]))
