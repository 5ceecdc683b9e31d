"""Schedule synthetic items for simulated workers by a simulated clock; print the figures.

The journal and its leases are the real ones; embedding, the store and time are not.
"""

from __future__ import annotations

import heapq
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from hotfill.upgrade.journal import sqlite

PAGE, BATCH, WORKERS = 1000, 256, 200
SECONDS_PER_ITEM, LEASE_SECONDS = 0.001, 60.0
HANGS = (
    0.001  # share of batches whose worker falls silent; it comes back when others have done them
)


class Clock:
    """Simulated seconds."""

    def __init__(self) -> None:
        self.now = 0.0


def pages(items: int):
    """Ids and random ranks, a page at a time, as the engine reads them from a store."""
    random = np.random.default_rng(0)
    for begin in range(0, items, PAGE):
        ids = [f"{number:09}" for number in range(begin, min(begin + PAGE, items))]
        yield ids, random.random(len(ids)).tolist()
        if begin % 10_000_000 == 0:  # for whoever waits
            print(f"{begin:,} items read, peak {peak_megabytes():.0f} MB", file=sys.stderr)


def simulate(journal, clock: Clock, random) -> dict[str, float]:
    """Let all batches be done; gives counts and the simulated time."""
    events = []  # (when, worker, the batch that is finished then)
    leased = hung = 0
    for worker in range(WORKERS):
        heapq.heappush(events, (0.0, worker, None))
    while events:
        clock.now, worker, batch = heapq.heappop(events)
        if batch is not None:
            journal.finish(batch, moved=len(batch.item_ids), skipped=0)
        taken = journal.lease("embed", str(worker), LEASE_SECONDS)
        if taken is None:
            if journal.tally("embed").left:  # others have the rest in hand
                heapq.heappush(events, (clock.now + LEASE_SECONDS / 2, worker, None))
            continue
        leased += 1
        seconds = SECONDS_PER_ITEM * len(taken.item_ids) * random.uniform(0.8, 1.2)
        if random.random() < HANGS:
            hung += 1
            seconds += 3 * LEASE_SECONDS
        heapq.heappush(events, (clock.now + seconds, worker, taken))
    return {"leases": leased, "hung": hung, "simulated_hours": clock.now / 3600}


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    items = int(sys.argv[1])
    clock = Clock()
    sqlite.time = SimpleNamespace(
        time=lambda: clock.now, monotonic=time.monotonic, sleep=time.sleep
    )
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "journal.sqlite"
        journal = sqlite.SqliteJournal(path)
        before = peak_megabytes()
        began = time.perf_counter()
        added = journal.add_work("embed", pages(items), BATCH)
        scheduled = time.perf_counter()
        figures = simulate(journal, clock, np.random.default_rng(0))
        ended = time.perf_counter()
        tally = journal.tally("embed")
        assert (added, tally.moved, tally.left) == (items, items, 0), (added, tally)
        journal.close()
        figures |= {
            "items": items,
            "peak_growth_megabytes": peak_megabytes() - before,
            "schedule_seconds": scheduled - began,
            "batches_per_second": figures["leases"] / (ended - scheduled),
            "journal_megabytes": path.stat().st_size / 1e6,
        }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
