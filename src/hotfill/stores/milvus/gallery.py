"""The gallery in Milvus."""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.errors import InputError, StoreError
from hotfill.stores.base import Capabilities, Gallery, Hits, check_space, check_unsearched
from hotfill.stores.layouts import collection_layout
from hotfill.stores.milvus import items
from hotfill.stores.milvus.adoption import look
from hotfill.stores.milvus.claim import Claim
from hotfill.stores.milvus.fields import DeclaredFields, declared_fields, where_expression
from hotfill.stores.milvus.items import Items
from hotfill.stores.milvus.server import MOST_HITS, Server
from hotfill.stores.milvus.stamp import MilvusStamp
from hotfill.stores.versions import VersionClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Self

    from numpy.typing import NDArray

    from hotfill.stores.base import Found, ItemState, Metadata, Page, Where
    from hotfill.stores.layouts import Layout
    from hotfill.stores.milvus.stamp import SpaceFields
    from hotfill.types import ModelId, Vectors


TIMEOUT_SECONDS = 60.0


class MilvusGallery(Gallery):
    """A gallery in collections of a Milvus server, or of Milvus Lite in this process.

    Make it with `create`, take over a collection that is there with `adopt`, come back with `open`.

    Each space is a collection of its own; each item is one row, in the collection of its side. One
    process at a time has a gallery, and another is refused. docs/howto/milvus.md says what holds
    and why, and names the limits.
    """

    def __init__(
        self, server: Server, claim: Claim, name: str, *, exact: bool, fresh: bool
    ) -> None:
        """Use `create`, `adopt` or `open`."""
        self._server, self._claim, self._name = server, claim, name
        self._exact, self._fresh = exact, fresh
        self._items = Items(server, claim, MilvusStamp.from_json(claim.stamp, name))
        self._clock = VersionClock()
        self._declared = DeclaredFields({}, closed=False)

    @classmethod
    def create(
        cls,
        location: str,
        model: ModelId,
        *,
        collection: str = "items",
        token: str = "",
        database: str = "",
        exact: bool = False,
        ef: int | None = None,
        fresh: bool = False,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> Self:
        """Make an empty gallery, stamped with its first model.

        location: the server's address ("http://localhost:19530"), or a file for Milvus Lite, whose
            name ends in ".db".
        collection: what the names of the gallery's collections begin with.
        token: "user:password" or an API key. database: the server's default one when empty.
        exact: compare with every vector instead of walking graphs (HNSW). ef: candidates that a
            walk keeps. fresh: see the class. timeout_seconds: of one call.
        Raises StoreError when there is such a gallery, or when the server cannot be used.
        """
        with _connected(
            location, collection, token=token, database=database, ef=ef, timeout=timeout_seconds
        ) as server:
            claim = Claim.make(server, collection)
            gallery = cls(server, claim, collection, exact=exact, fresh=fresh)
            return gallery._beginning(lambda: gallery.add_space(model))

    @classmethod
    def adopt(
        cls,
        location: str,
        model: ModelId,
        *,
        collection: str,
        vector: str | None = None,
        token: str = "",
        database: str = "",
        exact: bool = False,
        ef: int | None = None,
        fresh: bool = False,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> Self:
        """Stamp a collection that is there: say which model made its vectors.

        The collection is not altered. Moves take rows out of it, with all that stands in them, into
        a collection of the new space, which has the same fields; a move back puts them back. When
        the last other space is dropped, the collection that is left has the name of the adopted
        one. Writes through hotfill note in dynamic fields that begin with `hotfill_` what moves
        need; where the collection has none of these, a version is a hash of the row, so that
        metadata that are set change it, too.

        The collection must have a primary key that its users choose (text or whole number), and one
        field of vectors, called `vector` (any name when None). Metadata are the texts, numbers and
        booleans of a row: declared fields, which every item needs unless they may be null, and
        dynamic ones.
        Others: as for `create`. Idempotent. Raises StoreError when the collection does not
        fit, or was stamped otherwise before.

        Other programs must not write to the collection while an upgrade runs: nothing tells hotfill
        of it, and a vector that they change would be taken for the old one.
        """
        with _connected(
            location, collection, token=token, database=database, ef=ef, timeout=timeout_seconds
        ) as server:
            space = look(server, collection, model, vector)
            try:
                claim = Claim.make(server, collection)
            except StoreError:
                claim = Claim.take(server, collection)
            gallery = cls(server, claim, collection, exact=exact, fresh=fresh)
            return gallery._beginning(lambda: gallery._adopted(space))

    @classmethod
    def open(
        cls,
        location: str,
        *,
        collection: str = "items",
        token: str = "",
        database: str = "",
        exact: bool = False,
        ef: int | None = None,
        fresh: bool = False,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> Self:
        """Open a gallery that `create` made or `adopt` stamped, and repair what a crash left.

        Options: as for `create`; `exact` is for spaces added from now on.
        Raises StoreError when there is none, StoreBusyError when a process has it.
        """
        with _connected(
            location, collection, token=token, database=database, ef=ef, timeout=timeout_seconds
        ) as server:
            claim = Claim.take(server, collection)
            gallery = cls(server, claim, collection, exact=exact, fresh=fresh)
            return gallery._beginning(gallery._loaded)

    def _beginning(self, begin: Callable[[], None]) -> Self:
        """Do the first thing; close if it fails."""
        try:
            begin()
        except BaseException:
            self.close()
            raise
        return self

    def _adopted(self, space: SpaceFields) -> None:
        stamp = self._stamp.with_adopted(space, self._name)
        if stamp != self._stamp:
            self._restamp(stamp)
        self._loaded()

    def _loaded(self) -> None:
        """Let the server load the collections, and bring items to one side after a crash."""
        self._name_heir()
        self._read_fields()
        for space in self._stamp.spaces:
            self._server.load(space)
        if self._claim.torn:
            items.one_side_each(self._server, self._stamp, self._claim.last_beat)
        self._tidy()

    @cached_property
    def capabilities(self) -> Capabilities:
        """Item by item, one process; searches see what was true within the last moment."""
        return Capabilities(
            atomic_move=False, snapshot_reads=False, many_processes=False, most_hits=MOST_HITS
        )

    @property
    def spaces(self) -> tuple[ModelId, ...]:
        """The spaces, oldest first."""
        return self._stamp.models

    def _add_space(self, model: ModelId) -> None:
        """Make a collection for a model's vectors, then stamp the gallery."""
        with self._items.lock:
            if model not in self.spaces:
                self._claim.check()
                stamp = self._stamp.with_space(model, self._name)
                like = self._stamp.spaces[-1] if stamp.space(model).adopted else None
                self._server.create(stamp.space(model), like, exact=self._exact)
                self._restamp(stamp)

    def _drop_space(self, model: ModelId) -> None:
        """Drop the collection of an unsearched space. Its kept vectors are void from then on.

        An adopted gallery's last collection takes the name of the first, and its rows say no more
        than their users wrote.
        """
        with self._items.reading(None):
            if model not in self.spaces:
                return
            self._claim.check()
            space = self._stamp.space(model)
            check_unsearched(model, items.count(self._server, space, None))
            left = self._stamp.without_space(model, self._name)
            self._items.settle()
            with self._items.searches.none():
                self._restamp(left)
                if left.spaces and space.adopted:
                    heir = left.spaces[-1]
                    self._server.replace(space.collection, heir.was or heir.collection)
                else:
                    self._server.drop(space)
                self._name_heir()
            self._read_fields()
        self._tidy()

    def _name_heir(self) -> None:
        """Let the collection that is left of an adopted gallery have its name. Idempotent."""
        for space in self._stamp.spaces:
            if space.was not in ("", space.collection) and space.was in self._server.names():
                self._server.replace(space.collection, space.was)
                self._server.rename(space.was, space.collection)
                self._server.load(space)

    def _tidy(self) -> None:
        """Take notes that nobody needs any more out of the rows. Idempotent; goes on after a kill.

        Page by page, so that reads and writes of other threads get their turn.
        """
        (space, *others) = self._stamp.spaces or (None,)
        if space is None or others or not space.was:
            return
        after, more = None, not space.bare
        while more:
            with self._items.writing([]):
                if self._stamp.spaces != (space,):
                    return  # the next upgrade has begun
                self._items.settle()
                rows = self._server.page(space, after, items.PAGE, "hotfill_since >= 0")
                self._items.put(space, items.tidied(rows, space), {})
            after, more = (rows[-1].item_id, True) if rows else (None, False)
        with self._items.lock:
            self._restamp(self._stamp.settled())

    def _read_fields(self) -> None:
        """Learn which fields the rows of an adopted gallery have to have."""
        spaces = [space for space in self._stamp.spaces if space.adopted]
        if spaces and (description := self._server.describe(spaces[0].collection)) is not None:
            self._declared = DeclaredFields(
                declared_fields(description, spaces[0]), closed=any(s.bare for s in spaces)
            )

    def _upsert(
        self,
        item_ids: list[str],
        vectors: Vectors,
        space: ModelId,
        metadata: Sequence[Metadata] | None,
        kept: Mapping[ModelId, Vectors],
    ) -> NDArray[np.int64]:
        """Write items with new content, each as one whole row."""
        with self._items.writing(item_ids):
            for model in (space, *kept):
                check_space(self.spaces, model)
            items.check_possible(item_ids, self._stamp)
            versions = self._clock.take(len(item_ids))
            before = self._items.find(item_ids)
            written = items.written(
                item_ids,
                vectors,
                metadata,
                kept,
                versions,
                space=space,
                stamp=self._stamp,
                before=before,
            )
            self._declared.check(written)
            self._items.put(self._stamp.space(space), written, before)
            if self._stamp.space(space).bare:
                there = self._items.find(item_ids)
                return np.array([there[item_id][1].version for item_id in item_ids], dtype=np.int64)
            return versions

    def _set_metadata(self, item_ids: list[str], metadata: Sequence[Metadata]) -> None:
        """Replace the metadata of items that exist."""
        with self._items.writing(item_ids):
            there = self._items.find(item_ids, vectors=True)
            rows = {
                space: items.described(item_ids, metadata, space, there)
                for space in self._stamp.spaces
            }
            for described in rows.values():
                self._declared.check(described)
            for space, described in rows.items():
                self._items.put(space, described, {})

    def _delete(self, item_ids: list[str]) -> int:
        """Remove rows."""
        with self._items.writing(item_ids):
            there = self._items.find(item_ids)
            for space in self._stamp.spaces:
                if gone := [item_id for item_id, (side, _) in there.items() if side == space]:
                    self._items.remove(space, gone)
            return len(there)

    def _move(
        self,
        item_ids: list[str],
        vectors: Vectors,
        space: ModelId,
        expected_versions: NDArray[np.int64],
        origin: str,
    ) -> NDArray[np.bool_]:
        """Let items be searched in `space`: write the new row, later remove the earlier one."""
        with self._items.writing(item_ids):
            target, now = self._stamp.space(space), time.time_ns()
            if target.bare and origin != space.fingerprint:
                raise StoreError(
                    f"collection {target.collection!r} has no dynamic fields, so hotfill could not "
                    "note there that a vector is imputed"
                )
            before = self._items.find(item_ids, vectors=True)
            moved = items.moved(
                item_ids,
                vectors,
                expected_versions,
                target=target,
                origin=origin,
                now=now,
                before=before,
            )
            self._items.put(target, moved, before)
            there = {row.item_id for row in moved}
            return np.array([item_id in there for item_id in item_ids], dtype=np.bool_)

    def _search(
        self, queries: Mapping[ModelId, Vectors], k: int, where: Where | None
    ) -> dict[ModelId, Hits]:
        """Search side by side."""
        if self._fresh:
            with self._items.lock:
                self._items.settle()
        with self._items.searches.one():
            stamp = self._stamp
            for model in queries:
                check_space(stamp.models, model)
            return {
                model: self._search_side(stamp.space(model), rows, k, where)
                for model, rows in queries.items()
            }

    def _get(self, item_ids: list[str]) -> list[ItemState | None]:
        """Read the state of items."""
        with self._items.reading(item_ids):
            there = self._items.find(item_ids)
        return items.states(item_ids, there)

    def _vectors(self, item_ids: list[str], space: ModelId) -> Found:
        """Read searched or kept vectors: both are in the item's row."""
        with self._items.reading(item_ids):
            where = self._stamp.space(space)
            there = self._items.find(item_ids, vectors=True)
        return items.vectors(item_ids, there, where)

    def _layout(self) -> Layout | None:
        """Tell what made the collection."""
        with self._items.lock:
            spaces = [space for space in self._stamp.spaces if space.adopted]
            named = (spaces[0].key, spaces[0].vector) if spaces else ()
            return collection_layout((*named, *self._declared.about))

    def _stored(self, item_ids: list[str], fields: list[str]) -> dict[str, dict[str, Any]]:
        """Read fields of rows, those that are no metadata, too."""
        with self._items.reading(item_ids):
            there = self._items.find(item_ids)
        return {
            item_id: {key: row.content[key] for key in fields if row.content.get(key) is not None}
            for item_id, (_, row) in there.items()
        }

    def _scan(self, space: ModelId, after: str | None, limit: int) -> Page:
        """List items searched in `space`, in the order of their keys."""
        with self._items.reading(None):
            check_space(self.spaces, space)
            items.check_cursor(after, self._stamp)
            return items.page(self._server, self._stamp.space(space), after, limit)

    def _count(self, space: ModelId, origin: str | None) -> int:
        """Count the items searched in `space`."""
        with self._items.reading(None):
            return items.count(self._server, self._stamp.space(space), origin)

    def _optimise(self) -> None:
        """Settle what is pending; let a server seal and index what it holds in memory."""
        with self._items.lock:
            self._items.settle()
            spaces = self._stamp.spaces
        for space in spaces:
            self._server.flush(space)

    def _indexed(self, space: ModelId) -> float | None:
        with self._items.lock:
            return self._server.indexed(self._stamp.space(space))

    def _close(self) -> None:
        """Settle what is pending, let other processes have the gallery, disconnect."""
        with self._items.lock:
            settled = False
            try:
                self._items.settle()
                settled = not self._items.torn
            finally:
                try:
                    self._claim.end(settled=settled)
                finally:
                    self._server.close()

    def _owner_after(self, owner: str) -> str:
        with self._items.lock:
            self._claim.check()
            now = self._claim.owner or owner
            self._claim.owner = now
            return now

    def _release_from(self, owner: str) -> None:
        with self._items.lock:
            if self._claim.owner == owner:
                self._claim.owner = ""

    def _remarks(self, model: ModelId | None) -> list[str]:
        with self._items.reading(None):
            return items.remarks(self._server, self._stamp)

    def _search_side(
        self, space: SpaceFields, queries: Vectors, k: int, where: Where | None
    ) -> Hits:
        condition = ""
        if where:
            condition = where_expression(where, space, self._declared, lite=self._server.lite)
        lists = self._server.search(space, queries, k, condition)
        return Hits(
            item_ids=tuple(tuple(item_id for item_id, _ in found) for found in lists),
            scores=tuple(_scores([d for _, d in found], space) for found in lists),
        )

    # Inside the lock

    def _restamp(self, stamp: MilvusStamp) -> None:
        self._items.settle()
        self._claim.stamp = stamp.to_json()
        self._items.stamp = stamp

    @property
    def _stamp(self) -> MilvusStamp:
        return self._items.stamp


@contextmanager
def _connected(
    location: str,
    collection: str,
    *,
    token: str,
    database: str,
    ef: int | None,
    timeout: float,
) -> Iterator[Server]:
    """Connect for what the block opens; if that fails, disconnect. timeout: in seconds."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,149}", collection):
        raise InputError(
            f"collection: letters, digits and underscores, at most 150, got {collection!r}"
        )
    server = Server(location, token=token, database=database, timeout_seconds=timeout, ef=ef)
    try:
        yield server
    except BaseException:
        server.close()
        raise


def _scores(distances: Sequence[float], space: SpaceFields) -> NDArray[np.float32]:
    values = np.array(distances, dtype=np.float32)
    if space.metric != "L2":
        return values
    # Milvus's L2 is the square of the distance: 2 - 2ab for vectors of unit length.
    if space.model.metric == "cosine":
        return (1 - values / 2).astype(np.float32)
    return -np.sqrt(np.maximum(values, 0))
