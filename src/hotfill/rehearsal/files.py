"""What a rehearsal reads: arrays in .npy files, judgements in TREC's format, a query log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray


_LABELS = {"labels", "query_labels"}


def read_arguments(paths: Mapping[str, Path]) -> dict[str, Any]:
    """Read what `rehearse` is given, by the names of its arguments. Raises InputError."""
    return {
        name: read_qrels(path) if name == "qrels" else read_array(path, 1 if name in _LABELS else 2)
        for name, path in paths.items()
    }


def read_array(path: Path, dimensions: int) -> NDArray[Any]:
    """Map a .npy file, read-only, so that only what is used is read.

    dimensions: 2 for embeddings (n, d), 1 for labels (n,).
    Raises InputError when the file is missing, is something else, or needs pickle.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    except (ValueError, EOFError) as error:
        raise InputError(
            f"{path}: cannot be read as a .npy file of numbers; numpy.save writes them"
        ) from error
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


def read_query_log(path: Path, items: int) -> NDArray[np.int64]:
    """Count how often each item was returned: int64 (items,).

    A text file as `query_log` of an upgrade, one line per returned hit, but with the item's row
    number, counted from 0, for its id. Empty lines are skipped.
    Raises InputError naming the line that holds something else.
    """
    counts = np.zeros(items, dtype=np.int64)
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                name = line.strip()
                if name:
                    if not (name.isdecimal() and int(name) < items):
                        raise InputError(
                            f"{path}, line {number}: expected the row number of an item, "
                            f"0 .. {items - 1}, got {name!r}"
                        )
                    counts[int(name)] += 1
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    if not counts.any():
        raise InputError(f"{path}: the query log is empty")
    return counts


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
