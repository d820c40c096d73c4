"""Which kind of source names a data set. Needs no TensorFlow, so that the command line can tell at once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from honeykeras import _checks
from honeykeras._sources import is_function
from honeykeras.errors import InvalidArgumentError

# A name of tensorflow-datasets, perhaps with a configuration and a version.
_TFDS = re.compile(r"[a-z0-9_]+(/[\w.-]+)?(:[0-9.*]+)?")


def kind_of(source: Any) -> str:
    """The kind of a source: `digits`, `npz`, `folder`, `function` or `tfds`.

    Raises:
        InvalidArgumentError: If it is none, or a file that is not there.
    """
    if isinstance(source, str) and 0 < len(source) < 1000 and "\0" not in source:
        # Whatever folder a program has left here: one of that name is ./digits.
        if source == "digits":
            return "digits"
        path = Path(source)
        if path.is_dir():
            return "folder"
        if path.suffix == ".npz":
            return "npz" if path.is_file() else _missing(source)
        if is_function(source):
            return "function"
        if _TFDS.fullmatch(source):
            return "tfds"
        if "/" in source:
            _missing(source)
    raise InvalidArgumentError(
        "`dataset` must be digits, a name of tensorflow-datasets such as mnist, a folder, an .npz file, or a function, "
        f"file.py:function or package.module:function. Received: {_checks.shown(source)}."
    )


def _missing(source: str) -> Any:
    raise InvalidArgumentError(f"There must be a data set at {source}. Received: no such file or folder.")
