"""One step of an upgrade in a process of its own, with live searches and writes beside it.

    python -m benchmarks.million.child STEP upgrade.toml WORLD LOG [--die-at SHARE]

Every fifth of a second a line of what was seen goes to LOG, so that a kill loses next to nothing.
`--die-at` sends this process SIGKILL as soon as that share of the items is re-embedded.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import threading
import time
from pathlib import Path

import numpy as np

import hotfill
from benchmarks.million.world import NEW, OLD, SPARE, name_of

SEARCHES, WRITES = 20, 50  # a second
TICK = 0.2
STAGES = ("prefill", "embed", "revert")  # in the order in which their work is done
K = 10


def resident() -> dict[str, float]:
    """Megabytes of this process now: its own, and files that it maps."""
    words = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {name: int(words[name].split()[0]) / 1024 for name in ("RssAnon", "RssFile")}


class Traffic:
    """Searches and writes at a steady rate, each kind in a thread of its own, and a third to note.

    Half of the writes are new items, half write an item of the gallery again, as it is. They begin
    when the gallery has room for the new model, and go on from then.
    """

    def __init__(self, up: hotfill.Upgrade, world: Path, log: Path, die_at: float | None) -> None:
        self.up, self.die_at = up, die_at
        self.items = len(np.load(world / "old.npy", mmap_mode="r")) - SPARE
        self.queries = {
            OLD: np.load(world / "queries_old.npy"),
            NEW: np.load(world / "queries.npy"),
        }
        self.log = log.open("a", buffering=1)
        self.lock = threading.Lock()
        self.milliseconds: list[float] = []
        self.write_milliseconds: list[float] = []
        self.failures: list[str] = []
        self.written = self._written_before(log)
        self.writable = False
        self.done = threading.Event()
        self.threads = [
            threading.Thread(target=run, daemon=True)
            for run in (
                lambda: self._steadily(SEARCHES, self._search),
                lambda: self._steadily(WRITES, self._write),
                self._note,
            )
        ]

    @staticmethod
    def _written_before(log: Path) -> int:
        """Items written by the processes before this one."""
        lines = log.read_text().splitlines()
        return max((json.loads(line).get("written", 0) for line in lines), default=0)

    def __enter__(self) -> Traffic:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.done.set()
        for thread in self.threads:
            thread.join()
        self.log.close()

    def _steadily(self, rate: float, act) -> None:
        at, turn = time.monotonic(), 0
        while not self.done.is_set():
            try:
                act(turn)
            except Exception as error:  # counted, whatever it was
                with self.lock:
                    self.failures.append(f"{type(error).__name__}: {error}")
            turn += 1
            # Who is late begins no rush: the next one is due a turn from now.
            at = max(at + 1 / rate, time.monotonic())
            self.done.wait(at - time.monotonic())

    def _search(self, turn: int) -> None:
        model = self.up.query_model
        row = turn % len(self.queries[model])
        began = time.perf_counter()
        (found,) = self.up.search_vectors(self.queries[model][row : row + 1], model, K)
        took = 1000 * (time.perf_counter() - began)
        if len(found.item_ids) != K:
            raise RuntimeError(f"{len(found.item_ids)} hits instead of {K}")
        with self.lock:
            self.milliseconds.append(took)

    def _write(self, turn: int) -> None:
        if not self.writable:  # an adopted table is not hotfill's to write before `start`
            self.writable = len(self.up.gallery.spaces) > 1
            return
        fresh = turn % 2 == 0
        number = self.items + self.written % SPARE if fresh else 7919 * turn % self.items
        began = time.perf_counter()
        self.up.upsert([name_of(number)], [number])
        with self.lock:
            self.write_milliseconds.append(1000 * (time.perf_counter() - began))
            self.written += fresh

    def _note(self) -> None:
        while not self.done.wait(TICK):
            self._note_now()
        self._note_now()

    def _note_now(self) -> None:
        journal = self.up.journal
        phase = journal.phase
        tallies = {stage: journal.tally(stage) for stage in STAGES}
        state = self.up._open_state
        with self.lock:
            line = {
                "at": time.time(),
                "phase": phase.value,
                "doing": state.progress.doing if state else "",
                "left": {stage: tally.left for stage, tally in tallies.items()},
                "moved": {stage: tally.moved for stage, tally in tallies.items()},
                "searches": [round(each, 3) for each in self.milliseconds],
                "writes": [round(each, 3) for each in self.write_milliseconds],
                "failures": self.failures,
                "written": self.written,
                **resident(),
            }
            self.milliseconds, self.write_milliseconds, self.failures = [], [], []
        self.log.write(json.dumps(line) + "\n")
        # Items that were written live need no embedding any more: what is left counts, not moves.
        left = line["left"]["embed"] / self.items
        if self.die_at is not None and line["moved"]["embed"] and left <= 1 - self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)


def lost(up: hotfill.Upgrade, items: int, written: int) -> int:
    """How many of the items that were written are not there."""
    names = [name_of(number) for number in range(items, items + min(written, SPARE))]
    return sum(state is None for state in up.gallery.get(names)) if names else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step")
    parser.add_argument("project", type=Path)
    parser.add_argument("world", type=Path)
    parser.add_argument("log", type=Path)
    parser.add_argument("--die-at", type=float)
    asked = parser.parse_args()
    asked.log.touch()
    with hotfill.open(asked.project) as up:
        began = time.monotonic()
        said: dict[str, object] = {}
        if asked.step == "idle":
            up.search_vectors(np.load(asked.world / "queries_old.npy")[:1], OLD, K)
        elif asked.step == "archive":
            up.archive()
        with Traffic(up, asked.world, asked.log, asked.die_at) as traffic:
            if asked.step == "idle":
                time.sleep(5)
            elif asked.step != "archive":
                found = getattr(up, asked.step)()
                said["seconds"] = time.monotonic() - began
                if asked.step == "verify":
                    said["verification"] = found.to_dict()
        said.setdefault("seconds", time.monotonic() - began)
        said["phase"] = up.phase.value
        said["lost"] = lost(up, traffic.items, traffic.written)
    said["peak_megabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(said))


if __name__ == "__main__":
    main()
