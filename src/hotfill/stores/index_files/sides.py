"""The sides in memory: of each an index that was built, and rows for what came since.

They change after the truth did, and are loaded from it again when that failed.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.errors import StoreError
from hotfill.locks import ReadWriteLock
from hotfill.stores.base import Hits, check_space
from hotfill.stores.index_files.index import (
    Built,
    graph_in,
    load_index,
    make_index,
    nearest,
    save_index,
)
from hotfill.stores.index_files.truth import Truth
from hotfill.stores.memory import Rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from hotfill.stores.index_files.index import Kind
    from hotfill.types import ModelId, Vectors

    Scores = NDArray[np.float32]

TRUTH = "truth.sqlite"
_BUILT_FROM = 10_000  # items of a side; below, comparing with all of them is quick enough
_GOOD_ENOUGH = 0.7  # share of a side that an index covers, and of an index that lives


class IndexedSide:
    """The searched items of a space. Changing needs the store's turn to write."""

    def __init__(self, space: ModelId, built: Built | None = None) -> None:
        self._space = space
        self._built = built
        self._rows = Rows(space)

    def __len__(self) -> int:
        return len(self._rows.ids) + (0 if self._built is None else len(self._built))

    @property
    def share_built(self) -> float:
        """How good the built index still is: the share of it that lives, and of what it covers."""
        if self._built is None:
            return 0.0
        return min(self._built.share_live, len(self._built) / max(1, len(self)))

    def put(
        self, item_ids: Sequence[str], vectors: Vectors, origins: Sequence[str] | None = None
    ) -> None:
        """Give different items vectors, in the place of those they have. origins: as `Rows.put`."""
        if self._built is not None:
            for item_id in item_ids:
                self._built.bury(item_id)
        self._rows.put(item_ids, vectors, origins)
        self._leave_built()

    def remove(self, item_ids: Iterable[str]) -> None:
        """Take items away, if they are here."""
        for item_id in item_ids:
            if item_id in self._rows:
                self._rows.remove(item_id)
            elif self._built is not None:
                self._built.bury(item_id)
        self._leave_built()

    def search(self, queries: Vectors, k: int, ef: int | None, passing: set[str] | None) -> Hits:
        """Find the k best items for each query. passing: no others than these."""
        metric = self._space.metric
        parts: list[tuple[Rows | Built, Sequence[tuple[NDArray[np.int64], Scores]]]] = []
        places = None if passing is None else np.array(self._rows.places(passing), dtype=np.intp)
        vectors = self._rows.filled if places is None else self._rows.filled[places]
        if len(vectors) or self._built is None:
            found = nearest(queries, vectors, k, metric)
            if places is not None:
                found = [(places[at], scores) for at, scores in found]
            parts.append((self._rows, found))
        if self._built is not None:
            parts.append((self._built, self._built.search(queries, k, metric, ef, passing)))
        rows = [[(part, *found[row]) for part, found in parts] for row in range(len(queries))]
        return Hits(*zip(*[_best_of(each, k) for each in rows], strict=True))

    def _leave_built(self) -> None:
        """Go on without an index of which little is left."""
        built = self._built
        if built is None:
            return
        if built.spent:
            self._built = None
            places, vectors = built.left()
            ids, origins = ([each[at] for at in places] for each in (built.ids, built.origins))
            self._rows.put(ids, vectors, origins)


def _best_of(
    found: Sequence[tuple[Rows | Built, NDArray[np.int64], Scores]], k: int
) -> tuple[tuple[str, ...], Scores, tuple[str, ...]]:
    """Name what one query found in one part of a side or several: ids, scores and origins.

    found: positions and scores of the k best of each part, best first.
    """
    ids = [part.ids[at] for part, places, _ in found for at in places.tolist()]
    origins = [part.origins[at] for part, places, _ in found for at in places.tolist()]
    if len(found) == 1:
        return tuple(ids), found[0][2], tuple(origins)
    scores = np.concatenate([each for _, _, each in found])
    order = np.argsort(-scores, kind="stable")[:k]
    best = order.tolist()
    return tuple([ids[at] for at in best]), scores[order], tuple([origins[at] for at in best])


