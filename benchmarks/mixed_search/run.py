"""What does a search cost while a gallery is between two models? See README.md.

The final run, for a quiet machine: one command, which begins no store after 16 minutes, so that it
ends within 20. Called again it goes on where it ended.

    python benchmarks/mixed_search/run.py --final --again --minutes 16
    python benchmarks/mixed_search/table.py --into docs/benchmarks.md

Parts of it: `--final --part 20k`, `100k` or `100k-wide`; and `1m`, which takes as long again and
is not among them. With `--again` what results/ has of these parts is measured anew.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
# One thread on either side, before numpy and the engines are loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("LANCE_CPU_THREADS", "1")

import numpy as np

from benchmarks.mixed_search.indexes import CASES, EFS, Case, Plain, parts
from hotfill import Upgrade
from hotfill.ranking import Fit
from hotfill.types import ModelId
from hotfill.upgrade.phases import Phase

HERE = Path(__file__).parent
K = 10
COVERAGES = (0.0, 0.1, 0.5, 0.9, 1.0)
MOVING_FROM, MOVING_TO = 0.5, 0.9
FIT_ITEMS, BATCH = 2_000, 100
ROW = 4  # queries of one contestant, one after the other
RECALL_QUERIES, ADDED_QUERIES = 100, 400
RANKINGS = ("raw", "calibrated")
WAYS = {
    "raw": {"strategy": "prefill", "ranking": "raw"},
    "calibrated": {"strategy": "prefill", "ranking": "calibrated"},
    "merge": {"strategy": "merge"},
}
QUICK = ("memory", "qdrant-edge", "index-files")
RESULTS = HERE / "results"


@dataclass(frozen=True)
class Part:
    """Stores that are measured at one size. coverages: see `COVERAGES`."""

    items: int
    dimensions: tuple[int, int]
    stores: Sequence[str]
    coverages: Sequence[float] = COVERAGES
    rounds: int = 160


# The quickest first, so that a run that is stopped has the most. A graph is built at each coverage.
# From a coverage of one half on a mover runs beside, until nine tenths have moved.
FINAL = {
    "20k": Part(
        20_000,
        (96, 128),
        (
            "memory",
            "index-files",
            "index-files-hnsw",
            "qdrant-edge",
            "postgres-hnsw",
            "postgres",
            "lancedb",
        ),
    ),
    "100k": Part(
        100_000, (96, 128), ("index-files", "qdrant-edge-hnsw"), coverages=(0.1, 0.5, 0.9)
    ),
    "100k-wide": Part(100_000, (384, 768), ("index-files", "qdrant-edge-hnsw"), coverages=(0.5,)),
    "1m": Part(1_000_000, (96, 128), ("index-files",), coverages=(0.5,), rounds=80),
}
AIMS = {
    ("raw", "exact"): 1.02,
    ("raw", "hnsw"): 1.05,
    ("calibrated", "exact"): 1.10,
    ("calibrated", "hnsw"): 1.25,
}
AIM_P95, AIM_ADDED_MS = 1.3, 0.3
Search = Callable[[np.ndarray], Sequence[str]]


# Items that two models see ------------------------------------------------------------------------


@dataclass(frozen=True)
class World:
    """Made-up items around 200 centres, as two models see them; rows of unit length."""

    names: list[str]
    old: np.ndarray
    new: np.ndarray
    queries: np.ndarray

    @property
    def models(self) -> tuple[ModelId, ModelId]:
        """The old and the new one."""
        return ModelId("old", "1", self.old.shape[1]), ModelId("new", "1", self.new.shape[1])


def made_world(n: int, dimensions: tuple[int, int], asked: int, seed: int) -> World:
    """Make n items and some queries; each model is two random layers over the same 64 numbers."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(200, 64))
    layers = [
        [
            (random.normal(size=shape) / np.sqrt(shape[0])).astype(np.float32)
            for shape in ((64, 256), (256, dimension))
        ]
        for dimension in dimensions
    ]

    def seen(count: int) -> list[np.ndarray]:
        hidden = 0.7 * centres[random.integers(200, size=count)] + 0.7 * random.normal(
            size=(count, 64)
        )
        sides = []
        for first, second in layers:
            rows = np.empty((count, second.shape[1]), dtype=np.float32)
            for part in parts(count):
                rows[part] = np.tanh(hidden[part].astype(np.float32) @ first) @ second
                rows[part] += 0.3 * random.standard_normal(rows[part].shape, dtype=np.float32)
            sides.append(rows / np.linalg.norm(rows, axis=1, keepdims=True))
        return sides

    old, new = seen(n)
    return World([f"item-{number:07}" for number in range(n)], old, new, seen(asked)[1])


