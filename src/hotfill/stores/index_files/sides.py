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
from hotfill.stores.index_files.index import Built, load_index, nearest
from hotfill.stores.index_files.truth import Truth
from hotfill.stores.memory import Rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from hotfill.stores.index_files.index import Kind
    from hotfill.types import ModelId, Vectors


TRUTH = "truth.sqlite"
_BUILT_FROM = 10_000  # items of a side; below, comparing with all of them is quick enough
_GOOD_ENOUGH = 0.7  # share of a side that an index covers, and of an index that lives


class IndexedSide:
    """The searched items of a space. Changing needs the store's turn to write."""

    def __init__(self, space: ModelId, built: Built | None = None) -> None:
        self._space = space
        self._built = built
        self._rows = Rows(space.dimension)

    def __len__(self) -> int:
        return len(self._rows.ids) + (0 if self._built is None else len(self._built))

    @property
    def share_built(self) -> float:
        """How good the built index still is: the share of it that lives, and of what it covers."""
        if self._built is None:
            return 0.0
        return min(self._built.share_live, len(self._built) / max(1, len(self)))

    def put(self, item_ids: Sequence[str], vectors: Vectors) -> None:
        """Give items vectors, in the place of those they have."""
        for item_id, vector in zip(item_ids, vectors, strict=True):
            if self._built is not None:
                self._built.bury(item_id)
            self._rows.put(item_id, vector)
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
        ids, vectors = self._rows.ids, self._rows.filled
        if passing is not None:
            places = self._rows.places(passing)
            ids, vectors = [ids[at] for at in places], vectors[places]
        metric = self._space.metric
        lists = [
            ([ids[at] for at in places.tolist()], scores)
            for places, scores in nearest(queries, vectors, k, metric)
        ]
        if self._built is not None:
            merged = []
            for some, others in zip(
                lists, self._built.search(queries, k, metric, ef, passing), strict=True
            ):
                scores = np.concatenate([some[1], others[1]])
                order = np.argsort(-scores, kind="stable")[:k]
                names = some[0] + others[0]
                merged.append(([names[at] for at in order.tolist()], scores[order]))
            lists = merged
        return Hits(tuple(tuple(names) for names, _ in lists), tuple(s for _, s in lists))

    def _leave_built(self) -> None:
        """Go on without an index of which little is left."""
        built = self._built
        if built is None:
            return
        if built.spent:
            self._built = None
            for item_id, vector in zip(*built.left(), strict=True):
                self._rows.put(item_id, vector)


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
        """Count the items of a side."""
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

    def put(self, item_ids: Sequence[str], rows: Vectors, space: ModelId) -> None:
        """Let items be searched in one space, and in no other."""

        def change() -> None:
            for model, side in self._sides.items():
                if model != space:
                    side.remove(item_ids)
            self._sides[space].put(item_ids, rows)

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
            self.behind = True
            change()
            self.behind = False


def load_side(folder: Path, truth: Truth, space: ModelId, kind: Kind) -> IndexedSide:
    """Put a side into memory: the index that was built, repaired, or all vectors as rows."""
    numbers, ids, changed = truth.side(space)
    noted = truth.built(space)
    side, since = IndexedSide(space), np.ones(len(ids), dtype=np.bool_)
    kept = None if kind == "flat" or noted is None else _read_index(folder / noted[0])
    if kept is not None and noted is not None:
        index, inside = kept
        names = dict(zip(numbers.tolist(), ids, strict=True))
        live = np.isin(inside, numbers[changed <= noted[1]])
        side = IndexedSide(space, Built(index, [names.get(n, "") for n in inside.tolist()], live))
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


def wants_index(side: IndexedSide, kind: Kind) -> bool:
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
