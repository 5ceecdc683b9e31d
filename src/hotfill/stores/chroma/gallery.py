"""The gallery in Chroma."""

from __future__ import annotations

import secrets
from bisect import bisect_right
from contextlib import contextmanager
from dataclasses import replace
from threading import RLock
from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.errors import InputError, StoreError
from hotfill.stores.base import (
    Capabilities,
    Gallery,
    Hits,
    Page,
    check_space,
    check_unsearched,
)
from hotfill.stores.chroma import adoption
from hotfill.stores.chroma.client import AT_ONCE, ChromaClient
from hotfill.stores.chroma.filter import check_keys, chroma_where
from hotfill.stores.chroma.items import IMPUTED, ORIGIN, ChromaItems, as_they_were, moved, written
from hotfill.stores.chroma.stamp import (
    ChromaStamp,
    note_name,
    outgoing_name,
    shadow_name,
)
from hotfill.stores.chroma.turn import Turn
from hotfill.stores.layouts import DOCUMENT, document_layout
from hotfill.stores.searches import Searches
from hotfill.stores.versions import VersionClock

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Self

    from chromadb.api.models.Collection import Collection
    from numpy.typing import NDArray

    from hotfill.stores.base import Found, ItemState, Metadata, Where
    from hotfill.stores.chroma.stamp import ChromaSpace
    from hotfill.stores.layouts import Layout
    from hotfill.types import ModelId, Vectors

TIMEOUT_SECONDS = 120.0
_STAMP, _OWNER = "stamp", "owner"
_WALKS = 4  # lists of ids that are remembered


