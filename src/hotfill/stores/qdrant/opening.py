"""How a collection becomes a gallery: connected, and its stamp read, or made."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hotfill.errors import StoreError
from hotfill.stores.qdrant import adoption, stamp
from hotfill.stores.qdrant.collection import Collection, new_space

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hotfill.types import ModelId


@contextmanager
def connected(
    location: str,
    collection: str,
    *,
    api_key: str | None,
    exact: bool,
    ef: int | None,
    timeout: float,
) -> Iterator[Collection]:
    """Connect for what the block opens; if that fails, disconnect. timeout: in seconds."""
    opened = Collection(
        location, collection, api_key=api_key, exact=exact, ef=ef, timeout_seconds=timeout
    )
    try:
        yield opened
    except BaseException:
        opened.close()
        raise


def create(collection: Collection, model: ModelId) -> stamp.Stamp:
    """Make an empty collection and stamp it."""
    space = new_space(model, time.time_ns())
    collection.create(space)
    return stamp.Stamp((space,), adopted=False)


def adopt(collection: Collection, model: ModelId, vector: str) -> stamp.Stamp:
    """Stamp a collection that is there, without altering its points."""
    config = collection.describe()
    known = stamp.read(config.metadata, collection.name)
    if known is None:
        space = adoption.look(config, collection.name, model, vector, time.time_ns())
        collection.write_stamp(stamp.heading(adopted=True), stamp.entry(space))
        return stamp.Stamp((space,), adopted=True)
    if model not in known.models:
        held = ", ".join(map(str, known.models)) or "nothing"
        raise StoreError(
            f"collection {collection.name!r} is stamped already: it holds {held}; open it"
        )
    return known


def known(collection: Collection) -> stamp.Stamp:
    """Read the stamp. Raises StoreError when there is none."""
    found = collection.read_stamp()
    if found is None:
        raise StoreError(
            f"collection {collection.name!r} is no hotfill gallery: stamp it, or create one"
        )
    return found
