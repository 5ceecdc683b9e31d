"""The pairs of models, each with a gallery, queries, judgements and rows to fit on.

Three things are kept apart: rows used for fitting, the gallery, the queries. Everything random
comes from the seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hotfill.metrics import Relevance, from_lists, same_label

NAMES = (
    "digits",
    "omniglot",
    "cifar100: v1 0.25 to v1 0.5",
    "cifar100: v1 0.25 to v2",
    "cifar100: v1 0.5 to v2",
    "banking77",
    "clinc150",
    "scifact",
)
"""In the order of the table."""

FIT = 2000  # pairs
QUERIES = 500


@dataclass(frozen=True, eq=False)
class Pair:
    """Vectors of two models, rows of unit length, float32.

    old, new: by part: "fit" (f, d), "gallery" (n, d), "queries" (q, d). relevance: of the queries.
    exclude: each query's own column, or None. fit_labels, query_labels: classes of the fit rows and
    of the queries; None where there are only judgements.
    """

    name: str
    old: dict[str, np.ndarray]
    new: dict[str, np.ndarray]
    relevance: Relevance
    exclude: np.ndarray | None = None
    fit_labels: np.ndarray | None = None
    query_labels: np.ndarray | None = None


def cifar100(folder: Path, old: str, new: str, name: str) -> Callable[[int], Pair]:
    """Gallery = 5,000 train images; queries and fit rows are drawn from the test images."""

    def make(seed: int) -> Pair:
        files = [np.load(folder / "cifar100" / f"embeddings_{model}.npz") for model in (old, new)]
        label = files[0]["label"].astype(np.int64)
        drawn = np.random.default_rng(seed).permutation(len(label))
        fit, asked = drawn[:FIT], drawn[FIT : FIT + QUERIES]
        sides = []
        for file in files:
            train, test = (unit(file[part] * file["scale"]) for part in ("train", "test"))
            sides.append({"fit": test[fit], "gallery": train, "queries": test[asked]})
        return Pair(
            name,
            *sides,
            same_label(label[asked], label),
            fit_labels=label[fit],
            query_labels=label[asked],
        )

    return make


def omniglot(seed: int) -> Pair:
    """Characters that neither encoder saw: gallery = drawers 1-10, the rest from drawers 11-20."""
    from demo.omniglot import drawings, encoders

    gallery = drawings.load("evaluation").gallery()
    others = drawings.load("evaluation").queries()
    drawn = np.random.default_rng(seed).permutation(len(others))
    fit, asked = drawn[:FIT], drawn[FIT : FIT + QUERIES]
    sides = [
        {
            "fit": encoder(others.images[fit]),
            "gallery": encoder(gallery.images),
            "queries": encoder(others.images[asked]),
        }
        for encoder in (encoders.old(), encoders.new())
    ]
    relevance = same_label(others.labels[asked], gallery.labels)
    return Pair(
        "omniglot",
        *sides,
        relevance,
        fit_labels=others.labels[fit],
        query_labels=others.labels[asked],
    )


def texts(path: Path, name: str) -> Callable[[int], Pair]:
    """Fit rows are drawn from the gallery and leave it; queries are the set's own."""

    def make(seed: int) -> Pair:
        file = np.load(path)
        rng = np.random.default_rng(seed)
        drawn = rng.permutation(len(file["old_gallery"]))
        fit, stay = drawn[:FIT], np.sort(drawn[FIT:])
        labels = None
        if "judged" in file:
            column = np.full(len(drawn), -1)
            column[stay] = np.arange(len(stay))
            relevant: list[list[int]] = [[] for _ in file["old_queries"]]
            for query, item in file["judged"]:
                if column[item] >= 0:
                    relevant[query].append(column[item])
            answered = np.array([bool(some) for some in relevant])
        else:
            labels = file["gallery_labels"]
            answered = np.isin(file["query_labels"], labels[stay])
        asked = rng.permutation(np.flatnonzero(answered))[:QUERIES]
        sides = [
            {
                "fit": unit(file[f"{side}_gallery"][fit]),
                "gallery": unit(file[f"{side}_gallery"][stay]),
                "queries": unit(file[f"{side}_queries"][asked]),
            }
            for side in ("old", "new")
        ]
        if labels is None:
            relevance = from_lists([relevant[query] for query in asked], len(stay))
            return Pair(name, *sides, relevance)
        query_labels = file["query_labels"][asked]
        relevance = same_label(query_labels, labels[stay])
        return Pair(name, *sides, relevance, fit_labels=labels[fit], query_labels=query_labels)

    return make


def digits(seed: int) -> Pair:
    """The toy of the method notes: two small networks, the old one knows five digits of ten.

    Query set = gallery = test rows, the own item excluded; fit rows = the networks' training rows.
    """
    from benchmarks.mixed_quality.digits import embed

    parts = embed(seed)
    sides = [
        {
            "fit": parts[side]["train"],
            "gallery": parts[side]["test"],
            "queries": parts[side]["test"],
        }
        for side in ("old", "new")
    ]
    labels = parts["labels"]
    return Pair(
        "digits",
        *sides,
        same_label(labels["test"], labels["test"]),
        exclude=np.arange(len(labels["test"])),
        fit_labels=labels["train"],
        query_labels=labels["test"],
    )


def all_pairs(data: Path | None, texts_folder: Path | None) -> dict[str, Callable[[int], Pair]]:
    """Every pair whose data are at hand. Omniglot and digits need nothing."""
    makers: dict[str, Callable[[int], Pair]] = {"omniglot": omniglot, "digits": digits}
    if data is not None:
        for old, new, name in [
            ("v1_025_128", "v1_050_160", "cifar100: v1 0.25 to v1 0.5"),
            ("v1_025_128", "v2_100_224", "cifar100: v1 0.25 to v2"),
            ("v1_050_160", "v2_100_224", "cifar100: v1 0.5 to v2"),
        ]:
            makers[name] = cifar100(data, old, new, name)
    if texts_folder is not None:
        for name in ("banking77", "clinc150", "scifact"):
            makers[name] = texts(texts_folder / f"{name}.npz", name)
    return makers


def unit(vectors: np.ndarray) -> np.ndarray:
    floats = vectors.astype(np.float32)
    return floats / np.linalg.norm(floats, axis=1, keepdims=True)
