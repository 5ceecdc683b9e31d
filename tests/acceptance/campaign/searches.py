"""Somebody searches all the time; every answer must list every item once."""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field

_PAUSE_SECONDS = 0.1  # the machine has other things to do


@dataclass(slots=True)
class Findings:
    """What was wrong, in numbers of items. failures: when a search began and failed, and why."""

    answers: int = 0
    lost: int = 0
    doubled: int = 0
    failures: list[tuple[float, float, str]] = field(default_factory=list)


class Searches:
    """Asks again and again.

    ask: gives the item ids of one search, or None where there is nobody to ask.
    items: what must be in it. outages: when a search may fail.
    """

    def __init__(self, ask, items, outages) -> None:
        self._ask = ask
        self._items = frozenset(items)
        self._outages = outages
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._findings = Findings()

    @contextmanager
    def going_on(self):
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            thread.join()

    def taken(self) -> Findings:
        """What was found since this was asked last; what failed in an outage is left out."""
        with self._lock:
            found, self._findings = self._findings, Findings()
        found.failures = [
            each
            for each in found.failures
            if not any(outages.excuse(each[0], each[1]) for outages in self._outages)
        ]
        return found

    def _run(self) -> None:
        while not self._stop.wait(_PAUSE_SECONDS):
            began = time.monotonic()
            try:
                ids = self._ask()
            except Exception as error:
                with self._lock:
                    self._findings.failures.append((began, time.monotonic(), repr(error)))
                continue
            if ids is None:
                continue
            with self._lock:
                self._findings.answers += 1
                self._findings.lost += len(self._items - set(ids))
                self._findings.doubled += sum(n > 1 for n in Counter(ids).values())
