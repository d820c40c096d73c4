"""Packages that only pages, plots and other documents need."""

from __future__ import annotations

import importlib
from types import ModuleType

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
