"""Do maps trained without labels beat the closed-form default, on the same pairs of real data?

The pairs, the split and the measuring are those of `benchmarks/mixed_quality`.
"""

from __future__ import annotations

from time import perf_counter

from benchmarks.mixed_quality.methods import METHODS, Workbench
from benchmarks.mixed_quality.pairs import all_pairs
from hotfill.evaluation.backfill_evaluation import evaluate_backfill, evaluate_side, evenly
from hotfill.evaluation.fitting import Fitted
from hotfill.evaluation.mixed_gallery import MixedGallery
from hotfill.evaluation.orders import random_order
from hotfill.evaluation.sample import cosines
from hotfill.evaluation.strategies import merge_down, merge_up
from hotfill.training.transforms import (
    MapSettings,
    Neighbours,
    train_forward,
    train_metric_compatible,
    train_residual_mlp,
    train_reverse_query_transform,
)
from hotfill.transforms import fit_low_rank

CLOSED = ("naive merge", "bridge, tail", "kernel bridge, tail", "kernel up prefill")
TRAINED = (
    "low rank 64 down, tail",
    "RQT, tail",
    "MCL 20 neighbours, tail",
    "residual MLP down, tail",
    "residual MLP up prefill, tail",
    "FCT prefill",
    "FCT prefill, tail",
)


def measure(name: str, seed: int, *, trained: tuple[str, ...] = TRAINED) -> dict[str, dict]:
    """Gain, floor and dips of each method on "digits" or "omniglot"."""
    pair = all_pairs(None, None)[name](seed)
    bench = Workbench(pair)
    sample = bench.sample
    old, new = (
        evaluate_side(
            lambda rows, side=side: cosines(side.queries.read(rows), side.gallery),
            pair.relevance,
            exclude=pair.exclude,
        ).mean
        for side in (sample.old, sample.new)
    )
    order = {"random": random_order(len(sample.old.gallery), seed=seed)}
    found = {}
    fits: dict[str, Fitted] = {}
    for method in (*CLOSED, *trained):
        gallery = (
            METHODS[method].make(bench) if method in CLOSED else _make(method, bench, seed, fits)
        )
        assert gallery is not None
        stages = evaluate_backfill(gallery, pair.relevance, order, evenly(11), exclude=pair.exclude)
        curve = stages["random"].curve(old=old, new=new)
        found[method] = {
            "gain_map": curve.gain,
            "floor": curve.floor,
            "dips": curve.dips,
            "fit_seconds": gallery.fit_seconds,
            "map": list(curve.values),
        }
    return found


def _make(method: str, bench: Workbench, seed: int, fits: dict[str, Fitted]) -> MixedGallery:
    sample, pairs = bench.sample, bench.pairs
    transform, _, calibration = method.partition(", ")
    if transform not in fits:
        fits[transform] = _fit(transform, bench, seed)
    kind = calibration or "none"
    if "prefill" in transform:
        return merge_up(sample, pairs, fits[transform], strategy="prefill", calibration=kind)
    return merge_down(sample, pairs, fits[transform], calibration=kind)


def _fit(transform: str, bench: Workbench, seed: int) -> Fitted:
    old, new = bench.pairs.old_fit, bench.pairs.new_fit
    down = {"source": bench.sample.new.model, "target": bench.sample.old.model}
    up = {"source": bench.sample.old.model, "target": bench.sample.new.model}
    spaces = {"old_model": bench.sample.old.model, "new_model": bench.sample.new.model}
    settings = MapSettings(epochs=80, batch=256, learning_rate=1e-3, seed=seed)
    began = perf_counter()
    match transform:
        case "low rank 64 down":
            fitted = fit_low_rank(new, old, **down)
        case "RQT":
            fitted = train_reverse_query_transform(old, new, **spaces, settings=settings)
        case "MCL 20 neighbours":
            positives = Neighbours(new, count=20)
            fitted, _ = train_metric_compatible(old, new, positives, **spaces, settings=settings)
        case "residual MLP down":
            fitted = train_residual_mlp(new, old, **down, settings=settings)
        case "residual MLP up prefill":
            fitted = train_residual_mlp(old, new, **up, settings=settings)
        case _:
            fitted = train_forward(old, new, **spaces, hidden=512, settings=settings)
    return Fitted(transform, fitted, perf_counter() - began)
