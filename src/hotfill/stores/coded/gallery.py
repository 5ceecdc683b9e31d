"""A gallery some of whose sides are codes: an inner store, and files of codes."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.errors import ConfigError
from hotfill.locks import FolderLock, ReadWriteLock
from hotfill.stores.base import Found, Gallery, Hits, check_space
from hotfill.stores.coded.side import (
    CodeSide,
    is_pointer_space,
    pointer_space,
    to_pointers,
    to_slots,
)
from hotfill.stores.coded.slot_file import record_of
from hotfill.stores.filters import matches
from hotfill.stores.folder import check_room
from hotfill.stores.origin_files import OriginFiles
from hotfill.vectors import Checked, unit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from hotfill.stores.base import Building, Capabilities, ItemState, Page
    from hotfill.stores.coded.codec import Codec
    from hotfill.stores.filters import Metadata, Where
    from hotfill.stores.layouts import Layout
    from hotfill.types import ModelId, Vectors

_PAGE = 1000
_CANDIDATES = 4  # this many times k are scored exactly: enough for all but ties, see binary.scan
_LEAST_CANDIDATES = 200


class CodedGallery(Gallery):
    """Any gallery, with the vectors of some spaces kept as codes of a few bytes.

    An item's state, metadata and other vectors stay in the inner store, and so does what
    decides on which side the item is. In the place of a code that store keeps a pointer of two
    numbers; the code itself is in a file in `folder`, which is written, durably, before the
    pointer. So every promise of the inner store holds for codes too, and a crash leaves at
    most codes that nobody points to, whose slots are used again.

    In memory, per code: its bits again for the scan, its item's id and some 20 bytes.
    A code side scores the best candidates of a fast scan by their exact cosine. It finds all that
    the exact search finds when `k` times four candidates, at least 200, hold the k best.
    A filter is applied to candidates: the rarer the match, the more of the side is looked at.
    """

    def __init__(self, inner: Gallery, folder: str | Path, codecs: Sequence[Codec]) -> None:
        """Open, or make, the codes of a gallery, and take the gallery over.

        folder: of the codes; one process at a time. codecs: of every space that is or will be
            kept as codes; spaces of other models stay in the inner store.
        The first search or write reads the id of every item, and every code, once: some 20 seconds
        for a million. Then, or when it is read, a code that is damaged or another gallery's raises
        StoreError.
        Raises ConfigError (a codec is missing, or its space is not compared by the cosine),
        StoreBusyError.
        """
        self._inner = inner
        self._folder = Path(folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._codecs = {codec.space: codec for codec in codecs}
        self._sides: dict[ModelId, CodeSide] = {}
        self._loaded = False  # whether the sides know what the inner store holds
        # Searches wait for writes and the other way round, so an item in transit is never missed.
        self._lock = ReadWriteLock()
        self._folder_lock = FolderLock(self._folder)
        try:
            for kept in inner.spaces:
                if is_pointer_space(kept):
                    side = CodeSide(self._folder, self._codec_of(kept))
                    self._sides[side.space] = side
        except BaseException:
            self._release()
            raise

    @cached_property
    def capabilities(self) -> Capabilities:
        """Those of the inner store, but for one process."""
        return replace(
            self._inner.capabilities,
            snapshot_reads=True,
            many_processes=False,
            restricts_writes=False,
        )

    def keeps_length(self, space: ModelId) -> bool:
        """As the inner store; codes have no length."""
        return space not in self._codecs and self._inner.keeps_length(space)

    def kept_as(self, vectors: Vectors, space: ModelId) -> Vectors:
        """As the inner store; the nearest codes where the space is kept as codes."""
        if space not in self._codecs:
            return self._inner.kept_as(vectors, space)
        codec = self._codecs[space]
        return unit(codec.unpack(codec.pack(vectors, rounded=True)))

    @property
    def spaces(self) -> tuple[ModelId, ...]:
        """The spaces, oldest first."""
        return tuple(self._outer(space) for space in self._inner.spaces)

    def vector_bytes(self, space: ModelId) -> int:
        """As the inner store; a code takes its record and the pointer to it."""
        if space not in self._codecs:
            return self._inner.vector_bytes(space)
        record = record_of(self._codecs[space].row_bytes)
        return record.itemsize + self._inner.vector_bytes(pointer_space(space))

    def _spaces_with(self, models: Iterable[ModelId]) -> tuple[ModelId, ...]:
        there = self._inner._spaces_with([self._inner_space(model) for model in models])
        return tuple(self._outer(space) for space in there)

    def _origins(self) -> OriginFiles:
        return OriginFiles(self._folder / "origins")

    def _add_space(self, model: ModelId) -> None:
        with self._lock.writing():
            if model not in self._codecs:
                self._inner.add_space(model)
            elif model not in self._sides:
                side = CodeSide(self._folder, self._codecs[model])
                self._inner.add_space(side.pointers)
                self._sides = {**self._sides, model: side}  # a copy: others may be reading

    def _drop_space(self, model: ModelId) -> None:
        with self._lock.writing():
            self._inner.drop_space(self._inner_space(model))
            if model in self._sides:
                side = self._sides[model]
                self._sides = {space: rest for space, rest in self._sides.items() if rest != side}
                side.remove()

    def _upsert(
        self,
        item_ids: list[str],
        vectors: Vectors,
        space: ModelId,
        metadata: Sequence[Metadata] | None,
        kept: Mapping[ModelId, Vectors],
    ) -> NDArray[np.int64]:
        """Raise InputError, too, where vectors are no codes."""
        with self._writing(item_ids) as fresh:
            return self._inner.upsert(
                item_ids,
                self._to_keep(item_ids, vectors, space, fresh),
                space=self._inner_space(space),
                metadata=metadata,
                kept={
                    self._inner_space(model): self._to_keep(item_ids, rows, model, fresh)
                    for model, rows in kept.items()
                },
            )

    def _set_metadata(self, item_ids: list[str], metadata: Sequence[Metadata]) -> None:
        self._inner.set_metadata(item_ids, metadata)

    def _delete(self, item_ids: list[str]) -> int:
        with self._writing(item_ids):
            return self._inner.delete(item_ids)

    def _move(
        self,
        item_ids: list[str],
        vectors: Vectors,
        space: ModelId,
        expected_versions: NDArray[np.int64],
        origin: str,
    ) -> NDArray[np.bool_]:
        """Round what a transform made to codes; raise InputError for others that are none."""
        transform = None if origin == space.fingerprint else origin
        with self._writing(item_ids) as fresh:
            rounded = transform is not None
            return self._inner.move(
                item_ids,
                self._to_keep(item_ids, vectors, space, fresh, rounded=rounded),
                space=self._inner_space(space),
                expected_versions=expected_versions,
                origin=transform,
            )

    def _search(
        self, queries: Mapping[ModelId, Vectors], k: int, where: Where | None
    ) -> dict[ModelId, Hits]:
        with self._searching():
            others = {
                space: Checked(rows, space)
                for space, rows in queries.items()
                if space not in self._sides
            }
            found = self._inner.search(others, k, where=where) if others else {}
            for space, rows in queries.items():
                if space in self._sides:
                    found[space] = self._search_codes(self._sides[space], rows, k, where)
            return found

    def _layout(self) -> Layout | None:
        return self._inner.layout

    def _stored(self, item_ids: list[str], fields: list[str]) -> dict[str, dict[str, Any]]:
        return self._inner.stored(item_ids, fields)

    def _get(self, item_ids: list[str]) -> list[ItemState | None]:
        return [
            None
            if state is None
            else replace(
                state,
                space=self._outer(state.space),
                origin=self._outer_origin(state.space, state.origin),
            )
            for state in self._inner.get(item_ids)
        ]

    def _vectors(self, item_ids: list[str], space: ModelId) -> Found:
        with self._lock.reading():
            check_space(self._spaces_with([space]), space)
            found = self._inner.vectors(item_ids, self._inner_space(space))
            if space not in self._sides:
                return found
            side, slots = self._sides[space], to_slots(found.vectors)
            side.check(found.item_ids, slots)
            return replace(found, vectors=side.read(slots))

    def _scan(self, space: ModelId, after: str | None, limit: int) -> Page:
        inner = self._inner_space(space)
        page = self._inner.scan(inner, after=after, limit=limit)
        return replace(
            page, origins=tuple(self._outer_origin(inner, origin) for origin in page.origins)
        )

    def _count(self, space: ModelId, origin: str | None) -> int:
        inner = self._inner_space(space)
        own = inner.fingerprint if origin == space.fingerprint else origin
        return self._inner.count(inner, origin=own)

    def _count_rows(self, space: ModelId) -> int:
        return self._inner.count_rows(self._inner_space(space))

    def _sync(self) -> None:
        self._inner.sync()

    @property
    def building(self) -> Building | None:
        """That of the inner store."""
        return self._inner.building

    def abandon_building(self) -> None:
        """That of the inner store."""
        self._inner.abandon_building()

    def _optimise(self) -> None:
        self._inner.optimise()

    def _index_moved(self) -> None:
        self._inner.optimise(moving=True)

    def _recount(self) -> dict[ModelId, int]:
        counted = self._inner.recount()
        return {self._outer(space): items for space, items in counted.items()}

    def _owner_after(self, owner: str) -> str:
        return self._inner._owner_after(owner)

    def _release_from(self, owner: str) -> None:
        self._inner.release(owner)

    def _rehearse_writes(self, model: ModelId | None) -> list[str]:
        return self._inner.rehearse_writes(self._kept_as(model))

    def _rehearse_drop(self, model: ModelId) -> list[str]:
        return self._inner.rehearse_drop(self._inner_space(model))

    def _remarks(self, model: ModelId | None) -> list[str]:
        return self._inner.remarks(self._kept_as(model))

    def _kept_as(self, model: ModelId | None) -> ModelId | None:
        """Name a model that may have no space yet as the inner store will know it."""
        return pointer_space(model) if model in self._codecs else model

    def _indexed(self, space: ModelId) -> float | None:
        """Of a side of codes None: they are compared with one by one."""
        return None if space in self._sides else self._inner.indexed(space)

    def _close(self) -> None:
        with self._lock.writing():
            self._release()

    # Names; also asked for outside the lock ---------------------------------------------------

    def _inner_space(self, space: ModelId) -> ModelId:
        """Name a space as the inner store knows it."""
        return self._sides[space].pointers if space in self._sides else space

    def _outer(self, kept: ModelId) -> ModelId:
        return next((side.space for side in self._sides.values() if side.pointers == kept), kept)

    def _outer_origin(self, kept: ModelId, origin: str) -> str:
        return self._outer(kept).fingerprint if origin == kept.fingerprint else origin

    # Locks ------------------------------------------------------------------------------------

    @contextmanager
    def _searching(self) -> Iterator[None]:
        """Be one of those who search, when it is known whose the codes are."""
        while True:
            with self._lock.reading():
                if self._loaded:
                    yield
                    return
            with self._lock.writing():
                self._load()

    def _load(self) -> None:
        """Learn from the inner store whose the codes are, unless it is known."""
        if self._loaded:
            return
        for side in self._sides.values():
            side.forget()
        for space in self._inner.spaces:
            cursor: str | None = None
            while True:
                page = self._inner.scan(space, after=cursor, limit=_PAGE)
                for side in self._sides.values():
                    found = self._inner.vectors(page.item_ids, side.pointers)
                    slots = to_slots(found.vectors)
                    side.load(found.item_ids, slots, searched=space == side.pointers)
                cursor = page.cursor
                if cursor is None:
                    break
        for side in self._sides.values():
            side.loaded()
        self._loaded = True

    def _codec_of(self, kept: ModelId) -> Codec:
        for codec in self._codecs.values():
            if pointer_space(codec.space) == kept:
                return codec
        raise ConfigError(
            f"the gallery keeps codes of {kept.name} ({kept.preprocessing}) in {self._folder}, and "
            "their codec was not given: name the encoder that made them"
        )

    @contextmanager
    def _writing(self, item_ids: Sequence[str]) -> Iterator[dict[ModelId, NDArray[np.int64]]]:
        """Be alone; afterwards see where the items' codes are now, whatever happened.

        Gives a mapping to note the slots in that are written for them.
        """
        with self._lock.writing():
            self._load()
            fresh: dict[ModelId, NDArray[np.int64]] = {}
            before = {space: self._slots_of(side, item_ids) for space, side in self._sides.items()}
            self._loaded = False  # should the store fail before it can be asked again
            try:
                yield fresh
            finally:
                states = self._inner.get(item_ids) if self._sides else []
                for space, side in self._sides.items():
                    now = self._slots_of(side, item_ids)
                    touched = [*before[space].values(), *now.values(), *fresh.get(space, ())]
                    searched = {
                        state.item_id
                        for state in states
                        if state is not None and state.space == side.pointers
                    }
                    side.settle(np.unique(np.array(touched, dtype=np.int64)), now, searched)
                self._loaded = True

    def _slots_of(self, side: CodeSide, item_ids: Sequence[str]) -> dict[str, int]:
        found = self._inner.vectors(item_ids, side.pointers)
        return dict(zip(found.item_ids, to_slots(found.vectors).tolist(), strict=True))

    def _to_keep(
        self,
        item_ids: Sequence[str],
        vectors: Vectors,
        space: ModelId,
        fresh: dict[ModelId, NDArray[np.int64]],
        *,
        rounded: bool = False,
    ) -> Checked:
        """Write codes, note their slots in `fresh`, and return what the inner store is to keep."""
        if space not in self._sides:
            return Checked(vectors, space)
        side = self._sides[space]
        check_room(self._folder, 0)
        if side.lacks_slots(len(item_ids)):
            self._inner.sync()
            side.reuse()
        fresh[space] = side.put(item_ids, vectors, rounded=rounded)
        return Checked(to_pointers(fresh[space]), side.pointers)

    def _search_codes(self, side: CodeSide, queries: Vectors, k: int, where: Where | None) -> Hits:
        ids: list[tuple[str, ...]] = [()] * len(queries)
        scores = [np.empty(0, np.float32)] * len(queries)
        waiting = np.arange(len(queries) if len(side) else 0)
        depth = max(_CANDIDATES * k, _LEAST_CANDIDATES)
        while len(waiting):
            depth = min(depth, len(side))
            found = side.candidates(queries[waiting], depth)
            passing = self._passing({name for names, _ in found for name in names}, where)
            for query, (names, values) in zip(waiting.tolist(), found, strict=True):
                places = [place for place, name in enumerate(names) if name in passing][:k]
                ids[query] = tuple(names[place] for place in places)
                scores[query] = values[places]
            if depth == len(side):
                break
            waiting = np.array([query for query in waiting if len(ids[query]) < k], dtype=np.int64)
            depth *= _CANDIDATES
        return Hits(tuple(ids), tuple(scores))

    def _passing(self, item_ids: set[str], where: Where | None) -> set[str]:
        """Keep the items that pass a filter."""
        if where is None:
            return item_ids
        return {
            state.item_id
            for state in self._inner.get(list(item_ids))
            if state is not None and matches(state.metadata, where)
        }

    def _release(self) -> None:
        for side in self._sides.values():
            side.close()
        self._sides = {}
        self._inner.close()
        self._folder_lock.release()
