"""Live traffic during the upgrade: one thread searches and checks, one writes."""

from __future__ import annotations

import json
import random
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from demo.application import LIVE_DRAWERS, QUERY_DRAWERS
from demo.constants import K

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from demo.application import Application
    from demo.oracle import Oracle
    from hotfill.upgrade.upgrade import Upgrade

_SEARCH_PAUSE_SECONDS = 0.004  # leaves room for the upgrade on a small machine
_WRITE_PAUSE_SECONDS = 0.05
_SAVE_SECONDS = 0.5


@dataclass
class Tally:
    """What traffic has seen in this process. latencies: milliseconds by phase."""

    searches: int = 0
    failed_searches: int = 0
    wrong_searches: int = 0
    upserts: int = 0
    edits: int = 0
    deletes: int = 0
    failed_writes: int = 0
    broken_threads: int = 0
    latencies: dict[str, list[float]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write whole, so that a kill leaves the tally before."""
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(vars(self)))
        unfinished.replace(path)


class Traffic:
    """Searches and writes until `stop`. tally_path: where to leave the tally."""

    def __init__(
        self,
        up: Upgrade,
        application: Application,
        oracle: Oracle,
        tally_path: Path,
        seed: int,
    ) -> None:
        self.tally = Tally()
        self._up = up
        self._application = application
        self._oracle = oracle
        self._path = tally_path
        self._random = random.Random(seed)
        self._shown = application.shown()
        self._in_hand: set[str] = set()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._repeat, args=(work, pause), daemon=True)
            for work, pause in (
                (self._search, _SEARCH_PAUSE_SECONDS),
                (self._write, _WRITE_PAUSE_SECONDS),
                (lambda: self.tally.save(self._path), _SAVE_SECONDS),
            )
        ]
        self._arriving = [
            (application.drawings.item_ids[row], int(row))
            for row in application.rows_of(LIVE_DRAWERS)
            if application.drawings.item_ids[row] not in self._shown
        ]
        self._queries = application.rows_of(QUERY_DRAWERS).tolist()

    def catch_up(self) -> None:
        """Tell the gallery what a kill kept from it."""
        for item_id, drawing, deleted in self._application.dirty():
            if deleted:
                self._up.delete([item_id])
            else:
                self._up.upsert([item_id], [self._application.drawings.images[drawing]])
            self._application.told(item_id)

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End, and leave the tally."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self.tally.save(self._path)

    def _repeat(self, work: Callable[[], None], pause_seconds: float) -> None:
        try:
            while not self._stop.wait(pause_seconds):
                work()
        except Exception as error:  # a check that cannot be made must not look like one passed
            self.tally.broken_threads += 1
            self.tally.faults.append(f"{type(error).__name__}: {error}")
            raise

    def _search(self) -> None:
        query = self._random.choice(self._queries)
        excused = set(self._in_hand)
        before = dict(self._shown)
        began = time.perf_counter()
        self.tally.searches += 1
        try:
            result = self._up.search(self._application.drawings.images[query], K)
        except Exception as error:
            self.tally.failed_searches += 1
            self.tally.faults.append(f"{type(error).__name__}: {error}")
            return
        milliseconds = (time.perf_counter() - began) * 1000
        self.tally.latencies.setdefault(str(result.phase), []).append(milliseconds)
        after = dict(self._shown)
        excused |= self._in_hand
        if faults := self._oracle.faults(result, query, before, after, excused):
            self.tally.wrong_searches += 1
            self.tally.faults += faults

    def _write(self) -> None:
        """Add a drawing, let an item show another drawing of its character, or delete one."""
        kind = self._random.choices(["upsert", "edit", "delete"], weights=[6, 3, 1])[0]
        try:
            if kind == "upsert" and self._arriving:
                self._show(*self._arriving.pop())
                self.tally.upserts += 1
            elif kind == "edit":
                item_id = self._random.choice(list(self._shown))
                others = self._application.drawings
                character = others.labels[self._shown[item_id]]
                same = [row for row in self._queries if others.labels[row] == character]
                self._show(item_id, self._random.choice(same))
                self.tally.edits += 1
            elif kind == "delete":
                self._delete(self._random.choice(list(self._shown)))
                self.tally.deletes += 1
        except Exception as error:
            self.tally.failed_writes += 1
            self.tally.faults.append(f"{type(error).__name__}: {error}")

    def _show(self, item_id: str, drawing: int) -> None:
        with self._writing(item_id):
            self._application.show(item_id, drawing)
            self._up.upsert([item_id], [self._application.drawings.images[drawing]])
            self._application.told(item_id)
            self._shown[item_id] = drawing

    def _delete(self, item_id: str) -> None:
        with self._writing(item_id):
            self._application.delete(item_id)
            self._up.delete([item_id])
            self._application.told(item_id)

    @contextmanager
    def _writing(self, item_id: str) -> Iterator[None]:
        """Take an item in hand: no search is judged by it until then."""
        self._in_hand.add(item_id)
        self._shown.pop(item_id, None)
        yield
        self._in_hand.discard(item_id)
