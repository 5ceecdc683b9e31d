"""By how many megabytes does `start` make a process with a real store grow? See README.md.

    python -m benchmarks.backfill_overhead.memory_of_stores --items 50000 500000 --json FILE

Each measurement is a fresh process that opens a store that another one has filled. Anonymous memory
is told apart from files that the store maps, which the system takes back when it needs the room.
PostgreSQL is the tests' own server; its memory is its own. Qdrant Edge lives in the process: there
another process writes the same vectors twice, as imputing and embedding do, by the engine alone.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

import hotfill
from hotfill import ModelId

OLD, NEW = ModelId("old", "1", 128), ModelId("new", "1", 128)
BATCH = 256
_FILLED_AT_ONCE = 5000
_SAMPLE_SECONDS = 0.05


def rows_of(item_ids, seed: int) -> np.ndarray:
    """Vectors that depend on the ids only, so that nobody has to keep them."""
    numbers = np.array([int(item_id) for item_id in item_ids])[:, None]
    made = np.sin((numbers + 1) * (np.arange(128) + 1 + 1000 * seed) * 0.7).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


class Embedder:
    """Item ids in, vectors out."""

    model_id = NEW

    def __call__(self, contents):
        return rows_of(contents, 2)


def opened(store: str, place: str, items: int, *, fresh: bool = False):
    """Open a store, or make it."""
    if store == "postgres":
        from hotfill.stores.postgres import PostgresGallery

        table = f"items_{items}"
        if fresh:
            return PostgresGallery.create(place, OLD, table=table)
        return PostgresGallery.open(place, table=table)
    from hotfill.stores.qdrant_edge import QdrantEdgeGallery

    return QdrantEdgeGallery.create(place, OLD) if fresh else QdrantEdgeGallery.open(place)


def fill(store: str, place: str, items: int) -> None:
    with opened(store, place, items, fresh=True) as gallery:
        for begin in range(0, items, _FILLED_AT_ONCE):
            ids = [f"{row:09}" for row in range(begin, min(begin + _FILLED_AT_ONCE, items))]
            gallery.upsert(ids, rows_of(ids, 1), space=OLD)


def resident() -> tuple[float, float]:
    """Anonymous and mapped megabytes of this process now."""
    words = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return tuple(int(words[name].split()[0]) / 1024 for name in ("RssAnon", "RssFile"))


def measure(store: str, place: str, items: int) -> dict[str, float]:
    peaks = [0.0, 0.0]
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(_SAMPLE_SECONDS):
            peaks[:] = map(max, peaks, resident())

    with (
        tempfile.TemporaryDirectory() as folder,
        opened(store, place, items) as gallery,
        hotfill.Upgrade(
            gallery,
            old=OLD,
            new=Embedder(),
            source=lambda ids: {item_id: item_id for item_id in ids},
            folder=Path(folder),
            batch_size=BATCH,
            fit_items=2000,
            optimise=False,
            allow_below_old=True,  # made-up vectors: nothing of the old model is in the new one
        ) as up,
    ):
        before = resident()
        watching = threading.Thread(target=watch, daemon=True)
        watching.start()
        began = time.monotonic()
        up.start()
        seconds = time.monotonic() - began
        stop.set()
        watching.join()
        moved = up.status().moved
    return {
        "moved": moved,
        "seconds": round(seconds, 1),
        "anonymous_megabytes_before": round(before[0], 1),
        "anonymous_megabytes_rise": round(peaks[0] - before[0], 1),
        "mapped_megabytes_rise": round(peaks[1] - before[1], 1),
    }


def store_alone(place: str, items: int) -> dict[str, float]:
    """What the engine itself takes for the same vectors: Qdrant Edge."""
    from hotfill.stores.qdrant_edge.shard import Shard

    (folder,) = {path.parent for path in Path(place).rglob("edge_config.json")}
    shard = Shard.load(folder, exact=False, ef=None)
    before = resident()
    shard.add_space(NEW)
    for round_ in range(2):
        for begin in range(0, items, BATCH):
            ids = [f"{row:09}" for row in range(begin, min(begin + BATCH, items))]
            payloads = [each.payload for each in shard.read(ids, keys=None).values()]
            shard.write(ids, payloads, NEW.fingerprint, rows_of(ids, 2 + round_))
    rise = resident()[0] - before[0]
    shard.close()
    return {"store_alone_megabytes_rise": round(rise, 1)}


def in_a_process_of_its_own(step: str, store: str, place: str, items: int) -> str:
    words = [sys.executable, "-m", __spec__.name, "--step", step, "--store", store]
    words += ["--place", place, "--items", str(items)]
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout


def measured(store: str, items: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        if store == "postgres":
            from tests.postgres import server

            place = server().dsn
        else:
            place = str(Path(folder) / "gallery")
        in_a_process_of_its_own("fill", store, place, items)
        found = json.loads(in_a_process_of_its_own("measure", store, place, items))
        if store == "postgres":
            return found
        again = str(Path(folder) / "again")
        in_a_process_of_its_own("fill", store, again, items)
        return {**found, **json.loads(in_a_process_of_its_own("alone", store, again, items))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, nargs="+", default=[50_000, 500_000])
    parser.add_argument("--store", choices=["qdrant-edge", "postgres"], action="append")
    parser.add_argument("--json", type=Path)
    steps = ["fill", "measure", "alone"]
    parser.add_argument("--step", choices=steps, help="one step of one measurement")
    parser.add_argument("--place", help="of the store, for one step")
    asked = parser.parse_args()
    if asked.step == "fill":
        fill(asked.store[0], asked.place, asked.items[0])
    elif asked.step == "measure":
        print(json.dumps(measure(asked.store[0], asked.place, asked.items[0])))
    elif asked.step == "alone":
        print(json.dumps(store_alone(asked.place, asked.items[0])))
    else:
        found = []
        for store in asked.store or ["qdrant-edge", "postgres"]:
            for items in asked.items:
                found.append({"store": store, "items": items, **measured(store, items)})
                print(json.dumps(found[-1]), flush=True)
                if asked.json is not None:
                    report = {"python": platform.python_version(), "measured": found}
                    asked.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