class Sides:
    """The sides of a gallery. Searches read them, many at once; a change has them for itself.

    All but `search` and `behind` needs the gallery's lock. A change comes after that of the truth.
    """

    def __init__(self, folder: Path, truth: Truth, kind: Kind) -> None:
        self._folder, self._truth, self._kind = folder, truth, kind
        self._lock = ReadWriteLock()
        self._sides = self._load()
        self.behind = False  # whether a change failed after the one of the truth

    def search(
        self, queries: Mapping[ModelId, Vectors], k: int, ef: int | None, passing: set[str] | None
    ) -> dict[ModelId, Hits]:
        """Search sides in one turn. passing: no other items than these."""
        with self._lock.reading():
            for space in queries:
                check_space(tuple(self._sides), space)  # it may have been dropped just now
            return {
                space: self._sides[space].search(rows, k, ef, passing)
                for space, rows in queries.items()
            }

    def get(self, space: ModelId) -> IndexedSide | None:
        """Return a side, if it is there."""
        return self._sides.get(space)

    def size(self, space: ModelId) -> int:
        """Count the items of a side. Raises as `check_space` does."""
        with self._lock.reading():
            check_space(tuple(self._sides), space)
            return len(self._sides[space])

    def add(self, space: ModelId) -> None:
        """Make an empty side."""
        self._change(partial(self._sides.update, {space: IndexedSide(space)}))

    def drop(self, space: ModelId) -> None:
        """Forget a side."""
        self._change(partial(self._sides.pop, space))

    def renew(self, space: ModelId) -> None:
        """Load one side again: an index was built over it."""
        fresh = load_side(self._folder, self._truth, space, self._kind)
        self._change(partial(self._sides.update, {space: fresh}))

    def put(
        self, item_ids: Sequence[str], rows: Vectors, space: ModelId, origin: str | None = None
    ) -> None:
        """Let items be searched in one space, and in no other. origin: the model if None."""

        def change() -> None:
            for model, side in self._sides.items():
                if model != space:
                    side.remove(item_ids)
            origins = None if origin is None else [origin] * len(item_ids)
            self._sides[space].put(item_ids, rows, origins)

        self._change(change)

    def remove(self, item_ids: Iterable[str]) -> None:
        """Take items out of all sides."""

        def change() -> None:
            for side in self._sides.values():
                side.remove(item_ids)

        self._change(change)

    def catch_up(self) -> None:
        """Load all sides again, if they are behind the truth."""
        if self.behind:
            fresh = self._load()
            with self._lock.writing():
                self._sides, self.behind = fresh, False

    def _load(self) -> dict[ModelId, IndexedSide]:
        return {
            space: load_side(self._folder, self._truth, space, self._kind)
            for space in self._truth.spaces
        }

    def _change(self, change: Callable[[], object]) -> None:
        with self._lock.writing():
            try:
                change()
            except BaseException:
                self.behind = True  # searches find it out, and load the truth again
                raise


def load_side(folder: Path, truth: Truth, space: ModelId, kind: Kind) -> IndexedSide:
    """Put a side into memory: the index that was built, repaired, or all vectors as rows."""
    numbers, ids, origins, changed = truth.side(space)
    noted = truth.built(space)
    side, since = IndexedSide(space), np.ones(len(ids), dtype=np.bool_)
    kept = None if kind == "flat" or noted is None else _read_index(folder / noted[0])
    if kept is not None and noted is not None:
        index, inside = kept
        place = {number: at for at, number in enumerate(numbers.tolist())}
        there = [place.get(number) for number in inside.tolist()]
        names, made_by = (
            ["" if at is None else each[at] for at in there] for each in (ids, origins)
        )
        live = np.isin(inside, numbers[changed <= noted[1]])
        side = IndexedSide(space, Built(index, names, made_by, live))
        since = ~np.isin(numbers, inside[live])
    if since.all():
        for part, _, makers, vectors in truth.searched_vectors(space):
            side.put(part, vectors, makers)
    elif since.any():
        wanted = numbers[since].tolist()
        found = truth.vectors(wanted, space)
        fresh = np.flatnonzero(since).tolist()
        side.put(
            [ids[at] for at in fresh],
            np.array([found[number] for number in wanted]),
            [origins[at] for at in fresh],
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


def needs_index(side: IndexedSide, kind: Kind) -> bool:
    """Tell whether a side should have an index."""
    return kind != "flat" and len(side) >= _BUILT_FROM


def wants_index(side: IndexedSide, kind: Kind) -> bool:
    """Tell whether an index should be built over a side."""
    return needs_index(side, kind) and side.share_built < _GOOD_ENOUGH


def adopt_graph(folder: Path, space: ModelId, index_file: Path) -> tuple[str, int] | None:
    """Take the graph of an index file for a side whose vectors it has, row by row; else None.

    Returns what `build_index` does.
    """
    found = graph_in(index_file, space)
    if found is None:
        return None
    index, rows = found
    truth = Truth(folder / TRUTH)
    numbers: list[int] = []
    try:
        at = truth.changes
        for _, part, _, vectors in truth.searched_vectors(space):
            theirs = rows[len(numbers) : len(numbers) + len(part)]
            if theirs.shape != vectors.shape or not np.allclose(theirs, vectors, rtol=0, atol=1e-6):
                return None
            numbers += part
        if len(numbers) != len(rows):
            return None
        return _saved(folder, truth, space, at, index, numbers)
    finally:
        truth.close()


def build_index(
    folder: Path, space: ModelId, kind: Kind, told: Callable[[int], None] = lambda done: None
) -> tuple[str, int]:
    """Build an index over a side as the truth has it now: its file's name, and the count it is of.

    Reads through a connection of its own, so that writes go on. told: how many items are in it.
    """
    truth = Truth(folder / TRUTH)
    try:
        with truth.reading():
            at = truth.changes
            parts = list(truth.searched_vectors(space))
        numbers = [number for _, part, _, _ in parts for number in part]
        index = make_index(kind, space, np.concatenate([rows for *_, rows in parts]), told)
        return _saved(folder, truth, space, at, index, numbers)
    finally:
        truth.close()


def _saved(
    folder: Path, truth: Truth, space: ModelId, at: int, index: Any, numbers: Sequence[int]
) -> tuple[str, int]:
    name = f"index-{truth.spaces[space]}-{at}.faiss"
    try:
        np.save(folder / f"{name}.npy", np.array(numbers, dtype=np.int64))
        save_index(index, folder / name)
    except (OSError, RuntimeError) as error:  # what is left of it goes when the gallery is opened
        raise StoreError(f"could not write {folder / name}: {error}", retryable=True) from error
    return name, at


def remove_other_files(folder: Path, truth: Truth) -> None:
    """Remove the files of indexes that are no longer in use, or were never finished."""
    kept = {noted[0] for space in truth.spaces if (noted := truth.built(space)) is not None}
    for path in folder.glob("index-*.faiss*"):
        if path.name.removesuffix(".npy") not in kept:
            path.unlink()
