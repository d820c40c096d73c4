"""Packages that only pages, plots and other documents need."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from honeykeras.errors import MissingDependencyError


def load_optional(name: str) -> ModuleType:
    """Imports a module of the extra `report`.

    Raises:
        MissingDependencyError: If it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"Reports, cards and deploy kits need {name.partition('.')[0]}, which is not installed. "
            "Install it with: pip install 'honeykeras[report]'"
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
