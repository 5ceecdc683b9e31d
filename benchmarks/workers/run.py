"""Does an upgrade get as much faster as it has processes? See README.md."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np  # noqa: E402
import psycopg  # noqa: E402
import tomli_w  # noqa: E402
from psycopg import sql  # noqa: E402

import hotfill  # noqa: E402
from benchmarks.million.run import environment  # noqa: E402
from benchmarks.million.stores import names_of, parts, rows_of  # noqa: E402
from benchmarks.million.world import OLD, make  # noqa: E402
from hotfill.stores.postgres import PostgresGallery  # noqa: E402
from hotfill.upgrade.phases import Phase  # noqa: E402

SETTINGS: dict[str, dict[str, Any]] = {
    "processes_1": {"processes": 1},
    "processes_2": {"processes": 2},
    "processes_4": {"processes": 4},
    "killed_4": {"processes": 4, "kill": True},
    "ray_4": {"processes": 4, "ray": True},
}
BATCH, LEASE_SECONDS = 256, 5.0
FROM, TO = 0.15, 0.9  # the share of items between which the rate is taken
KILL_AT, ADD_AT = 0.3, 0.5
AIM_EFFICIENCY = 0.85
PATIENCE_SECONDS = 600.0
Row = dict[str, Any]


class Bench:
    """One upgrade after another of the same items, each in a schema of its own."""

    def __init__(self, server: Any, folder: Path, items: int, seconds_per_item: float, seed: int):
        self.server, self.folder, self.items = server, folder, items
        self.seconds_per_item = seconds_per_item
        self.world = folder / "world"
        make(self.world, items, seed)

    def run(self, name: str, processes: int, *, kill: bool = False, ray: bool = False) -> Row:
        """Lead with one process and help with the others; kill: one of them, and add another."""
        place = self.folder / name
        shutil.rmtree(place, ignore_errors=True)
        (place / "notes").mkdir(parents=True)
        self.fill(name)
        path = self.settings(place, name)
        words = ["worker", str(path), "--lease-seconds", str(LEASE_SECONDS)]
        began = time.monotonic()
        with ExitStack() as stack, hotfill.open(path) as up:
            lead = stack.enter_context(command(place, "start", str(path), "--yes"))
            helpers = []
            if ray:
                share = str((os.cpu_count() or 1) / processes)
                helpers = [
                    stack.enter_context(
                        command(place, *words, "--ray", str(processes - 1), "--ray-cpus", share)
                    )
                ]
            else:
                helpers = [
                    stack.enter_context(command(place, *words)) for _ in range(processes - 1)
                ]
            curve = self.watched(up, lead, kill, helpers, lambda: command(place, *words), stack)
            for each in (lead, *helpers):
                each.wait(PATIENCE_SECONDS)
            if lead.returncode or up.phase is not Phase.BACKFILLED:
                raise SystemExit(f"{name}: {up.phase}: {(place / 'said').read_text()[-2000:]}")
        noted = np.concatenate(
            [np.fromfile(file, dtype=np.uint32) for file in (place / "notes").glob("*.bin")]
        )
        counts = np.bincount(noted, minlength=self.items)[: self.items]
        return {
            "setting": name,
            "processes": processes,
            "items_per_second": round(rate(curve, self.items), 1),
            "ideal_per_second": round(processes / self.seconds_per_item, 1),
            "seconds": round(time.monotonic() - began, 1),
            "embedded_twice": int((counts > 1).sum()),
            "never_embedded": int((counts == 0).sum()),
            "load_average": [round(each, 1) for each in os.getloadavg()],
        }

    def fill(self, schema: str) -> None:
        rows = rows_of(self.world, OLD)
        with psycopg.connect(self.server.dsn) as connection:
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
        with PostgresGallery.create(self.server.dsn, OLD, schema=schema, exact=True) as gallery:
            for part in parts(self.items):
                gallery.upsert(names_of(part), rows[part], space=OLD)

    def settings(self, place: Path, name: str) -> Path:
        models, world = "benchmarks.workers.models", {"folder": str(self.world)}
        slow = {"seconds_per_item": self.seconds_per_item, "notes": str(place / "notes")}
        values = {
            "store": {
                "kind": "postgres",
                "dsn": self.server.dsn,
                "table": f"{name}.items",
                "exact": True,
            },
            "journal": {"kind": "postgres", "name": f"{name}_journal"},
            "source": {"factory": f"{models}:contents"},
            "old": {"embedder": f"{models}:old", "options": world},
            "new": {"embedder": f"{models}:new", "options": {**world, **slow}},
            # What sleeps can be shared out; what computes cannot, on two cores.
            "upgrade": {"strategy": "merge", "batch_size": BATCH, "refit": False},
        }
        path = place / "upgrade.toml"
        path.write_text(tomli_w.dumps(values))
        return path

    def watched(self, up, lead, kill, helpers, more, stack) -> list[tuple[float, int]]:
        """How many items had moved when, every tenth of a second."""
        curve: list[tuple[float, int]] = []
        deadline = time.monotonic() + PATIENCE_SECONDS
        waiting = [(KILL_AT, "kill"), (ADD_AT, "add")] if kill else []
        while lead.poll() is None and time.monotonic() < deadline:
            if up.phase is Phase.BACKFILLING:
                curve.append((time.monotonic(), up.status().moved))
                if waiting and curve[-1][1] >= waiting[0][0] * self.items:
                    if waiting.pop(0)[1] == "kill":
                        helpers[0].send_signal(signal.SIGKILL)
                    else:
                        helpers.append(stack.enter_context(more()))
            time.sleep(0.1)
        return curve


def rate(curve: list[tuple[float, int]], items: int) -> float:
    """Items a second between two shares: without the start of the processes, and the end."""
    some = [(at, moved) for at, moved in curve if FROM * items <= moved <= TO * items]
    if len(some) < 2:
        return 0.0
    (begin, first), (end, last) = some[0], some[-1]
    return (last - first) / (end - begin)


@contextmanager
def command(place: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command of hotfill in a process of its own, ended with the block whatever happens."""
    with (place / "said").open("ab") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "hotfill.cli", *words],
            stdout=said,
            stderr=said,
            env=environment(),
            cwd=place,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def aims(rows: list[Row]) -> dict[str, Row]:
    ideal = rows[0]["ideal_per_second"] / rows[0]["processes"]
    alone = next((row["items_per_second"] for row in rows if row["processes"] == 1), ideal)
    found = {}
    for row in rows:
        if row["processes"] > 1:
            value = round(row["items_per_second"] / (row["processes"] * alone), 3)
            name = f"{row['setting']}: items a second over so many times one process"
            aim = "-" if "killed" in row["setting"] else f">= {AIM_EFFICIENCY}"
            met = value >= AIM_EFFICIENCY
            found[name] = {"value": value, "aim": aim, "met": met if aim != "-" else None}
        lost = row["never_embedded"]
        found[f"{row['setting']}: never embedded"] = {"value": lost, "aim": 0, "met": lost == 0}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="3,000 items; one and two processes")
    parser.add_argument("--data", type=Path, help="not used: vectors are made up")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--items", type=int, default=40_000)
    parser.add_argument("--milliseconds", type=float, default=1.0, help="that an item takes")
    parser.add_argument("--ray", action="store_true", help="Ray actors, too")
    parser.add_argument(
        "--only", nargs="+", choices=SETTINGS, help="these settings only, such as for a million"
    )
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    items = 3_000 if asked.quick else asked.items
    from tests.postgres import Server

    server = Server()
    rows: list[Row] = []
    try:
        with tempfile.TemporaryDirectory() as place:
            seconds = asked.milliseconds / 1000
            bench = Bench(server, Path(place), items, seconds, asked.seed)
            usual = [*SETTINGS][:2] if asked.quick else [*SETTINGS][: 5 if asked.ray else 4]
            for name in asked.only or usual:
                rows.append(bench.run(name, **SETTINGS[name]))
                print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    finally:
        server.remove()
    report = {
        "benchmark": "workers",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "items": items,
        "milliseconds_an_item": asked.milliseconds,
        "figures": rows,
        "aims": aims(rows),
    }
    if asked.json is not None:
        asked.json.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
