"""A file becomes a `Project`; what is wrong in it is said with the key, and what was meant."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pydantic import ValidationError

from hotfill.config.project import Project
from hotfill.config.settings import Settings
from hotfill.errors import ConfigError

if TYPE_CHECKING:
    from pydantic import BaseModel


def read(path: str | Path) -> Project:
    """Read a configuration file, and that of the upgrade it supersedes, if any.

    Raises ConfigError, naming the nearest right key.
    """
    return _read(Path(path), ())


def _read(path: Path, before: tuple[Path, ...]) -> Project:
    if path.resolve() in before:
        raise ConfigError(f"{path}: upgrades supersede each other in a circle")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"there is no configuration file {path}") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{path}: {explained(error, Settings)}") from error
    if settings.supersedes is None:
        return Project(path, settings)
    former = _read(path.parent / settings.supersedes, (*before, path.resolve()))
    return Project(path, settings, former)


def explained(error: ValidationError, settings: type[BaseModel]) -> str:
    """Say which keys of a file are wrong, and what was probably meant."""
    return "; ".join(_explained(problem, settings) for problem in error.errors())


def _explained(problem: Any, settings: type[BaseModel]) -> str:
    path, sections = _located(problem["loc"], settings)
    where = ".".join(path)
    # Where a whole section is at fault it is not shown: it may hold a password.
    if problem["type"] == "missing":
        return f"{where}: field required"
    if problem["type"] == "union_tag_invalid":
        asked = problem["ctx"]
        return f"{where}.kind: expected {asked['expected_tags']}, got {asked['tag']!r}"
    if problem["type"] != "extra_forbidden":
        return f"{where}: {problem['msg'].lower()}, got {problem['input']!r}"
    known = list(sections[0].model_fields)
    near = difflib.get_close_matches(path[-1], known, n=1)
    meant = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
    return f"unknown key {where!r}; {meant}"


def _located(
    place: tuple[str | int, ...], settings: type[BaseModel]
) -> tuple[list[str], list[type[BaseModel]]]:
    """Return the keys that lead to a place, and the section that the last one is in.

    A section of several kinds adds its kind to pydantic's place; that is no key of the file.
    """
    path, sections = [], [settings]
    for number, part in enumerate(place):
        if len(sections) > 1:
            sections = [each for each in sections if each.model_fields["kind"].default == part]
            continue
        path.append(str(part))
        if isinstance(part, str) and number < len(place) - 1:  # a number counts the rows of a list
            annotation: Any = sections[0].model_fields[part].annotation
            inner = [each for each in get_args(annotation) if hasattr(each, "model_fields")]
            sections = inner or [annotation]
    return path, sections
