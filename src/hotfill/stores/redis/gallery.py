"""The gallery in Redis."""

from __future__ import annotations

import re
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from hotfill.errors import ClosedSideError, HotfillError, InputError, StoreError
from hotfill.stores.base import (
    Capabilities,
    Found,
    Gallery,
    Hits,
    ItemState,
    Page,
    check_space,
    check_unsearched,
)
from hotfill.stores.filters import matches
from hotfill.stores.redis import adoption, documents
from hotfill.stores.redis.filter import FACETS, Condition, condition, facets
from hotfill.stores.redis.server import MissingIndexError, RedisServer, StaleStampError
from hotfill.stores.redis.stamp import OWN, RedisStamp
from hotfill.vectors import as_stored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Self

    from numpy.typing import NDArray

    from hotfill.stores.base import Metadata, Scalar, Where
    from hotfill.stores.nested import Path
    from hotfill.stores.redis.documents import Documents
    from hotfill.stores.redis.stamp import SpaceIndex
    from hotfill.types import ModelId, Vectors

T = TypeVar("T")

TIMEOUT_SECONDS = 60.0
_TRIES = 10  # while other processes change the stamp, or an item's metadata
_QUERIES_AT_ONCE = 16  # of one moment; other commands wait as long
_PAGE = 1000
_JSON_NUMBER_BYTES = 32  # as MEMORY USAGE says (RedisJSON 2.8.3)
_SIDE, _VERSION, _ORIGIN = (f"{OWN}side",), (f"{OWN}version",), (f"{OWN}origin",)
_REVISION, _FACETS = (f"{OWN}revision",), (FACETS,)


