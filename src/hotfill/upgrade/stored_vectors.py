"""The source of an upgrade that only changes how vectors are kept: the stored vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hotfill.stores.base import Gallery
    from hotfill.types import ModelId


class StoredVectors:
    """A `Source` whose contents are the vectors of a gallery in one space, searched or kept.

    An embedder of such contents is one that takes vectors, as `hotfill.binary.Binarisation`: then
    nothing is read or embedded again. Items without a vector there have no content.
    """

    def __init__(self, gallery: Gallery, space: ModelId) -> None:
        self._gallery = gallery
        self._space = space

    def __call__(self, item_ids: Sequence[str], /) -> Mapping[str, Any]:
        """Read vectors by item id, float32 (dimension,) each. Raises StoreError."""
        found = self._gallery.vectors(item_ids, self._space)
        return dict(zip(found.item_ids, found.vectors, strict=True))
