"""Codes of three versions in one index, as BEBR serves them: a third of the items by each."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.generations.data import Chain
from benchmarks.generations.measure import measure
from hotfill.binary import BinaryEncoder, CodeFormat, CodeIndex, Codes, symmetric_scores
from hotfill.lab.binary import (
    as_old_codes,
    fit_compatible_start,
    fit_start,
    old_code_values,
)
from hotfill.metrics import ann_recall
from hotfill.types import ModelId

BITS, K = 2, 10


def row(chain: Chain, seed: int) -> dict[str, Any]:
    """Search the index of three versions by the codes of each, beside indexes of one version.

    Later versions are fitted to be compatible with the first, and cut to its length.
    """
    models = [chain.models[place] for place in (0, 1, -1)]
    encoders = _encoders(chain, models, seed)
    space = encoders[0].space

    def encode(encoder: BinaryEncoder, rows: np.ndarray) -> Codes:
        return as_old_codes(encoder.encode(rows), space)

    gallery = [
        encode(encoder, chain.gallery.vectors[model])
        for encoder, model in zip(encoders, models, strict=True)
    ]
    queries = [
        encode(encoder, chain.queries.vectors[model])
        for encoder, model in zip(encoders, models, strict=True)
    ]
    items = len(gallery[0])
    version = np.random.default_rng([seed, 8]).permutation(items) % len(models)
    rows = [np.flatnonzero(version == number) for number in range(len(models))]
    index = CodeIndex(_take(gallery[0], rows[0]), rows[0])
    for codes, own in zip(gallery[1:], rows[1:], strict=True):
        index.add(_take(codes, own), own)
    relevance = chain.relevance
    cells: dict[str, dict[str, float]] = {}
    kept = []
    for model, asked in zip(models, queries, strict=True):
        mixed = np.empty((len(asked), items), dtype=np.float32)
        for name, codes, own in zip(models, gallery, rows, strict=True):
            scores = symmetric_scores(asked.packed, codes.packed, codes.code_format)
            cells[f"{model} -> {name}"] = measure(scores, relevance).figures()
            mixed[:, own] = scores[:, own]
        cells[f"{model} -> all three"] = measure(mixed, relevance).figures()
        best = np.argsort(-mixed, axis=1, kind="stable")[:, :K]
        kept.append(float(ann_recall(index.search(asked, K).items, best, K).mean()))
    return {
        "models": models,
        "bits": BITS * space.dimension,
        "cells": cells,
        "found by the index": [round(value, 4) for value in kept],
    }


def _encoders(chain: Chain, models: list[str], seed: int) -> list[BinaryEncoder]:
    rest = chain.rest.vectors
    first = ModelId(models[0], "1", rest[models[0]].shape[1])
    old = fit_start(rest[models[0]], first, CodeFormat(first.dimension, BITS), seed=seed)
    values = old_code_values(old, rest[models[0]])
    encoders = [old]
    for model in models[1:]:
        source = ModelId(model, "1", rest[model].shape[1])
        form = CodeFormat(source.dimension, BITS)
        encoders.append(fit_compatible_start(rest[model], values, source, form, seed=seed))
    return encoders


def _take(codes: Codes, rows: np.ndarray) -> Codes:
    return Codes(codes.code_format, codes.packed[rows], codes.factors[rows], codes.space)
