"""From a name in the file to the object that the user's own code makes."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from hotfill.errors import ConfigError, HotfillError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def made_by(key: str, factory: str, options: Mapping[str, Any], folder: Path) -> Any:
    """Call a factory, given as "module:name", with its options.

    key: where the file names it, for messages. folder: of the file; searched first, and put where
    options say {here}. Raises ConfigError when there is no such thing.
    """
    here = folder.resolve()
    if str(here) not in sys.path:
        sys.path.insert(0, str(here))
    return named(key, factory)(**_placed(options, here))


def named(key: str, factory: str) -> Any:
    """Import what "module:name" stands for. key: where it is named. Raises ConfigError."""
    module_name, _, name = factory.partition(":")
    if not name:
        raise ConfigError(f'{key} must look like "module:name", got {factory!r}')
    try:
        return getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        if isinstance(error, HotfillError):
            raise
        raise ConfigError(f"{key} = {factory!r} cannot be imported: {error}") from error


def _placed(options: Any, folder: Path) -> Any:
    """Put the folder where options say {here}, at any depth."""
    if isinstance(options, str):
        return options.replace("{here}", str(folder))
    if isinstance(options, dict):
        return {key: _placed(value, folder) for key, value in options.items()}
    if isinstance(options, list):
        return [_placed(value, folder) for value in options]
    return options
