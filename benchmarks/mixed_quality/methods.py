"""Every way to rank a half-backfilled gallery that the benchmark compares, by name."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np

from benchmarks.mixed_quality import trained
from benchmarks.mixed_quality.baselines import fuse_ranks, rank_fusion, two_encoders
from benchmarks.mixed_quality.workbench import Workbench
from hotfill.ranking import Uncalibrated, fit_kernel_bridge, tail
from hotfill.rehearsal.maps import Fitted
from hotfill.rehearsal.mixed_gallery import MixedGallery
from hotfill.rehearsal.strategies import merge_down, merge_up, naive_merge, with_old_queries


@dataclass(frozen=True)
class Method:
    """One way.

    ours: whether it is hotfill's own; the others are baselines and methods of papers.
    make: from what was fitted on a pair to a gallery; None where it does not apply.
    orders: of `backfill_order`, in which it is measured.
    heavy: whether it trains a network. few_seeds: whether the first seed is enough.
    """

    ours: bool
    make: Callable[[Workbench], MixedGallery | None]
    orders: tuple[str, ...] = ("random",)
    heavy: bool = False
    few_seeds: bool = False


def _down(name: str, calibration: str) -> Callable[[Workbench], MixedGallery]:
    return lambda bench: merge_down(
        bench.sample, bench.pairs, bench.transform(name, "down"), calibration=calibration
    )


def _up(name: str, calibration: str) -> Callable[[Workbench], MixedGallery]:
    return lambda bench: merge_up(
        bench.sample,
        bench.pairs,
        bench.transform(name, "up"),
        strategy="prefill",
        calibration=calibration,
    )


def _two(calibration: str) -> Callable[[Workbench], MixedGallery]:
    return lambda bench: two_encoders(bench.sample, bench.pairs, calibration=calibration)


BOTH = ("random", "uncertainty")

METHODS = {
    "naive_merge": Method(False, lambda bench: naive_merge(bench.sample)),
    "RRF": Method(False, lambda bench: rank_fusion(bench.sample)),
    "vectormigrate 1.0 fusion": Method(False, lambda bench: _vectormigrate(bench), few_seeds=True),
    "two encoders, z-score": Method(False, _two("z_score")),
    "two encoders, isotonic": Method(False, _two("isotonic")),
    "Procrustes bridge, isotonic": Method(False, _down("procrustes", "isotonic")),
    "SLERP query": Method(False, lambda bench: _slerp(bench, "none")),
    "SLERP query, tail": Method(False, lambda bench: _slerp(bench, "tail")),
    "low_rank, tail": Method(False, _down("low_rank", "tail")),
    "low_rank prefill": Method(False, _up("low_rank", "none")),
    "residual MLP down, tail": Method(False, trained.residual_down, heavy=True),
    "residual MLP up prefill": Method(False, trained.residual_up, heavy=True),
    "RQT, tail": Method(False, trained.reverse, heavy=True),
    "MCL, 20 neighbours, tail": Method(False, trained.neighbours, heavy=True),
    "FCT prefill": Method(False, trained.forward, heavy=True),
    "MCL (labels)": Method(False, trained.contrast(rho=False), heavy=True),
    "MCL + rho (labels)": Method(False, trained.contrast(rho=True), BOTH, heavy=True),
    "FastFill prefill (labels)": Method(False, trained.fastfill, ("random", "sigma"), heavy=True),
    "lambda-orthogonal prefill (labels)": Method(False, trained.orthogonal, heavy=True),
    "bridge prefill": Method(True, _up("bridge", "none"), BOTH),
    "two encoders, tail": Method(True, _two("tail"), BOTH),
    "ridge, tail": Method(True, _down("ridge", "tail")),
    "plain_bridge, tail": Method(True, _down("plain_bridge", "tail"), BOTH),
    "bridge, tail": Method(True, _down("bridge", "tail"), BOTH),
    "kernel_bridge, tail": Method(True, _down("kernel_bridge", "tail"), (*BOTH, "oracle")),
    "kernel_bridge, both queries, tail": Method(
        True,
        lambda bench: with_old_queries(
            _down("kernel_bridge", "tail")(bench), bench.sample, bench.pairs
        ),
        BOTH,
    ),
    "kernel_bridge to class means, tail (labels)": Method(True, lambda bench: _class_means(bench)),
    "kernel_bridge prefill": Method(True, _up("kernel_bridge", "none"), BOTH),
}
"""In the order of the table."""

DEFAULT = "kernel_bridge, tail"
"""What `start` does when nothing is said: `hotfill.serving` fits this."""


SAFE = "kernel_bridge, both queries, tail"
"""The default with `queries = "both"`, where the old model can still embed queries."""

WITH_LABELS = " (labels)"
"""Ends the names of the methods that see the pairs' classes."""

