"""Optional packages: imported when first needed, with an error that names the extra."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from hotfill.errors import MissingExtraError

if TYPE_CHECKING:
    from types import ModuleType


def need(module: str, extra: str) -> ModuleType:
    """Import a module of an optional package, or raise MissingExtraError naming the extra."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name is not None and error.name.partition(".")[0] != package:
            raise  # the package is there; something inside it is broken
        raise MissingExtraError(package, extra) from error
