"""The table as hotfill writes to it: what goes before and after each commit."""

from __future__ import annotations

import json
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from hotfill.errors import InputError, StoreError
from hotfill.extras import need
from hotfill.stores.folder import check_room
from hotfill.stores.lancedb.client import connect, open_table, translated
from hotfill.stores.lancedb.filter import ids_sql
from hotfill.stores.lancedb.layout import (
    CEILING_NOTE,
    OWN,
    VERSION,
    layout_of,
    missing_columns,
    pa,
    prepare,
    vector_field,
)
from hotfill.stores.lancedb.snapshot import TableSnapshot
from hotfill.stores.long_work import InHand, run_apart

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from threading import Event

    from hotfill.stores.base import Metadata
    from hotfill.stores.lancedb.layout import LanceLayout
    from hotfill.types import ModelId


INDEXED_FROM = 50_000  # items of a side; below, comparing with all of them is quick enough
MOST_COLUMNS = 1000  # a commit's cost grows with them, and none ever goes away
_IDS_INDEXED_FROM = 10_000  # rows
_LOOKED_INTO, _LEAST_LOOKED_INTO = 16, 20  # one part of an index in 16, at least 20
_READERS_FINISH_IN = timedelta(minutes=5)
_FOR_EVER = timedelta(days=100 * 365)
_FEW_COMMITS, _MANY_COMMITS = 32, 256
_SHARE_WRITTEN = 0.1  # of the rows: a compaction writes them anew, which must be worth its while
_DELETED_AT_ONCE = 2_000  # ids in one statement
_EMPTY_IS_FINE = "null"  # the client looks into columns called "vector", and minds empty ones


