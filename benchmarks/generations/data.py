"""Chains of models that read the same pictures or texts, each better than the one before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.mixed_quality.texts import READERS
from hotfill.metrics import Relevance, same_label
from hotfill.vectors import unit

Rows = NDArray[np.float32]

MOBILENETS = {
    "v1 0.25": "v1_025_128",
    "v1 0.5": "v1_050_160",
    "v1 0.75": "v1_075_192",
    "v2 1.0": "v2_100_224",
}
"""By width, and the side of the pictures they read."""

WORDS = 32
TEXT_MODELS = (f"words, {WORDS}-d", "letters, 256-d", "MiniLM, 384-d")
"""TF-IDF of single words and of letters in a row, cut to singular vectors; a small transformer."""

QUERIES, GALLERY = 10, 30  # of each class


@dataclass(frozen=True, eq=False)
class Part:
    """The same items by every model of a chain: (n, dimension) each, unit rows; labels (n,)."""

    vectors: Mapping[str, Rows]
    labels: NDArray[np.int64]

    def take(self, rows: NDArray[np.int64]) -> Part:
        """Some of the items."""
        vectors = {model: some[rows] for model, some in self.vectors.items()}
        return Part(vectors, self.labels[rows])


@dataclass(frozen=True, eq=False)
class Chain:
    """models: oldest first. rest: neither queries nor gallery, to fit and to train on.

    Which test items are queries and which gallery is drawn anew by each seed.
    """

    name: str
    models: tuple[str, ...]
    rest: Part
    queries: Part
    gallery: Part

    @property
    def relevance(self) -> Relevance:
        """What has the query's label is relevant."""
        return same_label(self.queries.labels, self.gallery.labels)


def pictures(folder: Path, seed: int, classes: int = 100) -> Chain:
    """Four MobileNets on CIFAR-100: 50 pictures of each class to fit on, 50 to search."""
    names = {model: folder / f"embeddings_{file}.npz" for model, file in MOBILENETS.items()}
    train, test = {}, {}
    for model, path in names.items():
        with np.load(path, allow_pickle=False) as arrays:
            labels = arrays["label"].astype(np.int64)
            train[model] = unit((arrays["train"] * arrays["scale"]).astype(np.float32))
            test[model] = unit((arrays["test"] * arrays["scale"]).astype(np.float32))
    kept = np.flatnonzero(labels < classes)
    rest = Part(train, labels).take(kept)
    return _chain("cifar100", tuple(MOBILENETS), rest, Part(test, labels).take(kept), seed)


def features(folder: Path, seed: int, items: int, classes: int = 100) -> Chain:
    """Three MobileNets on CIFAR-100, for heads: `items` of each class to train on, at most 300."""
    models = {model: file for model, file in MOBILENETS.items() if model != "v1 0.75"}
    train, test = {}, {}
    for model, file in models.items():
        with np.load(folder / f"features_{file}.npz", allow_pickle=False) as arrays:
            parts = [arrays[f"train_{part}"] for part in range(-(-items // 100))]
            by_class = [part.reshape(100, 100, -1) for part in parts]
            whole = np.concatenate(by_class, axis=1)[:classes, :items]
            train[model] = _scaled(whole, arrays["scale"])
            test[model] = _scaled(arrays["test"].reshape(100, 100, -1)[:classes], arrays["scale"])
    rest = Part(train, np.repeat(np.arange(classes), items))
    asked = Part(test, np.repeat(np.arange(classes), 100))
    return _chain("cifar100", tuple(models), rest, asked, seed)


def texts(folder: Path, embedded: Path, seed: int, classes: int = 150) -> Chain:
    """Three models on a set of questions; embedded: what `mixed_quality/texts.py` made of it.

    Its old and its new model are the chain's second and third. The first is fitted here, on the
    same texts as the second: the file's gallery.
    """
    with np.load(embedded, allow_pickle=False) as arrays:
        labels = np.concatenate([arrays["gallery_labels"], arrays["query_labels"]])
        vectors = {TEXT_MODELS[0]: _words(folder)} | {
            model: unit(np.concatenate([arrays[f"{side}_gallery"], arrays[f"{side}_queries"]]))
            for model, side in zip(TEXT_MODELS[1:], ("old", "new"), strict=True)
        }
    rng = np.random.default_rng([seed, 5])
    test, rest = [], []
    for label in np.unique(labels)[:classes]:
        rows = rng.permutation(np.flatnonzero(labels == label))
        test.append(rows[: QUERIES + GALLERY])
        rest.append(rows[QUERIES + GALLERY :])
    whole = Part(vectors, labels)
    others, asked = (whole.take(np.concatenate(rows)) for rows in (rest, test))
    return _chain(folder.name, TEXT_MODELS, others, asked, seed)


@cache
def _words(folder: Path) -> Rows:
    """Vectors of the gallery's texts, then of the queries', in the order of `texts.py`."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline

    gallery, queries, _ = READERS[folder.name](folder)
    counts = TfidfVectorizer(sublinear_tf=True, min_df=2)
    model = make_pipeline(counts, TruncatedSVD(WORDS, random_state=0))
    cut = np.concatenate([model.fit_transform(gallery), model.transform(queries)])
    cut = cut.astype(np.float32)
    # A text of none but rare words has no vector; it gets one that is near nothing.
    cut[~cut.any(axis=1), 0] = 1e-3
    return unit(cut)


def _scaled(values: NDArray[np.uint8], scale: Rows) -> Rows:
    return unit((values.reshape(-1, values.shape[-1]) * scale).astype(np.float32))


def _chain(name: str, models: tuple[str, ...], rest: Part, test: Part, seed: int) -> Chain:
    rng = np.random.default_rng([seed, 6])
    queries, gallery = [], []
    for label in np.unique(test.labels):
        rows = rng.permutation(np.flatnonzero(test.labels == label))
        queries.append(rows[:QUERIES])
        gallery.append(rows[QUERIES : QUERIES + GALLERY])
    # Mixed, so that where scores tie no class stands first.
    drawn = rng.permutation(np.concatenate(gallery))
    return Chain(name, models, rest, test.take(np.concatenate(queries)), test.take(drawn))
