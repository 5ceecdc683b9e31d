"""One space of a gallery whose vectors are codes in a file, with the scan that finds them.

The inner store keeps a pointer in the place of a code: a vector of two numbers that says in which
slot of the file the code is.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from hotfill.errors import ConfigError, StoreError
from hotfill.stores.coded.slot_file import SlotFile
from hotfill.vectors import unit

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from hotfill.stores.coded.codec import Codec
    from hotfill.types import ModelId, Vectors


_MARK = "; kept as codes"
_REUSED_FROM = 1024  # slots: what waits for the disk, and makes all that came before wait, too
_HALF = 2**20  # float32 holds whole numbers up to 2^24 exactly


def pointer_space(model: ModelId) -> ModelId:
    """Name the space of the pointers to a space's codes."""
    return replace(
        model,
        dimension=2,
        metric="dot",  # so that no store changes the numbers
        normalised=False,
        preprocessing=model.preprocessing + _MARK,
    )


def is_pointer_space(model: ModelId) -> bool:
    """Tell whether a space holds pointers."""
    return model.dimension == 2 and model.preprocessing.endswith(_MARK)


def to_pointers(slots: NDArray[np.int64]) -> Vectors:
    """Write slot numbers, below 2^40, as float32 (n, 2); never zero, which stores refuse."""
    high, low = np.divmod(slots, _HALF)
    return np.stack([high, low + 1], axis=1).astype(np.float32)


def to_slots(pointers: Vectors) -> NDArray[np.int64]:
    """Read slot numbers back, int64 (n,)."""
    whole = pointers.astype(np.int64)
    return np.asarray(whole[:, 0] * _HALF + whole[:, 1] - 1)


# One space of a gallery whose vectors are codes in a file, with the scan that finds them ---------


