"""The gallery in PostgreSQL with pgvector."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg

from hotfill.errors import ConfigError, InputError
from hotfill.stores.base import Capabilities, Found, Gallery, Hits, ItemState, Page
from hotfill.stores.long_work import InHand, check_wanted
from hotfill.stores.postgres import inspector, schema, statements
from hotfill.stores.postgres.connections import Connections, translated
from hotfill.stores.postgres.origin_table import OriginTable
from hotfill.stores.postgres.stamp import check_name
from hotfill.stores.postgres.table import Table
from hotfill.stores.postgres.triggers import OWN_SESSION
from hotfill.stores.postgres.values import (
    check_fit,
    documents_of,
    fits,
    in_order,
    metadata_of,
    vector_array,
    vectors_of,
)
from hotfill.vectors import as_stored

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Self

    from numpy.typing import NDArray

    from hotfill.stores.base import Metadata, Where
    from hotfill.stores.layouts import Layout
    from hotfill.stores.postgres.connections import Connection
    from hotfill.stores.postgres.stamp import PostgresStamp, Rows, SpaceColumns
    from hotfill.stores.postgres.statements import Statement
    from hotfill.stores.postgres.values import Binary
    from hotfill.types import ModelId, Vectors

CONNECTIONS = 8
TIMEOUT_SECONDS = 120.0


class PostgresGallery(Gallery):
    """A gallery in one table of a PostgreSQL database that has the extension pgvector.

    Make it with `create`, take over a table that is there with `adopt`, come back with `open`.

    Each item is a row; each space has a column of vectors. A move is one UPDATE of a whole batch:
    it fills the new column and says that the item is searched there. The earlier column keeps its
    vector, for the way back. A search is one SELECT over all sides. Several processes on
    several machines may use the gallery at once.
    """

    def __init__(self, table: Table, *, exact: bool) -> None:
        """Use `create`, `adopt` or `open`."""
        self._table = table
        self._exact = exact
        self._in_hand = InHand()  # indexes that the server builds for this process,
        self._building_by: Connection | None = None  # asked by this connection
        self._types = table.connections.run("find pgvector", schema.types)

    @classmethod
    def create(
        cls,
        dsn: str,
        model: ModelId,
        *,
        table: str = "items",
        schema: str = "public",
        half: bool = False,
        exact: bool = False,
        ef: int | None = None,
        connections: int = CONNECTIONS,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> Self:
        """Make a table for an empty gallery, stamped with its first model.

        dsn: libpq's connection string or URL. schema: must exist.
        half: keep vectors with 16 bits for a number: half the room, three significant digits.
        exact: compare with every vector instead of using the indexes that `optimise` builds.
        ef: candidates that a search of an index keeps (pgvector's `hnsw.ef_search`), 40 when None.
        connections: most at a time. timeout_seconds: of one statement; 0 for none.
        Raises StoreError when the table exists, or when the server cannot be used.
        """
        with _connected(dsn, ef, connections, timeout_seconds, schema, table) as opened:
            made = Table.create(opened, model, schema_name=schema, table=table, half=half)
            return cls(made, exact=exact)

    @classmethod
    def adopt(
        cls,
        dsn: str,
        model: ModelId,
        *,
        table: str,
        schema: str = "public",
        rows: Mapping[str, str] | None = None,
        id_column: str | None = None,
        vector_column: str | None = None,
        metadata_column: str | None = None,
        half: bool = False,
        exact: bool = False,
        ef: int | None = None,
        connections: int = CONNECTIONS,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> Self:
        """Stamp a table that is there: say which model made its vectors.

        The table is not altered: a note about it is made in `hotfill_galleries`, in its schema. It
        can be read and searched then. The first `add_space` adds hotfill's columns, and from then
        on it can be written through hotfill too.

        rows: which of the table are the gallery, by columns and the values they must have; all when
            empty. None: all, but of a framework's table those of its only collection.
        id_column: text, uuid or a whole number; unique and never empty. vector_column: `vector` or
        `halfvec` with the model's dimension, or with none; rows in which it is empty are no items.
        metadata_column: jsonb or json; None for no metadata. Where a framework made the table
        (`hotfill.stores.layouts`), None stands for its column; else for "id" and "embedding".
        half: of the columns added later. Others: as for `create`. Idempotent.
        Raises StoreError when the table does not fit, or was stamped otherwise before.

        Programs that know the vectors by the column's name find the new model's there as soon as
        the old model's space is dropped.
        """
        columns = inspector.Columns(id_column, vector_column, metadata_column, _rows(rows))
        with _connected(dsn, ef, connections, timeout_seconds, schema, table) as opened:
            found = Table.adopt(opened, model, columns, schema_name=schema, table=table, half=half)
            return cls(found, exact=exact)

    @classmethod
    def open(
        cls,
        dsn: str,
        *,
        table: str = "items",
        schema: str = "public",
        rows: Mapping[str, str] | None = None,
        exact: bool = False,
        ef: int | None = None,
        connections: int = CONNECTIONS,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> Self:
        """Open a gallery that `create` made or `adopt` stamped. Options: as for `create`.

        rows: as for `adopt`; None for those of the only gallery that the table has.
        Raises StoreError when there is none, or when the server cannot be used.
        """
        which = _rows(rows)
        with _connected(dsn, ef, connections, timeout_seconds, schema, table) as opened:
            found = Table.open(opened, schema_name=schema, table=table, rows=which)
            return cls(found, exact=exact)

    @cached_property
    def capabilities(self) -> Capabilities:
        """Whole batches move at once, searches see one moment, many processes."""
        return Capabilities(
            atomic_move=True,
            snapshot_reads=True,
            many_processes=True,
            optimise_while_moving=False,
            free_length=True,
            restricts_writes=True,
        )

    @property
    def spaces(self) -> tuple[ModelId, ...]:
        """The spaces, oldest first."""
        return self._table.reload().models

    def _spaces_with(self, models: Iterable[ModelId]) -> tuple[ModelId, ...]:
        return self._table.stamp_with(models).models

    def keeps_length(self, space: ModelId) -> bool:
        """As the capabilities say, but for a column that others fill: there cosines are compared.

        What an upgrade leaves of an adopted table takes over its column, when it is complete.
        """
        known = [each for each in self._table.stamp.spaces if each.model == space]
        return all(each.comparison != "cosine" for each in known)

    def _origins(self) -> OriginTable:
        stamp = self._table.stamp
        return OriginTable(self._table.connections, stamp.schema, stamp.key)

    def _add_space(self, model: ModelId) -> None:
        """Add a column for a model's vectors; to an adopted table first hotfill's own columns."""
        stamp = self._table.alter(
            f"add the space {model}", lambda c, stamp: schema.add_space(c, stamp, model)
        )
        if stamp.prepared and not stamp.counted:
            self._table.alter("count the items", schema.count_all)

    def _drop_space(self, model: ModelId) -> None:
        """Drop the column of an unsearched space.

        The space that is then the only one left takes over the name of an adopted column: programs
        of others go on with it.
        """
        heir = self._table.reload().heir_of(model)
        since = None if heir is None else self._handed_over(heir)
        self._table.alter(
            f"drop the space {model}", lambda c, stamp: schema.drop_space(c, stamp, model, since)
        )

    def _handed_over(self, heir: SpaceColumns) -> int | None:
        size = self.count(heir.model)
        with translated("hand the vectors over"), self._long() as connection:
            return schema.hand_over(connection, self._table.stamp, heir, size, exact=self._exact)

    def _upsert(
        self,
        item_ids: list[str],
        vectors: Vectors,
        space: ModelId,
        metadata: Sequence[Metadata] | None,
        kept: Mapping[ModelId, Vectors],
    ) -> NDArray[np.int64]:
        """Write items with new content."""
        check_fit(item_ids, self._table.stamp.id_type)
        documents = None if metadata is None else documents_of(metadata, self._table.stamp)
        order = in_order(item_ids)

        def write(stamp: PostgresStamp) -> Statement:
            return statements.upsert(
                stamp,
                stamp.space_to_write(space),
                [item_ids[i] for i in order],
                {
                    stamp.space(model): self._array(rows[order], stamp.space(model))
                    for model, rows in {space: vectors, **kept}.items()
                },
                None if documents is None else [documents[i] for i in order],
            )

        versions = dict(self._table.write("write items", (space, *kept), write))
        self._check_all_written(item_ids, versions)
        return np.array([versions[item_id] for item_id in item_ids], dtype=np.int64)

    def _set_metadata(self, item_ids: list[str], metadata: Sequence[Metadata]) -> None:
        """Replace the metadata of items that exist."""
        documents = documents_of(metadata, self._table.stamp)
        order = self._fitting(item_ids)
        if len(order):
            self._table.write(
                "write metadata",
                (),
                lambda stamp: statements.set_metadata(
                    stamp, [item_ids[i] for i in order], [documents[i] for i in order]
                ),
            )

    def _delete(self, item_ids: list[str]) -> int:
        """Delete the rows of items."""
        order = self._fitting(item_ids)
        if not len(order):
            return 0
        ((gone,),) = self._table.write(
            "delete items", (), lambda stamp: statements.delete(stamp, [item_ids[i] for i in order])
        )
        return int(gone)

    def _move(
        self,
        item_ids: list[str],
        vectors: Vectors,
        space: ModelId,
        expected_versions: NDArray[np.int64],
        origin: str,
    ) -> NDArray[np.bool_]:
        """Let items be searched in `space`, all of them in one transaction."""
        order = self._fitting(item_ids)

        def write(stamp: PostgresStamp) -> Statement:
            return statements.move(
                stamp,
                stamp.space_to_write(space),
                [item_ids[i] for i in order],
                self._array(vectors[order], stamp.space(space)),
                expected_versions[order].tolist(),
                origin,
            )

        moved = (
            {item_id for (item_id,) in self._table.write("move items", (space,), write)}
            if len(order)
            else ()
        )
        return np.array([item_id in moved for item_id in item_ids], dtype=np.bool_)

    def _search(
        self, queries: Mapping[ModelId, Vectors], k: int, where: Where | None
    ) -> dict[ModelId, Hits]:
        """Search all sides in one statement."""
        n = len(next(iter(queries.values())))

        def ask(stamp: PostgresStamp) -> Statement:
            asked = {
                stamp.space(model): (n, self._array(rows, stamp.space(model)))
                for model, rows in queries.items()
            }
            return statements.search(stamp, asked, k, where, exact=self._exact)

        stamp, found = self._table.ask("search", tuple(queries), ask)
        return {model: _hits_of(found, stamp.space(model).number, n) for model in queries}

    def _get(self, item_ids: list[str]) -> list[ItemState | None]:
        """Read the state of items."""
        wanted = [item_ids[i] for i in self._fitting(item_ids)]
        stamp, rows = self._table.ask("read items", (), lambda stamp: statements.get(stamp, wanted))
        states = {}
        for item_id, version, number, origin, metadata in rows:
            space = stamp.numbered(number)
            if space is not None:
                states[item_id] = ItemState(
                    item_id, version, space.model, origin, metadata_of(metadata)
                )
        return [states.get(item_id) for item_id in item_ids]

    def _layout(self) -> Layout | None:
        return self._table.connections.run(
            "look at the table", lambda c: inspector.layout(c, self._table.stamp)
        )

    def _stored(self, item_ids: list[str], fields: list[str]) -> dict[str, dict[str, Any]]:
        """Read columns of items."""
        stamp = self._table.stamp
        columns = self._table.connections.run(
            "look at the table", lambda c: inspector.columns(c, stamp)
        )
        if missing := [field for field in fields if field not in columns]:
            raise InputError(
                f"{stamp.table} has no column {missing[0]!r}; it has {', '.join(columns)}"
            )
        wanted = [item_ids[i] for i in self._fitting(item_ids)]
        _, rows = self._table.ask(
            "read items", (), lambda stamp: statements.stored(stamp, wanted, fields)
        )
        return {item_id: _without_nulls(values) for item_id, values in rows}

    def _vectors(self, item_ids: list[str], space: ModelId) -> Found:
        """Read searched or kept vectors. Of a cosine space, those of zeros are left out."""
        wanted = [item_ids[i] for i in self._fitting(item_ids)]

        def ask(stamp: PostgresStamp) -> Statement:
            return statements.vectors(stamp, stamp.space(space), wanted)

        stamp, rows = self._table.ask("read vectors", (space,), ask)
        found = vectors_of([row[2] for row in rows], space.dimension, stamp.space(space).kind)
        # An adopted column may hold vectors of any length, and zeros, which have no direction.
        found = as_stored(found, space)
        place = {
            row[0]: i for i, row in enumerate(rows) if space.metric != "cosine" or found[i].any()
        }
        there = [item_id for item_id in item_ids if item_id in place]
        chosen = [place[item_id] for item_id in there]
        return Found(
            item_ids=tuple(there),
            versions=np.array([rows[i][1] for i in chosen], dtype=np.int64),
            vectors=found[chosen],
        )

    def _scan(self, space: ModelId, after: str | None, limit: int) -> Page:
        """List items searched in `space`, in the order of the id column."""
        id_type = self._table.stamp.id_type
        if after is not None and not fits(after, id_type):
            raise InputError(
                f"after: expected the cursor of an earlier page, an id of type {id_type}; "
                f"got {after!r}"
            )

        def ask(stamp: PostgresStamp) -> Statement:
            return statements.scan(stamp, stamp.space(space), after, limit)

        _, rows = self._table.ask("list items", (space,), ask)
        return Page(
            item_ids=tuple(row[1] for row in rows),
            versions=np.array([row[2] for row in rows], dtype=np.int64),
            origins=tuple(row[3] for row in rows),
            cursor=rows[-1][1] if len(rows) == limit else None,
        )

    def _count(self, space: ModelId, origin: str | None) -> int:
        """Count the items searched in `space`: add up a few rows that the database keeps."""

        def ask(stamp: PostgresStamp) -> Statement:
            return statements.count(stamp, stamp.space(space), origin)

        _, ((n,),) = self._table.ask("count items", (space,), ask)
        return int(n)

    def _count_rows(self, space: ModelId) -> int:
        """Count in the table of items: rows that came past the triggers are in no kept sum."""

        def ask(stamp: PostgresStamp) -> Statement:
            return statements.count_rows(stamp, stamp.space(space), None)

        _, ((n,),) = self._table.ask("count items", (space,), ask)
        return int(n)

    def _optimise(self) -> None:
        """Build the indexes of large sides, drop those of empty ones, and let the server tidy up.

        Writes to an indexed side are far slower: build early only for a side that is searched more
        than written, and the new side's index when the backfill is done.
        """
        sizes = {model: self.count(model) for model in self.spaces}
        with (
            self._in_hand.taken() as given_up,
            translated("build indexes"),
            self._long() as connection,
        ):
            self._building_by = connection
            try:
                stamp = self._table.stamp
                if stamp.prepared:
                    schema.add_up(connection, stamp)
                schema.optimise(connection, stamp, sizes, given_up, exact=self._exact)
            except psycopg.errors.QueryCanceled:
                check_wanted(given_up)
                raise
            finally:
                self._building_by = None

    def abandon_building(self) -> None:
        """Have the server end what it does; the next `optimise` begins anew."""
        self._in_hand.give_up()
        if (connection := self._building_by) is not None:
            with suppress(psycopg.Error):  # it has just ended
                connection.cancel()

    @contextmanager
    def _long(self) -> Iterator[Connection]:
        """Connect for what may take long."""
        with self._table.connections.apart() as connection:
            if not self._table.connections.pooled:  # else the session is not ours to alter
                connection.execute("SET statement_timeout = 0")
            yield connection

    def _indexed(self, space: ModelId) -> float | None:
        if self._exact:
            return None
        size = self._count(space, None)
        stamp = self._table.stamp_with((space,))
        return self._table.connections.run(
            "look at the indexes", lambda c: schema.indexed(c, stamp, stamp.space(space), size)
        )

    def _recount(self) -> dict[ModelId, int]:
        self._table.alter("count the items", schema.count_all)
        return {model: self._count(model, None) for model in self._table.stamp.models}

    def _restrict_writes(self, spaces: list[ModelId]) -> None:
        """Write so into the stamp, then wait for the statements that went by the one before."""
        if (stamp := self._table.reload()) == stamp.restricted(spaces):
            return
        self._table.alter(
            "restrict writes", lambda c, stamp: schema.write_stamp(c, stamp.restricted(spaces))
        )
        self._table.connections.run(
            "wait for what is being written", lambda c: schema.await_writers(c, self._table.stamp)
        )

    def _permit_writes(self, space: ModelId, revision: int) -> None:
        def permit(connection: Connection, stamp: PostgresStamp) -> PostgresStamp:
            if stamp.revision != revision:
                return stamp
            wider = stamp.restricted([*stamp.models_to_write, space])
            return schema.write_stamp(connection, wider)

        self._table.alter("let items be written", permit)

    def _owner_after(self, owner: str) -> str:
        return self._table.connections.run(
            "claim the gallery", lambda c: schema.claim(c, self._table.stamp, owner)
        )

    def _release_from(self, owner: str) -> None:
        self._table.connections.run(
            "release the gallery", lambda c: schema.release(c, self._table.stamp, owner)
        )

    def _rehearse_writes(self, model: ModelId | None) -> list[str]:
        return inspector.rehearse(self._table.connections, self._table.reload(), model, self._array)

    def _rehearse_drop(self, model: ModelId) -> list[str]:
        return inspector.rehearse_drop(self._table.connections, self._table.stamp, model)

    def _remarks(self, model: ModelId | None) -> list[str]:
        return inspector.remarks(self._table.connections, self._table.reload(), model)

    def _close(self) -> None:
        """Close the connections."""
        self._table.connections.close()

    def _check_all_written(self, item_ids: list[str], versions: Mapping[str, int]) -> None:
        """Raise InputError where new ids cannot be written: nothing was, then."""
        if missing := [item_id for item_id in item_ids if item_id not in versions]:
            if self._table.stamp.rows and not self._table.stamp.ids_given_out:
                raise InputError(
                    f"{self._table.stamp.table} has rows of others with one of the ids "
                    f"{', '.join(missing[:5])}: take other ids; nothing was written"
                )
            states = zip(item_ids, self._get(item_ids), strict=True)
            missing = [item_id for item_id, state in states if state is None] or missing
            stamp = self._table.stamp
            raise InputError(
                f"{stamp.schema}.{stamp.table} gives out its ids itself ({stamp.id_column} is "
                f"GENERATED ALWAYS AS IDENTITY), and has no item {', '.join(missing[:5])}: insert "
                "new rows with your own statements, hotfill sees them; nothing was written"
            )

    def _array(self, rows: Vectors, space: SpaceColumns) -> Binary:
        return vector_array(rows, space.kind, self._types[space.kind])

    def _fitting(self, item_ids: Sequence[str]) -> NDArray[np.intp]:
        """Return the places of ids that the table can hold, in the order of the ids."""
        id_type = self._table.stamp.id_type
        order = in_order(item_ids)
        return np.array([i for i in order if fits(item_ids[i], id_type)], dtype=np.intp)


def _without_nulls(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _rows(given: Mapping[str, str] | None) -> Rows | None:
    """Bring a choice of rows to one form. Raises ConfigError for what cannot be one."""
    if given is None:
        return None
    for column, value in given.items():
        check_name("a column of rows", column)
        if not isinstance(value, str) or set(value) & set("%\0"):
            raise ConfigError(
                f"rows: {column} must be compared with a text without % signs, got {value!r}"
            )
    return tuple(sorted(given.items()))


@contextmanager
def _connected(
    dsn: str, ef: int | None, most: int, timeout_seconds: float, schema_name: str, table: str
) -> Iterator[Connections]:
    """Connect, with the settings that a gallery needs, for what the block opens.

    If that fails, disconnect.
    """
    check_name("the schema", schema_name)
    check_name("the table", table)
    settings = {
        **OWN_SESSION,
        # An index goes on until k hits passed the filter, and gives them nearly in order.
        "hnsw.iterative_scan": "relaxed_order",
        "hnsw.max_scan_tuples": "1000000",
    }
    if ef is not None:
        settings["hnsw.ef_search"] = str(ef)
    connections = Connections(dsn, most=most, timeout_seconds=timeout_seconds, settings=settings)
    try:
        yield connections
    except BaseException:
        connections.close()
        raise


def _hits_of(rows: Sequence[tuple[Any, ...]], number: int, n_queries: int) -> Hits:
    """Sort the hits of one side by query and score. rows: as `statements.search` says.

    The order of rows is not relied on: an index gives them nearly sorted, and parts of one
    statement may run at once.
    """
    found: list[list[tuple[float, str, str]]] = [[] for _ in range(n_queries)]
    for side, query, item_id, score, origin in rows:
        if side == number and np.isfinite(score):  # the cosine of a zero vector is no number
            found[query - 1].append((-score, item_id, origin))
    for each in found:
        each.sort(key=lambda hit: hit[0])
    return Hits(
        item_ids=tuple(tuple(item_id for _, item_id, _ in each) for each in found),
        scores=tuple(np.array([-score for score, *_ in each], np.float32) for each in found),
        origins=tuple(tuple(origin for _, _, origin in each) for each in found),
    )
