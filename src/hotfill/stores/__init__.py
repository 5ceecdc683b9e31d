"""Vector stores behind one interface.

`MemoryGallery` is the reference. Stores that need a client library are imported from their own
module: `from hotfill.stores.qdrant_edge import QdrantEdgeGallery`.
"""

from hotfill.stores.base import (
    Capabilities,
    Found,
    Gallery,
    Hits,
    ItemState,
    Metadata,
    Page,
    Range,
    Scalar,
    StoreCost,
    Where,
)
from hotfill.stores.memory import MemoryGallery

__all__ = [
    "Capabilities",
    "Found",
    "Gallery",
    "Hits",
    "ItemState",
    "MemoryGallery",
    "Metadata",
    "Page",
    "Range",
    "Scalar",
    "StoreCost",
    "Where",
]