class RedisGallery(Gallery):
    """A gallery in documents of a Redis server with its query engine.

    Make it with `create`, take over an index that is there with `adopt`, come back with `open`.

    Each item is a hash or a JSON document, each space an index over those documents whose items are
    searched there. What must be whole is a script that the server runs at once, for some items at a
    time. Several processes on several machines may use the gallery at once. docs/howto/redis.md
    says what holds and why, and names the limits.
    """

    def __init__(self, server: RedisServer, stamp: RedisStamp, *, exact: bool) -> None:
        """Use `create`, `adopt` or `open`."""
        self._server, self._exact = server, exact
        self._know(stamp)
        self._most = server.most_hits()

    @classmethod
    def create(
        cls,
        location: str,
        model: ModelId,
        *,
        index: str = "items",
        kind: Literal["hash", "json"] = "hash",
        password: str | None = None,
        exact: bool = False,
        ef: int | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> Self:
        """Make an empty gallery, stamped with its first model.

        location: the server's URL ("redis://localhost:6379/0", "rediss://" for TLS).
        index: the gallery's name; its documents have the keys "<index>:<item id>".
        kind: of its documents. password: of the user in the URL, or of the default one.
        exact: compare with every vector (FLAT) instead of walking graphs (HNSW), in spaces added
            from now on. ef: candidates that a walk keeps; 64 when None, in an adopted index what it
            was made with. timeout_seconds: of one call; 0 for none.
        Raises StoreError when there is such a gallery, or when the server cannot be used.
        """
        if not re.fullmatch(r"\w[\w.-]{0,99}", index):
            raise InputError(
                f"index: letters, digits, hyphens, dots and underscores, at most 100; got {index!r}"
            )
        with _connected(location, index, password, ef, timeout_seconds) as server:
            stamp = RedisStamp(index, kind, f"{index}:")
            _check_alone(server, stamp)
            gallery = cls(server, stamp, exact=exact)
            if server.stamp_text() is not None:
                raise StoreError(f"there is a gallery {index!r} already: open it")
            gallery._add_space(model)
            server.register()
            return gallery

    @classmethod
    def adopt(
        cls,
        location: str,
        model: ModelId,
        *,
        index: str,
        vector: str = "embedding",
        password: str | None = None,
        exact: bool = False,
        ef: int | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> Self:
        """Stamp an index that is there: say which model made its vectors.

        Index and documents are not altered; a note and lists of the ids are made next to them. The
        first `add_space` makes an index of our own over the old vectors. Moves and writes through
        hotfill add fields that begin with `hotfill_` to documents, and leave all others as they
        are; a move leaves the old vector where it is.

        vector: the attribute of the index, over FLOAT32; documents without one are no items. An
        item is called what its key is called after the index's prefix. Metadata are the texts of a
        hash, and numbers where the index says NUMERIC; in JSON all texts, numbers and booleans, a
        dot in a key going one level down.
        Others: as for `create`. Idempotent. Raises StoreError when the index does not fit, or was
        stamped otherwise before.

        Programs that go on writing past hotfill: a document that they replace says nothing of
        hotfill, so its item is on the adopted side again. Who changes the vector in a document has
        to remove `hotfill_side` from it. Once the adopted space is dropped, documents that say
        nothing are items of the newest one, and have their vector in its field, `hotfill_v<n>`.
        """
        with _connected(location, index, password, ef, timeout_seconds) as server:
            if (text := server.stamp_text()) is None:
                stamp = adoption.look(server, index, model, vector)
                _check_alone(server, stamp)
                try:
                    server.restamp(0, stamp)
                except StaleStampError:  # another process was as quick
                    stamp = RedisStamp.from_json(server.stamp_text() or "", index)
                server.register()
            else:
                stamp = RedisStamp.from_json(text, index)
            if model not in stamp.models:
                held = ", ".join(map(str, stamp.models))
                raise StoreError(f"{index} is stamped already: it holds {held}; open it")
            gallery = cls(server, stamp, exact=exact)
            gallery._recount()
            return gallery

    @classmethod
    def open(
        cls,
        location: str,
        *,
        index: str = "items",
        password: str | None = None,
        exact: bool = False,
        ef: int | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> Self:
        """Open a gallery that `create` made or `adopt` stamped. Options: as for `create`.

        Raises StoreError when there is none, or when the server cannot be used.
        """
        with _connected(location, index, password, ef, timeout_seconds) as server:
            if (text := server.stamp_text()) is None:
                raise StoreError(
                    f"there is no hotfill gallery {index!r}: stamp an index, or create one"
                )
            gallery = cls(server, RedisStamp.from_json(text, index), exact=exact)
            gallery._mend()
            return gallery

    @property
    def capabilities(self) -> Capabilities:
        """Some items at a time, searches see one moment, many processes."""
        return Capabilities(
            atomic_move=False,
            snapshot_reads=True,
            many_processes=True,
            free_length=True,
            most_hits=self._most,
            restricts_writes=True,
        )

    def keeps_length(self, space: ModelId) -> bool:
        """Not where an adopted index compares by the cosine."""
        stamp = self._stamp
        return space not in stamp.models or stamp.space(space).metric != "COSINE"

    @property
    def spaces(self) -> tuple[ModelId, ...]:
        """The spaces, oldest first."""
        return self._reload().models

    def _spaces_with(self, models: Iterable[ModelId]) -> tuple[ModelId, ...]:
        known = self._stamp.models
        return known if all(model in known for model in models) else self.spaces

    def vector_bytes(self, space: ModelId) -> int:
        """Return what one vector of a space takes, in bytes, without index and metadata."""
        return space.dimension * (4 if self._stamp.documents == "hash" else _JSON_NUMBER_BYTES)

    # Spaces

    def _add_space(self, model: ModelId) -> None:
        """Make an index for a model's vectors, then stamp the gallery.

        In an adopted gallery an index of our own over the old vectors comes first: the one that is
        there cannot leave out items that have moved.
        """

        def add(before: RedisStamp) -> None:
            if model in before.models:
                return
            stamp = before if before.prepared else before.with_prepared_base()
            stamp = stamp.with_space(model, graph=not self._exact)
            made = [space for space in stamp.spaces if space not in before.spaces]
            try:
                for space in made:
                    self._server.make_index(stamp, space)
                self._server.restamp(before.epoch, stamp)
            except BaseException:
                for space in made:
                    self._server.drop_index(space.index)
                raise
            self._know(stamp)
            self._drop_strays()

        self._with_stamp((), add)

    def _drop_space(self, model: ModelId) -> None:
        """Drop the index of an unsearched space, then its kept vectors.

        The documents are looked at, too: those of others may have come past the lists. Vectors
        that were adopted stay in them.
        """

        def drop(before: RedisStamp) -> None:
            if model not in before.models:
                return
            space = before.space(model)
            check_unsearched(model, self._server.size_of(space.index))
            stamp = before.without_space(model)
            check_unsearched(model, self._server.restamp(before.epoch, stamp, empty=space.side))
            self._know(stamp)
            self._drop_strays()

        self._with_stamp((), drop)
        self._with_stamp((), self._sweep)

    def _drop_strays(self) -> None:
        """Drop the indexes of spaces that are gone, or that a killed process did not stamp."""
        for name in self._stamp.stray_indexes(self._server.index_names()):
            self._server.drop_index(name)

    def _mend(self) -> None:
        """Make indexes of ours that are gone, and finish what a killed process began."""
        for space in self._stamp.spaces:
            try:
                self._server.info(space.index)
            except MissingIndexError as error:
                if not self._stamp.prepared:
                    raise StoreError(f"the index {space.index!r} is gone") from error
                self._server.make_index(self._stamp, space)
        self._with_stamp((), self._sweep)

    def _sweep(self, before: RedisStamp) -> None:
        """Remove kept vectors of spaces that are gone."""
        if not before.dropped:
            return
        for space in before.spaces:
            for some in self._listed(space):
                self._server.forget(before.dropped, some)
        self._server.restamp(before.epoch, stamp := before.swept())
        self._know(stamp)

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
        first = self._server.versions(len(item_ids))
        versions = np.arange(first, first + len(item_ids), dtype=np.int64)

        def words_of(stamp: RedisStamp, i: int, described: dict[Path, Any]) -> list[Any]:
            target, reader = stamp.space(space), self._documents
            change = self._placed(stamp, target, vectors[i], space.fingerprint)
            change[_VERSION] = str(versions[i])
            earlier: list[Any] = []
            for other in stamp.spaces:
                if stamp.stays(other) and other != target:
                    row = kept[other.model][i] if other.model in kept else None
                    change[reader.path(other.field)] = None if row is None else reader.vector(row)
                elif other.model in kept:
                    text = reader.as_text(kept[other.model][i])
                    earlier += [str(other.number), b"%020d" % versions[i] + text]
            return _words(reader, {**described, **change}, earlier)

        def write(stamp: RedisStamp) -> None:
            for model in (space, *kept):
                check_space(stamp.models, model)
            self._describe(stamp, "upsert", space, item_ids, metadata, words_of)

        self._with_stamp((space, *kept), write)
        return versions

    def _set_metadata(self, item_ids: list[str], metadata: Sequence[Metadata]) -> None:
        """Replace the metadata of items that exist."""

        def words_of(stamp: RedisStamp, i: int, described: dict[Path, Any]) -> list[Any]:
            return _words(self._documents, described, [])

        def write(stamp: RedisStamp) -> None:
            self._describe(stamp, "describe", None, item_ids, metadata, words_of)

        self._with_stamp((), write)

    def _describe(
        self,
        stamp: RedisStamp,
        step: str,
        space: ModelId | None,
        item_ids: list[str],
        metadata: Sequence[Metadata] | None,
        words_of: Callable[[RedisStamp, int, dict[Path, Any]], list[Any]],
    ) -> None:
        """Write items with their metadata, again where those changed since they were read."""
        target = None if space is None else stamp.space_to_write(space)
        origin = "" if space is None else space.fingerprint
        left = list(range(len(item_ids)))
        for _ in range(_TRIES):
            ids = [item_ids[i] for i in left]
            if metadata is None:
                items = [
                    (item_id, ["", "*", *words_of(stamp, i, {})])
                    for i, item_id in zip(left, ids, strict=True)
                ]
            else:
                items = []
                read = self._server.read(stamp, ids, "content")
                for i, item_id, (side, _, _, revision, raw) in zip(left, ids, read, strict=True):
                    if side or step == "upsert":
                        described = self._described(stamp, raw, metadata[i])
                        words = words_of(stamp, i, described)
                        items.append((item_id, ["", revision, *words]))
            done = self._server.write(stamp, step, target, origin, items)
            changed = {name for (name, _), how in zip(items, done, strict=True) if how == 2}
            left = [i for i in left if item_ids[i] in changed]
            if not left:
                return
        raise StoreError("could not write metadata: others write them all the time", retryable=True)

    def _described(
        self, stamp: RedisStamp, raw: Sequence[bytes], metadata: Metadata
    ) -> dict[Path, Any]:
        change = self._documents.described(self._documents.content(raw), metadata)
        change[_REVISION] = secrets.token_hex(6)
        if not stamp.adopted:
            change[_FACETS] = facets(metadata) or None
        return change

    def _delete(self, item_ids: list[str]) -> int:
        """Remove the documents of items."""
        return self._with_stamp((), lambda stamp: sum(self._server.delete(stamp, item_ids)))

    def _move(
        self,
        item_ids: list[str],
        vectors: Vectors,
        space: ModelId,
        expected_versions: NDArray[np.int64],
        origin: str,
    ) -> NDArray[np.bool_]:
        """Let items be searched in `space`; the script keeps their earlier vectors."""

        def move(stamp: RedisStamp) -> NDArray[np.bool_]:
            target = stamp.space_to_write(space)
            there = self._rows(stamp, item_ids, target) if stamp.stays(target) else {}
            items = []
            for i, item_id in enumerate(item_ids):
                change = self._placed(stamp, target, vectors[i], origin)
                if item_id in there and _is_same(there[item_id][1], vectors[i], space):
                    del change[self._documents.path(target.field)]  # it stays, byte by byte
                if stamp.base is not None and stamp.base.ours:  # whose digest is a version
                    change[_VERSION] = str(expected_versions[i])
                words = _words(self._documents, change, [])
                items.append((item_id, [str(expected_versions[i]), "*", *words]))
            done = self._server.write(stamp, "move", target, origin, items)
            return np.array([how == 1 for how in done], dtype=np.bool_)

        return self._with_stamp((space,), move)

    def _placed(
        self, stamp: RedisStamp, target: SpaceIndex, row: NDArray[np.float32], origin: str
    ) -> dict[Path, Any]:
        """Return the change that lets an item be searched in a space, by this vector alone."""
        reader = self._documents
        change: dict[Path, Any] = {
            reader.path(other.field): None
            for other in stamp.spaces
            if other != target and not stamp.stays(other)
        }
        change[reader.path(target.field)] = reader.vector(row)
        change[_SIDE], change[_ORIGIN] = target.side, origin
        return change

    # Reading

    def _search(
        self, queries: Mapping[ModelId, Vectors], k: int, where: Where | None
    ) -> dict[ModelId, Hits]:
        """Search all sides in one moment, for some queries at a time."""

        def search(stamp: RedisStamp) -> dict[ModelId, Hits]:
            for model in queries:
                check_space(stamp.models, model)
            asked = Condition() if where is None else condition(where, stamp)
            n = len(next(iter(queries.values())))
            found: dict[ModelId, list[list[tuple[str, float, str]]]] = {m: [] for m in queries}
            for start in range(0, n, _QUERIES_AT_ONCE):
                some = {m: rows[start : start + _QUERIES_AT_ONCE] for m, rows in queries.items()}
                for model, lists in self._found(stamp, some, k, where, asked).items():
                    found[model] += lists
            return {
                model: Hits(
                    item_ids=tuple(tuple(hit[0] for hit in hits) for hits in lists),
                    scores=tuple(np.array([hit[1] for hit in h], np.float32) for h in lists),
                    origins=tuple(tuple(hit[2] for hit in hits) for hits in lists),
                )
                for model, lists in found.items()
            }

        return self._with_stamp(tuple(queries), search)

    def _found(
        self,
        stamp: RedisStamp,
        queries: Mapping[ModelId, Vectors],
        k: int,
        where: Where | None,
        asked: Condition,
    ) -> dict[ModelId, list[list[tuple[str, float, str]]]]:
        """Search, and ask for more while fewer than k hits passed the filter and there are more."""
        n = len(next(iter(queries.values())))
        if asked.nothing:
            return {model: [[] for _ in range(n)] for model in queries}
        known: dict[str, Mapping[str, Scalar] | None] = {}
        found: dict[ModelId, list[list[tuple[str, float, str]]]] = {
            model: [[] for _ in range(n)] for model in queries
        }
        left, depth = list(range(n)), min(k, self._most)
        while left:
            words = [
                self._server.words(
                    stamp,
                    stamp.space(model),
                    rows[i].astype("<f4").tobytes(),
                    depth,
                    asked.text,
                    asked.parameters,
                )
                for i in left
                for model, rows in queries.items()
            ]
            answers = iter(self._server.search(words))
            more = []
            for i in left:
                short = False
                for model in queries:
                    hits = _scored(next(answers), stamp, stamp.space(model))
                    whole = len(hits) < depth
                    if where is not None:
                        hits = self._passing(stamp, hits, where, known)
                    found[model][i] = hits[:k]
                    short |= len(hits) < k and not whole
                if short and depth < self._most:
                    more.append(i)
            left, depth = more, min(4 * depth, self._most)
        return found

    def _passing(
        self,
        stamp: RedisStamp,
        hits: list[tuple[str, float, str]],
        where: Where,
        known: dict[str, Mapping[str, Scalar] | None],
    ) -> list[tuple[str, float, str]]:
        """Leave out hits whose metadata do not pass a filter. known: metadata that were read."""
        unread = [item_id for item_id, _, _ in hits if item_id not in known]
        for item_id, row in zip(unread, self._server.read(stamp, unread, "content"), strict=True):
            content = self._documents.content(row[4])
            known[item_id] = self._documents.metadata(content) if row[0] else None
        return [hit for hit in hits if matches(known[hit[0]] or {}, where)]

    def _get(self, item_ids: list[str]) -> list[ItemState | None]:
        """Read the state of items."""

        def read(stamp: RedisStamp) -> list[ItemState | None]:
            states: list[ItemState | None] = []
            rows = self._server.read(stamp, item_ids, "content")
            for item_id, (side, version, origin, _, raw) in zip(item_ids, rows, strict=True):
                space = stamp.on(side.decode())
                if space is None:
                    states.append(None)
                    continue
                metadata = self._documents.metadata(self._documents.content(raw))
                states.append(
                    ItemState(item_id, int(version), space.model, origin.decode(), metadata)
                )
            return states

        return self._with_stamp((), read)

    def _vectors(self, item_ids: list[str], space: ModelId) -> Found:
        """Read searched or kept vectors."""

        def read(stamp: RedisStamp) -> Found:
            where = stamp.space(space)
            there = self._rows(stamp, item_ids, where)
            found = Found.of(
                [(item_id, *there[item_id]) for item_id in item_ids if item_id in there],
                space.dimension,
            )
            return found.usable(space) if stamp.is_base(where) else found

        return self._with_stamp((space,), read)

    def _rows(
        self, stamp: RedisStamp, item_ids: list[str], space: SpaceIndex
    ) -> dict[str, tuple[int, NDArray[np.float32]]]:
        """Read versions and vectors, of whatever length they are stored with."""
        found = {}
        rows = self._server.read(stamp, item_ids, "vectors", space.number)
        for item_id, (side, version, _, _, text) in zip(item_ids, rows, strict=True):
            row = self._documents.row(text, space.model.dimension) if side and text else None
            if row is not None:
                found[item_id] = (int(version), row)
        return found

    def _scan(self, space: ModelId, after: str | None, limit: int) -> Page:
        """List items searched in `space`, in the order of their ids' bytes."""

        def scan(stamp: RedisStamp) -> Page:
            where = stamp.space(space)
            item_ids = self._next_ids(where, after, limit)
            rows = self._server.read(stamp, item_ids, "heads")
            there = [
                (item_id, int(version), origin.decode())
                for item_id, (side, version, origin, _, _) in zip(item_ids, rows, strict=True)
                if side.decode() == where.side
            ]
            return Page(
                item_ids=tuple(item_id for item_id, _, _ in there),
                versions=np.array([version for _, version, _ in there], dtype=np.int64),
                origins=tuple(origin for _, _, origin in there),
                cursor=item_ids[-1] if len(item_ids) == limit else None,
            )

        return self._with_stamp((space,), scan)

    def _count(self, space: ModelId, origin: str | None) -> int:
        """Count the items searched in `space`: the server knows how long its lists are."""

        def count(stamp: RedisStamp) -> int:
            lists = self._server.listed(stamp.space(space).side)
            return self._server.sizes(
                list(lists.values())
                if origin is None
                else [name for made_by, name in lists.items() if made_by == origin]
            )

        return self._with_stamp((space,), count)

    def _count_rows(self, space: ModelId) -> int:
        """Count what the side's index holds, whatever the lists say."""

        def count(stamp: RedisStamp) -> int:
            return self._server.size_of(stamp.space(space).index)

        return self._with_stamp((space,), count)

    # Upkeep

    def _optimise(self) -> None:
        """Nothing to tidy up: the server does it by itself."""

    def _recount(self) -> dict[ModelId, int]:
        """Let the lists say what the documents do, of others too."""

        def recount(stamp: RedisStamp) -> None:
            for some in self._server.keys(stamp):
                self._server.sync(stamp, list(dict.fromkeys(some)))
            for space in stamp.spaces:
                for some in self._listed(space):  # of documents that are gone
                    self._server.sync(stamp, some)

        self._with_stamp((), recount)
        return {model: self._count(model, None) for model in self.spaces}

    def _restrict_writes(self, spaces: list[ModelId]) -> None:
        def restrict(before: RedisStamp) -> None:
            after = before.restricted(spaces)
            if after.writable != before.writable:
                self._restamp(before, after)

        self._reload()
        self._with_stamp((), restrict)

    def _permit_writes(self, space: ModelId, revision: int) -> None:
        def permit(before: RedisStamp) -> None:
            if before.epoch == revision:
                self._restamp(before, before.restricted([*before.models_to_write, space]))

        self._reload()
        self._with_stamp((), permit)

    def _restamp(self, before: RedisStamp, after: RedisStamp) -> None:
        self._server.restamp(before.epoch, after)
        self._know(after)

    def _owner_after(self, owner: str) -> str:
        return self._server.owner_after(owner)

    def _release_from(self, owner: str) -> None:
        self._server.release(owner)

    def _rehearse_writes(self, model: ModelId | None) -> list[str]:
        """Write, index and search a document next to the others, and remove it."""
        stamp, problems = self._reload(), []
        wanted = model or stamp.spaces[-1].model
        name = f"hotfill-rehearsal:{secrets.token_hex(6)}"
        server = self._server.of(name)
        trial = RedisStamp(name, stamp.documents, f"{name}:").with_space(
            wanted, graph=not self._exact
        )
        (space,) = trial.spaces
        try:
            server.make_index(trial, space)
            server.restamp(0, trial)
            row = np.ones(wanted.dimension, dtype=np.float32)
            words = _words(self._documents, self._placed(trial, space, row, "rehearsal"), [])
            server.write(trial, "upsert", space, "rehearsal", [("item", ["", "*", *words])])
            server.delete(trial, ["item"])
        except HotfillError as error:
            problems.append(str(error))
        finally:
            server.remove(trial)
        used, most = self._server.memory()
        needed = self.vector_bytes(wanted) * sum(self._count(m, None) for m in stamp.models)
        if most and wanted not in stamp.models and used + needed > most:
            problems.append(
                f"{needed / 1e9:.3f} GB of new vectors do not fit: the server uses "
                f"{used / 1e9:.3f} GB of at most {most / 1e9:.3f} GB (maxmemory)"
            )
        return problems

    def _remarks(self, model: ModelId | None) -> list[str]:
        stamp = self._reload()
        return adoption.durability(self._server) + adoption.vectors(self._server, stamp)

    def _close(self) -> None:
        """Disconnect."""
        self._server.close()

    # The stamp

    def _know(self, stamp: RedisStamp) -> None:
        self._stamp, self._documents = stamp, documents.of(stamp)
        self._server.indexes = tuple(space.index for space in stamp.spaces)

    def _reload(self) -> RedisStamp:
        text = self._server.stamp_text()
        if text is None:
            raise StoreError(f"the gallery {self._stamp.name!r} is gone from the server")
        stamp = RedisStamp.from_json(text, self._stamp.name)
        if stamp != self._stamp:
            self._know(stamp)
        return stamp

    def _with_stamp(self, models: Sequence[ModelId], work: Callable[[RedisStamp], T]) -> T:
        """Do something by the stamp as it is; again when another process has changed it."""
        for _ in range(_TRIES):
            before = self._stamp
            try:
                return work(before)
            except StaleStampError:
                check = self._reload().models
            except ClosedSideError:
                if self._reload() == before:
                    raise
                check = self._stamp.models
            except MissingIndexError as error:
                if self._reload() == before:
                    raise StoreError(
                        f"an index of the gallery {before.name!r} is gone ({error}): open the "
                        "gallery again, which makes it anew"
                    ) from error
                check = self._stamp.models
            for model in models:
                check_space(check, model)
        raise StoreError("other processes change the gallery all the time", retryable=True)

    # Lists of ids

    def _next_ids(self, space: SpaceIndex, after: str | None, limit: int) -> list[str]:
        """Return the next ids of a side, whatever made the vectors."""
        found: set[str] = set()
        for name in self._server.listed(space.side).values():
            found.update(self._server.ids_after(name, after, limit))
        return sorted(found, key=str.encode)[:limit]

    def _listed(self, space: SpaceIndex) -> Iterator[list[str]]:
        after: str | None = None
        while some := self._next_ids(space, after, _PAGE):
            yield some
            after = some[-1]


@contextmanager
def _connected(
    location: str, index: str, password: str | None, ef: int | None, timeout_seconds: float
) -> Iterator[RedisServer]:
    """Connect for what the block opens; if that fails, disconnect."""
    server = RedisServer(location, index, password=password, ef=ef, timeout_seconds=timeout_seconds)
    try:
        yield server
    except BaseException:
        server.close()
        raise


def _check_alone(server: RedisServer, stamp: RedisStamp) -> None:
    """Raise StoreError where another gallery has documents under the same keys."""
    for name, text in server.others():
        other = RedisStamp.from_json(text, name).prefix
        if stamp.prefix.startswith(other) or other.startswith(stamp.prefix):
            raise StoreError(
                f"the gallery {name!r} has the documents under {other!r} already, and those of "
                f"{stamp.name!r} are under {stamp.prefix!r}: an item would be on sides of both"
            )


def _words(reader: Documents, change: Mapping[Path, Any], kept: list[Any]) -> list[Any]:
    """Write a change as the scripts take it."""
    gone, wanted = reader.words(change)
    return [len(gone), *gone, len(wanted), *wanted, len(kept), *kept]


def _scored(
    found: Sequence[tuple[str, float, str | None]], stamp: RedisStamp, space: SpaceIndex
) -> list[tuple[str, float, str]]:
    """Return hits with scores instead of distances; those that are no numbers are left out."""
    hits = []
    for key, distance, origin in found:
        # The engine's L2 is the square of the distance, the others are one less the product.
        score = -np.sqrt(max(distance, 0.0)) if space.metric == "L2" else 1.0 - distance
        if np.isfinite(score):
            item_id = key.removeprefix(stamp.prefix)
            hits.append((item_id, float(score), origin or space.model.fingerprint))
    return hits


def _is_same(there: NDArray[np.float32], given: NDArray[np.float32], space: ModelId) -> bool:
    return bool(np.allclose(as_stored(there[None], space)[0], given, atol=1e-6))