class ChromaGallery(Gallery):
    """A gallery in collections of Chroma, embedded in this process or on a Chroma server.

    Make it with `create`, take over a collection that is there with `adopt`, come back with `open`.

    Each space is a collection of its own, and each item one row in the collection of its side. When
    the oldest space is dropped, the next one's collection gets the gallery's name. What of a row
    hotfill does not model (documents, lists, addresses, private keys) goes with it.

    docs/howto/chroma.md says what holds with several processes and after a kill, and why.
    """

    def __init__(self, client: ChromaClient, name: str, *, exact: bool, ef: int | None) -> None:
        """Use `create`, `adopt` or `open`."""
        self._client, self._name, self._exact, self._ef = client, name, exact, ef
        self._lock = RLock()
        self._items = ChromaItems(client, name, ChromaStamp())
        self._turn = Turn(client, name, self._repair)
        client.guard = self._turn.check
        self._searches = Searches()
        self._clock = VersionClock()
        self._walks: dict[str, list[str]] = {}

    @classmethod
    def create(
        cls,
        location: str,
        model: ModelId,
        *,
        collection: str = "items",
        exact: bool = False,
        ef: int | None = None,
        tenant: str = "default_tenant",
        database: str = "default_database",
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> Self:
        """Make a collection for an empty gallery, stamped with its first model.

        location: a folder for the embedded engine, or a server's address ("http://localhost:8000").
        exact: compare with every vector instead of walking graphs (HNSW); that reads them all.
        ef: candidates that a walk of graphs made from now on keeps; Chroma's 100 when None.
        timeout_seconds: of one request to a server; 0 for none.
        Raises StoreError when there is such a collection, or when Chroma cannot be used,
        StoreBusyError when another process has the folder open.
        """
        with _connected(
            location, collection, tenant, database, timeout_seconds, exact=exact, ef=ef, new=True
        ) as (client, options):
            if client.named(collection) is not None or client.named(note_name(collection)):
                raise StoreError(
                    f"there is a collection {collection!r} in {location} already: open or adopt it"
                )
            gallery = cls(client, collection, **options)
            gallery._stamped(ChromaStamp())
            gallery.add_space(model)
            return gallery

    @classmethod
    def adopt(
        cls,
        location: str,
        model: ModelId,
        *,
        collection: str,
        exact: bool = False,
        ef: int | None = None,
        tenant: str = "default_tenant",
        database: str = "default_database",
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> Self:
        """Stamp a collection that is there: say which model made its vectors.

        The collection is not altered: the stamp is in a collection next to it. Moves take rows out
        of it, with all that stands in them; a move back puts them back. Rows that hotfill writes
        get a few small keys (`_hotfill_...`). Metadata are the texts, numbers and booleans of a
        row, but for keys that begin with an underscore.

        Options: as for `create`. Idempotent. Raises StoreError when the collection does not fit, or
        was stamped otherwise before.

        Other programs must not write to the collection while an upgrade runs: nothing tells hotfill
        of it. Let them write through hotfill.
        """
        with _connected(
            location, collection, tenant, database, timeout_seconds, exact=exact, ef=ef
        ) as (client, options):
            gallery = cls(client, collection, **options)
            if client.named(note_name(collection)) is None:
                there = adoption.look(client, collection, model)
                gallery._stamped(
                    ChromaStamp().with_space(
                        model, str(there.id), adoption.metric_of(there), adopted=True
                    )
                )
            gallery._loaded()
            if model not in gallery.spaces:
                held = ", ".join(map(str, gallery.spaces)) or "nothing"
                raise StoreError(f"{collection!r} is stamped already: it holds {held}; open it")
            return gallery

    @classmethod
    def open(
        cls,
        location: str,
        *,
        collection: str = "items",
        exact: bool = False,
        ef: int | None = None,
        tenant: str = "default_tenant",
        database: str = "default_database",
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> Self:
        """Open a gallery that `create` made or `adopt` stamped, and repair what a kill left.

        Options: as for `create`.
        Raises StoreError when there is none, StoreBusyError when another process has the folder.
        """
        with _connected(
            location, collection, tenant, database, timeout_seconds, exact=exact, ef=ef
        ) as (client, options):
            gallery = cls(client, collection, **options)
            gallery._loaded()
            return gallery

    def _loaded(self) -> None:
        with self._lock:
            self._reload()
            self._turn.repair_left()
            if self._stamp.dropped:
                with self._turn.holding([]):
                    self._reload()
                    self._tidy()

    @property
    def capabilities(self) -> Capabilities:
        """Item by item. A server takes many processes, a folder one."""
        return Capabilities(
            atomic_move=False,
            snapshot_reads=False,
            many_processes=not self._client.embedded,
            restricts_writes=True,
            free_length=all(space.keeps_length for space in self._stamp.spaces),
        )

    # Spaces

    @property
    def spaces(self) -> tuple[ModelId, ...]:
        """The spaces, oldest first."""
        with self._lock:
            return self._reload().models

    def _spaces_with(self, models: Iterable[ModelId]) -> tuple[ModelId, ...]:
        stamp = self._stamp
        if all(model in stamp.models for model in models):
            return stamp.models
        return self.spaces

    def _add_space(self, model: ModelId) -> None:
        """Make a collection for a model's vectors, then stamp the gallery."""
        with self._writing([]):
            stamp = self._stamp
            if model in stamp.models:
                return
            first = self._items.collection(stamp.spaces[0]) if stamp.spaces else None
            name = self._name if first is None else shadow_name(self._name, stamp.next_number)
            settings = adoption.settings_like(first, stamp.spaces, model, self._ef)
            if first is not None:
                self._client.drop(name)  # what a kill left
            made = self._client.create(name, adoption.metadata_like(first, settings), settings)
            if made is None:
                raise StoreError(f"there is a collection {name!r} already")
            self._stamped(stamp.with_space(model, str(made.id), settings["space"]))

    def _drop_space(self, model: ModelId) -> None:
        """Take a space out of the stamp, then drop its collections and hand over its name."""
        with self._writing([]):
            stamp = self._stamp
            if model not in stamp.models:
                return
            check_unsearched(model, self._count(model, None))
            self._stamped(stamp.without(model))
            self._tidy()

    def _tidy(self) -> None:
        """Do what is left to do after spaces were dropped. Idempotent."""
        stamp = self._stamp
        if not stamp.dropped:
            return
        for space in stamp.dropped:
            outgoing = outgoing_name(self._name, space.number)
            for name in (self._name, shadow_name(self._name, space.number)):
                there = self._client.named(name)
                if there is not None and str(there.id) == space.collection:
                    self._client.rename(there, outgoing)
        if stamp.spaces and self._client.named(self._name) is None:
            self._client.rename(self._items.collection(stamp.spaces[0]), self._name)
        for space in stamp.dropped:
            self._client.drop(outgoing_name(self._name, space.number))
            self._items.forget(space)
        if len(stamp.spaces) == 1:
            self._items.forget(stamp.spaces[0])  # there is nowhere to come back from
        self._stamped(replace(stamp, dropped=()))

    # Writing

    def _upsert(
        self,
        item_ids: list[str],
        vectors: Vectors,
        space: ModelId,
        metadata: Sequence[Metadata] | None,
        kept: Mapping[ModelId, Vectors],
    ) -> NDArray[np.int64]:
        """Write items with new content."""
        for row in metadata or ():
            check_keys(row)
        self._client.check_room(vectors)
        with self._writing(item_ids):
            target = self._stamp.space_to_write(space)
            others = {self._known(model): rows for model, rows in kept.items()}
            before = self._items.find(item_ids)
            versions = self._clock.take(len(item_ids))
            rows = written(item_ids, vectors, metadata, versions, target, before)
            crossing = [row for row in before.values() if row.side != target]
            with self._turn.crossing([row.item_id for row in crossing]):
                for other, their in others.items():
                    self._items.keep(other, rows, their)
                self._items.write(target, rows, before)
                self._leave(crossing)
                self._items.unkeep(before.values())
            return versions

    def _set_metadata(self, item_ids: list[str], metadata: Sequence[Metadata]) -> None:
        """Replace the metadata of items that exist."""
        for row in metadata:
            check_keys(row)
        with self._writing(item_ids):
            before = self._items.find(item_ids)
            for space in self._stamp.spaces:
                rows = [
                    before[item_id].with_metadata(given)
                    for item_id, given in zip(item_ids, metadata, strict=True)
                    if item_id in before and before[item_id].side == space
                ]
                if rows:
                    self._items.write(space, rows, before, vectors=False)

    def _delete(self, item_ids: list[str]) -> int:
        """Remove items from all sides."""
        with self._writing(item_ids):
            there = self._items.find(item_ids)
            if there:
                self._items.remove(list(there))
                self._items.unkeep(there.values())
            return len(there)

    def _move(
        self,
        item_ids: list[str],
        vectors: Vectors,
        space: ModelId,
        expected_versions: NDArray[np.int64],
        origin: str,
    ) -> NDArray[np.bool_]:
        """Keep the vectors of the old side, write the new side's rows, remove the old ones."""
        self._client.check_room(vectors)
        with self._writing(item_ids):
            target = self._stamp.space_to_write(space)
            before = self._items.find(item_ids, vectors=True)
            rows = moved(item_ids, vectors, expected_versions, target, origin, before)
            if target.adopted and rows:
                there = {row.item_id: before[row.item_id] for row in rows}
                rows = as_they_were(rows, self._items.vectors(there, target), space)
            crossing = [before[r.item_id] for r in rows if before[r.item_id].side != target]
            with self._turn.crossing([row.item_id for row in crossing]):
                for side in {row.side for row in crossing}:
                    some = [row for row in crossing if row.side == side]
                    self._items.keep(side, some, np.array([row.vector for row in some]))
                self._items.write(target, rows, before)
                self._leave(crossing)
            there_now = {row.item_id for row in rows}
            return np.array([item_id in there_now for item_id in item_ids], dtype=np.bool_)

    @contextmanager
    def _writing(self, item_ids: Sequence[str]) -> Iterator[None]:
        """Be the only one that writes, and know all spaces."""
        with self._lock:
            self._check_open()
            with self._turn.writing(item_ids):
                if not self._client.embedded:
                    self._reload()
                yield

    def _leave(self, rows: Sequence[Any]) -> None:
        if rows:
            self._searches.let_end()  # those that may have looked at the new side too early
            self._items.leave(rows)

    def _repair(self, item_ids: Sequence[str]) -> None:
        self._reload()
        self._items.repair(item_ids)

    # Reading

    def _search(
        self, queries: Mapping[ModelId, Vectors], k: int, where: Where | None
    ) -> dict[ModelId, Hits]:
        """Search side by side, oldest first.

        On a server other processes may move items between two requests. One that moves forward is
        seen before or after its move, or both; the older sides are searched again at the end for
        one that moves back.
        """
        condition = chroma_where(where) if where else None
        stamp = self._stamp
        for model in queries:
            check_space(stamp.models, model)
        order = [space for space in stamp.spaces if space.model in queries]
        with self._searches.one():
            found = {s.model: self._side(s, queries[s.model], k, condition) for s in order}
            if not self._client.embedded:
                for space in order[:-1]:
                    again = self._side(space, queries[space.model], k, condition)
                    found[space.model] = [
                        {**first, **second}
                        for first, second in zip(found[space.model], again, strict=True)
                    ]
        return {model: _hits(found[model], k) for model in queries}

    def _side(
        self, space: ChromaSpace, queries: Vectors, k: int, where: dict[str, Any] | None
    ) -> list[dict[str, float]]:
        """Search one side: for each query items and scores."""
        there = self._items.collection(space)
        if self._exact:
            return self._compared(there, space, queries, k, where)
        answer = self._client.read(
            "search",
            lambda _: there.query(
                query_embeddings=np.ascontiguousarray(queries),
                n_results=k,
                where=where,
                include=["distances"],
            ),
        )
        distances = answer["distances"] or []
        return [
            dict(zip(ids, _scores(np.array(row, dtype=np.float32), space), strict=True))
            for ids, row in zip(answer["ids"], distances, strict=True)
        ]

    def _compared(
        self,
        there: Collection,
        space: ChromaSpace,
        queries: Vectors,
        k: int,
        where: dict[str, Any] | None,
    ) -> list[dict[str, float]]:
        """Compare queries with every vector of a side, some at a time."""
        best: list[dict[str, float]] = [{} for _ in queries]
        item_ids = self._client.ids(there, where)
        for start in range(0, len(item_ids), AT_ONCE):
            rows = list(self._client.rows(there, item_ids[start : start + AT_ONCE], ["embeddings"]))
            if not rows:
                continue
            vectors = np.array([row["embeddings"] for row in rows], dtype=np.float32)
            names = [row["id"] for row in rows]
            for i, query in enumerate(queries):
                scores = _compare(query, vectors, space)
                merged = best[i] | dict(zip(names, scores, strict=True))
                order = sorted(merged, key=merged.__getitem__, reverse=True)[:k]
                best[i] = {name: merged[name] for name in order}
        return best

    def _get(self, item_ids: list[str]) -> list[ItemState | None]:
        """Read the state of items."""
        found = self._find(item_ids)
        return [found[i].state if i in found else None for i in item_ids]

    def _layout(self) -> Layout | None:
        """Tell what made the first rows of a side, wherever they are now."""
        with self._lock:
            return document_layout(
                key
                for space in self._stamp.spaces
                for key in adoption.first_keys(self._client, self._items.collection(space))
            )

    def _stored(self, item_ids: list[str], fields: list[str]) -> dict[str, dict[str, Any]]:
        """Read what a row says of these keys; `DOCUMENT` is its document."""
        return {
            item_id: {
                field: value
                for field in fields
                if (value := row.document if field == DOCUMENT else row.content.get(field))
                is not None
            }
            for item_id, row in self._find(item_ids).items()
        }

    def _vectors(self, item_ids: list[str], space: ModelId) -> Found:
        """Read searched or kept vectors."""
        with self._lock:
            where = self._known(space)
            there = self._find(item_ids)
            found = self._items.vectors(there, where).usable(space)
        place = {item_id: n for n, item_id in enumerate(found.item_ids)}
        order = [place[item_id] for item_id in item_ids if item_id in place]
        return type(found)(
            tuple(found.item_ids[n] for n in order), found.versions[order], found.vectors[order]
        )

    def _find(self, item_ids: Sequence[str]) -> dict[str, Any]:
        """Find items; where some are missing, also in spaces that others added."""
        with self._lock:
            self._check_open()
            different = list(dict.fromkeys(item_ids))
            found = self._items.find(different)
            stamp = self._stamp
            missing = len(found) < len(different) and not self._client.embedded
            if missing and self._reload() != stamp:
                found = self._items.find(different)
            return found

    def _scan(self, space: ModelId, after: str | None, limit: int) -> Page:
        """List items searched in `space`, in the order of their ids.

        Chroma lists rows by their place only, which changes when others are removed. So a walk
        begins with a list of all ids of the side. The cursor names the list and the last id.
        """
        number, colon, last = (after or "").partition(":")
        if after is not None and not colon:
            raise InputError(f"after: the cursor of an earlier page, got {after!r}")
        with self._lock:
            where = self._known(space)
            there = self._items.collection(where)
            if after is None or number not in self._walks:
                # By another process, or long ago: what is listed anew holds all that stayed.
                number = secrets.token_hex(4)
                self._walks[number] = sorted(self._client.ids(there))
                for oldest in list(self._walks)[:-_WALKS]:
                    del self._walks[oldest]
            listed = self._walks[number]
            place = 0 if after is None else bisect_right(listed, last)
            rows: list[Any] = []
            while place < len(listed) and len(rows) < limit:
                part = listed[place : place + limit - len(rows)]
                place += len(part)
                rows += self._items.read(where, part)
            more = place < len(listed)
            if not more:
                self._walks.pop(number)
            rows.sort(key=lambda row: row.item_id)
            return Page(
                item_ids=tuple(row.item_id for row in rows),
                versions=np.array([row.version for row in rows], dtype=np.int64),
                origins=tuple(row.state.origin for row in rows),
                cursor=f"{number}:{listed[place - 1]}" if more else None,
            )

    def _count(self, space: ModelId, origin: str | None) -> int:
        """Count the items searched in `space`."""
        with self._lock:
            there = self._items.collection(self._known(space))
            if origin is not None and origin != space.fingerprint:
                return len(self._client.ids(there, {ORIGIN: origin}))
            rows = int(self._client.call("count rows", lambda _: there.count()))
            return rows if origin is None else rows - len(self._client.ids(there, {IMPUTED: True}))

    def _optimise(self) -> None:
        """Nothing: Chroma builds its graphs by itself."""

    def _close(self) -> None:
        with self._lock:
            self._client.close()

    # Upkeep

    def _restrict_writes(self, spaces: list[ModelId]) -> None:
        with self._writing([]):
            after = self._stamp.restricted(spaces)
            if after.writable != self._stamp.writable:
                self._stamped(after)

    def _permit_writes(self, space: ModelId, revision: int) -> None:
        with self._writing([]):
            stamp = self._stamp
            if stamp.revision == revision:
                self._stamped(stamp.restricted([*stamp.models_to_write, space]))

    def _owner_after(self, owner: str) -> str:
        if self._client.embedded:
            return owner  # whoever has the folder
        with self._writing([]):
            now = self._note_values().get(_OWNER) or owner
            self._stamped(self._stamp, owner=now)
            return str(now)

    def _release_from(self, owner: str) -> None:
        if self._client.embedded:
            return
        with self._writing([]):
            if self._note_values().get(_OWNER) == owner:
                self._stamped(self._stamp, owner="")

    def _rehearse_writes(self, model: ModelId | None) -> list[str]:
        with self._lock:
            return adoption.rehearse(self._client, self._name, self._items, model)

    def _remarks(self, model: ModelId | None) -> list[str]:
        with self._lock:
            return adoption.remarks(self._client, self._items)

    # Inside the lock

    @property
    def _stamp(self) -> ChromaStamp:
        return self._items.stamp

    def _known(self, model: ModelId) -> ChromaSpace:
        check_space(self._spaces_with([model]), model)
        return self._stamp.space(model)

    def _note(self) -> Collection | None:
        return self._client.named(note_name(self._name))

    def _note_values(self) -> dict[str, Any]:
        note = self._note()
        return dict((note.metadata if note else None) or {})

    def _reload(self) -> ChromaStamp:
        """Read the stamp: another process may have changed it."""
        text = self._note_values().get(_STAMP)
        if text is None:
            raise StoreError(
                f"there is no hotfill gallery {self._name!r} in {self._client.location}: stamp a "
                "collection, or create one"
            )
        self._items.stamp = ChromaStamp.from_json(text, self._name)
        return self._items.stamp

    def _stamped(self, stamp: ChromaStamp, *, owner: str | None = None) -> None:
        """Write the stamp, and the owner if given, in one step."""
        note = self._note()
        if note is None:
            values = {_STAMP: stamp.to_json(), _OWNER: owner or ""}
            if self._client.create(note_name(self._name), values) is None:
                raise StoreError(f"{self._name!r} was stamped by another process just now")
        else:
            kept = (note.metadata or {}).get(_OWNER, "")
            values = {_STAMP: stamp.to_json(), _OWNER: kept if owner is None else owner}
            self._client.call("write the stamp", lambda _: note.modify(metadata=values))
        self._items.stamp = stamp


@contextmanager
def _connected(
    location: str,
    collection: str,
    tenant: str,
    database: str,
    timeout: float,
    *,
    exact: bool,
    ef: int | None,
    new: bool = False,
) -> Iterator[tuple[ChromaClient, dict[str, Any]]]:
    """Connect for what the block opens; if that fails, disconnect. timeout: in seconds."""
    client = ChromaClient(
        location,
        collection,
        tenant=tenant,
        database=database,
        timeout_seconds=timeout,
        new=new,
    )
    try:
        yield client, {"exact": exact, "ef": ef}
    except BaseException:
        client.close()
        raise


def _scores(distances: NDArray[np.float32], space: ChromaSpace) -> list[float]:
    """Turn Chroma's distances (1 - product, or the square of the distance) into scores."""
    if space.metric != "l2":
        return list(np.float32(1) - distances)
    if space.model.metric == "cosine":  # |a - b|^2 = 2 - 2ab for vectors of unit length
        return list(np.float32(1) - distances / 2)
    return list(-np.sqrt(np.maximum(distances, 0)))


def _compare(query: Vectors, vectors: Vectors, space: ChromaSpace) -> list[float]:
    if space.metric == "l2":
        return _scores(np.square(vectors - query).sum(axis=1), space)
    if space.metric == "cosine":
        lengths = np.linalg.norm(vectors, axis=1)
        return list(vectors @ query / np.where(lengths > 0, lengths, 1))
    return list(vectors @ query)


def _hits(lists: Sequence[Mapping[str, float]], k: int) -> Hits:
    best = [sorted(scores.items(), key=lambda pair: -pair[1])[:k] for scores in lists]
    return Hits(
        item_ids=tuple(tuple(item_id for item_id, _ in pairs) for pairs in best),
        scores=tuple(np.array([score for _, score in pairs], dtype=np.float32) for pairs in best),
    )
