"""`hotfill start` in a process that kills itself at one of the steps around building indexes.

Run as: python -m tests.acceptance.index_child CONFIG STORE STEP. Steps are counted from 1, once
nine tenths of the items have moved: before and after whatever changes the store or the journal.
At step 0 it does not kill itself: the index that is built when all have moved takes for ever.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from hotfill.cli.app import app
from hotfill.stores import Gallery
from hotfill.upgrade.journal.sqlite import SqliteJournal
from tests.unit.cli.models import NEW

ITEMS = 400
LARGE = 100  # items, from which on each store builds an index here


class Steps:
    """Counts, and kills this process at one of them."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.done: int | None = None  # None: not near the end yet

    def near(self, gallery: Gallery) -> None:
        """Begin to count when nine tenths of the items have moved."""
        if self.done is None and gallery.count(NEW) >= 0.9 * ITEMS:
            self.done = 0

    def step(self) -> None:
        """Take one."""
        if self.done is not None:
            self.done += 1
            if self.done == self.last:
                os.kill(os.getpid(), signal.SIGKILL)

    def around(self, owner: object, name: str) -> None:
        """Take one before and one after every call."""
        whole = getattr(owner, name)

        @functools.wraps(whole)
        def stepped(*given, **named):
            self.step()
            answer = whole(*given, **named)
            if name == "move":
                self.near(given[0])
            self.step()
            return answer

        setattr(owner, name, stepped)


def thresholds(store: str) -> list[tuple[object, str, int]]:
    """What each store takes for large: where that stands, its name, and what it is here."""
    if store == "index-files":
        from hotfill.stores.index_files import sides

        return [(sides, "_BUILT_FROM", LARGE)]
    if store == "lancedb":
        from hotfill.stores.lancedb import table

        return [(table, "INDEXED_FROM", LARGE)]
    if store == "qdrant-edge":
        from hotfill.stores.qdrant_edge import live_shard

        return [(live_shard, "SMALL_BYTES", 0), (live_shard, "_INDEXED_FROM_BYTES", LARGE)]
    from hotfill.stores.postgres import schema

    return [(schema, "INDEXED_FROM", LARGE)]


def builders(store: str) -> list[tuple[object, str]]:
    """What builds the index of each store, in steps that a kill can come between."""
    if store == "index-files":
        from hotfill.stores.index_files import gallery
        from hotfill.stores.index_files.truth import Truth

        return [(gallery, "build_index"), (Truth, "note_built"), (gallery, "remove_other_files")]
    if store == "lancedb":
        from hotfill.stores.lancedb import table

        return [(table, "compact"), (table, "build_apart")]
    if store == "qdrant-edge":
        from hotfill.stores.qdrant_edge import live_shard

        return [(live_shard, name) for name in ("copy_shard", "build_indexes", "write_stamp")]
    from hotfill.stores.postgres import schema

    return [(schema, "_build")]


def _journals(store: str) -> list[type]:
    if store != "postgres":
        return [SqliteJournal]
    from hotfill.upgrade.journal.postgres import PostgresJournal

    return [PostgresJournal]


def endless(*given: str) -> None:
    """Never end: what builds an index in a process of its own, until that is ended."""
    while True:
        time.sleep(1)


def given_up(patch, module, gallery) -> None:
    """Give up the next index of a gallery as it is built. module: whose `run_apart` builds it."""
    run_apart = module.run_apart

    def abandoned(*work: str, **named: Any) -> tuple[int, str]:
        gallery.abandon_building()
        return run_apart(f"{__spec__.name}:endless", **named)

    patch.setattr(module, "run_apart", abandoned)


def build_for_ever(store: str, begun: Path) -> None:
    """Have the engine take for ever once all items have moved. begun: made when it builds."""
    last = False
    tidy_up = Gallery.optimise
    # In PostgreSQL vectors stay in the index when they move, so that the first one is the last.
    made_by = None if store == "postgres" else NEW.fingerprint

    def optimise(gallery: Gallery, *, moving: bool = False) -> None:
        nonlocal last
        last = NEW in gallery.spaces and gallery.count(NEW, origin=made_by) == ITEMS
        tidy_up(gallery, moving=moving)

    Gallery.optimise = optimise

    def held(owner: object, name: str, instead: Callable[..., object]) -> None:
        whole = getattr(owner, name)

        def call(*given, **named):
            if not last:
                return whole(*given, **named)
            begun.touch()
            return instead(whole, *given, **named)

        setattr(owner, name, call)

    if store == "index-files":
        from hotfill.stores.index_files import index

        index._ADDED_AT_ONCE = 1
        held(index.faiss, "IndexHNSWFlat", lambda whole, *given: _Slow(whole(*given)))
    elif store in ("lancedb", "qdrant-edge"):
        module = import_module(
            {
                "lancedb": "hotfill.stores.lancedb.table",
                "qdrant-edge": "hotfill.stores.qdrant_edge.live_shard",
            }[store]
        )
        work = f"{__spec__.name}:endless"
        held(module, "run_apart", lambda whole, *given, **named: whole(work, **named))
    else:
        from hotfill.stores.postgres import schema

        def asleep(whole, connection, *given):
            connection.execute("SELECT pg_sleep(3600)")

        held(schema, "_build", asleep)


class _Slow:
    """An index of FAISS that takes a second for each vector."""

    def __init__(self, index: Any) -> None:
        self._index = index

    def __getattr__(self, name: str) -> Any:
        return getattr(self._index, name)

    def add(self, vectors: Any) -> None:
        self._index.add(vectors)
        time.sleep(1)


def main(config: Path, store: str, last: int) -> None:
    """Start, and be killed."""
    for owner, name, value in thresholds(store):
        setattr(owner, name, value)
    if not last:
        build_for_ever(store, config.parent / "building")
        app(["start", str(config), "--yes"])
        return
    steps = Steps(last)
    for owner, name in [
        *builders(store),
        (Gallery, "move"),
        (Gallery, "optimise"),
        (Gallery, "indexed"),
        *((journal, name) for journal in _journals(store) for name in ("record", "advance")),
    ]:
        steps.around(owner, name)
    app(["start", str(config), "--yes"])


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
