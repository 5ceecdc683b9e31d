"""The one upgrade that every tool does: texts, two models' vectors, what is relevant."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

ITEMS, QUERIES, PROBES = 1_000, 60, 50
"""Of the quick form."""


def make(
    folder: Path, *, data: Path | None, texts: Path | None, items: int, queries: int, seed: int
) -> str:
    """Make it unless it is there; returns what it is of.

    data, texts: as of `mixed_quality/run.py`; without them the repository's own drawings, by name.
    Queries are held out from the gallery and from the models; probes are other such queries, for
    what a tool wants to try before it begins. items: of the gallery, drawn at random.
    """
    name = "omniglot" if data is None or texts is None else "clinc150"
    if (folder / "labels.npz").exists():
        return name
    folder.mkdir(parents=True, exist_ok=True)
    if data is not None and texts is not None:
        contents, vectors, labels = _clinc150(data, texts)
    else:
        contents, vectors, labels = _omniglot()
    rng = np.random.default_rng(seed)
    stay = np.sort(rng.permutation(len(contents["gallery"]))[:items])
    contents["gallery"] = [contents["gallery"][row] for row in stay]
    labels["gallery"] = labels["gallery"][stay]
    drawn = rng.permutation(len(contents["queries"]))
    asked, probes = drawn[:queries], drawn[queries : queries + PROBES]
    for side in ("old", "new"):
        parts = [
            vectors[f"{side}_gallery"][stay],
            *(vectors[f"{side}_queries"][r] for r in (asked, probes)),
        ]
        rows = np.concatenate(parts).astype(np.float32)
        np.save(folder / f"{side}.npy", rows / np.linalg.norm(rows, axis=1, keepdims=True))
    told = {
        "gallery": contents["gallery"],
        "queries": [contents["queries"][row] for row in asked],
        "probes": [contents["queries"][row] for row in probes],
        "relevant_to_probes": [
            np.flatnonzero(labels["gallery"] == labels["queries"][row]).tolist() for row in probes
        ],
        "order": rng.permutation(len(stay)).tolist(),
    }
    (folder / "texts.json").write_text(json.dumps(told), encoding="utf-8")
    np.savez(folder / "labels.npz", gallery=labels["gallery"], queries=labels["queries"][asked])
    return name


def _clinc150(data: Path, texts: Path):
    from benchmarks.mixed_quality.texts import clinc150

    gallery, queries, judgements = clinc150(data / "clinc150")
    file = np.load(texts / "clinc150.npz")
    labels = {"gallery": judgements["gallery_labels"], "queries": judgements["query_labels"]}
    if len(file["old_gallery"]) != len(gallery):
        raise SystemExit(f"{texts}: clinc150.npz is of other texts; make it again by texts.py")
    return {"gallery": gallery, "queries": queries}, file, labels


def _omniglot():
    from demo.omniglot import drawings, encoders

    parts = {
        "gallery": drawings.load("evaluation").gallery(),
        "queries": drawings.load("evaluation").queries(),
    }
    rows = {"gallery": slice(0, ITEMS), "queries": slice(0, None)}
    known = np.unique(parts["gallery"].labels[rows["gallery"]])
    answered = np.flatnonzero(np.isin(parts["queries"].labels, known))
    images = {
        "gallery": parts["gallery"].images[:ITEMS],
        "queries": parts["queries"].images[answered],
    }
    labels = {
        "gallery": parts["gallery"].labels[:ITEMS],
        "queries": parts["queries"].labels[answered],
    }
    vectors = {
        f"{side}_{part}": encoder(images[part])
        for side, encoder in (("old", encoders.old()), ("new", encoders.new()))
        for part in images
    }
    contents = {
        part: [f"{part} drawing {row}" for row in range(len(images[part]))] for part in images
    }
    return contents, vectors, labels