class LanceTable:
    """The table. All but `seen` needs the gallery's lock.

    seen: the newest version, for readers. It is replaced after each commit, never changed.
    """

    def __init__(self, folder: Path, name: str, *, exact: bool) -> None:
        self._folder, self._name, self._exact = folder, name, exact
        self._database = connect(folder)
        self._handle = open_table(self._database, folder, name)
        self._commits = self._rows_written = 0  # since the last compaction
        self._optimising, self._building = Lock(), False
        self._in_hand = InHand()  # indexes that are built
        self.seen = self._newest(indexed=None)

    # Spaces and columns

    def prepare(self) -> None:
        """Add hotfill's columns to a table that was adopted and is as it was found."""
        if not self.seen.layout.prepared:
            prepare(self._handle, self.seen.layout)
            self._look()

    def add_space(self, model: ModelId) -> None:
        """Add a stamped column for vectors of a model."""
        check_room(self._folder, 0)
        with translated("add a column"):
            self._handle.add_columns(vector_field(model, self.seen.layout.next_number))
        self._look()

    def drop_space(self, model: ModelId) -> None:
        """Remove the column of a space with its index."""
        self._check_prepared()
        with translated("drop a column"):
            self._handle.drop_columns([self.seen.layout.columns[model]])
        self.seen = self._newest(indexed=None)

    def make_columns(self, metadata: Sequence[Metadata] | None) -> None:
        """Add the columns that metadata needs and the table lacks.

        Raises InputError where these are too many.
        """
        fresh = missing_columns(self.seen.layout, metadata or ())
        if fresh:
            there = len(self.seen.layout.schema.names)
            if there + len(fresh) > MOST_COLUMNS:
                raise InputError(
                    f"metadata: each key is a column in LanceDB, and a table has at most "
                    f"{MOST_COLUMNS:,} here; this one has {there:,}, and {len(fresh):,} keys are "
                    "new: put what few items have into one text; nothing was written"
                )
            with translated("add columns"):
                self._handle.add_columns(pa.schema(fresh))
            self._look()

    def raise_ceiling(self, version: int) -> None:
        """Note durably that content versions up to this one may have been given out."""
        with translated("note the versions given out"):
            self._handle.update_field_metadata(
                {"path": VERSION, "metadata": {CEILING_NOTE: str(version)}}
            )
        self._look()

    # Rows

    @contextmanager
    def writing(self, n_bytes: int, n_items: int) -> Iterator[None]:
        """Prepare for one commit, and let readers see it afterwards."""
        self._check_prepared()
        check_room(self._folder, n_bytes)
        if not self._building and compaction_is_due(
            self._handle, self._commits, self._rows_written
        ):
            self._compact()
            build_indexes(self._handle, missing_indexes(self._handle, exact=self._exact))
            self.seen = self._newest(indexed=None)
        self._commits += 1
        self._rows_written += n_items
        try:
            yield
        finally:
            self._look()

    def write(self, rows: Any, *, new: bool) -> None:
        """Write whole rows in one commit. new: none of the items is in the table."""
        with translated("write items"):
            if new:
                self._handle.add(rows, on_bad_vectors=_EMPTY_IS_FINE)
            else:
                merge = self._handle.merge_insert(self.seen.layout.item_id)
                merge.when_matched_update_all().when_not_matched_insert_all()
                merge.execute(rows, on_bad_vectors=_EMPTY_IS_FINE)

    def delete(self, item_ids: Sequence[str]) -> None:
        """Delete rows; very many in several commits."""
        for start in range(0, len(item_ids), _DELETED_AT_ONCE):
            part = item_ids[start : start + _DELETED_AT_ONCE]
            with translated("delete items"):
                self._handle.delete(ids_sql(self.seen.layout, part))

    # Upkeep

    def optimise(self, lock: AbstractContextManager[object]) -> None:
        """Compact under the gallery's lock; build indexes without it, in a process of their own."""
        with self._optimising, self._in_hand.taken() as given_up:
            with lock:
                check_room(self._folder, 0)
                self._compact()
                self._building = True  # the engine cannot compact at the same time
            try:
                table = open_table(self._database, self._folder, self._name)
                if missing := missing_indexes(table, exact=self._exact):
                    build_apart(self._folder, self._name, missing, given_up)
            finally:
                self._building = False
            with lock:
                self.seen = self._newest(indexed=None)

    def abandon(self) -> None:
        """Give up the indexes that are built; the table stays as it is."""
        self._in_hand.give_up()

    def _compact(self) -> None:
        compact(self._handle)
        self._commits = self._rows_written = 0

    # Versions

    def _look(self) -> None:
        self.seen = self._newest(indexed=self.seen.indexed)

    def _newest(self, *, indexed: Mapping[str, int] | None) -> TableSnapshot:
        """Open the table as it is now. indexed: the columns with an index, if that is known."""
        table = open_table(self._database, self._folder, self._name)
        layout = layout_of(table.schema, self._name)
        if indexed is None:
            indexed = indexed_columns(table, layout)
        return TableSnapshot(table, layout, indexed)

    def _check_prepared(self) -> None:
        if not self.seen.layout.prepared:
            raise StoreError(
                f"the table {self._name} is still as it was found, and hotfill's columns "
                f"{', '.join(OWN)} are not in it: `add_space` or `hotfill start` adds them"
            )


# Upkeep: compaction, indexes, and versions that nobody reads any more ----------------------------


def compaction_is_due(table: Any, commits: int, rows_written: int) -> bool:
    """Tell whether the files since the last compaction are many enough to slow down reading."""
    if commits < _FEW_COMMITS:
        return False
    with translated("count rows"):
        return commits >= _MANY_COMMITS or rows_written >= _SHARE_WRITTEN * table.count_rows()


def compact(table: Any) -> None:
    """Put small files together, bring indexes up to date, remove versions older than minutes.

    A table with a tag keeps all its versions: the engine refuses to clean up next to a tag, and who
    sets one has a use for versions.
    """
    with translated("compact the table"):
        tagged = bool(table.tags.list())
        table.optimize(cleanup_older_than=_FOR_EVER if tagged else _READERS_FINISH_IN)


