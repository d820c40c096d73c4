"""Packages that not everybody needs."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from honeykeras.errors import MissingDependencyError


def load_optional(name: str, extra: str = "report", what: str = "Reports, cards and deploy kits") -> ModuleType:
    """Imports a module of an optional package.

    Args:
        name: The module.
        extra: The extra of honeykeras that installs it.
        what: What needs it, for the message.

    Raises:
        MissingDependencyError: If it, or a package that it needs, is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = (error.name or name).partition(".")[0]
        raise MissingDependencyError(
            f"{what} need {package}, which is not installed. Install it with: pip install 'honeykeras[{extra}]'"
        ) from error


def templates(package: str, folder: str = "", *, autoescape: bool = False, **options: Any) -> Any:
    """A Jinja2 environment of the templates in a package's folder, in which a name that is not given is an error."""
    jinja2 = load_optional("jinja2")
    return jinja2.Environment(
        loader=jinja2.PackageLoader(package, folder),
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        **options,
    )
