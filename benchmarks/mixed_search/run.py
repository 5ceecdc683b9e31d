"""How much longer does a search take while a gallery is between two models?

One query over both sides of a half-moved gallery, against one query over an ordinary index of the
same engine with the same number of items: query by query, side by side, as a ratio of medians.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from pathlib import Path

import numpy as np
import qdrant_edge as engine

from hotfill.stores.qdrant_edge import QdrantEdgeGallery
from hotfill.types import ModelId

K = 10
COVERAGES = (0.0, 0.1, 0.5, 0.9, 1.0)
PARTS = {
    "100k": {"n": 100_000, "dimension": 256, "coverages": COVERAGES, "rounds": 400, "hnsw": True},
    "1m": {"n": 1_000_000, "dimension": 128, "coverages": COVERAGES, "rounds": 60, "hnsw": False},
}
AIM_MERGED, AIM_ONE_SIDE = 1.15, 1.02


def clustered(random: np.random.Generator, n: int, dimension: int) -> np.ndarray:
    """Unit vectors around 200 centres, as embeddings of real things lie."""
    centres = random.normal(size=(200, dimension))
    rows = centres[random.integers(200, size=n)] + 0.5 * random.normal(size=(n, dimension))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


class PlainIndex:
    """An index as one would have without hotfill: the engine's own calls and nothing else."""

    def __init__(self, folder: Path, names: list[str], rows: np.ndarray) -> None:
        folder.mkdir()
        self.folder = str(folder)
        vectors = engine.EdgeVectorParams(size=rows.shape[1], distance=engine.Distance.Dot)
        self.shard = engine.EdgeShard.create(self.folder, engine.EdgeConfig(vectors={"v": vectors}))
        for start in range(0, len(rows), 1000):
            part = rows[start : start + 1000].tolist()
            points = [
                engine.Point(
                    start + i, {"v": row}, {"_id": names[start + i], "_version": start + i}
                )
                for i, row in enumerate(part)
            ]
            self.shard.update(engine.UpdateOperation.upsert_points(points))

    def reopen(self) -> None:
        """Load it as the gallery is loaded, so that both lie in memory in the same way."""
        self.shard.close()
        self.shard = engine.EdgeShard.load(self.folder)

    def search(self, query: np.ndarray, *, exact: bool) -> tuple[list[str], list[float]]:
        points = self.shard.query(
            engine.QueryRequest(
                limit=K,
                query=engine.Query.Nearest(query.tolist(), using="v"),
                with_payload=["_id"],
                params=engine.SearchParams(exact=exact),
            )
        )
        return [point.payload["_id"] for point in points], [point.score for point in points]


def side_by_side(plain, gallery, queries, *, exact, rounds) -> dict[str, float]:
    """Time each query on both, in turn: milliseconds on the clock, and of all threads' work."""
    clock = {"plain": [], "mixed": []}
    work = {"plain": [], "mixed": []}
    spaces = list(queries)
    for i in range(-100, rounds):  # the first ones warm up
        rows = {space: queries[space][i % len(queries[space])][None] for space in spaces}
        query = rows[spaces[0]][0]
        for who in ["plain", "mixed"] if i % 2 else ["mixed", "plain"]:
            start, worked = time.perf_counter(), time.process_time()
            if who == "plain":
                plain.search(query, exact=exact)
            else:
                gallery.search(rows, K)
            if i >= 0:
                clock[who].append(1000 * (time.perf_counter() - start))
                work[who].append(1000 * (time.process_time() - worked))
    result = {}
    for what, times in (("", clock), ("_work", work)):
        for at in (50, 95):
            values = {who: float(np.percentile(times[who], at)) for who in times}
            result |= {f"{who}_p{at}{what}_ms": value for who, value in values.items()}
            result[f"ratio_p{at}{what}"] = values["mixed"] / values["plain"]
    return result


