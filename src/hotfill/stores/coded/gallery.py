"""A gallery some of whose sides are codes: the store underneath, and beside it a file of codes."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hotfill.checks import check_ids
from hotfill.errors import ConfigError
from hotfill.locks import FolderLock
from hotfill.stores.base import Capabilities, Found, Gallery, Hits
from hotfill.stores.coded.pointers import is_pointer_space, pointer_space, to_pointers, to_slots
from hotfill.stores.coded.side import CodeSide
from hotfill.stores.coded.slot_file import record_of
from hotfill.stores.filters import matches
from hotfill.stores.folder import check_room
from hotfill.stores.inputs import check_move, check_search, check_space, check_upsert
from hotfill.stores.read_write_lock import Turns

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from hotfill.stores.base import ItemState, Metadata, Page, Where
    from hotfill.stores.coded.codec import Codec
    from hotfill.types import ModelId, Vectors

_PAGE = 1000
_CANDIDATES = 4  # so many times k are scored exactly: enough for all but ties, see binary.scan
_LEAST_CANDIDATES = 200


class CodedGallery(Gallery):
    """Any gallery, with the vectors of some spaces kept as codes of a few bytes.

    An item's state, metadata and other vectors stay in the store underneath, and so does what
    decides on which side the item is. In the place of a code that store keeps a pointer of two
    numbers; the code itself is in a file in `folder`, which is written, durably, before the
    pointer. So every promise of the store underneath holds for codes too, and a crash leaves at
    most codes that nobody points to, whose slots are used again.

    In memory, per code: its bits again for the scan, its item's id and some 20 bytes.
    A code side scores the best candidates of a fast scan by their exact cosine. It finds all that
    the exact search finds when `k` times four candidates, at least 200, hold the k best.
    A filter is applied to candidates: the rarer the match, the more of the side is looked at.
    """

    def __init__(self, inner: Gallery, folder: str | Path, codecs: Sequence[Codec]) -> None:
        """Open, or make, the codes beside a gallery, and take the gallery over.

        folder: of the codes; one process at a time. codecs: of every space that is or will be
            kept as codes; spaces of other models stay in the store underneath.
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
        self._loaded = False  # whether the sides know what the store underneath holds
        # Searches wait for writes and the other way round, so an item in transit is never missed.
        self._turns = Turns()
        self._folder_lock = FolderLock(self._folder)
        try:
            for kept in inner.spaces:
                if is_pointer_space(kept):
                    side = CodeSide(self._folder, self._codec_of(kept))
                    self._sides[side.space] = side
        except BaseException:
            self._release()
            raise

    @property
    def capabilities(self) -> Capabilities:
        """As the store underneath, but for one process."""
        return replace(self._inner.capabilities, snapshot_reads=True, many_processes=False)

    @property
    def spaces(self) -> tuple[ModelId, ...]:
        """The spaces, oldest first."""
        return tuple(self._outer(space) for space in self._inner.spaces)

    def vector_bytes(self, space: ModelId) -> int:
        """As the store underneath; a code takes its record and the pointer to it."""
        if space not in self._codecs:
            return self._inner.vector_bytes(space)
        record = record_of(self._codecs[space].row_bytes)
        return record.itemsize + self._inner.vector_bytes(pointer_space(space))

    def add_space(self, model: ModelId) -> None:
        """Make room for vectors, or for codes where there is a codec of the model."""
        with self._turns.writing():
            if model not in self._codecs:
                self._inner.add_space(model)
            elif model not in self._sides:
                side = CodeSide(self._folder, self._codecs[model])
                self._inner.add_space(side.pointers)
                self._sides = {**self._sides, model: side}  # others read it meanwhile

    def drop_space(self, model: ModelId) -> None:
        """Remove an unsearched space, and the file of its codes."""
        with self._turns.writing():
            self._inner.drop_space(self._as_kept(model))
            if model in self._sides:
                side = self._sides[model]
                self._sides = {space: rest for space, rest in self._sides.items() if rest != side}
                side.remove()

    def upsert(
        self,
        item_ids: Sequence[str],
        vectors: Vectors,
        *,
        space: ModelId,
        metadata: Sequence[Metadata] | None = None,
        retired: Mapping[ModelId, Vectors] | None = None,
    ) -> NDArray[np.int64]:
        """Write items with new content. Raises InputError too, where vectors are no codes."""
        retired = retired or {}
        check_upsert(self.spaces, item_ids, vectors, space, metadata, retired)
        with self._writing(item_ids) as fresh:
            return self._inner.upsert(
                item_ids,
                self._kept(item_ids, vectors, space, fresh),
                space=self._as_kept(space),
                metadata=metadata,
                retired={
                    self._as_kept(model): self._kept(item_ids, rows, model, fresh)
                    for model, rows in retired.items()
                },
            )

    def set_metadata(self, item_ids: Sequence[str], metadata: Sequence[Metadata]) -> None:
        """Replace the metadata of items that exist."""
        self._inner.set_metadata(item_ids, metadata)

    def delete(self, item_ids: Sequence[str]) -> int:
        """Remove items from every space."""
        check_ids(item_ids)
        with self._writing(item_ids):
            return self._inner.delete(item_ids)

    def move(
        self,
        item_ids: Sequence[str],
        vectors: Vectors,
        *,
        space: ModelId,
        expected_versions: NDArray[np.int64],
        origin: str | None = None,
    ) -> NDArray[np.bool_]:
        """Let items be searched in `space`; what a transform made is rounded to codes there.

        Raises InputError too, where vectors that the model made are no codes.
        """
        check_move(self.spaces, item_ids, vectors, space, expected_versions)
        transform = None if origin == space.fingerprint else origin
        with self._writing(item_ids) as fresh:
            rounded = transform is not None
            return self._inner.move(
                item_ids,
                self._kept(item_ids, vectors, space, fresh, rounded=rounded),
                space=self._as_kept(space),
                expected_versions=expected_versions,
                origin=transform,
            )

    def search(
        self, queries: Mapping[ModelId, Vectors], k: int, *, where: Where | None = None
    ) -> dict[ModelId, Hits]:
        """Find the k best items of each side: in the store underneath, and among codes."""
        with self._searching():
            ready = check_search(self.spaces, queries, k, where)
            others = {space: queries[space] for space in ready if space not in self._sides}
            found = self._inner.search(others, k, where=where) if others else {}
            for space in ready:
                if space in self._sides:
                    found[space] = self._search_codes(self._sides[space], ready[space], k, where)
            return {space: found[space] for space in ready}

    def get(self, item_ids: Sequence[str]) -> list[ItemState | None]:
        """Read the state of items."""
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

    def vectors(self, item_ids: Sequence[str], space: ModelId) -> Found:
        """Read vectors of items in a space; codes are decoded."""
        with self._turns.reading():
            check_space(self.spaces, space)
            found = self._inner.vectors(item_ids, self._as_kept(space))
            if space not in self._sides:
                return found
            side, slots = self._sides[space], to_slots(found.vectors)
            side.check(found.item_ids, slots)
            return replace(found, vectors=side.read(slots))

    def scan(self, space: ModelId, *, after: str | None = None, limit: int = 1000) -> Page:
        """List items searched in `space`, in the order of the store underneath."""
        kept = self._as_kept(space)
        page = self._inner.scan(kept, after=after, limit=limit)
        return replace(
            page, origins=tuple(self._outer_origin(kept, origin) for origin in page.origins)
        )

    def count(self, space: ModelId, *, origin: str | None = None) -> int:
        """Count the items searched in `space`."""
        kept = self._as_kept(space)
        own = kept.fingerprint if origin == space.fingerprint else origin
        return self._inner.count(kept, origin=own)

    def optimise(self) -> None:
        """Let the store underneath tidy up."""
        self._inner.optimise()

    def close(self) -> None:
        """Release the store underneath and the codes."""
        with self._turns.writing():
            self._release()

    # Names; also asked for outside the lock ---------------------------------------------------

    def _as_kept(self, space: ModelId) -> ModelId:
        """Name a space as the store underneath knows it."""
        return self._sides[space].pointers if space in self._sides else space

    def _outer(self, kept: ModelId) -> ModelId:
        return next((side.space for side in self._sides.values() if side.pointers == kept), kept)

    def _outer_origin(self, kept: ModelId, origin: str) -> str:
        return self._outer(kept).fingerprint if origin == kept.fingerprint else origin

    # Turns ------------------------------------------------------------------------------------

    @contextmanager
    def _searching(self) -> Iterator[None]:
        """Be one of those who search, when it is known whose the codes are."""
        while True:
            with self._turns.reading():
                if self._loaded:
                    yield
                    return
            with self._turns.writing():
                self._load()

    def _load(self) -> None:
        """Learn from the store underneath whose the codes are, unless it is known."""
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
        with self._turns.writing():
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

    def _kept(
        self,
        item_ids: Sequence[str],
        vectors: Vectors,
        space: ModelId,
        fresh: dict[ModelId, NDArray[np.int64]],
        *,
        rounded: bool = False,
    ) -> Vectors:
        """Return what the store underneath keeps of vectors: themselves, or pointers to codes."""
        if space not in self._sides:
            return vectors
        side = self._sides[space]
        check_room(self._folder, 0)
        fresh[space] = side.put(item_ids, vectors, rounded=rounded)
        return to_pointers(fresh[space])

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
