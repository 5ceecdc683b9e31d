"""Every way to rank a half-backfilled gallery that the benchmark compares, by name."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from benchmarks.mixed_quality.pairs import Pair
from hotfill.evaluation.fitting import Fitted, Pairs, fit_transform, pairs_of
from hotfill.evaluation.mixed_gallery import MixedGallery
from hotfill.evaluation.sample import ModelSample, Sample, Side
from hotfill.evaluation.strategies import (
    fuse_ranks,
    merge_down,
    merge_up,
    rank_fusion,
    two_encoders,
)
from hotfill.types import ModelId


@dataclass(frozen=True)
class Method:
    """One way. ours: whether it is hotfill's; the others are baselines.

    make: from what was fitted on a pair to a gallery; None where it does not apply.
    """

    ours: bool
    make: Callable[[Workbench], MixedGallery | None]


class Workbench:
    """One pair with everything fitted on it, each transform once."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.sample = sample_of(pair)
        self.pairs: Pairs = pairs_of(self.sample)
        self.transform: Callable[[str], Fitted] = cache(
            lambda name: fit_transform(name, self.sample, self.pairs)
        )


def _down(name: str, calibration: str) -> Callable[[Workbench], MixedGallery]:
    return lambda bench: merge_down(
        bench.sample, bench.pairs, bench.transform(name), calibration=calibration
    )


def _up(name: str, calibration: str) -> Callable[[Workbench], MixedGallery]:
    return lambda bench: merge_up(
        bench.sample,
        bench.pairs,
        bench.transform(name),
        strategy="prefill",
        calibration=calibration,
    )


def _two(calibration: str) -> Callable[[Workbench], MixedGallery]:
    return lambda bench: two_encoders(bench.sample, bench.pairs, calibration=calibration)


METHODS = {
    "naive merge": Method(False, _two("none")),
    "RRF": Method(False, lambda bench: rank_fusion(bench.sample)),
    "vectormigrate 1.0 fusion": Method(False, lambda bench: _vectormigrate(bench)),
    "two encoders, z-score": Method(False, _two("z_score")),
    "two encoders, isotonic": Method(False, _two("isotonic")),
    "Procrustes bridge, isotonic": Method(False, _down("procrustes down", "isotonic")),
    "ridge up prefill": Method(True, _up("ridge up", "none")),
    "two encoders, tail": Method(True, _two("tail")),
    "ridge down, tail": Method(True, _down("ridge down", "tail")),
    "plain bridge, tail": Method(True, _down("plain bridge", "tail")),
    "bridge, tail": Method(True, _down("bridge", "tail")),
    "kernel bridge, tail": Method(True, _down("kernel bridge", "tail")),
    "kernel up prefill": Method(True, _up("kernel up", "none")),
}
"""In the order of the table."""

DEFAULT = "kernel bridge, tail"
"""What `start` does when nothing is said: `hotfill.serving` fits this."""


DEPTH = 1000  # hits per side that vectormigrate's function is given


def sample_of(pair: Pair) -> Sample:
    sides = []
    for name, vectors in (("old", pair.old), ("new", pair.new)):
        model = ModelId(name, pair.name, vectors["gallery"].shape[1])
        parts = [
            Side(vectors[part], np.arange(len(vectors[part])), model)
            for part in ("fit", "gallery", "queries")
        ]
        sides.append(ModelSample(*parts))
    rows = [np.arange(len(pair.old[part])) for part in ("fit", "gallery", "queries")]
    return Sample(*sides, *rows, own_queries=True)


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
    return MixedGallery("vectormigrate", "none", "ranks", plain.sides, merge, query_encodings=2)


def _first(scores: np.ndarray, columns: np.ndarray) -> np.ndarray:
    return columns[np.argsort(-scores[columns])[:DEPTH]]
