"""The Gallery interface: what hotfill needs of a vector store, and what it promises in return.

Words. A *space* is what a `ModelId` names. A gallery holds vectors of one or more spaces, oldest
first. Every item is *searched* in exactly one of them: that space is the item's side. Its vectors
of other spaces are *kept*: there for the way back, never searched.

Promises that every store keeps, and that `tests/conformance` checks:

1. A search of several sides misses no item and returns none twice, whatever moves at the time.
2. `move` and `upsert` are durable when they return, whole or not at all per item.
3. `move` leaves an item alone whose content version is not the expected one: a live write or a
   delete always beats a backfill batch in flight. Versions are never used twice, not even by an
   item that was deleted and written again.
4. Bad input is refused before anything is written.
5. Results do not hang on rounding. Hits are ordered by score. Scores that differ by no more than
   two millionths of their scale are equal (the scale is 1 for cosines, otherwise the largest score
   of the list); among equals the model's own vector comes before one that a transform made, then
   the lesser item id. This holds at the cut, too, for up to MOST_TIED equal items.

A store implements the methods that begin with an underscore. They are called by the public ones,
which are final, with input that is checked and brought to one form.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from operator import index
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, final

import numpy as np
from numpy.typing import NDArray

from hotfill.checks import check_ids
from hotfill.errors import (
    ClosedSideError,
    InputError,
    ModelMismatchError,
    ShapeError,
    StoreBusyError,
    StoreError,
)
from hotfill.stores.filters import (
    Metadata,
    Range,
    Scalar,
    Where,
    check_metadata,
    check_where,
)
from hotfill.stores.records import (
    Building,
    Capabilities,
    Found,
    Hits,
    ItemState,
    Page,
    StoreCost,
)
from hotfill.ties import tied, tolerance
from hotfill.tracing import span
from hotfill.vectors import Checked, as_compared, check_vectors, checked

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, MutableMapping, Sequence
    from types import TracebackType
    from typing import Self

    from hotfill.stores.layouts import Layout
    from hotfill.types import ModelId, Vectors

__all__ = [
    "Building",
    "Capabilities",
    "Found",
    "Gallery",
    "Hits",
    "ItemState",
    "Metadata",
    "Page",
    "Range",
    "Scalar",
    "StoreCost",
    "Where",
    "check_space",
    "check_unsearched",
]

MOST_TIED = 1000
_CLOSING = Lock()


class Gallery(ABC):
    """A set of items in a vector store. Abstract: see `hotfill.stores` for real ones.

    All methods may be called from several threads at once, and raise StoreError once closed.

    The methods to implement get ids as a list of different non-empty texts; vectors as float32
    (n, dimension), C-contiguous, finite, none all zero, of unit length where the space compares by
    the cosine, but for those that a transform made where `keeps_length` says so; known
    spaces. Where another thread may drop a space between this check and the
    store's own lock, the store calls `check_space` again inside it.
    """

    _closed = False

    # What it is

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities:
        """What this store can do beyond the interface."""

    @property
    @abstractmethod
    def spaces(self) -> tuple[ModelId, ...]:
        """The spaces that the store is stamped with, oldest first. Empty when unstamped."""

    def vector_bytes(self, space: ModelId) -> int:
        """Return what one vector of a space takes, in bytes, without index and metadata."""
        return 4 * space.dimension  # float32

    def keeps_length(self, space: ModelId) -> bool:
        """Tell whether vectors that a transform made keep their length in a cosine space."""
        return self.capabilities.free_length

    def kept_as(self, vectors: Vectors, space: ModelId) -> Vectors:
        """Return vectors that a transform made, float32 (n, d), as searches compare them here.

        As they are given where they keep their length, else of unit length; codes are rounded.
        """
        return vectors if self.keeps_length(space) else as_compared(vectors, space)

    @final
    @property
    def layout(self) -> Layout | None:
        """How the framework that made an adopted gallery keeps its items; None for any other."""
        self._check_open()
        return self._layout()

    @final
    @property
    def origins(self) -> MutableMapping[str, bytes] | None:
        """Records of what imputed vectors, by origin; they travel with the store.

        None where the store has no place for them. A record is whole or not there.
        """
        self._check_open()
        return self._origins()

    # Spaces

    @final
    def add_space(self, model: ModelId) -> None:
        """Make room for vectors of a model and stamp the store with it. Idempotent.

        Raises StoreError when the store cannot hold such vectors.
        """
        self._check_open()
        self._add_space(model)

    @final
    def drop_space(self, model: ModelId) -> None:
        """Remove a space with all its kept vectors. No way back. Idempotent.

        Raises StoreError while any item is still searched there: items are never lost this way.
        """
        self._check_open()
        if model in self._spaces_with([model]):
            self._drop_space(model)

    @final
    def restrict_writes(self, spaces: Sequence[ModelId]) -> None:
        """Let `upsert` and `move` write to these spaces only, whichever process calls them.

        spaces: those that are there count; none of them stands for all spaces of the store.
        On return nothing can come to another space any more, not even by a call that has begun: it
        raises ClosedSideError. Does nothing where `capabilities.restricts_writes` is False.
        """
        self._check_open()
        self._restrict_writes([space for space in self._spaces_with(spaces) if space in spaces])

    @final
    def permit_writes(self, refused: ClosedSideError) -> None:
        """Let items be written to the side that refused them, unless it was restricted since.

        So whoever has asked for the phase after the refusal knows that it is still the one.
        """
        self._check_open()
        self._permit_writes(refused.space, refused.revision)

    # Writing

    @final
    def upsert(
        self,
        item_ids: Sequence[str],
        vectors: Vectors | Checked,
        *,
        space: ModelId,
        metadata: Sequence[Metadata] | None = None,
        kept: Mapping[ModelId, Vectors | Checked] | None = None,
    ) -> NDArray[np.int64]:
        """Write items with new content. They are searched in `space` from now on.

        vectors: float32 (n, space.dimension), made by the model of `space`.
        metadata: replaces what was there; None leaves it.
        kept: vectors of the same content in other spaces, for the way back. Kept vectors of the
            earlier content are removed.
        Returns the new content versions, int64 (n,).
        Raises DuplicateItemError, ShapeError, VectorError, ModelMismatchError (unknown space),
        InputError (metadata), ClosedSideError (`restrict_writes`).
        """
        kept = kept or {}
        self._check_open()
        self._check_spaces([space, *kept])
        if space in kept:
            raise InputError(f"kept vectors cannot be of {space}, where the items are searched")
        check_ids(item_ids)
        if metadata is not None:
            check_metadata(metadata, len(item_ids))
        rows = checked(vectors, space, item_ids=item_ids).rows
        kept_rows = {
            model: checked(others, model, item_ids=item_ids, what="kept vectors").rows
            for model, others in kept.items()
        }
        if not len(item_ids):
            return np.empty(0, dtype=np.int64)
        return self._upsert(list(item_ids), rows, space, metadata, kept_rows)

    @final
    def set_metadata(self, item_ids: Sequence[str], metadata: Sequence[Metadata]) -> None:
        """Replace the metadata of items that exist; others are ignored. Versions stay."""
        self._check_open()
        check_ids(item_ids)
        check_metadata(metadata, len(item_ids))
        if len(item_ids):
            self._set_metadata(list(item_ids), metadata)

    @final
    def delete(self, item_ids: Sequence[str]) -> int:
        """Remove items from every space. Returns how many were there."""
        self._check_open()
        check_ids(item_ids)
        return self._delete(list(item_ids)) if len(item_ids) else 0

    @final
    def move(
        self,
        item_ids: Sequence[str],
        vectors: Vectors | Checked,
        *,
        space: ModelId,
        expected_versions: NDArray[np.int64],
        origin: str | None = None,
    ) -> NDArray[np.bool_]:
        """Let items be searched in `space` by these vectors; their earlier vector is kept.

        vectors: float32 (n, space.dimension) of the content at `expected_versions`, int64 (n,).
        origin: what made the vectors; the model of `space` unless a transform's fingerprint is
            given. A vector that a transform made never replaces one that the model made, and keeps
            its length where the store can (`keeps_length`).
        Returns bool (n,): False where the item is gone, was written since, or is searched in
        `space` by the model's own vector and a transform's was offered. Idempotent.
        Raises as `upsert`.
        """
        self._check_open()
        self._check_spaces([space])
        check_ids(item_ids)
        origin = origin or space.fingerprint
        if origin == space.fingerprint or not self.keeps_length(space):
            rows = checked(vectors, space, item_ids=item_ids).rows
        else:
            given = vectors.rows if isinstance(vectors, Checked) else vectors
            rows = check_vectors(given, space.dimension, item_ids=item_ids)
        versions = np.asarray(expected_versions)
        whole = not versions.size or versions.dtype.kind in "iu"
        if versions.shape != (len(item_ids),) or not whole:
            raise ShapeError(
                f"expected_versions: expected {len(item_ids)} whole numbers, "
                f"got {versions.dtype} of shape {versions.shape}"
            )
        if not len(item_ids):
            return np.empty(0, dtype=np.bool_)
        versions = versions.astype(np.int64)
        return self._move(list(item_ids), rows, space, versions, origin)

    # Reading

    @final
    def search(
        self,
        queries: Mapping[ModelId, Vectors | Checked],
        k: int,
        *,
        where: Where | None = None,
        origins: bool = False,
    ) -> dict[ModelId, Hits]:
        """Find the k best items of each side asked for.

        queries: per space float32 (q, dimension), the same number of rows for each.
        where: see `hotfill.stores.filters`, which also says how long a filter may be.
        origins: whether `Hits.origins` is needed; most stores read it in the same search.
        Raises ModelMismatchError for an unknown space, ShapeError, VectorError, InputError (k < 1).

        An item that moves between two sides during the call is in at least one result; where it
        is in both, the newer space counts (`hotfill.ranking` drops the other).
        """
        self._check_open()
        _check_positive("k", k)
        most = self.capabilities.most_hits
        if most is not None and k > most:
            raise InputError(f"k: this store finds at most {most} items for a query, got {k}")
        if where is not None:
            check_where(where)
        self._check_spaces(queries)
        ready = {
            space: checked(rows, space, what="queries").rows for space, rows in queries.items()
        }
        counts = {len(rows) for rows in ready.values()}
        if len(counts) > 1:
            raise ShapeError(
                "queries: expected the same number of rows for each space, got "
                + ", ".join(str(len(rows)) for rows in ready.values())
            )
        if not any(counts):
            return {space: Hits((), ()) for space in ready}
        with span("sides", models=ready, k=k):
            found = self._ranked(ready, k, where or None, k + MOST_TIED if most is None else most)
        if not origins:
            return found
        return {space: self._with_origins(space, hits) for space, hits in found.items()}

    @final
    def get(self, item_ids: Sequence[str]) -> list[ItemState | None]:
        """Read the state of items, in the order asked; None where an item does not exist."""
        self._check_open()
        check_ids(item_ids, repeats=True)
        return self._get(list(item_ids)) if len(item_ids) else []

    @final
    def vectors(self, item_ids: Sequence[str], space: ModelId) -> Found:
        """Read vectors of items in a space, searched or kept; items without one are left out.

        The model's own vectors of a cosine space come back with unit length, however they were
        given; the length of those that a transform made is not promised.
        """
        self._check_open()
        self._check_spaces([space])
        check_ids(item_ids, repeats=True)
        if not len(item_ids):
            return Found.of([], space.dimension)
        return self._vectors(list(item_ids), space)

    @final
    def stored(self, item_ids: Sequence[str], fields: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Read fields that are kept with items, of any kind, by item id.

        fields: columns of a table, keys of a payload, or of the metadata where a store keeps
        nothing else with an item. One that an item has not, or as null, is left out of its
        mapping, and an item that is not there is left out, too.
        Raises InputError where the store has no such field for any item.
        """
        self._check_open()
        check_ids(item_ids, repeats=True)
        return self._stored(list(item_ids), list(fields)) if len(item_ids) else {}

    @final
    def scan(self, space: ModelId, *, after: str | None = None, limit: int = 1000) -> Page:
        """List items searched in `space`, page by page, each once.

        after: the cursor of the page before. An item that stays on its side for the whole walk is
        listed; one that comes or goes during the walk may or may not be.
        """
        self._check_open()
        _check_positive("limit", limit)
        self._check_spaces([space])
        return self._scan(space, after, limit)

    @final
    def count(self, space: ModelId, *, origin: str | None = None) -> int:
        """Count the items searched in `space`; with `origin` only those whose vector it made."""
        self._check_open()
        self._check_spaces([space])
        return self._count(space, origin)

    @final
    def count_rows(self, space: ModelId) -> int:
        """Count the items searched in `space` by looking at them, never by a kept sum.

        Slower than `count` where a store keeps one: PostgreSQL reads the whole table.
        """
        self._check_open()
        self._check_spaces([space])
        return self._count_rows(space)

    @final
    def __len__(self) -> int:
        return sum(self.count(space) for space in self.spaces)

    # Upkeep

    @final
    def optimise(self, *, moving: bool = False) -> None:
        """Let the store tidy up (build indexes, compact). Searches and writes go on.

        moving: items are on the move, so that whatever is built will not be for long: what has no
        index gets one, and nothing else is done where that can be left.
        """
        self._check_open()
        if moving:
            self._index_moved()
        else:
            self._optimise()

    @final
    def sync(self) -> None:
        """Bring all that was written to the disk, where the store does not wait for it anyway."""
        self._check_open()
        self._sync()

    @property
    def building(self) -> Building | None:
        """The index that `optimise` builds now; None where none is built or nobody counts."""
        return None

    def abandon_building(self) -> None:  # noqa: B027  # most cannot
        """Have `optimise` return soon without the index that it builds now, where that can be."""

    @final
    def indexed(self, space: ModelId) -> float | None:
        """Tell what share of the items searched in `space` an index covers, from 0 to 1.

        None where searches need none: of a small side, in a gallery opened as exact, in a store
        that has no indexes or whose server sees to them by itself. `optimise` builds what lacks.
        """
        self._check_open()
        self._check_spaces([space])
        return self._indexed(space)

    @final
    def recount(self) -> dict[ModelId, int]:
        """Count the items of each space by looking at them, and fix what the store keeps of it.

        Rows may have come past the store's own bookkeeping, from a backup or a replica.
        """
        self._check_open()
        return self._recount()

    @final
    def claim(self, owner: str, *, take_over: bool = False) -> None:
        """Say that the upgrade `owner` has the gallery, until `release`. Idempotent.

        owner: a non-empty text that no other upgrade has.
        take_over: take it from another one. An operator's decision: that one's journal is lost.
        Raises StoreBusyError, naming the other one, while another has it. Stores that only one
        process opens at a time need no claim and let every owner pass.
        """
        self._check_open()
        if not owner:
            raise InputError("owner: expected a non-empty text, got ''")
        if (now := self._owner_after(owner)) != owner and take_over:
            self._release_from(now)
            now = self._owner_after(owner)
        if now != owner:
            raise StoreBusyError(
                f"this gallery is being upgraded by {now}, not by {owner}: go on with that one's "
                "configuration and journal; if they are lost, `hotfill adopt --take-over` gives "
                "the gallery to this one"
            )

    @final
    def release(self, owner: str) -> None:
        """Give the gallery back. Does nothing where `owner` does not have it."""
        self._check_open()
        self._release_from(owner)

    @final
    def rehearse_writes(self, model: ModelId | None = None) -> list[str]:
        """Try what an upgrade to `model` will write, undo it, and return what would fail.

        Empty where nothing would, and in stores that only hotfill writes to.
        model: None for any.
        """
        self._check_open()
        return self._rehearse_writes(model)

    @final
    def rehearse_drop(self, model: ModelId) -> list[str]:
        """Try whether room for vectors of a model could be given up, and return what prevents it.

        Changes nothing. Items that are searched there are no matter: `drop_space` looks at them.
        """
        self._check_open()
        return self._rehearse_drop(model) if model in self._spaces_with([model]) else []

    @final
    def remarks(self, model: ModelId | None = None) -> list[str]:
        """Return what an operator should know of the store before an upgrade to `model`.

        Nothing in it keeps an upgrade from starting. model: None for any.
        """
        self._check_open()
        return self._remarks(model)

    @final
    def close(self) -> None:
        """Release the store. Idempotent."""
        with _CLOSING:
            if self._closed:
                return
            self._closed = True
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # What a store implements

    @abstractmethod
    def _add_space(self, model: ModelId) -> None:
        """Make room for vectors of a model, which may be there already."""

    @abstractmethod
    def _drop_space(self, model: ModelId) -> None:
        """Remove a space, after `check_unsearched` in the same lock or transaction."""

    @abstractmethod
    def _upsert(
        self,
        item_ids: list[str],
        vectors: Vectors,
        space: ModelId,
        metadata: Sequence[Metadata] | None,
        kept: Mapping[ModelId, Vectors],
    ) -> NDArray[np.int64]:
        """Write one item or more."""

    @abstractmethod
    def _set_metadata(self, item_ids: list[str], metadata: Sequence[Metadata]) -> None:
        """Replace the metadata of those of the items, one or more, that exist."""

    @abstractmethod
    def _delete(self, item_ids: list[str]) -> int:
        """Remove one item or more; return how many were there."""

    @abstractmethod
    def _move(
        self,
        item_ids: list[str],
        vectors: Vectors,
        space: ModelId,
        expected_versions: NDArray[np.int64],
        origin: str,
    ) -> NDArray[np.bool_]:
        """Move one item or more. origin: `space.fingerprint` for the model's own vectors."""

    @abstractmethod
    def _search(
        self, queries: Mapping[ModelId, Vectors], k: int, where: Where | None
    ) -> dict[ModelId, Hits]:
        """Search one side or more with one query or more; equal scores may come in any order.

        where: None or a filter of one key or more.
        """

    @abstractmethod
    def _get(self, item_ids: list[str]) -> list[ItemState | None]:
        """Read the state of one item or more; ids may occur twice, here and in `_vectors`."""

    @abstractmethod
    def _vectors(self, item_ids: list[str], space: ModelId) -> Found:
        """Read vectors of one item or more, with unit length in a cosine space."""

    @abstractmethod
    def _scan(self, space: ModelId, after: str | None, limit: int) -> Page:
        """List a page. Raises InputError where `after` is no cursor of this store."""

    @abstractmethod
    def _count(self, space: ModelId, origin: str | None) -> int:
        """Count the items searched in `space`, or those of them whose vector `origin` made."""

    @abstractmethod
    def _optimise(self) -> None:
        """Tidy up."""

    def _index_moved(self) -> None:
        """Index what has no index; tidy up where a store cannot do one without the other."""
        self._optimise()

    @abstractmethod
    def _close(self) -> None:
        """Release the store; called once. Calls of other threads may be under way."""

    def _count_rows(self, space: ModelId) -> int:
        """Count by looking; as `_count` where no sum is kept."""
        return self._count(space, None)

    def _layout(self) -> Layout | None:
        return None

    def _origins(self) -> MutableMapping[str, bytes] | None:
        """Return where records of origins are kept; None where there is no place."""
        return None

    def _stored(self, item_ids: list[str], fields: list[str]) -> dict[str, dict[str, Any]]:
        """Read fields of one item or more; ids may occur twice."""
        return {
            state.item_id: {key: state.metadata[key] for key in fields if key in state.metadata}
            for state in self._get(item_ids)
            if state is not None
        }

    def _sync(self) -> None:
        """Wait for the disk."""
        return

    def _indexed(self, space: ModelId) -> float | None:
        """Tell how much of a side is indexed; None where that is no matter."""
        return None

    def _recount(self) -> dict[ModelId, int]:
        return {space: self._count(space, None) for space in self.spaces}

    def _restrict_writes(self, spaces: list[ModelId]) -> None:
        """Let only these spaces, all of which are there, take writes; all where none is given."""
        return

    def _permit_writes(self, space: ModelId, revision: int) -> None:
        """Let one more space take writes, where the stamp still has that revision."""
        return

    def _owner_after(self, owner: str) -> str:
        """Let `owner` have the gallery if nobody has it; return who has it then."""
        return owner

    def _release_from(self, owner: str) -> None:
        """Let nobody have the gallery, if `owner` had it."""
        return

    def _rehearse_writes(self, model: ModelId | None) -> list[str]:
        return []

    def _rehearse_drop(self, model: ModelId) -> list[str]:
        return []

    def _remarks(self, model: ModelId | None) -> list[str]:
        return []

    def _spaces_with(self, models: Iterable[ModelId]) -> tuple[ModelId, ...]:
        """Return the spaces. A store that asks a server for them may answer from memory.

        It has to ask where one of `models` is not among those it remembers.
        """
        return self.spaces

    # Inside

    @final
    def _check_open(self) -> None:
        """Raise StoreError once closed. Stores may ask again inside their locks."""
        if self._closed:
            raise StoreError(f"this {type(self).__name__} is closed: open it again")

    @final
    def _check_spaces(self, models: Iterable[ModelId]) -> None:
        spaces = self._spaces_with(models)
        for model in models:
            check_space(spaces, model)

    @final
    def _ranked(
        self, queries: Mapping[ModelId, Vectors], k: int, where: Where | None, most: int
    ) -> dict[ModelId, Hits]:
        """Search, order equal hits by the rule of the interface, and cut each list at k."""
        found = self._search(queries, min(k + 1, most), where)
        return {
            space: self._in_order(space, self._whole(space, rows, found[space], k, where, most), k)
            for space, rows in queries.items()
        }

    def _whole(
        self, space: ModelId, queries: Vectors, hits: Hits, k: int, where: Where | None, most: int
    ) -> Hits:
        """Ask for more where the k-th hit and the last one found are equal."""
        depth = min(k + 1, most)

        def open_ended(scores: Sequence[NDArray[np.float32]]) -> list[int]:
            return [
                row
                for row, each in enumerate(scores)
                if len(each) >= depth and each[k - 1] - each[-1] <= tolerance(each, space.metric)
            ]

        if depth >= most or not open_ended(hits.scores):
            return hits
        ids, scores = list(hits.item_ids), list(hits.scores)
        made_by = None if hits.origins is None else list(hits.origins)
        while depth < most and (rows := open_ended(scores)):
            depth = min(8 * depth, most)
            deeper = self._search({space: queries[rows]}, depth, where)[space]
            for place, row in enumerate(rows):
                ids[row], scores[row] = deeper.item_ids[place], deeper.scores[place]
                if made_by is not None and deeper.origins is not None:
                    made_by[row] = deeper.origins[place]
        return Hits(tuple(ids), tuple(scores), None if made_by is None else tuple(made_by))

    def _in_order(self, space: ModelId, hits: Hits, k: int) -> Hits:
        runs = [tied(scores, tolerance(scores, space.metric)) for scores in hits.scores]
        if not any(runs):
            return _cut(hits, k)
        names = {
            item_id
            for ids, some in zip(hits.item_ids, runs, strict=True)
            for run in some
            for item_id in ids[run]
        }
        told = hits if hits.origins is not None else self._with_origins(space, hits, names)
        assert told.origins is not None
        item_ids, origins = [], []
        for ids, made_by, some in zip(hits.item_ids, told.origins, runs, strict=True):
            row = list(zip(ids, made_by, strict=True))
            for run in some:
                row[run] = sorted(row[run], key=lambda hit: (hit[1] != space.fingerprint, hit[0]))
            item_ids.append(tuple(item_id for item_id, _ in row))
            origins.append(tuple(made for _, made in row))
        known = None if hits.origins is None else tuple(origins)
        return _cut(Hits(tuple(item_ids), hits.scores, known), k)

    def _with_origins(self, space: ModelId, hits: Hits, names: Iterable[str] | None = None) -> Hits:
        """Read what made the hits' vectors, unless it is known. names: of which; None for all.

        Where an item is gone or elsewhere by now, and of all others, it is taken for the model's.
        """
        if hits.origins is not None:
            return hits
        if names is None:
            names = {item_id for ids in hits.item_ids for item_id in ids}
        wanted = sorted(names)
        made_by = {
            state.item_id: state.origin
            for state in (self._get(wanted) if wanted else ())
            if state is not None and state.space == space
        }
        own = space.fingerprint
        origins = tuple(tuple(made_by.get(each, own) for each in ids) for ids in hits.item_ids)
        return Hits(hits.item_ids, hits.scores, origins)