@dataclass
class Embedder:
    """The new model: knows its vectors by heart, so that moving goes at full rate.

    upgrade: the one it serves. It is stopped once `stop_at` items were embedded to be moved.
    """

    model_id: ModelId
    rows: np.ndarray
    upgrade: Upgrade | None = None
    stop_at: int = 0
    moved: int = 0

    def __call__(self, contents: Sequence[int]) -> np.ndarray:
        if self.upgrade is not None and self.upgrade.phase is Phase.BACKFILLING:
            self.moved += len(contents)
            if self.moved >= self.stop_at:
                self.upgrade.stop()
        return self.rows[np.asarray(contents)]


# One gallery on its way ---------------------------------------------------------------------------


class Walk:
    """A gallery that is taken from the old to the new model, step by step, by the engine."""

    def __init__(self, world: World, case: Case, folder: Path, settings: dict[str, str]) -> None:
        self.world, self.folder = world, folder
        old, new = world.models
        self.folder.mkdir()
        self.gallery = case.make(self.folder / "gallery", old)
        for part in parts(len(world.names)):
            self.gallery.upsert(world.names[part], world.old[part], space=old)
        self.gallery.optimise()
        self.embedder = Embedder(new, world.new)
        self.upgrade = Upgrade(
            self.gallery,
            old=old,
            new=self.embedder,
            source=lambda item_ids: {name: int(name[5:]) for name in item_ids},
            folder=self.folder / "upgrade",
            fit_items=min(FIT_ITEMS, len(world.names)),
            batch_size=BATCH,
            refresh=False,  # makes imputed vectors better, and a search neither dearer nor cheaper
            optimise=False,  # called here, between the measurements
            **settings,
        )
        self.embedder.upgrade = self.upgrade

    def to(self, coverage: float) -> float:
        """Move items until a share of them has moved; a batch at least. Tells which share."""
        total = len(self.world.names)
        self.embedder.stop_at = round(coverage * total) if coverage < 1 else 2 * total
        self.upgrade.start()
        return self.embedder.moved / total

    @contextmanager
    def moving_to(self, coverage: float) -> Iterator[Callable[[], bool]]:
        """Move at full rate in another thread; what is given tells whether it still goes on."""
        self.embedder.stop_at = round(coverage * len(self.world.names))
        self.upgrade.start(background=True)
        thread = self.upgrade._background
        try:
            yield lambda: thread is not None and thread.is_alive()
        finally:
            self.upgrade.wait()

    def search(self, query: np.ndarray) -> Sequence[str]:
        """Search as a program does."""
        _, new = self.world.models
        return self.upgrade.search_vectors(query[None], new, K)[0].item_ids

    def vectors_now(self) -> np.ndarray:
        """What the index compares with: the model's own vectors, and imputed ones."""
        _, new = self.world.models
        imputed: dict[str, Any] = {}
        for fact in self.upgrade.journal.facts("fit"):
            folder = self.folder / "upgrade" / str(fact.body["folder"])
            if folder.exists():
                up = Fit.load(folder).up
                imputed[up.fingerprint] = up
        rows, after = np.empty_like(self.world.new), None
        while True:
            page = self.gallery.scan(new, after=after, limit=10_000)
            places = np.array([int(name[5:]) for name in page.item_ids])
            for origin in {*page.origins}:
                here = places[[each == origin for each in page.origins]]
                if origin == new.fingerprint:
                    rows[here] = self.world.new[here]
                else:
                    rows[here] = imputed[origin](self.world.old[here])
            after = page.cursor
            if after is None:
                return rows

    def close(self) -> None:
        self.upgrade.close()
        self.gallery.close()


# Measure ------------------------------------------------------------------------------------------


@dataclass
class Times:
    """Milliseconds of some searches: on the clock, and of work by all threads of this process."""

    wall: list[float] = field(default_factory=list)
    work: list[float] = field(default_factory=list)


def timed(
    contestants: dict[str, Search],
    queries: np.ndarray,
    going_on: Callable[[int], bool],
) -> dict[str, Times]:
    """Time each contestant, some queries in a row, in an order drawn anew for each such row.

    The first query of a row does not count: it finds the processor's caches full of what the
    contestant before has read. going_on: told how many have been counted.
    """
    names = list(contestants)
    found = {name: Times() for name in names}
    random = np.random.default_rng(0)
    counted = 0
    while going_on(counted):
        row = [queries[(counted + at) % len(queries)] for at in range(ROW + 1)]
        for name in random.permutation(names).tolist():
            search, times = contestants[name], found[name]
            search(row[0])
            for query in row[1:]:
                began, worked = time.perf_counter(), time.process_time()
                search(query)
                times.wall.append(1000 * (time.perf_counter() - began))
                times.work.append(1000 * (time.process_time() - worked))
        counted += ROW
    return found


