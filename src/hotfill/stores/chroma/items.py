"""The items of a gallery: an item is one row, in the collection of the side that it is searched on.

A row holds what its users wrote (metadata, document, address) and a few small keys of ours. Vectors
kept for the way back are in a collection of their own for each space, under the content version
that they belong to: an edit voids them by its new version.

Chroma changes one collection at a time, so that an item that changes sides is on both for a moment,
and after a kill. Each change counts up the row's `step`; of two rows the one of the later step
counts, and `ChromaItems.repair` removes the other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.errors import StoreError
from hotfill.stores.base import Found, ItemState
from hotfill.stores.chroma.filter import key_of, stored_key
from hotfill.stores.chroma.stamp import kept_name, outgoing_name, shadow_name
from hotfill.stores.filters import is_metadata
from hotfill.vectors import as_stored

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from chromadb.api.models.Collection import Collection
    from numpy.typing import NDArray

    from hotfill.stores.base import Metadata
    from hotfill.stores.chroma.client import ChromaClient
    from hotfill.stores.chroma.stamp import ChromaSpace, ChromaStamp
    from hotfill.types import ModelId, Vectors

VERSION, STEP = "_hotfill_version", "_hotfill_step"
ORIGIN, IMPUTED = "_hotfill_origin", "_hotfill_imputed"
"""Of vectors that a transform made: its fingerprint, and True (no filter asks for a key alone)."""
_OURS = frozenset((VERSION, STEP, ORIGIN, IMPUTED))
_ROW = ("metadatas", "documents", "uris")
CHEAP = {"space": "l2", "max_neighbors": 2, "ef_construction": 2}
"""The graph of kept vectors: they are never searched, and Chroma can leave no graph out."""


@dataclass(frozen=True, slots=True)
class ChromaRow:
    """An item on a side.

    content: metadata in their stored form, without ours.
    version, step: 0 of a row that says nothing.
    origin: None for the model's own vector. vector: empty where it was not asked for.
    """

    item_id: str
    side: ChromaSpace
    version: int
    step: int
    origin: str | None
    content: Mapping[str, Any]
    document: str | None
    uri: str | None
    vector: NDArray[np.float32]

    @property
    def state(self) -> ItemState:
        """What the interface tells of an item."""
        return ItemState(
            item_id=self.item_id,
            version=self.version,
            space=self.side.model,
            origin=self.origin or self.side.model.fingerprint,
            metadata={k: v for k, v in self.content.items() if is_metadata(k, v)},
        )

    def with_metadata(self, metadata: Metadata) -> ChromaRow:
        """Return the row with other metadata. What hotfill does not show of it stays."""
        hidden = {k: v for k, v in self.content.items() if not is_metadata(k, v)}
        return replace(self, content={**hidden, **metadata})

    def stored(self, before: ChromaRow | None) -> dict[str, Any]:
        """Return the metadata to write over those of a row; a key of None is removed there."""
        ours: dict[str, Any] = {VERSION: self.version, STEP: self.step}
        if self.origin is not None or (before is not None and before.origin is not None):
            ours |= {ORIGIN: self.origin, IMPUTED: None if self.origin is None else True}
        gone = dict.fromkeys(before.content) if before is not None else {}
        theirs = {stored_key(key): value for key, value in {**gone, **self.content}.items()}
        return {**theirs, **ours}


class ChromaItems:
    """Rows in the collections of a stamp. Callers hold the gallery's lock, and to write its turn.

    stamp: set by the gallery whenever it changes.
    """

    def __init__(self, client: ChromaClient, gallery: str, stamp: ChromaStamp) -> None:
        self.stamp = stamp
        self._client, self._gallery = client, gallery
        self._kept: dict[int, Collection] = {}

    def collection(self, space: ChromaSpace) -> Collection:
        """Return the collection of a side. Raises StoreError when it is gone."""
        names = (
            self._gallery,
            shadow_name(self._gallery, space.number),
            outgoing_name(self._gallery, space.number),
        )
        found = self._client.with_id(space.collection, names)
        if found is None:
            raise StoreError(
                f"the collection of {space.model} in the gallery {self._gallery!r} is gone: it was "
                "dropped or renamed by somebody else"
            )
        return found

    def kept(self, space: ChromaSpace) -> Collection | None:
        """Return the collection of a space's kept vectors; None while there is none."""
        if space.number not in self._kept:
            there = self._client.named(kept_name(self._gallery, space.number))
            if there is None:
                return None
            self._kept[space.number] = there
        return self._kept[space.number]

    def forget(self, space: ChromaSpace) -> None:
        """Drop the collection of a space's kept vectors. Idempotent."""
        self._kept.pop(space.number, None)
        self._client.drop(kept_name(self._gallery, space.number))

    # Reading

    def find(self, item_ids: Sequence[str], *, vectors: bool = False) -> dict[str, ChromaRow]:
        """Find items, each on its side; those that are not there are left out."""
        found: dict[str, ChromaRow] = {}
        spaces = self.stamp.spaces
        for space in spaces:
            self._look(space, item_ids, found, vectors=vectors)
        # Another process may have moved an item back to a side that was looked at before.
        for space in reversed(spaces[:-1]):
            if missing := [item_id for item_id in item_ids if item_id not in found]:
                self._look(space, missing, found, vectors=vectors)
        return found

    def _look(
        self,
        space: ChromaSpace,
        item_ids: Sequence[str],
        found: dict[str, ChromaRow],
        *,
        vectors: bool,
    ) -> None:
        for row in self.read(space, item_ids, vectors=vectors):
            other = found.get(row.item_id)
            if other is None or other.step < row.step:
                found[row.item_id] = row

    def read(
        self, space: ChromaSpace, item_ids: Sequence[str], *, vectors: bool = False
    ) -> Iterator[ChromaRow]:
        """Read the rows of items that a side has."""
        include = (*_ROW, "embeddings") if vectors else _ROW
        for stored in self._client.rows(self.collection(space), item_ids, include):
            content = dict(stored.get("metadatas") or {})
            yield ChromaRow(
                item_id=stored["id"],
                side=space,
                version=int(content.get(VERSION, 0)),
                step=int(content.get(STEP, 0)),
                origin=content.get(ORIGIN),
                content={key_of(k): v for k, v in content.items() if k not in _OURS},
                document=stored.get("documents"),
                uri=stored.get("uris"),
                vector=np.asarray(stored.get("embeddings", ()), dtype=np.float32),
            )

    def vectors(self, there: Mapping[str, ChromaRow], space: ChromaSpace) -> Found:
        """Read vectors of found items in one space, searched or kept, in their stored form."""
        searched = [i for i, row in there.items() if row.side == space]
        found = {row.item_id: row.vector for row in self.read(space, searched, vectors=True)}
        names = {_kept_id(row): i for i, row in there.items() if row.side != space}
        if names and (kept := self.kept(space)) is not None:
            for stored in self._client.rows(kept, list(names), ["embeddings"]):
                found[names[stored["id"]]] = np.asarray(stored["embeddings"], dtype=np.float32)
        return Found.of(
            [(i, row.version, found[i]) for i, row in there.items() if i in found],
            space.model.dimension,
        )

    # Writing

    def write(
        self,
        target: ChromaSpace,
        rows: Sequence[ChromaRow],
        before: Mapping[str, ChromaRow],
        *,
        vectors: bool = True,
    ) -> None:
        """Write rows to a side, over those that are there.

        before: rows by item id, where there are some.
        """
        for way in ("update", "upsert"):
            some = [
                row
                for row in rows
                if (way == "update")
                == (row.item_id in before and before[row.item_id].side == target)
            ]
            if not some:
                continue
            fresh = way == "upsert"
            self._client.write(
                self.collection(target),
                way,
                [row.item_id for row in some],
                vectors=np.array([row.vector for row in some]) if vectors else None,
                metadatas=[row.stored(None if fresh else before[row.item_id]) for row in some],
                documents=[row.document for row in some] if fresh else (),
                uris=[row.uri for row in some] if fresh else (),
            )

    def keep(self, space: ChromaSpace, rows: Sequence[ChromaRow], vectors: Vectors) -> None:
        """Keep vectors of the content of rows for the way back into a space."""
        if not rows:
            return
        there = self.kept(space)
        if there is None:
            name = kept_name(self._gallery, space.number)
            there = self._client.create(name, hnsw=CHEAP) or self._client.named(name)
            if there is None:
                raise StoreError(f"the collection {name!r} was dropped by somebody else")
            self._kept[space.number] = there
        self._client.write(there, "upsert", [_kept_id(row) for row in rows], vectors=vectors)

    def leave(self, rows: Iterable[ChromaRow]) -> None:
        """Remove rows from the sides that they were found on."""
        by_side: dict[ChromaSpace, list[str]] = {}
        for row in rows:
            by_side.setdefault(row.side, []).append(row.item_id)
        for side, item_ids in by_side.items():
            self._client.delete(self.collection(side), item_ids)

    def unkeep(self, rows: Iterable[ChromaRow]) -> None:
        """Remove what was kept of contents that are void."""
        names = [_kept_id(row) for row in rows]
        for space in self.stamp.spaces:
            if names and (kept := self.kept(space)) is not None:
                self._client.delete(kept, names)

    def remove(self, item_ids: Sequence[str]) -> None:
        """Remove items from all sides."""
        for space in self.stamp.spaces:
            self._client.delete(self.collection(space), item_ids)

    def repair(self, item_ids: Sequence[str]) -> int:
        """Bring items to one side each after a kill. Returns how many were on two."""
        rows = [row for space in self.stamp.spaces for row in self.read(space, item_ids)]
        latest = {row.item_id: row for row in sorted(rows, key=lambda row: row.step)}
        twins = [row for row in rows if row is not latest[row.item_id]]
        self.leave(twins)
        return len(twins)


