"""The stamp of a store on disk: a small file that names its spaces and where its data lies."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hotfill.errors import ConfigError, StoreError
from hotfill.types import ModelId

if TYPE_CHECKING:
    from pathlib import Path

_NAME = "spaces.json"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a store on disk says of itself.

    spaces: oldest first.
    data: name of the subfolder with the engine's files. It changes when they are rebuilt next to
        the ones in use, so that one replacement of the stamp changes over to the rebuilt ones.
    """

    spaces: tuple[ModelId, ...]
    data: str


def write_stamp(folder: Path, stamp: Stamp) -> None:
    """Replace the stamp in one step: after a crash the file is the old or the new one, whole."""
    content = {
        "format": _FORMAT,
        "data": stamp.data,
        "spaces": [model.to_dict() for model in stamp.spaces],
    }
    fresh = folder / f"{_NAME}.new"
    with fresh.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(folder / _NAME)
    entry = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(entry)  # the new name itself must survive a power cut
    finally:
        os.close(entry)


def read_stamp(folder: Path) -> Stamp:
    """Read the stamp. Raises StoreError when there is no usable one."""
    try:
        content = json.loads((folder / _NAME).read_text(encoding="utf-8"))
        if content["format"] != _FORMAT:
            raise StoreError(
                f"{folder / _NAME} has format {content['format']!r}, this version of hotfill reads "
                f"{_FORMAT}: use the version that wrote it"
            )
        spaces = tuple(ModelId.from_dict(values) for values in content["spaces"])
        return Stamp(spaces=spaces, data=content["data"])
    except FileNotFoundError as error:
        raise StoreError(
            f"{folder} is not a hotfill gallery: it has no {_NAME}; stamp it, or create a gallery"
        ) from error
    except (ValueError, KeyError, TypeError, ConfigError) as error:
        raise StoreError(f"{folder / _NAME} cannot be understood: {error}") from error
