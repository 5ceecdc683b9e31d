"""The matrix of versions: which codes may ask which, on the CIFAR-100 chain."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sets import chain

from hotfill.binary import CodeFormat, Codes, symmetric_scores
from hotfill.lab.binary import (
    as_old_codes,
    fit_compatible_start,
    fit_start,
    old_code_values,
    pairs_of_neighbours,
)
from hotfill.lab.binary.training import TrainingPlan, train_encoder
from hotfill.types import ModelId

if TYPE_CHECKING:
    from pathlib import Path

    from hotfill.binary import BinaryEncoder

_BITS = 2
_VERSIONS = ("v1_025", "v1_050", "v2_100")


def compatibility(data: Path, *, quick: bool, seed: int) -> dict[str, float]:
    """map of symmetric code search, `query -> gallery`, relevant = same class.

    Version 0 is fitted alone. Each later version is made compatible with version 0: by the start
    (`start`), and by training on top (`trained`); `alone` is the later version fitted alone.
    Encoders see the training rows; queries are test rows.
    """
    versions = _VERSIONS[:2] if quick else _VERSIONS
    rows = {version: chain(data, version) for version in versions}
    labels = rows[versions[0]][2]
    asked = np.arange(len(labels))[:: 25 if quick else 5]
    relevant = labels[asked][:, None] == labels[None, :]

    def cell(queries: Codes, gallery: Codes) -> float:
        return mean_average_precision(
            symmetric_scores(queries.packed, gallery.packed, gallery.code_format), relevant
        )

    def codes_of(encoder: BinaryEncoder, version: str) -> tuple[Codes, Codes]:
        return encoder.encode(rows[version][1][asked]), encoder.encode(rows[version][0])

    first = versions[0]
    dimension = rows[first][0].shape[1]
    old = fit_start(
        rows[first][0], ModelId(first, "1", dimension), CodeFormat(dimension, _BITS), seed=seed
    )
    old_queries, old_gallery = codes_of(old, first)
    figures = {f"{first} -> {first}": cell(old_queries, old_gallery)}
    values = old_code_values(old, rows[first][0])
    for version in versions[1:]:
        training = rows[version][0]
        source = ModelId(version, "1", training.shape[1])
        code_format = CodeFormat(training.shape[1], _BITS)
        start = fit_compatible_start(training, values, source, code_format, seed=seed)
        # The paper's loss: among new codes, and between new codes and the old ones.
        plan = TrainingPlan(epochs=1 if quick else 10, batch=512, learning_rate=0.05, seed=seed)
        pairs = pairs_of_neighbours(training, neighbours=5)
        trained = train_encoder(start, pairs, plan, old_values=values)
        alone = fit_start(training, source, code_format, seed=seed)
        for how, encoder in (("start", start), ("trained", trained), ("alone", alone)):
            queries, gallery = codes_of(encoder, version)
            cut = as_old_codes(queries, old.space)
            figures[f"{version} ({how}) -> {first}"] = cell(cut, old_gallery)
            figures[f"{version} ({how}) -> {version}"] = cell(queries, gallery)
    return figures


def mean_average_precision(scores: np.ndarray, relevant: np.ndarray) -> float:
    """Mean over queries of the average precision over the full ranking."""
    order = np.argsort(-scores, axis=1, kind="stable")
    hits = np.take_along_axis(relevant, order, axis=1)
    precision = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    return float(np.mean((precision * hits).sum(axis=1) / hits.sum(axis=1)))
