"""A code index in a folder: its codes, and what places them in lists.

The scan's blocks are rebuilt on loading (about 3 s per million items), so no file of FAISS's own
format is ever read.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from hotfill.binary.code_file import read_codes, write_codes
from hotfill.binary.index import CodeIndex
from hotfill.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from hotfill.types import ModelId

_KIND = "hotfill code index 1"
_CODES = "codes"
_LISTS = "lists.safetensors"


def save_index(index: CodeIndex, folder: Path | str, *, source: ModelId) -> None:
    """Write an index into a folder, made when missing. source: the model of the float vectors.

    Each file is replaced whole; a crash between the two is noticed on loading.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    codes, items = index.contents()
    lists: dict[str, NDArray[Any]] = {"items": items, "centroids": index.centroids}
    write_codes(folder / _CODES, codes, source=source)
    partial = folder / f"{_LISTS}.partial"
    sums = {"codes": _sum({"packed": codes.packed}), "lists": _sum(lists)}
    save_file(lists, partial, metadata={"kind": _KIND, "sums": json.dumps(sums)})
    partial.replace(folder / _LISTS)


def load_index(folder: Path | str) -> CodeIndex:
    """Read an index; its codes stay mapped from the folder.

    Raises InputError when something is missing, damaged, or of two different moments.
    """
    folder = Path(folder)
    codes = read_codes(folder / _CODES)
    try:
        with safe_open(folder / _LISTS, framework="numpy") as file:
            stamp = file.metadata() or {}
            lists = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InputError(f"{folder / _LISTS}: cannot be read: {error}") from error
    if stamp.get("kind") != _KIND:
        raise InputError(f"{folder / _LISTS}: expected a {_KIND!r}, got {stamp.get('kind')!r}")
    sums = json.loads(stamp["sums"])
    if sums != {"codes": _sum({"packed": codes.packed}), "lists": _sum(lists)}:
        raise InputError(
            f"{folder}: the lists do not belong to the codes, or are damaged; build the index again"
        )
    return CodeIndex(codes, lists["items"], centroids=lists["centroids"])


def _sum(arrays: Mapping[str, NDArray[Any]]) -> int:
    total = 0
    for name in sorted(arrays):
        for start in range(0, len(arrays[name]), 65_536):
            rows = np.ascontiguousarray(arrays[name][start : start + 65_536])
            total = zlib.crc32(rows.tobytes(), total)
    return total
