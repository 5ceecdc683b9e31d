"""A process that leads a step of the upgrade, and searches and writes all the time it lives.

What it does is told to whoever started it, before and after: a write that was begun and never
acknowledged may be there or not.
"""

from __future__ import annotations

import io
import logging
import os
import random
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

from hotfill.config import open_upgrade as opened
from hotfill.errors import HotfillError
from hotfill.upgrade.phases import Phase
from tests.acceptance.truth import shop

_PAUSE_SECONDS = 0.01
_MOST = 10_000  # items that a search asks for: all


class Application:
    """tell: takes ("searched", ids, began, ended), ("refused", words), ("begins" and "wrote", item,
    version, at), ("failed", words) and ("ended", words or None, phase)."""

    def __init__(
        self, config: Path, place: Path, items: dict[str, int], seed: int, tell, writer: int = 0
    ) -> None:
        self._config = config
        self._writer = writer
        # Applications that are at work at once write items of their own.
        self._versions = {i: v for i, v in items.items() if _writer_of(i) == writer or not writer}
        self._random = random.Random(seed)
        self._tell = tell
        self._shop = shop.Shop(place)

    def run(self, step: str | None, least: int) -> None:
        """Take a step, if any, and search and write until it has ended, `least` times at least."""
        try:
            with opened(self._config) as up:
                stop = threading.Event()
                signal.signal(signal.SIGTERM, lambda *_: (stop.set(), up.stop()))
                outcome: list[str | None] = []
                leading = threading.Thread(target=self._lead, args=(up, step, outcome), daemon=True)
                leading.start()
                done = 0
                while (leading.is_alive() or done < least) and not stop.is_set():
                    self._search(up)
                    self._write(up)
                    done += 1
                    time.sleep(_PAUSE_SECONDS)
                leading.join(20)
                self._tell(("ended", outcome[0] if outcome else "still at work", str(up.phase)))
        except HotfillError as error:
            self._tell(("ended", _words(error), None))

    def _lead(self, up, step: str | None, outcome: list[str | None]) -> None:
        try:
            if step in ("cutover", "complete"):
                self._decide(up)
            if step == "cutover" and up.phase is Phase.BACKFILLED:
                self._verify(up)
            if step is not None:
                getattr(up, step)()
            outcome.append(None)
        except HotfillError as error:
            outcome.append(_words(error))
        except Exception as error:
            outcome.append(f"foreign: {error!r} at {_place(error)}")

    def _decide(self, up) -> None:
        """Delete what cannot be embedded: a delete was interrupted, and the shop has no content."""
        if letters := [each.item_id for each in up.dead_letters()]:
            self._all_deleted(letters, lambda: up.delete_dead_letters(letters))

    def _verify(self, up) -> None:
        """Decide as an operator does about what holds the cutover.

        Items that a restored store has lost are deleted: that is their end. Those whose last write
        was refused, so that the shop is ahead of the gallery, are written again.
        """
        while not (found := up.verify()).passed:
            missing, behind = list(found.missing_ids), list(found.disagreeing_ids)
            if missing:
                self._all_deleted(missing, lambda ids=missing: up.delete(ids))
            elif behind and (contents := self._shop(behind)):
                for item_id in contents:  # one by one: a model that hangs does so in batches
                    version = self._shop.version(item_id)
                    self._tell(("begins", item_id, version, time.monotonic()))
                    up.upsert([item_id], [shop.content(item_id, version)])
                    self._tell(("wrote", item_id, version, time.monotonic()))
            else:
                return

    def _all_deleted(self, item_ids: list[str], delete) -> None:
        for item_id in item_ids:
            self._tell(("begins", item_id, 0, time.monotonic()))
            self._shop.remove(item_id)
        delete()
        for item_id in item_ids:
            self._tell(("wrote", item_id, 0, time.monotonic()))

    def _search(self, up) -> None:
        query = shop.content("query", self._random.randrange(100))
        began = time.monotonic()
        try:
            found = up.search(query, _MOST)
        except HotfillError as error:
            self._tell(("refused", _words(error)))
        except Exception as error:
            self._tell(("failed", f"{error!r} at {_place(error)}"))
        else:
            self._tell(("searched", list(found.item_ids), began, time.monotonic()))

    def _write(self, up) -> None:
        ids = list(self._versions)
        new = self._random.random() < 0.2
        item_id = f"new-{self._writer}-{time.monotonic_ns()}" if new else self._random.choice(ids)
        delete = not new and self._random.random() < 0.15
        version = self._versions.get(item_id, 0) + 1
        self._tell(("begins", item_id, 0 if delete else version, time.monotonic()))
        self._versions[item_id] = version  # also of a delete: versions are never used twice
        try:
            if delete:
                self._shop.remove(item_id)
                up.delete([item_id])
            else:
                self._shop.put(item_id, version)
                up.upsert([item_id], [shop.content(item_id, version)])
        except HotfillError as error:
            self._tell(("refused", _words(error)))
        except Exception as error:
            self._tell(("failed", f"{error!r} at {_place(error)}"))
        else:
            self._tell(("wrote", item_id, 0 if delete else version, time.monotonic()))


def _writer_of(item_id: str) -> int:
    """1 or 2, by the item; 0 is an application that has all to itself."""
    kind, number = item_id.split("-")[:2]
    return int(number) if kind == "new" else 1 + int(number) % 2


def _place(error: Exception) -> str:
    """Tell where it was raised: the last lines of ours that led there."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    return ", ".join(f"{Path(each.filename).name}:{each.lineno}" for each in frames)


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def main(config, items, seed, step, least, pipe, settings) -> None:
    """Run in a process of its own.

    settings: `shop` (its folder), `writer`, `hangs_at`,
    `clock_seconds`, and the environment.
    """
    os.setpgrp()
    os.environ.update(settings.get("environment", {}))
    sys.stdout = io.StringIO()
    sys.stderr = Path(config).with_name("stderr.log").open("a", buffering=1)
    logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)
    shop.hangs.at = settings.get("hangs_at", 0)
    if step_seconds := settings.get("clock_seconds", 0.0):
        real = time.time
        time.time = lambda: real() + step_seconds
    writer = settings.get("writer", 0)
    place = Path(settings["shop"])
    Application(Path(config), place, items, seed, pipe.send, writer).run(step, least)
    pipe.close()
    os._exit(0)  # a call that hangs must not keep the process
