"""The stamp of a store on disk: a small file that names its spaces, oldest first."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from hotfill.errors import ConfigError, StoreError
from hotfill.types import ModelId

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_NAME = "spaces.json"
_FORMAT = 1


def write_stamp(folder: Path, spaces: Sequence[ModelId]) -> None:
    """Replace the stamp in one step: after a crash the file is the old or the new one, whole."""
    text = json.dumps(
        {"format": _FORMAT, "spaces": [model.to_dict() for model in spaces]}, indent=2
    )
    fresh = folder / f"{_NAME}.new"
    with fresh.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(folder / _NAME)
    entry = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(entry)  # the new name itself must survive a power cut
    finally:
        os.close(entry)


def read_stamp(folder: Path) -> tuple[ModelId, ...]:
    """Read the spaces. Raises StoreError when there is no usable stamp."""
    try:
        content = json.loads((folder / _NAME).read_text(encoding="utf-8"))
        if content["format"] != _FORMAT:
            raise StoreError(
                f"{folder / _NAME} has format {content['format']!r}, this version of hotfill reads "
                f"{_FORMAT}: use the version that wrote it"
            )
        return tuple(ModelId.from_dict(values) for values in content["spaces"])
    except FileNotFoundError as error:
        raise StoreError(
            f"{folder} is not a hotfill gallery: it has no {_NAME}; stamp it, or create a gallery"
        ) from error
    except (ValueError, KeyError, TypeError, ConfigError) as error:
        raise StoreError(f"{folder / _NAME} cannot be understood: {error}") from error
