"""How fast do items move in each store, and what do searches notice? See README.md."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from benchmarks.stores.stores import STORES
from hotfill.types import ModelId

HERE = Path(__file__).parent
DEFAULT = ("memory", "qdrant-edge", "postgres", "lancedb", "faiss-files")
QUICK = ("memory", "qdrant-edge", "postgres")
OLD, NEW = ModelId("old", "1", 128), ModelId("new", "1", 128)
BATCH, K, SEARCHES = 500, 10, 200
PACE = 1000  # items a second: what an embedder on one small GPU makes, or ten on CPUs
AIM_MOVES, AIM_SEARCH = 0.8, 1.5


def clustered(random: np.random.Generator, n: int, dimension: int) -> np.ndarray:
    """Unit vectors around 200 centres, as embeddings of real things lie."""
    centres = random.normal(size=(200, dimension))
    rows = centres[random.integers(200, size=n)] + 0.5 * random.normal(size=(n, dimension))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def parts(n: int):
    return [slice(begin, min(begin + BATCH, n)) for begin in range(0, n, BATCH)]


def rate(call, n: int) -> float:
    """Items per second of a call on every batch; the median batch counts."""
    seconds = []
    for part in parts(n):
        began = time.perf_counter()
        call(part)
        seconds.append((time.perf_counter() - began) / (part.stop - part.start))
    return 1 / statistics.median(seconds)


def latencies(search, queries, until) -> list[float]:
    """Milliseconds of searches, one after the other, until told to end."""
    found = []
    while not until(len(found)):
        began = time.perf_counter()
        search(queries[len(found) % len(queries)])
        found.append(1000 * (time.perf_counter() - began))
    return found


def while_searched(search, queries, work) -> list[float]:
    """Do some work; gives the milliseconds of the searches that another thread makes."""
    done = threading.Event()
    found: list[float] = []
    thread = threading.Thread(
        target=lambda: found.extend(latencies(search, queries, lambda n: done.is_set()))
    )
    thread.start()
    work()
    done.set()
    thread.join()
    return found


def measure(name: str, n: int, seed: int) -> dict[str, float]:
    """All figures of one store."""
    random = np.random.default_rng(seed)
    old, new = clustered(random, n, OLD.dimension), clustered(random, n, NEW.dimension)
    queries = clustered(random, 100, OLD.dimension)
    names = [f"{number:08}" for number in range(n)]
    with tempfile.TemporaryDirectory() as place:
        plain, gallery = STORES[name](Path(place), OLD)
        upserts = rate(lambda part: plain.upsert(names[part], old[part]), n)
        gallery_upserts = rate(lambda part: gallery.upsert(names[part], old[part], space=OLD), n)
        versions = np.array([state.version for state in gallery.get(names)])
        gallery.add_space(NEW)

        def move(part) -> None:
            moved = gallery.move(
                names[part], new[part], space=NEW, expected_versions=versions[part]
            )
            assert moved.all()

        def search(query) -> None:
            gallery.search({OLD: query[None], NEW: query[None]}, K)

        def enough(searches: int) -> bool:
            return searches >= SEARCHES

        latencies(lambda query: plain.search(query, K), queries, lambda n: n >= 20)  # warm up
        idle = latencies(lambda query: plain.search(query, K), queries, enough)
        third = parts(n)[: len(parts(n)) // 3]
        quiet = statistics.median(_seconds(move, part) for part in third)
        still = latencies(search, queries, enough)  # both sides, nothing moves
        rest = parts(n)[len(third) :]
        half = len(rest) // 2
        busy_seconds: list[float] = []

        def flat_out() -> None:
            busy_seconds.extend(_seconds(move, part) for part in rest[:half])

        def paced() -> None:
            for part in rest[half:]:
                left = (part.stop - part.start) * (1 / PACE - _seconds(move, part))
                time.sleep(max(left, 0))

        busy = while_searched(search, queries, flat_out)
        calm = while_searched(search, queries, paced)
        assert gallery.count(NEW) == n
        gallery.close()
        plain.close()
    return {
        "plain_upserts_per_second": upserts,
        "upserts_per_second": gallery_upserts,
        "moves_per_second": 1 / quiet,
        "moves_per_second_searched": 1 / statistics.median(busy_seconds),
        "moves_over_plain_upserts": 1 / quiet / upserts,
        "moves_over_upserts": 1 / quiet / gallery_upserts,
        **_percentiles("plain_idle", idle),
        **_percentiles("mixed_still", still),
        **_percentiles("mixed_moving", busy),
        **_percentiles("mixed_paced", calm),
        "p95_moving_over_idle": _p(busy, 95) / _p(idle, 95),
        "p95_paced_over_idle": _p(calm, 95) / _p(idle, 95),
        "p95_paced_over_still": _p(calm, 95) / _p(still, 95),
    }


def _seconds(move, part) -> float:
    """Seconds an item of one batch."""
    began = time.perf_counter()
    move(part)
    return (time.perf_counter() - began) / (part.stop - part.start)


def _p(values, at: int) -> float:
    return float(np.percentile(values, at))


def _percentiles(name: str, values) -> dict[str, float]:
    return {f"{name}_p{at}_ms": _p(values, at) for at in (50, 95)}


def aims(figures: dict[str, dict[str, float]]) -> dict[str, dict]:
    found = {}
    for store, values in figures.items():
        moves, search = values["moves_over_plain_upserts"], values["p95_moving_over_idle"]
        found[f"{store}: moves"] = _aim(moves, f">= {AIM_MOVES}", moves >= AIM_MOVES)
        found[f"{store}: search"] = _aim(search, f"<= {AIM_SEARCH}", search <= AIM_SEARCH)
    return found


def _aim(value: float, aim: str, met: bool) -> dict:
    return {"value": round(value, 3), "aim": aim, "met": met}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"2,000 items; {', '.join(QUICK)}")
    parser.add_argument("--data", type=Path, help="not used: everything is synthetic")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--store",
        choices=STORES,
        action="append",
        help="by default all that are not slow by nature",
    )
    parser.add_argument("--json", type=Path, help="where to keep the report")
    asked = parser.parse_args()
    n = 2000 if asked.quick else 10_000
    path = asked.json or (None if asked.quick else HERE / "results" / "10k.json")
    figures = {}
    for name in asked.store or (QUICK if asked.quick else DEFAULT):
        figures[name] = measure(name, n, asked.seed)
        print(name, json.dumps(figures[name]), file=sys.stderr, flush=True)
        report = report_of(figures, n)  # each store is kept as soon as it is measured
        if path is not None:
            path.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report))


def report_of(figures: dict[str, dict[str, float]], n: int) -> dict:
    return {
        "benchmark": "stores",
        "items": n,
        "dimension": OLD.dimension,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "figures": figures,
        "aims": aims(figures),
    }


if __name__ == "__main__":
    main()
