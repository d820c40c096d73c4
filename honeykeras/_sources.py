"""Functions of a user's, named on the command line."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from honeykeras import _checks
from honeykeras._messages import first_line
from honeykeras.errors import InvalidArgumentError


def is_function(source: Any) -> bool:
    """Whether a text is written as `load_function` takes it; whether there is such a function is not looked at."""
    if not isinstance(source, str) or "\0" in source:
        return False
    home, separator, name = source.rpartition(":")
    return bool(home and separator) and name.isidentifier()


def load_function(source: str, option: str) -> Callable[..., Any]:
    """A function, by where it is.

    Args:
        source: `file.py:function`, or `package.module:function` for what can be imported from the current folder or is
            installed.
        option: What messages call that.

    Returns:
        The function.

    Raises:
        InvalidArgumentError: If there is none, or its module cannot be run.
    """
    if not is_function(source):
        raise InvalidArgumentError(
            f"`{option}` must be file.py:function or package.module:function. Received: {_checks.shown(source)}."
        )
    home, _, name = source.rpartition(":")
    try:
        module = _run_file(Path(home)) if home.endswith(".py") else _import(home)
    except Exception as error:  # Anybody's code.
        raise InvalidArgumentError(
            f"`{option}` must be a function that can be loaded. Received: {source}, where {home} cannot be run: "
            f"{type(error).__name__}: {first_line(error)}"
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        raise InvalidArgumentError(
            f"`{option}` must be a function that is there. Received: {source}, but {home} has no function {name}."
        )
    return function


def _run_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    # Classes of the module are found by its name, by Keras' too.
    sys.modules.setdefault(path.stem, module)
    with _on_path(path.resolve().parent):
        spec.loader.exec_module(module)
    return module


def _import(name: str) -> ModuleType:
    with _on_path(Path.cwd()):
        return importlib.import_module(name)


@contextlib.contextmanager
def _on_path(folder: Path) -> Iterator[None]:
    """Lets what lies in a folder be imported, as where Python is started there."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
