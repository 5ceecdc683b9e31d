"""Files that are whole or not there, also after a power cut; and arrays with a stamp.

A new content is written next to the file, synced, and takes its name in one step; then the folder
is synced, because a name that is only in memory is lost with the power.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hotfill.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from typing import BinaryIO

    import numpy as np

_STAMP = "hotfill"


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


def save_stamped(
    path: Path, kind: str, version: int, stamp: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> None:
    """Write arrays with what they mean, whole.

    kind: of what is written, for example "scorer". version: of its form. stamp: plain values.
    """
    import numpy as np
    from safetensors.numpy import save

    text = json.dumps({"kind": kind, "version": version, **stamp})
    rows = {name: np.array(array, order="C") for name, array in arrays.items()}
    write_whole(path, save(rows, metadata={_STAMP: text}))


def load_stamped(
    path: Path, kind: str, version: int
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read a stamp and its arrays, as `save_stamped` wrote them.

    Raises InputError when the file is damaged, of another kind or of another version;
    FileNotFoundError.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise FileNotFoundError(f"there is no {kind} file {path}")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        stamp = json.loads(metadata.get(_STAMP, "null"))
    except (OSError, SafetensorError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: expected a {kind} file, which cannot be read: {error}"
        ) from error
    if not isinstance(stamp, dict) or stamp.get("kind") != kind:
        found = stamp.get("kind") if isinstance(stamp, dict) else None
        raise InputError(
            f"{path}: expected a {kind} file of hotfill, got "
            f"{'something else' if found is None else f'one of kind {found!r}'}"
        )
    if stamp.get("version") != version:
        raise InputError(
            f"{path}: expected version {version} of a {kind} file, got {stamp.get('version')!r}; "
            "read it with the hotfill that wrote it, or make it again"
        )
    return stamp, arrays
