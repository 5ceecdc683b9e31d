"""A file becomes a `Project`; what is wrong in it is said with the key, and what was meant."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from hotfill.config.project import Project
from hotfill.config.settings import Settings
from hotfill.errors import ConfigError, InputError
from hotfill.text_files import read_text
from hotfill.validation import explained

if TYPE_CHECKING:
    from collections.abc import Mapping

_VARIABLE = re.compile(r"\$\{(\w+)\}")
_SHELL = {"hooks"}  # sections whose variables the shell replaces


def read(path: str | Path) -> Project:
    """Read a configuration file, and that of the upgrade it supersedes, if any.

    `${NAME}` in a text stands for a variable of the environment, except in [hooks], where the shell
    sees to it. Raises ConfigError, naming the nearest right key.
    """
    return _read(Path(path), ())


def _read(path: Path, before: tuple[Path, ...]) -> Project:
    if path.resolve() in before:
        raise ConfigError(f"{path}: upgrades supersede each other in a circle")
    try:
        values = tomllib.loads(read_text(path))
    except InputError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise ConfigError(f"there is no configuration file {path}") from error
        raise ConfigError(str(error)) from error
    except RecursionError as error:
        raise ConfigError(f"{path} is not valid TOML: its brackets are nested too deep") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: a number in it has too many digits") from error
    try:
        settings = Settings.model_validate(with_variables(values, os.environ))
    except ValidationError as error:
        raise ConfigError(f"{path}: {explained(error, Settings)}") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    if settings.supersedes is None:
        return Project(path, settings)
    previous = _read(path.parent / settings.supersedes, (*before, path.resolve()))
    return Project(path, settings, previous)


def with_variables(values: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """Replace `${NAME}` in all texts of a file. Raises ConfigError for a variable that is not set.

    A replaced text shows `${NAME}` in messages, never its value: it may be a secret.
    """
    return {
        name: value if name in _SHELL else _replaced(name, value, environment)
        for name, value in values.items()
    }


def _replaced(where: str, value: Any, environment: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _replaced(f"{where}.{key}", each, environment) for key, each in value.items()}
    if isinstance(value, list):
        return [_replaced(f"{where}.{row}", each, environment) for row, each in enumerate(value)]
    if not isinstance(value, str) or not _VARIABLE.search(value):
        return value
    for name in _VARIABLE.findall(value):
        if name not in environment:
            raise ConfigError(f"{where}: the environment has no variable {name}; set it")
    return FromEnvironment(_VARIABLE.sub(lambda found: environment[found[1]], value), value)


class FromEnvironment(str):
    """A text with values of the environment in it; it shows itself as it was written."""

    __slots__ = ("written",)

    def __new__(cls, text: str, written: str) -> FromEnvironment:
        """Make the text."""
        made = super().__new__(cls, text)
        made.written = written
        return made

    written: str

    def __repr__(self) -> str:
        return repr(self.written)