class CodeSide:
    """Slots of codes: whose they are, which are searched, which are free.

    All of this but the codes is in memory, and read from the inner store by `load`.
    Many threads may read and search at once, or one may write; the gallery sees to it.
    """

    def __init__(self, folder: Path, codec: Codec) -> None:
        """Open the side's file in a folder, or make it. Nothing is in it before `load`."""
        if codec.space.metric != "cosine":
            raise ConfigError(f"codes are compared by the cosine; {codec.space} is not")
        self.space = codec.space
        self.pointers = pointer_space(codec.space)
        self._codec = codec
        self._file = SlotFile(folder / f"{codec.space.fingerprint}.codes", codec.row_bytes)
        self.forget()

    def __len__(self) -> int:
        return self._n_searched

    def forget(self) -> None:
        """Begin again with nothing loaded."""
        self._scan = self._codec.scan()
        self._owners: list[str | None] = []
        self._searched = np.zeros(0, np.bool_)
        self._n_searched = 0
        self._free: list[int] = []
        self._freed: list[int] = []  # to be free once the inner store has it on the disk

    def load(self, item_ids: Sequence[str], slots: NDArray[np.int64], *, searched: bool) -> None:
        """Take in items whose codes are in the file already. Raises StoreError as `check`."""
        self.check(item_ids, slots)
        self._reserve(int(slots.max(initial=-1)) + 1)
        for slot, item_id in zip(slots.tolist(), item_ids, strict=True):
            self._owners[slot] = item_id
        if searched:
            self._begin_search(slots)

    def check(self, item_ids: Sequence[str], slots: NDArray[np.int64]) -> None:
        """Raise StoreError when a code is damaged or the file is another gallery's."""
        if damaged := self._file.damaged(slots, item_ids):
            raise StoreError(
                f"{self._file.path}: the codes of {len(damaged)} items are damaged or another "
                f"gallery's, for one {damaged[0]!r}: put the file back from a copy that was made "
                "together with the store's"
            )

    def loaded(self) -> None:
        """Note what nobody points to, when all was loaded."""
        self._freed = [slot for slot, owner in enumerate(self._owners) if owner is None]

    def lacks_slots(self, rows: int) -> bool:
        """Tell whether to `reuse` slots before this many codes are put."""
        return len(self._free) < rows and len(self._freed) >= _REUSED_FROM

    def reuse(self) -> None:
        """Let slots be overwritten that nobody points to on the disk either.

        A store that does not wait for the disk is as it was before, after a power cut, and its
        items point to the codes that they had.
        """
        self._free += self._freed
        self._freed = []

    def put(
        self, item_ids: Sequence[str], vectors: Vectors, *, rounded: bool = False
    ) -> NDArray[np.int64]:
        """Write codes into free slots, int64 (n,), durably; not searched before `settle`.

        rounded: see `Codec.pack`. Raises InputError (no codes), StoreFullError, StoreError.
        """
        rows = self._codec.pack(vectors, rounded=rounded)
        reused = self._free[len(self._free) - min(len(rows), len(self._free)) :]
        fresh = range(len(self._owners), len(self._owners) + len(rows) - len(reused))
        slots = np.array([*reused, *fresh], dtype=np.int64)
        self._file.write(slots, rows, item_ids)
        del self._free[len(self._free) - len(reused) :]
        self._reserve(len(self._owners) + len(fresh))
        for slot, item_id in zip(slots.tolist(), item_ids, strict=True):
            self._owners[slot] = item_id
        return slots

    def settle(
        self,
        touched: NDArray[np.int64],
        current: Mapping[str, int],
        searched_ids: Collection[str],
    ) -> None:
        """Search what is to be searched now, and free what nobody points to any more.

        touched: slots that may have changed. current: slots of their items now.
        searched_ids: those of the items that are searched in this space.
        """
        owners = [self._owners[slot] for slot in touched.tolist()]
        kept = np.array(
            [
                owner is not None and current.get(owner) == slot
                for owner, slot in zip(owners, touched.tolist(), strict=True)
            ],
            np.bool_,
        )
        wanted = kept & np.array([owner in searched_ids for owner in owners], np.bool_)
        self._end_search(touched[self._searched[touched] & ~wanted])
        self._begin_search(touched[~self._searched[touched] & wanted])
        for slot in touched[~kept].tolist():
            if self._owners[slot] is not None:
                self._owners[slot] = None
                self._freed.append(slot)

    def read(self, slots: NDArray[np.int64]) -> Vectors:
        """Read vectors, float32 (n, dimension), of unit length."""
        if not len(slots):
            return np.empty((0, self.space.dimension), np.float32)
        return unit(self._codec.unpack(self._file.read(slots)))

    def candidates(self, queries: Vectors, k: int) -> list[tuple[list[str], NDArray[np.float32]]]:
        """Find about the k best of each query; their ids and exact cosines, best first."""
        found = self._scan.search(queries, k)
        return [
            self._scored(query, slots[slots >= 0])
            for query, slots in zip(queries, found, strict=True)
        ]

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def remove(self) -> None:
        """Remove the file."""
        self.close()
        self._file.path.unlink(missing_ok=True)

    def _scored(
        self, query: NDArray[np.float32], slots: NDArray[np.int64]
    ) -> tuple[list[str], NDArray[np.float32]]:
        rows = self._codec.unpack(self._file.read(slots))
        scores = unit(rows) @ query
        order = np.argsort(-scores, kind="stable")
        return [self._owners[slot] or "" for slot in slots[order].tolist()], scores[order]

    def _begin_search(self, slots: NDArray[np.int64]) -> None:
        if len(slots):
            self._scan.add(slots, self._file.read(slots))
            self._searched[slots] = True
            self._n_searched += len(slots)

    def _end_search(self, slots: NDArray[np.int64]) -> None:
        if len(slots):
            self._scan.remove(slots)
            self._searched[slots] = False
            self._n_searched -= len(slots)

    def _reserve(self, slots: int) -> None:
        self._owners += [None] * (slots - len(self._owners))
        if slots > len(self._searched):
            grown = np.zeros(max(slots, len(self._searched) * 3 // 2), np.bool_)
            grown[: len(self._searched)] = self._searched
            self._searched = grown