def _cut(hits: Hits, k: int) -> Hits:
    return Hits(
        tuple([ids[:k] for ids in hits.item_ids]),
        tuple([scores[:k] for scores in hits.scores]),
        None if hits.origins is None else tuple([made_by[:k] for made_by in hits.origins]),
    )


def check_space(spaces: Sequence[ModelId], model: ModelId) -> None:
    """Raise ModelMismatchError when a store is not stamped with a model."""
    if not spaces:
        raise StoreError(f"the store is not stamped with any model: call add_space({model}) first")
    if model not in spaces:
        raise ModelMismatchError("unknown space", spaces[-1], model)


class HasModel(Protocol):
    """What a store keeps of a space."""

    @property
    def model(self) -> ModelId:
        """The space's model."""


S = TypeVar("S", bound=HasModel)


def space_of(spaces: Sequence[S], model: ModelId) -> S:
    """Find the space of a model. Raises as `check_space`: another process may have dropped it."""
    check_space([space.model for space in spaces], model)
    return next(space for space in spaces if space.model == model)


class HasNumber(HasModel, Protocol):
    """What a store keeps of a space whose number no other one ever has."""

    @property
    def number(self) -> int:
        """The space's number."""


N = TypeVar("N", bound=HasNumber)


def space_to_write(
    spaces: Sequence[N], model: ModelId, writable: Sequence[int] | None, revision: int
) -> N:
    """Find the space of a model, for items to be written there.

    writable: numbers of the spaces that take writes; None for all. revision: of the stamp that says
    so. Raises as `space_of`, and ClosedSideError.
    """
    space = space_of(spaces, model)
    if writable is not None and space.number not in writable:
        raise ClosedSideError(model, revision)
    return space


def check_unsearched(model: ModelId, searched: int) -> None:
    """Raise StoreError while items are searched in a space that is to be dropped."""
    if searched:
        raise StoreError(
            f"cannot drop {model}: {searched} items are searched there; move them first"
        )


def _check_positive(what: str, value: Any) -> None:
    try:
        whole = index(value)
    except TypeError:
        whole = 0
    if whole < 1:
        raise InputError(f"{what} must be >= 1, got {value!r}")
