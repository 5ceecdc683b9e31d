"""All sides in memory, changed as the truth was changed, and loaded again when that failed."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from hotfill.stores.index_files.loading import load_side
from hotfill.stores.index_files.side import Side
from hotfill.stores.inputs import check_space
from hotfill.stores.read_write_lock import Turns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from hotfill.stores.base import Hits
    from hotfill.stores.index_files.built import Kind
    from hotfill.stores.index_files.truth import Truth
    from hotfill.types import ModelId, Vectors


class Sides:
    """The sides of a gallery. Searches read them, many at once; a change has them for itself.

    All but `search` and `behind` needs the gallery's lock. A change comes after that of the truth.
    """

    def __init__(self, folder: Path, truth: Truth, kind: Kind) -> None:
        self._folder, self._truth, self._kind = folder, truth, kind
        self._turns = Turns()
        self._sides = self._load()
        self.behind = False  # whether a change failed after the one of the truth

    def search(
        self, queries: Mapping[ModelId, Vectors], k: int, ef: int | None, passing: set[str] | None
    ) -> dict[ModelId, Hits]:
        """Search sides in one turn. passing: no other items than these."""
        with self._turns.reading():
            for space in queries:
                check_space(tuple(self._sides), space)  # it may have been dropped just now
            return {
                space: self._sides[space].search(rows, k, ef, passing)
                for space, rows in queries.items()
            }

    def get(self, space: ModelId) -> Side | None:
        """Return a side, if it is there."""
        return self._sides.get(space)

    def size(self, space: ModelId) -> int:
        """Count the items of a side."""
        return len(self._sides[space])

    def add(self, space: ModelId) -> None:
        """Make an empty side."""
        self._change(partial(self._sides.update, {space: Side(space)}))

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
            with self._turns.writing():
                self._sides, self.behind = fresh, False

    def _load(self) -> dict[ModelId, Side]:
        return {
            space: load_side(self._folder, self._truth, space, self._kind)
            for space in self._truth.spaces
        }

    def _change(self, change: Callable[[], object]) -> None:
        with self._turns.writing():
            self.behind = True
            change()
            self.behind = False