def figures_of(times: dict[str, Times]) -> dict[str, float]:
    """p50 and p95 of each, and the ratios to the plain index."""
    found: dict[str, float] = {"queries": len(times["plain"].wall)}
    for kind in ("wall", "work"):
        for at in (50, 95):
            middle = {
                name: float(np.percentile(getattr(each, kind), at)) for name, each in times.items()
            }
            end = f"p{at}" + ("" if kind == "wall" else "_work")
            for name, value in middle.items():
                found[f"{name}_{end}_ms"] = round(value, 4)
                if name != "plain":
                    found[f"{name}_ratio_{end}"] = round(value / middle["plain"], 3)
    return found


def recall(search: Search, world: World, rows: np.ndarray) -> float:
    """Share of the true ten, by comparing with all rows, that a search finds."""
    hits = 0
    for query in world.queries[:RECALL_QUERIES]:
        true = np.argpartition(-(rows @ query), K)[:K]
        hits += len({world.names[at] for at in true} & {*search(query)})
    return hits / K / min(RECALL_QUERIES, len(world.queries))


def as_good(plain: Plain, world: World, wanted: float) -> dict[str, float]:
    """Give a plain graph the fewest candidates by which it finds as much as the gallery."""
    found = 0.0
    for ef in EFS:
        plain.use(ef)
        found = recall(lambda query: plain.search(query, K)[0], world, world.new)
        if found >= wanted:
            break
    return {"plain_ef": plain.ef, "plain_recall": round(found, 4)}


