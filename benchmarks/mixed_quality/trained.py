"""The methods that train a network with torch, in a small form: a cell takes minutes on one core.

Widths of 256 and 30 epochs where the papers have thousands and more, for 2,000 pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from time import perf_counter

import numpy as np
import torch

from benchmarks.mixed_quality.workbench import Workbench
from hotfill.lab.training.transforms import (
    MapSettings,
    Neighbours,
    SameLabel,
    fit_classifier,
    train_fastfill,
    train_forward,
    train_lambda_orthogonal,
    train_metric_compatible,
    train_residual_mlp,
    train_reverse_query_transform,
)
from hotfill.ranking import uncertainty
from hotfill.rehearsal.maps import Fitted
from hotfill.rehearsal.mixed_gallery import MixedGallery
from hotfill.rehearsal.strategies import merge_down, merge_up
from hotfill.types import ModelId

HIDDEN = 256
NEIGHBOURS = 20

Make = Callable[[Workbench], MixedGallery | None]


def settings(bench: Workbench) -> MapSettings:
    """The same numbers for every training."""
    torch.set_num_threads(1)
    return MapSettings(epochs=30, batch=256, learning_rate=1e-3, seed=bench.seed)


def reverse(bench: Workbench) -> MixedGallery:
    """SEO's reverse query transform, label-free, with tail calibration."""
    return _down(bench, "RQT", train_reverse_query_transform, "tail")


def neighbours(bench: Workbench) -> MixedGallery:
    """MCL whose positives are the new model's neighbours, label-free, with tail calibration."""

    def fit(old: np.ndarray, new: np.ndarray, **spaces: object) -> object:
        positives = Neighbours(new, count=NEIGHBOURS)
        return train_metric_compatible(old, new, positives, **spaces)[0]

    return _down(bench, "MCL neighbours", fit, "tail")


def residual_down(bench: Workbench) -> MixedGallery:
    """Drift-Adapter's residual MLP on the query, with tail calibration."""
    began = perf_counter()
    fitted = train_residual_mlp(
        bench.pairs.new_fit,
        bench.pairs.old_fit,
        source=bench.sample.new.model,
        target=bench.sample.old.model,
        settings=settings(bench),
    )
    fit = Fitted("residual MLP", fitted, perf_counter() - began)
    return merge_down(bench.sample, bench.pairs, fit, calibration="tail")


def residual_up(bench: Workbench) -> MixedGallery:
    """Drift-Adapter's residual MLP on the stored vectors."""
    began = perf_counter()
    fitted = train_residual_mlp(
        bench.pairs.old_fit,
        bench.pairs.new_fit,
        source=bench.sample.old.model,
        target=bench.sample.new.model,
        settings=settings(bench),
    )
    fit = Fitted("residual MLP", fitted, perf_counter() - began)
    return merge_up(bench.sample, bench.pairs, fit, strategy="prefill", calibration="none")


def contrast(*, rho: bool) -> Make:
    """SEO's metric-compatible training with labels, psi alone or with rho; plain distances."""

    def make(bench: Workbench) -> MixedGallery | None:
        labels = bench.labels
        if labels is None:
            return None
        began = perf_counter()
        learned = ModelId("new+rho", "1", bench.sample.new.model.dimension)
        psi, onwards = train_metric_compatible(
            bench.old_pairs,
            bench.new_pairs,
            SameLabel(labels),
            **bench.spaces,
            learned_model=learned if rho else None,
            hidden=HIDDEN,
            settings=settings(bench),
        )
        seconds = perf_counter() - began
        queries, gallery = bench.new("queries"), bench.new("gallery")
        old = psi(queries), bench.old("gallery")
        new = (queries, gallery) if onwards is None else (onwards(queries), onwards(gallery))
        return _labelled("merge", old, new, seconds)

    return make


def forward(bench: Workbench) -> MixedGallery:
    """FCT's h without side-information: stored vectors are rewritten; needs no labels."""
    began = perf_counter()
    h = train_forward(
        bench.old_pairs,
        bench.new_pairs,
        **bench.spaces,
        hidden=HIDDEN,
        settings=settings(bench),
    )
    fit = Fitted("FCT", h, perf_counter() - began)
    return merge_up(bench.sample, bench.pairs, fit, strategy="prefill", calibration="none")


def fastfill(bench: Workbench) -> MixedGallery | None:
    """FastFill with a classifier fitted on the new vectors; `sigma` gives its order."""
    h = _fastfill(bench)
    if h is None:
        return None
    gallery = merge_up(bench.sample, bench.pairs, h, strategy="prefill", calibration="none")
    return replace(gallery, labels_used=True)


def sigma(bench: Workbench) -> np.ndarray:
    """The log variance that FastFill's head reads for each gallery item."""
    h = _fastfill(bench)
    assert h is not None
    return uncertainty(h.transform, bench.old("gallery"))


def _fastfill(bench: Workbench) -> Fitted | None:
    labels = bench.labels
    if labels is None:
        return None

    def fit() -> Fitted:
        began = perf_counter()
        classifier = fit_classifier(bench.new_pairs, labels, new_model=bench.sample.new.model)
        h = train_fastfill(
            bench.old_pairs,
            bench.new_pairs,
            labels,
            classifier,
            **bench.spaces,
            hidden=HIDDEN,
            settings=settings(bench),
        )
        return Fitted("FastFill", h, perf_counter() - began)

    return bench.once("FastFill", fit)


def orthogonal(bench: Workbench) -> MixedGallery | None:
    """lambda-orthogonality: queries and re-embedded items are B(new), old vectors F(old)."""
    labels = bench.labels
    if labels is None:
        return None
    began = perf_counter()
    backward, onwards = train_lambda_orthogonal(
        bench.old_pairs,
        bench.new_pairs,
        SameLabel(labels),
        **bench.spaces,
        unified_model=ModelId("unified", "1", bench.sample.new.model.dimension),
        hidden=HIDDEN,
        settings=settings(bench),
    )
    seconds = perf_counter() - began
    queries, gallery = backward(bench.new("queries")), backward(bench.new("gallery"))
    old = queries, onwards(bench.old("gallery"))
    return _labelled("prefill", old, (queries, gallery), seconds)


def _down(
    bench: Workbench, name: str, fit: Callable[..., object], calibration: str
) -> MixedGallery:
    began = perf_counter()
    fitted = fit(
        bench.pairs.old_fit,
        bench.pairs.new_fit,
        **bench.spaces,
        hidden=HIDDEN,
        settings=settings(bench),
    )
    made = Fitted(name, fitted, perf_counter() - began)
    return merge_down(bench.sample, bench.pairs, made, calibration=calibration)


def _labelled(
    strategy: str,
    old: tuple[np.ndarray, np.ndarray],
    new: tuple[np.ndarray, np.ndarray],
    seconds: float,
) -> MixedGallery:
    """Queries and gallery as they meet on each side, compared by plain inner products."""
    return MixedGallery(
        strategy=strategy,
        transform="trained",
        calibration="none",
        sides=lambda rows: (old[0][rows] @ old[1].T, new[0][rows] @ new[1].T),
        vectors_rewritten=len(old[1]) if strategy == "prefill" else 0,
        fit_seconds=seconds,
        labels_used=True,
    )
