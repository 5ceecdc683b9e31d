"""What the gallery needs to know of a kind of code; `hotfill.binary.GridCodec` is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hotfill.types import ModelId, Vectors


class CodeScan(Protocol):
    """Finds candidates among codes, fast and not quite exactly. Codes are known by slot number."""

    def add(self, slots: NDArray[np.int64], packed: NDArray[np.uint8], /) -> None:
        """Take in codes, uint8 (n, row_bytes), under slots (n,) that are not here."""
        ...

    def remove(self, slots: NDArray[np.int64], /) -> None:
        """Take out codes that are here."""
        ...

    def search(self, queries: Vectors, k: int, /) -> NDArray[np.int64]:
        """Find about the k nearest by cosine: slots, int64 (q, k), -1 where there are fewer."""
        ...


class Codec(Protocol):
    """How vectors of one space, compared by cosine, become bytes and come back."""

    @property
    def space(self) -> ModelId:
        """The space of the codes, as everybody outside knows it."""
        ...

    @property
    def row_bytes(self) -> int:
        """Bytes of a code."""
        ...

    def pack(self, vectors: Vectors, /, *, rounded: bool = False) -> NDArray[np.uint8]:
        """Turn (n, dimension) into uint8 (n, row_bytes); the length of a row does not matter.

        rounded: whether rows that are no codes become the nearest ones, as an estimate may.
        Raises InputError for such rows otherwise.
        """
        ...

    def unpack(self, packed: NDArray[np.uint8], /) -> Vectors:
        """Turn bytes back into vectors, float32 (n, dimension), of any length."""
        ...

    def scan(self) -> CodeScan:
        """Make an empty scan."""
        ...