def measure(n: int, dimension: int, coverages, *, rounds: int, seed: int, hnsw: bool) -> list[dict]:
    """Walk a gallery from the old to the new model and measure on the way."""
    random = np.random.default_rng(seed)
    old, new = (ModelId(name, "1", dimension) for name in ("old", "new"))
    rows = {old: clustered(random, n, dimension), new: clustered(random, n, dimension)}
    queries = {space: clustered(random, 200, dimension) for space in (old, new)}
    names = [f"item{i}" for i in range(n)]
    found = []
    with tempfile.TemporaryDirectory() as folder:
        plain = PlainIndex(Path(folder) / "plain", names, rows[old])
        path = Path(folder) / "gallery"
        gallery = QdrantEdgeGallery.create(path, old)
        versions = np.concatenate(
            [
                gallery.upsert(names[s : s + 1000], rows[old][s : s + 1000], space=old)
                for s in range(0, n, 1000)
            ]
        )
        gallery.add_space(new)
        if hnsw:
            plain.shard.optimize()
            gallery.optimise()
        order, moved = random.permutation(n), 0
        for coverage in coverages:
            target = round(coverage * n)
            for start in range(moved, target, 500):
                batch = order[start : min(start + 500, target)]
                gallery.move(
                    [names[i] for i in batch],
                    rows[new][batch],
                    space=new,
                    expected_versions=versions[batch],
                )
            states = ["as it is"] + (["after optimise"] if hnsw and target > moved else [])
            moved = target
            for state in states:
                if state == "after optimise":
                    gallery.optimise()
                gallery.close()
                for exact in (True, False) if hnsw else (True,):
                    gallery = QdrantEdgeGallery.open(path, exact=exact)
                    plain.reopen()
                    asked = {"merge": queries}
                    if coverage == 1.0:
                        asked["new side only"] = {new: queries[new]}
                    for what, these in asked.items():
                        times = side_by_side(plain, gallery, these, exact=exact, rounds=rounds)
                        found.append(
                            {
                                "n": n,
                                "dimension": dimension,
                                "coverage": coverage,
                                "search": "exact" if exact else "hnsw",
                                "state": state,
                                "asked": what,
                                **times,
                            }
                        )
                        print(
                            f"{n:>9,} x {dimension}  {coverage:>4.0%}  "
                            f"{'exact' if exact else 'hnsw':5}  {state:14}  {what:13}  "
                            f"{times['mixed_p50_ms']:7.2f} ms / {times['plain_p50_ms']:7.2f} ms"
                            f" = {times['ratio_p50']:.2f}   p95 {times['ratio_p95']:.2f}"
                            f"   work {times['ratio_p50_work']:.2f}",
                            flush=True,
                        )
                    gallery.close()
                gallery = QdrantEdgeGallery.open(path)
        gallery.close()
        plain.shard.close()
    return found


def worst(found: list[dict], *, one_side: bool, search: str, state: str) -> float | None:
    ratios = [
        row["ratio_p50"]
        for row in found
        if (row["coverage"] in (0.0, 1.0)) == one_side
        and row["search"] == search
        and row["state"] == state
    ]
    return max(ratios, default=None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--data", help="not used: the vectors are made here")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--part", choices=PARTS, action="append", help="of the full run")
    arguments = parser.parse_args()
    found = []
    if arguments.quick:
        found = measure(20_000, 128, (0.0, 0.5, 1.0), rounds=100, seed=arguments.seed, hnsw=False)
    else:
        for part in arguments.part or PARTS:
            rows = measure(**PARTS[part], seed=arguments.seed)
            found += rows
            raw = {
                "machine": f"{platform.machine()}, {os.cpu_count()} cores",
                "python": platform.python_version(),
                "load_average": os.getloadavg(),
                "k": K,
                "seed": arguments.seed,
                "rows": rows,
            }
            path = Path(__file__).parent / "results" / f"{part}.json"
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(raw, indent=1) + "\n")
    figures, aims = {}, {}
    for search in ("exact", "hnsw"):
        for state in ("as it is", "after optimise"):
            for one_side, aim in ((False, AIM_MERGED), (True, AIM_ONE_SIDE)):
                value = worst(found, one_side=one_side, search=search, state=state)
                if value is not None:
                    name = f"{'one_side' if one_side else 'merge'}_{search}_{state}_ratio_p50"
                    name = name.replace(" ", "_")
                    figures[name] = round(value, 3)
                    aims[name] = {"value": round(value, 3), "aim": aim, "met": value <= aim}
    print(json.dumps({"benchmark": "mixed_search", "figures": figures, "aims": aims}))


if __name__ == "__main__":
    main()
