"""What a rehearsal reads: arrays in .npy files, and judgements in TREC's format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def read_array(path: Path, dimensions: int) -> NDArray[Any]:
    """Map a .npy file, read-only, so that only what is used is read.

    dimensions: 2 for embeddings (n, d), 1 for labels (n,).
    Raises InputError when the file is missing, is something else, or needs pickle.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: cannot be read as a .npy file: {error}") from error
    if not isinstance(array, np.ndarray) or array.ndim != dimensions:
        shape = getattr(array, "shape", "several arrays")
        raise InputError(f"{path}: expected one array of {dimensions} dimensions, got {shape}")
    return array


def read_qrels(path: Path) -> dict[str, dict[str, float]]:
    """Read judgements: a line is "query iteration item grade" (TREC) or "query item grade" (BEIR).

    Queries and items are named by their row number, counted from 0. A header line is skipped.
    Raises InputError naming the line that does not fit.
    """
    judged: dict[str, dict[str, float]] = {}
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    for number, line in enumerate(text.splitlines(), start=1):
        fields = line.split()
        if not fields or (number == 1 and not _is_number(fields[-1])):
            continue
        if len(fields) not in (3, 4) or not _is_number(fields[-1]):
            raise InputError(
                f"{path}, line {number}: expected 'query iteration item grade', got {line!r}"
            )
        judged.setdefault(fields[0], {})[fields[-2]] = float(fields[-1])
    if not judged:
        raise InputError(f"{path}: holds no judgements")
    return judged


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