LOGGED = ("random", "uncertainty", "popularity", "popularity x uncertainty")
"""Orders in which the default is also measured under the made-up query log of `query_log`."""

SLERP_SHARE = 0.5  # of the new query; the paper's midpoint
CLASS_SHARE = 0.8  # of the way to the class's mean
DEPTH = 1000  # hits per side that vectormigrate's function is given


def _slerp(bench: Workbench, calibration: str) -> MixedGallery:
    """Old query and rotated new query, half-way along the sphere; needs both encoders."""
    rotated = bench.transform("procrustes", "down").transform

    def carried(old: np.ndarray, new: np.ndarray) -> np.ndarray:
        return slerped(old, rotated(new), SLERP_SHARE)

    queries = carried(bench.old("queries"), bench.new("queries"))
    return calibrated(bench, queries, calibration)


def _class_means(bench: Workbench) -> MixedGallery | None:
    """The default fitted to new vectors that were moved most of the way to their class's mean.

    No training loop: the regression learns to leave out what does not tell classes apart.
    """
    labels = bench.labels
    if labels is None:
        return None
    began = perf_counter()
    pairs = bench.pairs
    own = labels[len(pairs.old_reference) :]  # the first pairs are kept to calibrate
    means = np.zeros((labels.max() + 1, pairs.new_fit.shape[1]))
    np.add.at(means, own, pairs.new_fit)
    means /= np.maximum(np.bincount(own, minlength=len(means)), 1)[:, None]
    moved = (1 - CLASS_SHARE) * pairs.new_fit + CLASS_SHARE * means[own]
    bridge = fit_kernel_bridge(moved, pairs.old_fit, **bench.spaces)
    fitted = Fitted("kernel_bridge to class means", bridge, perf_counter() - began)
    made = merge_down(bench.sample, pairs, fitted, calibration="tail")
    return replace(made, labels_used=True)


def calibrated(bench: Workbench, queries: np.ndarray, calibration: str) -> MixedGallery:
    """Search the old side with given vectors (q, old dimension), one per query.

    calibration: "none" or "tail", which needs nothing fitted.
    """
    prepare = (tail() if calibration == "tail" else Uncalibrated()).prepare
    old_reference, new_reference = bench.pairs.old_reference, bench.pairs.new_reference

    def sides(rows: slice) -> tuple[np.ndarray, np.ndarray]:
        asked, new = queries[rows], bench.new("queries")[rows]
        line = prepare(asked @ old_reference.T, new @ new_reference.T)
        old = asked @ bench.old("gallery").T
        scores = np.stack([line(row, old[row]) for row in range(len(old))])
        return scores, new @ bench.new("gallery").T

    return MixedGallery("merge", "slerp", calibration, sides, queries="both")


def slerped(first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
    """Spherical interpolation of rows of unit length: first at 0, second at 1."""
    angles = np.arccos(np.clip(np.einsum("ij,ij->i", first, second), -1 + 1e-6, 1 - 1e-6))[:, None]
    mixed = np.sin((1 - share) * angles) * first + np.sin(share * angles) * second
    return (mixed / np.linalg.norm(mixed, axis=1, keepdims=True)).astype(np.float32)


def _vectormigrate(bench: Workbench) -> MixedGallery | None:
    """Its dual-read search: the first hits of both indexes through its own fusion function.

    It is given the first 1,000 of each side; what ranks deeper follows by the same formula, so that
    the full ranking can be measured. Equal scores come in its order, the older side first.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from vectormigrate.fusion import reciprocal_rank_fusion
            from vectormigrate.models import SearchHit
    except ModuleNotFoundError:
        return None

    def merge(old: np.ndarray, new: np.ndarray, moved: np.ndarray) -> np.ndarray:
        fused = fuse_ranks(old, new, moved) - 1.0
        sides = [(old, np.flatnonzero(~moved)), (new, np.flatnonzero(moved))]
        for row in range(len(old)):
            lists = [
                [SearchHit(str(item), 0.0, "") for item in _first(scores[row], columns)]
                for scores, columns in sides
            ]
            ranked = reciprocal_rank_fusion(lists, top_k=2 * DEPTH)
            fused[row, [int(hit.doc_id) for hit in ranked]] = 1.0 / np.arange(1, len(ranked) + 1)
        return fused

    plain = rank_fusion(bench.sample)
    return MixedGallery("vectormigrate", "none", "ranks", plain.sides, merge, queries="both")


def _first(scores: np.ndarray, columns: np.ndarray) -> np.ndarray:
    return columns[np.argsort(-scores[columns])[:DEPTH]]
