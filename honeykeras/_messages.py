"""How messages put what came from outside: in one line, not too long, whatever it holds."""

from __future__ import annotations

from collections.abc import Iterable

_LONGEST = 200


def first_line(error: BaseException) -> str:
    """What an error says first, or its type's name where it says nothing."""
    lines = (line for line in str(error).splitlines() if line.strip())
    return shortened(next(lines, type(error).__name__).strip())


def shortened(text: str) -> str:
    """A text with what cannot be printed escaped, and cut where it is too long for a message."""
    text = "".join(part if part.isprintable() else part.encode("unicode_escape").decode() for part in text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 4]} ..."


def json_path(parts: Iterable[str | int]) -> str:
    """Where in a document something stands, as in `$.files[0]['a name']`."""
    names = (f".{part}" if isinstance(part, str) and part.isidentifier() else f"[{part!r}]" for part in parts)
    return shortened("".join(["$", *names]))