def measure(
    name: str, world: World, *, coverages: Sequence[float], rounds: int, ways: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """All rows of one store. Each way of ranking has a gallery of its own."""
    case = CASES[name]()
    n, dimension = world.new.shape
    about = {"store": name, "search": "hnsw" if case.graph else "exact", "items": n}
    about |= {"dimensions": [world.old.shape[1], dimension]}
    with tempfile.TemporaryDirectory() as place, ExitStack() as opened:
        plain = case.plain(Path(place) / "plain", world.names, world.new)
        opened.callback(plain.close)
        walks = {way: Walk(world, case, Path(place) / way, WAYS[way]) for way in ways}
        for walk in walks.values():
            opened.callback(walk.close)

        def contestants(*ways: str) -> dict[str, Search]:
            found: dict[str, Search] = {"plain": lambda query: plain.search(query, K)[0]}
            return found | {way: walks[way].search for way in ways}

        for coverage in coverages:
            reached = max([walk.to(coverage) for walk in walks.values()])
            for walk in walks.values():
                walk.gallery.optimise()
            row: dict[str, Any] = {**about, "state": "still", "coverage": round(reached, 4)}
            if case.graph:
                there = recall(walks["raw"].search, world, walks["raw"].vectors_now())
                row |= {"recall": round(there, 4), **as_good(plain, world, there)}
            timed(contestants(*ways), world.queries, lambda counted: counted < 20)  # warm up
            times = timed(contestants(*ways), world.queries, lambda counted: counted < rounds)
            yield {**row, **figures_of(times)}
            if coverage == MOVING_FROM:
                for way in RANKINGS:
                    with walks[way].moving_to(MOVING_TO) as going_on:
                        moving = timed(contestants(way), world.queries, lambda _: going_on())
                    idle = np.percentile(times["plain"].wall, [50, 95]).round(4).tolist()
                    row |= {"state": "moving", "plain_idle_p50_ms": idle[0]}
                    yield {**row, "plain_idle_p95_ms": idle[1], **figures_of(moving)}


def added(seed: int) -> dict[str, float]:
    """Milliseconds that a search has beyond the gallery's own, 768 to 1,024 numbers."""
    world = made_world(3_000, (768, 1024), 200, seed)
    _, new = world.models
    found = {}
    for way in RANKINGS:
        with (
            tempfile.TemporaryDirectory() as place,
            closing(Walk(world, CASES["memory"](), Path(place) / way, WAYS[way])) as walk,
        ):
            walk.to(0.5)

            def alone(query: np.ndarray, walk: Walk = walk) -> Sequence[str]:
                return walk.gallery.search({new: query[None]}, K)[new].item_ids[0]

            both: dict[str, Search] = {"plain": alone, way: walk.search}
            timed(both, world.queries, lambda counted: counted < 20)
            times = timed(both, world.queries, lambda counted: counted < ADDED_QUERIES)
        found[way] = float(np.median(times[way].work) - np.median(times["plain"].work))
    return found


# Report -------------------------------------------------------------------------------------------


def report_of(rows: list[dict[str, Any]], more: dict[str, float]) -> dict[str, Any]:
    """The last line: the worst ratio of each store over all coverages, against the aims."""
    figures: dict[str, Any] = {}
    aims: dict[str, Any] = {}

    def hold(name: str, value: float, aim: float) -> None:
        figures[name] = round(value, 3)
        aims[name] = {"value": round(value, 3), "aim": f"<= {aim}", "met": value <= aim}

    def name_of(row: dict[str, Any]) -> str:
        return f"{row['store']}, {row['items']:,} x {row['dimensions'][1]}"

    for store in dict.fromkeys(map(name_of, rows)):
        for way in RANKINGS:
            mine = [row for row in rows if name_of(row) == store and f"{way}_ratio_p50" in row]
            still = [row[f"{way}_ratio_p50"] for row in mine if row["state"] == "still"]
            hold(f"{store}: {way} p50", max(still), AIMS[way, mine[0]["search"]])
            tails = [row[f"{way}_ratio_p95"] for row in mine]
            hold(f"{store}: {way} p95, moving too", max(tails), AIM_P95)
    for way, value in more.items():
        hold(f"milliseconds added to a query, 768 to 1,024: {way}", value, AIM_ADDED_MS)
    return {
        "benchmark": "mixed_search",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "threads": os.environ["OMP_NUM_THREADS"],
        "load_average": [round(each, 2) for each in os.getloadavg()],
        "k": K,
        "figures": figures,
        "aims": aims,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"5,000 items; {', '.join(QUICK)}")
    parser.add_argument("--data", type=Path, help="not used: the vectors are made here")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--dimensions", type=int, nargs=2, default=(96, 128), metavar="N")
    parser.add_argument("--rounds", type=int, default=400, help="queries a measurement")
    parser.add_argument("--no-merge", action="store_true", help="only what one index does")
    parser.add_argument("--store", choices=CASES, action="append", help="by default all")
    parser.add_argument("--json", type=Path, help="where to keep the rows")
    parser.add_argument("--final", action="store_true", help="what results/ lacks; see above")
    parser.add_argument("--part", choices=FINAL, action="append", help="with --final: only these")
    parser.add_argument("--minutes", type=float, help="with --final: begin no store after so many")
    parser.add_argument("--again", action="store_true", help="with --final: measure all anew")
    asked = parser.parse_args()
    if asked.final:
        names = asked.part or [name for name in FINAL if name != "1m"]
        if asked.again:
            for name in names:
                (RESULTS / f"{name}.json").unlink(missing_ok=True)
        print(json.dumps(final(names, asked.minutes, asked.seed)))
        return
    n = 5_000 if asked.quick else asked.items
    world = made_world(n, tuple(asked.dimensions), 200, asked.seed)
    rows: list[dict[str, Any]] = []
    more = added(asked.seed)
    for name in asked.store or (QUICK if asked.quick else CASES):
        for row in measure(
            name,
            world,
            coverages=(0.0, 0.5, 1.0) if asked.quick else COVERAGES,
            rounds=100 if asked.quick else asked.rounds,
            ways=RANKINGS if asked.quick or asked.no_merge else [*WAYS],
        ):
            rows.append(row)
            print(json.dumps(row), file=sys.stderr, flush=True)
        report = report_of(rows, more)
        if asked.json:  # each store is kept as soon as it is measured
            keep(asked.json, report, rows, more, asked.seed)
    print(json.dumps(report))


def final(names: Sequence[str], minutes: float | None, seed: int) -> dict[str, Any]:
    """Measure what the results of some parts lack, store by store; report on all of them."""
    until = time.monotonic() + 60 * (minutes or math.inf)
    every: list[dict[str, Any]] = []
    more: dict[str, float] = {}
    for name in names:
        part, file = FINAL[name], RESULTS / f"{name}.json"
        kept = json.loads(file.read_text()) if file.exists() else {"rows": [], "added": {}}
        rows, more = kept["rows"], kept["added"] or more
        lacking = [each for each in part.stores if all(row["store"] != each for row in rows)]
        if not lacking or time.monotonic() >= until:
            every += rows
            continue
        more = more or added(seed)
        world = made_world(part.items, part.dimensions, 200, seed)
        for store in lacking:
            if time.monotonic() >= until:
                break
            given = {"coverages": part.coverages, "rounds": part.rounds, "ways": RANKINGS}
            for row in measure(store, world, **given):
                rows.append(row)
                print(json.dumps(row), file=sys.stderr, flush=True)
            keep(file, report_of(rows, more), rows, more, seed)
        every += rows
    return report_of(every, more)


def keep(
    file: Path,
    report: dict[str, Any],
    rows: list[dict[str, Any]],
    more: dict[str, float],
    seed: int,
) -> None:
    """Write rows and what they come to, whole."""
    whole = {**report, "seed": seed, "added": more, "rows": rows}
    draft = file.with_suffix(".draft")
    draft.write_text(json.dumps(whole, indent=1) + "\n")
    draft.replace(file)


if __name__ == "__main__":
    main()
