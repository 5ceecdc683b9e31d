"""Files that are whole or not there, also after a power cut; and arrays with a stamp.

A new content is written next to the file, synced, and takes its name in one step; then the folder
is synced, because a name that is only in memory is lost with the power.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hotfill.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import BinaryIO

    import numpy as np


@contextmanager
def writing_whole(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write; it takes its name when the block ends, and is removed if it fails."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with unfinished.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_whole(path: Path, content: bytes | str) -> None:
    """Replace the content of a file in one step; texts are written as UTF-8."""
    with writing_whole(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def folder_whole(path: Path) -> Iterator[Path]:
    """Give a folder to fill; with all that is in it, it takes its name when the block ends.

    What is at `path` already, such as what a kill left half written, is replaced.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        for each in [*unfinished.rglob("*"), unfinished]:
            sync_folder(each) if each.is_dir() else sync_file(each)
        shutil.rmtree(path, ignore_errors=True)
        unfinished.rename(path)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """See that the content of a file has reached the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """See that the names in a folder have reached the disk; Windows does that by itself."""
    if os.name == "nt":
        return
    entry = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(entry)
    finally:
        os.close(entry)


# Arrays with a stamp: safetensors, so that nothing from a file is executed ------------------------

FORMAT = 1
"""Of stamps; files of another are refused."""


def save_stamped(
    path: str | Path, key: str, stamp: Mapping[str, object], arrays: Mapping[str, np.ndarray]
) -> None:
    """Write arrays and their stamp under one metadata key, whole or not at all."""
    write_whole(Path(path), stamped(key, stamp, arrays))


def stamped(key: str, stamp: Mapping[str, object], arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return what `save_stamped` writes."""
    import numpy as np
    from safetensors.numpy import save

    text = json.dumps({"format": FORMAT, **stamp})
    rows = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    content: bytes = save(rows, metadata={key: text})
    return content


def read_stamped(
    content: bytes, key: str, what: str
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read what `stamped` returned. what: what it is, for messages.

    Raises InputError (damaged, without this stamp, of another format).
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays = load(content)
        length = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + length]).get("__metadata__", {})
        stamp = json.loads(metadata[key])
    except (SafetensorError, ValueError, KeyError, RecursionError) as error:
        raise InputError(f"{what} cannot be read: {error}") from error
    return _of_this_format(stamp, what), arrays


def load_stamped(
    path: str | Path, key: str, what: str
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read a stamp and its arrays. what: the word for such a file in messages, "transform", say.

    Raises FileNotFoundError, InputError (damaged, without this stamp, of another format).
    """
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no {what} file {path}")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError) as error:
        raise InputError(f"{path} is not a readable safetensors file: {error}") from error
    if key not in metadata:
        raise InputError(f"{path} is a safetensors file, but not a {what} that hotfill wrote")
    try:
        stamp = json.loads(metadata[key])
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: its stamp is not readable: {error}") from error
    return _of_this_format(stamp, path), arrays


def _of_this_format(stamp: Any, name: object) -> dict[str, Any]:
    if not isinstance(stamp, dict) or stamp.get("format") != FORMAT:
        raise InputError(f"{name}: expected format {FORMAT}; written by another hotfill version?")
    return stamp
