"""Embedders that hand over what is made as soon as it is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hotfill.types import Vectors


@runtime_checkable
class InParts(Protocol):
    """What the cache looks for, so that what was paid for is kept even if the rest fails."""

    def parts(self, contents: Sequence[Any], /) -> Iterator[tuple[list[int], Vectors]]:
        """Yield rows of the call and their vectors, in any order, each row at most once.

        Raises EmbedError after everything that could be made was yielded.
        """
        ...
