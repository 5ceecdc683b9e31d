"""How good, how small and how fast are binary codes, compared with FAISS at equal bytes?

    python benchmarks/binary/run.py [--quick] [--data DIR] [--texts DIR] [--parts ...] [--sets ...]

DIR of --data holds cifar100/embeddings_*.npz; DIR of --texts what embed_texts.py wrote.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from pathlib import Path

import faiss
import numpy as np
import torch
from compatibility import compatibility
from methods import Built, float_methods, methods
from sets import VectorSet, clustered, vector_sets

from hotfill.binary import CodeIndex, rerank_by_floats
from hotfill.binary.codes import CodeFormat
from hotfill.lab.binary import fit_encoder, fit_start, formats_for
from hotfill.lab.binary.choice import nearest
from hotfill.lab.binary.training import TrainingPlan, similarity_plan
from hotfill.metrics import ann_recall
from hotfill.types import ModelId

HERE = Path(__file__).parent
FIRST_BIT = "first bit scanned"
PARTS = ("quality", "coarse", "compatibility", "speed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--texts", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--speed-items", type=int, default=1_000_000)
    parser.add_argument("--no-training", action="store_true")
    parser.add_argument("--parts", default=",".join(PARTS), help="which to run, comma-separated")
    parser.add_argument("--sets", help="begin of the names of the sets to run, comma-separated")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    arguments = parser.parse_args()
    faiss.omp_set_num_threads(1)
    torch.set_num_threads(1)
    quick, seed = arguments.quick, arguments.seed
    plan = None if arguments.no_training or quick else similarity_plan(seed=seed)
    record: dict = {"quick": quick, "quality": [], "coarse": [], "speed": [], "compatibility": {}}

    def keep(part: str) -> None:
        if quick:
            return
        arguments.out.mkdir(exist_ok=True)
        path = arguments.out / f"{part}.json"
        found = record[part]
        if part in ("quality", "coarse") and path.exists():  # of other sets, from earlier runs
            done = {row["set"] for row in found}
            found = [
                row for row in json.loads(path.read_text())[part] if row["set"] not in done
            ] + found
        kept = {"machine": machine(), "seed": seed, part: found}
        path.write_text(json.dumps(kept, indent=1) + "\n")

    parts = arguments.parts.split(",")
    wanted = tuple((arguments.sets or "").split(","))  # "" begins every name
    if "coarse" in parts:
        for vectors in vector_sets(arguments.data, arguments.texts, wanted, quick=quick, seed=seed):
            record["coarse"] += coarse(vectors, seed)
            keep("coarse")
    if "quality" in parts:
        for vectors in vector_sets(arguments.data, arguments.texts, wanted, quick=quick, seed=seed):
            for bits in (2,) if quick else (2, 4, 1):
                record["quality"] += quality(vectors, bits, plan, seed)
                keep("quality")
    if "compatibility" in parts and arguments.data is not None:
        record["compatibility"] = compatibility(arguments.data, quick=quick, seed=seed)
        show(json.dumps(record["compatibility"], indent=1))
        keep("compatibility")
    if "speed" in parts:
        items = 20_000 if quick else arguments.speed_items
        record["speed"] = speed(items, 128, seed, turn_seconds=0.02 if quick else 0.2)
        keep("speed")
    figures, aims = summary(record)
    print(json.dumps({"benchmark": "binary", "figures": figures, "aims": aims}))


def quality(
    vectors: VectorSet, bits: int, plan: TrainingPlan | None, seed: int
) -> list[dict[str, object]]:
    """recall@10 and @100 against exact float search, and map@100, for all at one budget."""
    gallery, queries = vectors.gallery, vectors.queries
    truth = nearest(gallery, queries, 100)
    budget = gallery.shape[1] * bits // 8
    built = methods(gallery, budget, plan if len(gallery) <= 20_000 else None, seed)
    floats = float_methods(gallery) if bits == 1 else ()
    rows = []
    for method in (*built, *floats):
        found = method.search(queries, 100)
        row = {
            "set": vectors.name,
            "bits": bits,
            "budget_bytes": budget,
            "method": method.method,
            "bytes_per_item": method.bytes_per_item,
            "recall@10": float(ann_recall(found, truth, 10).mean()),
            "recall@100": float(ann_recall(found, truth, 100).mean()),
            "recall@10 of 20, by float": reranked(method, vectors, truth, 20),
            "recall@10 of 50, by float": reranked(method, vectors, truth, 50),
            "map@100": map_at(found, vectors, 100),
            "note": method.note,
        }
        show(" | ".join(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values()))
        rows.append(row)
    return rows


def coarse(vectors: VectorSet, seed: int) -> list[dict[str, object]]:
    """recall@10 of scans that read some of the bits, by budget; candidates are the default ones."""
    gallery, queries = vectors.gallery, vectors.queries
    dimension = gallery.shape[1]
    truth = nearest(gallery, queries, 10)
    rows = []
    for bits in (2, 4):
        formats = formats_for(dimension, dimension * bits // 8)
        encoder = fit_encoder(
            gallery, ModelId("coarse", "1", dimension), formats, seed=seed
        ).encoder
        codes, asked = encoder.encode(gallery), encoder.queries(queries)
        form = encoder.code_format
        for scanned in (form.bits, *(each for each in (2, 1) if each < form.bits)):
            index = CodeIndex(codes, scan_bits=scanned)
            row = {
                "set": vectors.name,
                "bits": bits,
                "code": f"{form.dimension} x {form.bits}",
                "scanned": scanned,
                "recall@10": float(ann_recall(index.search(asked, 10).items, truth, 10).mean()),
            }
            show(json.dumps(row))
            rows.append(row)
    return rows


def reranked(method: Built, vectors: VectorSet, truth: np.ndarray, candidates: int) -> float:
    found = method.search(vectors.queries, candidates)
    shares = [len(set(line) & set(best[:10])) / 10 for line, best in zip(found, truth, strict=True)]
    return float(np.mean(shares))  # ranked by float, a true neighbour that was found is kept


def map_at(found: np.ndarray, vectors: VectorSet, k: int) -> float | None:
    if vectors.relevant is None:
        return None
    hits = np.take_along_axis(vectors.relevant, np.maximum(found, 0), axis=1) & (found >= 0)
    precision = np.cumsum(hits, axis=1) / np.arange(1, k + 1)
    most = np.minimum(vectors.relevant.sum(axis=1), k)
    return float(np.mean((precision * hits).sum(axis=1) / most))


def speed(items: int, dimension: int, seed: int, *, turn_seconds: float) -> list[dict[str, object]]:
    """Queries a second, exhaustive, k = 10: one at a time and 64 at once, 1 and 2 threads.

    One thread is measured in processor time, since other programs may run; two in elapsed time.
    """
    vectors = clustered(items, dimension, seed)
    gallery, queries = vectors.gallery, vectors.queries[:64]
    searches: dict[str, tuple[float, object]] = {}
    flat = faiss.IndexFlatIP(dimension)
    flat.add(gallery)
    searches["float flat"] = (4 * dimension, lambda q: flat.search(q, 10))
    eight = faiss.IndexScalarQuantizer(
        dimension, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    )
    eight.train(gallery[:50_000])
    eight.add(gallery)
    searches["scalar quantiser 8 bits"] = (dimension, lambda q: eight.search(q, 10))
    for bits in (1, 2, 4):
        encoder = fit_start(
            gallery[:50_000], ModelId("speed", "1", dimension), CodeFormat(dimension, bits)
        )
        index = CodeIndex(encoder.encode(gallery))
        size = encoder.code_format.row_bytes + 2
        asked = encoder.queries(queries)
        codes = encoder.encode(queries)
        searches[f"{bits} bits, float query"] = (size, over(index, asked))
        searches[f"{bits} bits, code query"] = (size, over(index, codes))
        searches[f"{bits} bits, float query, 50 by float"] = (
            size,
            over_with_floats(index, encoder, gallery),
        )
        if bits > 1:
            first = CodeIndex(index.contents()[0], scan_bits=1)
            searches[f"{bits} bits, float query, {FIRST_BIT}"] = (size, over(first, asked))
            searches[f"{bits} bits, float query, {FIRST_BIT}, 50 by float"] = (
                size,
                over_with_floats(first, encoder, gallery),
            )
        pq = faiss.index_factory(
            dimension, f"PQ{dimension * bits // 4}x4fs", faiss.METRIC_INNER_PRODUCT
        )
        pq.train(gallery[:50_000])
        pq.add(gallery)
        searches[f"PQ fast-scan at {bits} bits"] = (
            dimension * bits / 8,
            lambda q, pq=pq: pq.search(q, 10),
        )
    rows = []
    for threads in (1, 2):
        faiss.omp_set_num_threads(threads)
        for batch in (1, 64):
            base = None
            for name, (size, search) in searches.items():
                clock = time.perf_counter if threads > 1 else time.process_time
                rate = queries_a_second(search, queries, batch, clock, turn_seconds)
                base = base or rate
                row = {
                    "method": name,
                    "items": items,
                    "bytes_per_item": size,
                    "threads": threads,
                    "batch": batch,
                    "queries_per_second": rate,
                    "times_float_flat": rate / base,
                }
                show(json.dumps(row))
                rows.append(row)
    faiss.omp_set_num_threads(1)
    return rows


def over(index: CodeIndex, asked: object):
    """Search by prepared queries; preparing one is microseconds."""
    if isinstance(asked, np.ndarray):
        return lambda q: index.search(asked[: len(q)], 10)
    return lambda q: index.search(asked.take(slice(0, len(q))), 10)


def over_with_floats(index: CodeIndex, encoder, gallery: np.ndarray):
    def search(queries: np.ndarray) -> object:
        hits = index.search(encoder.queries(queries), 50, candidates=1)
        return rerank_by_floats(hits, queries, lambda items: gallery[items], 10)

    return search


def queries_a_second(search, queries: np.ndarray, batch: int, clock, turn_seconds: float) -> float:
    """Median of five turns, each of at least this many seconds."""
    search(queries[:batch])
    rates = []
    for _ in range(5):
        done, start = 0, clock()
        while clock() - start < turn_seconds:
            search(queries[:batch])
            done += batch
        rates.append(done / (clock() - start))
    return float(np.median(rates))


def row_key(row: dict[str, object]) -> tuple[object, object]:
    return row["set"], row["bits"]


def summary(record: dict) -> tuple[dict[str, float], dict[str, dict[str, object]]]:
    figures: dict[str, float] = {}
    aims: dict[str, dict[str, object]] = {}

    def aim(name: str, value: float, wished: float) -> None:
        figures[name] = round(value, 4)
        aims[name] = {"value": round(value, 4), "aim": wished, "met": bool(value >= wished)}

    def rate(method: str, batch: int) -> float:
        return next(
            row["times_float_flat"]
            for row in record["speed"]
            if (row["method"], row["threads"], row["batch"]) == (method, 1, batch)
        )

    if record["speed"] and not record["quick"]:
        for batch in (1, 64):
            for bits, wished in ((2, 20), (4, 12)):
                for how in ("float query", f"float query, {FIRST_BIT}"):
                    name = f"{bits} bits, {how}, {batch} at once: times float flat"
                    aim(name, rate(f"{bits} bits, {how}", batch), wished)
    for row in record["coarse"]:
        whole = next(each for each in record["coarse"] if row_key(each) == row_key(row))
        if row is not whole:
            name = f"{row['set']}, {row['bits']} bits, {row['scanned']} scanned: recall@10 kept"
            aim(name, row["recall@10"] / whole["recall@10"], 0.995)
    for name in dict.fromkeys(row["set"] for row in record["quality"]):
        for budget in dict.fromkeys(
            row["budget_bytes"] for row in record["quality"] if row["set"] == name
        ):
            rows = [
                row
                for row in record["quality"]
                if (row["set"], row["budget_bytes"]) == (name, budget)
            ]
            others = (
                "PQ fast-scan",
                "RaBitQ fast-scan",
                "sign codes, float query",
                "ITQ, float query",
            )
            best = max(row["recall@10"] for row in rows if row["method"] in others)
            ours = [r for r in rows if r["method"].startswith("grid, fitted")]
            mine = max(ours, key=lambda row: row["recall@10"])
            aim(
                f"{name}, {budget} B: recall@10 over the best rival's",
                mine["recall@10"] / best,
                1.0,
            )
            if rows[0]["bits"] == 2:
                aim(
                    f"{name}, 2 bits: recall@10 of 50, by float",
                    mine["recall@10 of 50, by float"],
                    0.99,
                )
    for name, value in record["compatibility"].items():
        figures[f"map {name}"] = round(value, 4)
    cells = record["compatibility"]
    old = cells.get("v1_025 -> v1_025")
    for version in ("v1_050", "v2_100"):
        for how in ("start", "trained"):
            value = cells.get(f"{version} ({how}) -> v1_025")
            if value is not None and old is not None:
                aim(f"{version} ({how}): map new-to-old over old-to-old", value / old, 1.0)
    return figures, aims


def machine() -> dict[str, object]:
    return {
        "processor": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "faiss": faiss.__version__,
        "torch": torch.__version__,
        "faiss_options": faiss.get_compile_options(),
    }


def show(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