def missing_indexes(table: Any, *, exact: bool) -> list[tuple[str, str]]:
    """Tell which indexes a table of this size wants and does not have yet.

    Returns columns, each with how its vectors are compared; empty for the column of the ids.
    """
    layout = layout_of(table.schema, table.name)
    missing = []
    with translated("look at the indexes"):
        there = {column for index in table.list_indices() for column in index.columns}
        if layout.item_id not in there and table.count_rows() >= _IDS_INDEXED_FROM:
            missing.append((layout.item_id, ""))
        for space, column in layout.columns.items():
            wanted = not exact and layout.prepared and column not in there
            if wanted and _needs_index(layout, column, table.count_rows(layout.side(space)), there):
                missing.append((column, layout.comparison(space)))
    return missing


def _needs_index(layout: LanceLayout, column: str, size: int, indexed: set[str]) -> bool:
    """Tell whether a side is large, or another side has an index: searches must not lose it.

    size: items of the side. indexed: columns that have an index, whoever made it.
    """
    others = {*layout.columns.values()} - {column}
    return size >= (1 if indexed & others else INDEXED_FROM)


def build_indexes(table: Any, missing: Iterable[tuple[str, str]]) -> None:
    """Make indexes that are missing; see `missing_indexes`.

    Of the engine's kinds the one that keeps whole vectors in parts: its scores are exact, and it
    is built in a thirtieth of the time of a graph (20,000 x 64: 0.5 s instead of 15 s).
    """
    kinds = need("lancedb.index", "lancedb")
    with translated("build indexes"):
        for column, comparison in missing:
            kind = kinds.IvfFlat(distance_type=comparison) if comparison else kinds.BTree()
            table.create_index(column, config=kind)


def build_apart(
    folder: Path, name: str, missing: Sequence[tuple[str, str]], given_up: Event
) -> None:
    """Make indexes in another process, which can be ended: each is there whole, or not at all.

    Raises StoreError when that fails, AbandonedError.
    """
    code, last = run_apart(
        f"{__name__}:build_there", str(folder), name, json.dumps(missing), given_up=given_up
    )
    if code != 0:
        raise StoreError(
            f"the process that indexed {folder} ended with {code}: {last}; "
            "the table is as it was, but for indexes that it had built",
            retryable=True,
        )


def build_there(folder: str, name: str, missing: str) -> None:
    """Make indexes in this process. missing: as JSON."""
    place = Path(folder)
    build_indexes(open_table(connect(place), place, name), json.loads(missing))


def indexed_share(table: Any, layout: LanceLayout, space: ModelId) -> float | None:
    """Tell how much of a side's column an index covers; None where it has none and needs none."""
    size = table.count_rows(layout.side(space))
    column, shares = layout.columns[space], [0.0]
    indexed: set[str] = set()
    with translated("look at the indexes"):
        for index in table.list_indices():
            indexed.update(index.columns)
            about = table.index_stats(index.name) if column in index.columns else None
            if about is not None and about.distance_type == layout.comparison(space):
                rows = about.num_indexed_rows + about.num_unindexed_rows
                shares.append(about.num_indexed_rows / rows if rows else 0.0)
    needed = _needs_index(layout, column, size, indexed)
    return max(shares) if size and (needed or any(shares)) else None


def indexed_columns(table: Any, layout: LanceLayout) -> dict[str, int]:
    """Return the columns of vectors with an index that compares as their space does.

    With each goes how many parts of it a search should look into. An adopted table may have an
    index of another kind: searches pass it by.
    """
    spaces = {column: space for space, column in layout.columns.items()}
    fitting = {}
    with translated("look at the indexes"):
        for index in table.list_indices():
            (column, *_) = index.columns
            if column in spaces:
                about = table.index_stats(index.name)
                if about is not None and about.distance_type == layout.comparison(spaces[column]):
                    parts = int(about.num_indexed_rows**0.5)  # as many as the engine makes
                    fitting[column] = max(_LEAST_LOOKED_INTO, parts // _LOOKED_INTO)
    return fitting
