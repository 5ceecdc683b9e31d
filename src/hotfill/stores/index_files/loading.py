"""Sides made from the truth, and indexes built over them and kept in files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.errors import StoreError
from hotfill.stores.index_files.built import Built, load_index
from hotfill.stores.index_files.side import Side
from hotfill.stores.index_files.truth import Truth

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from hotfill.stores.index_files.built import Kind
    from hotfill.types import ModelId

TRUTH = "truth.sqlite"
_BUILT_FROM = 10_000  # items of a side; below, comparing with all of them is quick enough
_GOOD_ENOUGH = 0.7  # share of a side that an index covers, and of an index that lives


def load_side(folder: Path, truth: Truth, space: ModelId, kind: Kind) -> Side:
    """Put a side into memory: the index that was built, repaired, or all vectors as rows."""
    numbers, ids, changed = truth.side(space)
    noted = truth.built(space)
    side, since = Side(space), np.ones(len(ids), dtype=np.bool_)
    kept = None if kind == "flat" or noted is None else _read_index(folder / noted[0])
    if kept is not None and noted is not None:
        index, inside = kept
        names = dict(zip(numbers.tolist(), ids, strict=True))
        live = np.isin(inside, numbers[changed <= noted[1]])
        side = Side(space, Built(index, [names.get(n, "") for n in inside.tolist()], live))
        since = ~np.isin(numbers, inside[live])
    if since.all():
        for part, _, vectors in truth.searched_vectors(space):
            side.put(part, vectors)
    elif since.any():
        wanted = numbers[since].tolist()
        found = truth.vectors(wanted, space)
        side.put(
            [ids[at] for at in np.flatnonzero(since).tolist()],
            np.array([found[number] for number in wanted]),
        )
    return side


def _read_index(path: Path) -> tuple[Any, NDArray[np.int64]] | None:
    """Read an index and the numbers of its items; None when a file is gone or damaged.

    That loses nothing: the truth is elsewhere, and the next `optimise` builds another.
    """
    try:
        index, numbers = load_index(path), np.load(f"{path}.npy", allow_pickle=False)
    except (OSError, RuntimeError, ValueError):
        return None
    return (index, numbers) if index.ntotal == len(numbers) else None


def wants_index(side: Side, kind: Kind) -> bool:
    """Tell whether an index should be built over a side."""
    return kind != "flat" and len(side) >= _BUILT_FROM and side.share_built < _GOOD_ENOUGH


def build_index(folder: Path, space: ModelId, kind: Kind) -> tuple[str, int]:
    """Build an index over a side as the truth has it now: its file's name, and the count it is of.

    Reads through a connection of its own, so that writes go on.
    """
    truth = Truth(folder / TRUTH)
    try:
        with truth.reading():
            at = truth.changes
            parts = list(truth.searched_vectors(space))
        name = f"index-{truth.spaces[space]}-{at}.faiss"
    finally:
        truth.close()
    numbers = [number for _, part, _ in parts for number in part]
    vectors = np.concatenate([rows for _, _, rows in parts])
    built = Built.over(kind, space, [str(number) for number in numbers], vectors)
    try:
        np.save(folder / f"{name}.npy", np.array(numbers, dtype=np.int64))
        built.save(folder / name)
    except (OSError, RuntimeError) as error:  # what is left of it goes when the gallery is opened
        raise StoreError(f"could not write {folder / name}: {error}", retryable=True) from error
    return name, at


def remove_other_files(folder: Path, truth: Truth) -> None:
    """Remove the files of indexes that are no longer in use, or were never finished."""
    kept = {noted[0] for space in truth.spaces if (noted := truth.built(space)) is not None}
    for path in folder.glob("index-*.faiss*"):
        if path.name.removesuffix(".npy") not in kept:
            path.unlink()
