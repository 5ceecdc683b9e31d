"""A whole upgrade of a million items on each store, killed twice, searched and written all along.

See README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import tomli_w

from benchmarks.million import world as made
from benchmarks.million.child import SEARCHES as SEARCHED_A_SECOND
from benchmarks.million.child import STAGES
from benchmarks.million.stores import CASES, Case, names_of, parts, rows_of, timed
from benchmarks.million.world import NEW
from hotfill.upgrade.pace import INDEXING

HERE, ROOT = Path(__file__).parent, Path(__file__).resolve().parents[2]
BENCHMARK = "million"
MILLION, QUICK = 1_000_000, 5_000
QUICK_STORES = ("qdrant-edge",)
KILLED_AT = (0.3, 0.99)
SLOW_SECONDS, SLOW_SHARE = 0.001, 0.05  # of the second upgrade's embedder
SEARCHES = 200  # of the engine alone
REWRITTEN = 2000  # rows of the engine alone, once its index is there
AIM_MOVES, AIM_P95, AIM_ADOPT = 0.8, 1.5, 2.0
Figures = dict[str, Any]


class Walk:
    """One store's way through all phases. Those in `state.json` are done, and not done again."""

    def __init__(self, case: Case, folder: Path, world: Path) -> None:
        self.case, self.folder, self.world = case, folder, world
        self.items = len(rows_of(world, NEW))
        self.done: dict[str, Figures] = {}
        if self.state.exists():
            self.done = json.loads(self.state.read_text())

    @property
    def state(self) -> Path:
        return self.folder / "state.json"

    @property
    def toml(self) -> Path:
        return self.folder / "upgrade.toml"

    def run(self, phase: str) -> None:
        """Do a phase unless it is done, and those before it."""
        for name in [*PHASES][: [*PHASES].index(phase) + 1]:
            if name in self.done:
                continue
            began = time.perf_counter()
            found = PHASES[name](self)
            self.done[name] = {"wall_seconds": round(time.perf_counter() - began, 2), **found}
            self.state.write_text(json.dumps(self.done, indent=1))
            print(f"{self.folder.name} {name} {json.dumps(self.done[name])}", file=sys.stderr)

    # Phases ------------------------------------------------------------------------------------

    def alone(self) -> Figures:
        """The engine by itself: bulk write of the new vectors, index, idle searches."""
        rows, queries = rows_of(self.world, NEW), np.load(self.world / "queries.npy")
        self.case.clear("plain")
        engine = self.case.alone()

        def write(count: int) -> None:
            for part in parts(count):
                engine.upsert(names_of(part), np.ascontiguousarray(rows[part]))

        writing = timed(lambda: write(len(rows)))
        indexing = timed(engine.index)
        took = []
        for q in queries[:SEARCHES]:
            took.append(timed(lambda q=q: engine.search(q, 10)))
            # As often as later on: who searches without a pause finds everything in the caches.
            time.sleep(max(0.0, 1 / SEARCHED_A_SECOND - took[-1]))
        again = min(REWRITTEN, len(rows))
        rewriting = timed(lambda: write(again))
        engine.close()
        return {
            "items_per_second": round(self.items / writing),
            "index_seconds": round(indexing, 2),
            "again_per_second": round(again / rewriting),
            **percentiles([1000 * each for each in took[20:]]),
        }

    def fill(self) -> Figures:
        self.case.clear("gallery", "old")
        self.case.fill(self.world)
        self.write_toml()
        return {}

    def write_toml(self, **slow: float) -> None:
        folder = {"folder": str(self.world)}
        models = "benchmarks.million.world"
        values = {
            "store": self.case.section(),
            "source": {"factory": f"{models}:contents"},
            "old": {"embedder": f"{models}:old", "options": folder},
            "new": {"embedder": f"{models}:new", "options": {**folder, **slow}},
            "upgrade": {"allow_below_old": True},
        }
        self.toml.write_text(tomli_w.dumps(values))

    def adopt(self) -> Figures:
        """`hotfill adopt`, against reading all of what it adopts once."""
        if self.case.adopted is None:
            return {"adopted": False}
        return {"adopted": True, **self.command("adopt", *self.case.adopted)}

    def scan(self) -> Figures:
        """Read every item's id and stamp once, which is what adopting is compared with."""
        import hotfill
        from hotfill.upgrade.order import pages_of

        with hotfill.open(self.toml) as up:
            took = timed(lambda: list(pages_of(up.gallery, up.gallery.spaces[0])))
        return {"scan_seconds": round(took, 2)}

    def plan(self) -> Figures:
        return self.command("plan")

    def idle(self) -> Figures:
        """The gallery before its upgrade, searched and written as all through it."""
        return self.child("idle")

    def start(self) -> Figures:
        """Prepare, impute, backfill: killed twice, and started again by the same command."""
        found = {}
        for share in KILLED_AT:
            killed = self.child("start", "--die-at", str(share), killed=True)
            found[f"killed_at_{share}"] = killed["moved"]
        found |= self.child("start")
        lines = [json.loads(line) for line in self.log("start").read_text().splitlines()]
        return found | summary(lines) | self.progress("start")

    def again(self) -> Figures:
        """A second upgrade, with an embedder that takes a millisecond for the first items."""
        self.write_toml(seconds_per_item=SLOW_SECONDS, slow_items=round(SLOW_SHARE * self.items))
        self.child("archive", traffic=False)
        return self.child("start", log="again") | self.progress("again")

    def verify(self) -> Figures:
        return self.child("verify")

    def cutover(self) -> Figures:
        return self.child("cutover")

    def rollback(self) -> Figures:
        return self.child("rollback") | self.progress("rollback", "revert")

    def verify_again(self) -> Figures:
        return self.child("verify", log="verify_again")

    def cutover_again(self) -> Figures:
        return self.child("cutover", log="cutover_again")

    def complete(self) -> Figures:
        before = self.case.bytes_on_disk()
        found = self.child("complete")
        return {
            **found,
            "bytes_an_item_before": round(before / self.items),
            "bytes_an_item_after": round(self.case.bytes_on_disk() / self.items),
            "journal_bytes_an_item": round(self.case.journal_bytes(self.folder) / self.items, 1),
        }

    # Processes ---------------------------------------------------------------------------------

    def command(self, *words: str) -> Figures:
        """A command of hotfill as people give it."""
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "hotfill.cli", words[0], str(self.toml), *words[1:]],
            env=environment(),
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SystemExit(f"hotfill {words[0]} failed:\n{done.stdout}{done.stderr}")
        return {"seconds": round(time.perf_counter() - began, 2)}

    def child(
        self, step: str, *words: str, killed: bool = False, log: str = "", traffic: bool = True
    ) -> Figures:
        path = self.log(log or step)
        offset = path.stat().st_size if path.exists() else 0
        done = subprocess.run(
            [
                *(sys.executable, "-m", "benchmarks.million.child", step),
                *(str(self.toml), str(self.world), str(path), *words),
            ],
            env=environment(),
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        if done.returncode != (-9 if killed else 0):
            raise SystemExit(f"{step} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        with path.open() as file:
            file.seek(offset)
            lines = [json.loads(line) for line in file]
        said = {} if killed else json.loads(done.stdout.splitlines()[-1])
        if killed:
            said["moved"] = lines[-1]["moved"]["embed"]
        return {**said, **(summary(lines) if traffic else {})}

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.jsonl"

    def progress(self, name: str, *stages: str) -> Figures:
        """Items a second of each stage while it was in hand, whether or not a batch came just then.

        Moves that wait for an index are in hand. Nothing else counts: not the fit, nor a refresh.
        """
        lines = [json.loads(line) for line in self.log(name).read_text().splitlines()]
        found = {}
        for stage in stages or ("prefill", "embed"):
            items = seconds = 0.0
            for before, after in pairwise(lines):
                pause = after["at"] - before["at"]
                ready = before["doing"] in ("", INDEXING) and before["left"][stage] > 0
                waits = any(before["left"][each] for each in STAGES[: STAGES.index(stage)])
                if ready and (stage == "revert" or not waits) and pause < 5:  # else it was killed
                    items += after["moved"][stage] - before["moved"][stage]
                    seconds += pause
            if seconds:
                found[f"{stage}_items_per_second"] = round(items / seconds)
        for doing in {line["doing"] for line in lines} - {""}:
            found[f"{doing}_seconds"] = round(
                sum(
                    after["at"] - before["at"]
                    for before, after in pairwise(lines)
                    if before["doing"] == doing == after["doing"]
                ),
                1,
            )
        return found


PHASES = {
    name: getattr(Walk, name)
    for name in (
        *("alone", "fill", "adopt", "scan", "plan", "idle", "start", "verify", "cutover"),
        *("rollback", "again", "verify_again", "cutover_again", "complete"),
    )
}


def environment() -> dict[str, str]:
    path = f"{ROOT / 'src'}{os.pathsep}{ROOT}"
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def percentiles(values: Iterable[float]) -> Figures:
    values = [*values]
    if not values:
        return {}
    return {f"p{at}_ms": round(float(np.percentile(values, at)), 3) for at in (50, 95, 99)}


def summary(lines: list[Figures]) -> Figures:
    """Searches by what went on, failures, and peaks of memory."""
    searches: dict[str, list[float]] = {}
    for line in lines:
        busy = [stage for stage in STAGES if line["left"][stage]]
        what = line["doing"] or (busy[0] if busy else line["phase"])
        searches.setdefault(what, []).extend(line["searches"])
    failures = [each for line in lines for each in line["failures"]]
    return {
        "searches": {what: percentiles(some) for what, some in searches.items() if some},
        "searched": sum(map(len, searches.values())),
        "writes": percentiles(each for line in lines for each in line["writes"]),
        "written": sum(len(line["writes"]) for line in lines),
        "failed": len(failures),
        "first_failures": failures[:3],
        "own_megabytes": round(max((line["RssAnon"] for line in lines), default=0.0)),
        "mapped_megabytes": round(max((line["RssFile"] for line in lines), default=0.0)),
    }


# Report -------------------------------------------------------------------------------------------


def aims(figures: dict[str, dict[str, Figures]]) -> dict[str, Figures]:
    found = {}

    def hold(name: str, value: float, most: float | None = None, least: float | None = None):
        met = value <= most if most is not None else value >= (least or 0)
        aim = f"<= {most}" if most is not None else f">= {least}"
        found[name] = {"value": round(value, 3), "aim": aim, "met": met}

    for store, phases in figures.items():
        if "alone" not in phases or "start" not in phases:
            continue
        bulk = phases["alone"]["items_per_second"]
        for stage in ("prefill", "embed"):
            if rate := phases["start"].get(f"{stage}_items_per_second"):
                hold(f"{store}: {stage}, moves over bulk writes", rate / bulk, least=AIM_MOVES)
        for what, some in phases["start"]["searches"].items():
            p95 = some["p95_ms"] / phases["alone"]["p95_ms"]
            hold(f"{store}: p95 while {what} over idle", p95, most=AIM_P95)
        if phases.get("adopt", {}).get("adopted") and "scan" in phases:
            ratio = phases["adopt"]["seconds"] / phases["scan"]["scan_seconds"]
            hold(f"{store}: adopt over one scan", ratio, most=AIM_ADOPT)
        parts_of = [part for part in phases.values() if "failed" in part]
        hold(f"{store}: failed", sum(part["failed"] for part in parts_of), most=0)
        hold(f"{store}: lost", sum(part.get("lost", 0) for part in parts_of), most=0)
    return found


def expected(figures: dict[str, Figures], items: int) -> dict[str, float]:
    """Seconds that each phase would take at a million items, if it grew with the items."""
    return {name: round(part["wall_seconds"] * MILLION / items) for name, part in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help=f"{QUICK:,} items, {', '.join(QUICK_STORES)}"
    )
    parser.add_argument("--data", type=Path, help="not used: everything is made here")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--items", type=int)
    parser.add_argument("--stores", nargs="+", choices=CASES)
    parser.add_argument("--until", choices=PHASES, default="complete", help="the last phase")
    parser.add_argument(
        "--folder",
        type=Path,
        default=ROOT / "build" / "million",
        help="where it is made; the same folder again goes on where it stopped",
    )
    parser.add_argument("--json", type=Path, help="where to keep the report")
    asked = parser.parse_args()
    items = asked.items or (QUICK if asked.quick else MILLION)
    place = asked.folder / f"{items}-{asked.seed}"
    world = place / "world"
    made.make(world, items, asked.seed)
    figures: dict[str, dict[str, Figures]] = {}
    report: Figures = {}
    for store in asked.stores or (QUICK_STORES if asked.quick else CASES):
        folder = place / store
        if asked.quick:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        walk = Walk(CASES[store](folder), folder, world)
        with ExitStack() as stack:
            stack.enter_context(walk.case.running())
            walk.run(asked.until)
        figures[store] = walk.done
        report = {
            "benchmark": BENCHMARK,
            "items": items,
            "dimensions": [made.OLD.dimension, made.NEW.dimension],
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "python": platform.python_version(),
            "load_average": [round(each, 1) for each in os.getloadavg()],
            "figures": figures,
            "seconds_expected_of_a_million": {
                name: expected(some, items) for name, some in figures.items()
            },
            "aims": aims(figures),
        }
        if asked.json is not None:
            asked.json.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
