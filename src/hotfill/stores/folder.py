"""The folder of a store on disk: its stamp, and room for what is written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hotfill.errors import ConfigError, StoreError, StoreFullError
from hotfill.files import write_whole
from hotfill.types import ModelId

MIN_FREE_BYTES = 64 * 2**20
_COPIES = 4  # log, vector, kept vector, and slack

_NAME = "spaces.json"
_FORMAT = 1


def new_folder(path: str | Path) -> Path:
    """Make a folder for a gallery. Raises StoreError when there is something in it."""
    folder = Path(path)
    if folder.exists() and any(folder.iterdir()):
        raise StoreError(f"{folder} is not empty: open it, or name a folder that is")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def check_room(folder: Path, n_bytes: int) -> None:
    """Raise StoreFullError unless a write of this many bytes of vectors leaves the disk some room.

    For engines that write through mapped files: there a full disk is no error that a program could
    catch but a bus error, which ends the process (seen with Qdrant Edge 0.9.0 on a full tmpfs).
    """
    free = shutil.disk_usage(folder).free
    wanted = MIN_FREE_BYTES + _COPIES * n_bytes
    if free < wanted:
        raise StoreFullError(
            f"{folder}: this write needs {wanted / 1e6:,.0f} MB of free space to be safe, and "
            f"{free / 1e6:,.0f} MB are left; nothing was written: make room and call again",
            retryable=True,
        )


@dataclass(frozen=True, slots=True)
class FolderStamp:
    """What a store on disk says of itself.

    spaces: oldest first.
    data: name of the subfolder with the engine's files. It changes when they are rebuilt next to
        the ones in use, so that one replacement of the stamp changes over to the rebuilt ones.
    indexed: items of each side, by fingerprint, over which indexes were built then.
    gone: of these, how many had left the index, about, when that was last written down.
    """

    spaces: tuple[ModelId, ...]
    data: str
    indexed: Mapping[str, int] = field(default_factory=dict)
    gone: Mapping[str, int] = field(default_factory=dict)


def write_stamp(folder: Path, stamp: FolderStamp) -> None:
    """Replace the stamp in one step: after a crash the file is the old or the new one, whole."""
    content = {
        "format": _FORMAT,
        "data": stamp.data,
        "spaces": [model.to_dict() for model in stamp.spaces],
        "indexed": dict(stamp.indexed),
        "gone": dict(stamp.gone),
    }
    write_whole(folder / _NAME, json.dumps(content, indent=2))


def read_stamp(folder: Path) -> FolderStamp:
    """Read the stamp. Raises StoreError when there is no usable one."""
    try:
        content = json.loads((folder / _NAME).read_text(encoding="utf-8"))
        if content["format"] != _FORMAT:
            raise StoreError(
                f"{folder / _NAME} has format {content['format']!r}, this version of hotfill reads "
                f"{_FORMAT}: use the version that wrote it"
            )
        spaces = tuple(ModelId.from_dict(values) for values in content["spaces"])
        indexed, gone = (
            {str(name): int(items) for name, items in content.get(key, {}).items()}
            for key in ("indexed", "gone")
        )
        return FolderStamp(spaces=spaces, data=content["data"], indexed=indexed, gone=gone)
    except FileNotFoundError as error:
        raise StoreError(
            f"{folder} is not a hotfill gallery: it has no {_NAME}; stamp it, or create a gallery"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
        raise StoreError(f"{folder / _NAME} cannot be understood: {error}") from error
