"""How a gallery is begun: connected, taken over, loaded, and repaired after a crash."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hotfill.errors import InputError, StoreError
from hotfill.stores.milvus import repair
from hotfill.stores.milvus.server import Server
from hotfill.stores.milvus.stamp import Stamp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hotfill.stores.milvus.claim import Claim
    from hotfill.stores.milvus.stamp import Space


@contextmanager
def connected(
    location: str,
    collection: str,
    *,
    token: str,
    database: str,
    ef: int | None,
    timeout: float,
) -> Iterator[Server]:
    """Connect for what the block opens; if that fails, disconnect. timeout: in seconds."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,149}", collection):
        raise InputError(
            f"collection: letters, digits and underscores, at most 150, got {collection!r}"
        )
    server = Server(location, token=token, database=database, timeout_seconds=timeout, ef=ef)
    try:
        yield server
    except BaseException:
        server.close()
        raise


def stamp_of(claim: Claim, collection: str) -> Stamp:
    """Read the stamp that a claim has; that of a new gallery is empty."""
    text = claim.stamp
    return Stamp((), 1) if text is None else Stamp.from_json(text, collection)


def stamp_with(stamp: Stamp, space: Space, collection: str) -> Stamp:
    """Return the stamp of an adopted collection. Raises StoreError if it was stamped otherwise."""
    if not stamp.spaces:
        return Stamp((space,), 2)
    if space.model not in stamp.models:
        held = ", ".join(map(str, stamp.models))
        raise StoreError(f"{collection} is stamped already: it holds {held}; open it")
    return stamp


def load(server: Server, claim: Claim, stamp: Stamp) -> None:
    """Let the server load the collections, and bring items to one side after a crash."""
    for space in stamp.spaces:
        server.load(space)
    if claim.torn:
        repair.one_side_each(server, stamp, claim.last_beat)
