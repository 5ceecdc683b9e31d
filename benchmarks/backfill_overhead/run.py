"""What does the engine cost compared with a bare loop? See README.md next to this file."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import hotfill
from hotfill import ModelId
from hotfill.stores.qdrant_edge import QdrantEdgeGallery

HERE = Path(__file__).parent
OLD = ModelId("old", "1", 128)
NEW = ModelId("new", "1", 128)
BATCH = 256


class Embedder:
    """A random projection that takes a given time for every item."""

    def __init__(self, model_id: ModelId, seconds_per_item: float) -> None:
        self.model_id = model_id
        self.seconds_per_item = seconds_per_item
        seed = int(model_id.fingerprint[:8], 16)
        self.matrix = np.random.default_rng(seed).normal(size=(32, 128)).astype(np.float32)

    def __call__(self, contents):
        began = time.perf_counter()
        vectors = np.stack(contents) @ self.matrix
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        left = self.seconds_per_item * len(contents) - (time.perf_counter() - began)
        if left > 0:
            time.sleep(left)
        return vectors


def contents_of(items: int, seed: int) -> dict[str, np.ndarray]:
    rows = np.random.default_rng(seed).normal(size=(items, 32)).astype(np.float32)
    return {f"item-{number:08}": row for number, row in enumerate(rows)}


def filled(folder: Path, contents: dict[str, np.ndarray]) -> QdrantEdgeGallery:
    gallery = QdrantEdgeGallery.create(folder, OLD, exact=True)
    embed, ids = Embedder(OLD, 0.0), list(contents)
    for begin in range(0, len(ids), 2000):
        some = ids[begin : begin + 2000]
        gallery.upsert(some, embed([contents[i] for i in some]), space=OLD)
    return gallery


def bare_loop(folder: Path, contents: dict[str, np.ndarray], embed: Embedder) -> float:
    """Embed a batch, write the batch. Returns items per second."""
    with filled(folder, contents) as gallery:
        ids = list(contents)
        versions = np.array([state.version for state in gallery.get(ids)])
        gallery.add_space(NEW)
        began = time.perf_counter()
        for begin in range(0, len(ids), BATCH):
            some = slice(begin, begin + BATCH)
            vectors = embed([contents[i] for i in ids[some]])
            gallery.move(ids[some], vectors, space=NEW, expected_versions=versions[some])
        return len(ids) / (time.perf_counter() - began)


def engine(folder: Path, contents: dict[str, np.ndarray], embed: Embedder) -> float:
    """The same by `Upgrade.start`. Returns items per second of its backfilling phase."""
    with filled(folder / "store", contents) as gallery:
        with hotfill.Upgrade(
            gallery,
            old=OLD,
            new=embed,
            source=lambda ids: {item_id: contents[item_id] for item_id in ids},
            folder=folder,
            batch_size=BATCH,
            fit_items=500,
        ) as up:
            up.start()
            at = {fact.body["phase"]: fact.at for fact in up.journal.facts("phase")}
        return len(contents) / (at["backfilled"] - at["backfilling"])


def ratios(name: str, items: int, seconds_per_item: float, rounds: int, seed: int) -> dict:
    contents = contents_of(items, seed)
    embed = Embedder(NEW, seconds_per_item)
    pairs = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as place:
            pairs.append(
                (
                    bare_loop(Path(place) / "bare", contents, embed),
                    engine(_made(Path(place) / "engine"), contents, embed),
                )
            )
    return {
        f"items_per_second_bare_{name}": statistics.median(bare for bare, _ in pairs),
        f"items_per_second_engine_{name}": statistics.median(with_it for _, with_it in pairs),
        f"ratio_{name}": statistics.median(with_it / bare for bare, with_it in pairs),
    }


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def peak_megabytes(items: int) -> float:
    """Measure in a process of its own."""
    done = subprocess.run(
        [sys.executable, str(HERE / "memory.py"), str(items)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--data", type=Path, help="not used: everything is synthetic")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()

    items, rounds = (4000, 1) if asked.quick else (20_000, 3)
    small, large = (5_000, 20_000) if asked.quick else (100_000, 1_000_000)
    figures = {
        "items": items,
        **ratios("paced", items, 0.0005, rounds, asked.seed),
        **ratios("free", items, 0.0, rounds, asked.seed),
        f"peak_megabytes_{small}": peak_megabytes(small),
        f"peak_megabytes_{large}": peak_megabytes(large),
    }
    growth = figures[f"peak_megabytes_{large}"] - figures[f"peak_megabytes_{small}"]
    report = {
        "benchmark": "backfill_overhead",
        "figures": figures,
        "aims": {
            "ratio_paced": _aim(figures["ratio_paced"], 0.9),
            "ratio_free": _aim(figures["ratio_free"], 0.9),
            "peak_growth_megabytes": {"value": growth, "aim": "<= 20", "met": growth <= 20},
        },
    }
    name = "quick" if asked.quick else "full"
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / f"{name}.json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report))


def _aim(value: float, least: float) -> dict:
    return {"value": value, "aim": f">= {least}", "met": value >= least}


if __name__ == "__main__":
    main()