def _kept_id(row: ChromaRow) -> str:
    return f"{row.version}:{row.item_id}"


# Rows to be written -------------------------------------------------------------------------------


def written(
    item_ids: Sequence[str],
    vectors: Vectors,
    metadata: Sequence[Metadata] | None,
    versions: NDArray[np.int64],
    target: ChromaSpace,
    before: Mapping[str, ChromaRow],
) -> list[ChromaRow]:
    """Make the rows of items with new content. Without metadata that of the rows before stays."""
    rows = []
    for i, item_id in enumerate(item_ids):
        row = before.get(item_id)
        if row is None:
            row = ChromaRow(item_id, target, 0, 0, None, {}, None, None, vectors[i])
        row = replace(
            row,
            side=target,
            version=int(versions[i]),
            step=row.step + 1,
            origin=None,
            vector=vectors[i],
        )
        rows.append(row if metadata is None else row.with_metadata(metadata[i]))
    return rows


def moved(
    item_ids: Sequence[str],
    vectors: Vectors,
    versions: NDArray[np.int64],
    target: ChromaSpace,
    origin: str,
    before: Mapping[str, ChromaRow],
) -> list[ChromaRow]:
    """Make the rows of those items that may move to a side."""
    made_by = None if origin == target.model.fingerprint else origin
    rows = []
    for i, item_id in enumerate(item_ids):
        row = before.get(item_id)
        if row is None or row.version != versions[i]:
            continue
        if row.side == target and row.origin is None and made_by is not None:
            continue  # the model's own vector is better than any transform's
        rows.append(replace(row, side=target, step=row.step + 1, origin=made_by, vector=vectors[i]))
    return rows


def as_they_were(rows: Sequence[ChromaRow], kept: Found, model: ModelId) -> list[ChromaRow]:
    """Give rows that go back the vectors that were there, of any length, where they are the same.

    kept: in their stored form.
    """
    stored = dict(zip(kept.item_ids, kept.vectors, strict=True))
    result = []
    for row in rows:
        raw = stored.get(row.item_id, row.vector)
        units = as_stored(np.array([raw, row.vector]), model)
        same = np.allclose(units[0], units[1], atol=1e-6)
        result.append(replace(row, vector=raw) if same else row)
    return result
