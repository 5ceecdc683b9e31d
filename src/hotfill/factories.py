"""From a name in the file to the object that the user's own code makes."""

from __future__ import annotations

import importlib
import inspect
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hotfill.errors import ConfigError, HotfillError

if TYPE_CHECKING:
    from collections.abc import Mapping


def made_by(key: str, factory: str, options: Mapping[str, Any], folder: Path) -> Any:
    """Call a factory, given as "module:name", with its options.

    key: where the file names it, for messages. folder: of the file; searched first, and put where
    options say {here}. Raises ConfigError when there is no such thing, the options do not fit, or
    it fails.
    """
    here = folder.resolve()
    if str(here) not in sys.path:
        sys.path.insert(0, str(here))
    make, placed = named(key, factory), _placed(options, here)
    _check_options(key, factory, make, placed)
    try:
        return make(**placed)
    except HotfillError:
        raise
    except Exception as error:
        raise ConfigError(f"{key} = {factory!r} failed: {_told(error)}") from error


def named(key: str, factory: str) -> Any:
    """Import what "module:name" stands for. key: where it is named. Raises ConfigError."""
    module_name, _, name = factory.partition(":")
    if not name:
        raise ConfigError(f'{key} must look like "module:name", got {factory!r}')
    try:
        return getattr(importlib.import_module(module_name), name)
    except HotfillError:
        raise
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{key} = {factory!r} cannot be imported: {error}") from error
    except Exception as error:  # the module's own code ran
        raise ConfigError(f"{key} = {factory!r} cannot be imported: {_told(error)}") from error


def _check_options(key: str, factory: str, make: Any, options: Mapping[str, Any]) -> None:
    try:
        signature = inspect.signature(make)
    except (TypeError, ValueError):  # not callable, or written in C: calling it tells
        return
    try:
        signature.bind(**options)
    except TypeError as error:
        section, _, name = key.rpartition(".")
        given = "query_options" if name == "query_embedder" else "options"
        raise ConfigError(
            f"{key} = {factory!r} takes {str(signature).partition(' ->')[0]}: {error}; say "
            f"{given} = {{ ... }} under [{section}]"
        ) from error


def _told(error: Exception) -> str:
    """Describe what other people's code raised, with the line it raised it in."""
    said = f"{type(error).__name__}: {error}"
    frames = traceback.extract_tb(error.__traceback__)
    return f"{said} ({Path(frames[-1].filename).name}, line {frames[-1].lineno})"


def _placed(options: Any, folder: Path) -> Any:
    """Put the folder where options say {here}, at any depth."""
    if isinstance(options, str):
        return options.replace("{here}", str(folder))
    if isinstance(options, dict):
        return {key: _placed(value, folder) for key, value in options.items()}
    if isinstance(options, list):
        return [_placed(value, folder) for value in options]
    return options
