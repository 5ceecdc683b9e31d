"""A code index in a folder: its codes, and what places them in lists.

The scan's blocks are rebuilt on loading (about 3 s per million items), so no file of FAISS's own
format is ever read.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.binary.code_file import read_codes, write_codes
from hotfill.binary.index import CodeIndex
from hotfill.errors import InputError
from hotfill.files import load_stamped, save_stamped

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from hotfill.types import ModelId

_STAMP = "hotfill.code_index"
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
    sums = {"codes": _sum({"packed": codes.packed}), "lists": _sum(lists)}
    save_stamped(folder / _LISTS, _STAMP, {"sums": sums, "scan_bits": index.scan_bits}, lists)


def load_index(folder: Path | str) -> CodeIndex:
    """Read an index; its codes stay mapped from the folder.

    Raises InputError when something is missing, damaged, or of two different moments.
    """
    folder = Path(folder)
    codes = read_codes(folder / _CODES)
    try:
        stamp, lists = load_stamped(folder / _LISTS, _STAMP, "code index")
    except FileNotFoundError as error:
        raise InputError(str(error)) from error
    if stamp["sums"] != {"codes": _sum({"packed": codes.packed}), "lists": _sum(lists)}:
        raise InputError(
            f"{folder}: the lists do not belong to the codes, or are damaged; build the index again"
        )
    return CodeIndex(
        codes, lists["items"], centroids=lists["centroids"], scan_bits=stamp.get("scan_bits")
    )


def _sum(arrays: Mapping[str, NDArray[Any]]) -> int:
    total = 0
    for name in sorted(arrays):
        for start in range(0, len(arrays[name]), 65_536):
            rows = np.ascontiguousarray(arrays[name][start : start + 65_536])
            total = zlib.crc32(rows.tobytes(), total)
    return total
