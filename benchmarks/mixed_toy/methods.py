"""The methods of the table in section 7: each trained on a toy, then measured share by share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.mixed_quality.baselines import fuse_ranks
from benchmarks.mixed_toy.toys import Toy
from hotfill.lab.training.transforms import (
    Classifier,
    MapSettings,
    Neighbours,
    SameLabel,
    train_fastfill,
    train_forward,
    train_lambda_orthogonal,
    train_metric_compatible,
    train_reverse_query_transform,
)
from hotfill.metrics import same_label
from hotfill.ranking import (
    Calibration,
    Uncalibrated,
    compare,
    fit_isotonic,
    fit_procrustes,
    fit_z_score,
    tail,
    uncertainty,
)
from hotfill.rehearsal.backfill_evaluation import (
    PerQuery,
    Stages,
    evaluate_backfill,
    evaluate_side,
    evenly,
)
from hotfill.rehearsal.mixed_gallery import MixedGallery, side_of_each
from hotfill.rehearsal.orders import highest_first, random_order
from hotfill.types import ModelId

HIDDEN = 128  # of psi, rho and h


@dataclass(frozen=True)
class Way:
    """How the two spaces are compared: a column of the table.

    unit: by the cosine, vectors of unit length; else by the distance of raw vectors.
    old_scale: what old vectors are multiplied by.
    """

    unit: bool
    old_scale: float = 1.0


WAYS = {
    "normalised": Way(unit=True),
    "raw l2": Way(unit=False),
    "raw l2, old x0.5": Way(unit=False, old_scale=0.5),
    "raw l2, old x2": Way(unit=False, old_scale=2.0),
}


class Bench:
    """A toy in one way of comparing, with what several methods share.

    settings: of every training; None for the toys' own. hidden: width of psi and rho.
    forward_hidden: width of h's mixer.
    """

    def __init__(
        self,
        toy: Toy,
        way: Way,
        seed: int,
        settings: MapSettings | None = None,
        *,
        hidden: int = HIDDEN,
        forward_hidden: int = HIDDEN,
    ) -> None:
        metric = "cosine" if way.unit else "l2"
        self.toy, self.way, self.seed = toy, way, seed
        self.settings = settings or MapSettings(epochs=80, batch=256, learning_rate=1e-3, seed=seed)
        self.hidden, self.forward_hidden = hidden, forward_hidden
        self.old_model = ModelId("old", "1", toy.old["train"].shape[1], metric, way.unit)
        self.new_model = ModelId("new", "1", toy.new["train"].shape[1], metric, way.unit)
        self.learned = ModelId("new+rho", "1", toy.new["train"].shape[1], metric, way.unit)
        self.old = {name: _as(rows * way.old_scale, way) for name, rows in toy.old.items()}
        self.new = {name: _as(rows, way) for name, rows in toy.new.items()}
        self.relevance = same_label(toy.labels["test"], toy.labels["test"])
        self.own = np.arange(len(toy.labels["test"]))

    @property
    def spaces(self) -> dict[str, ModelId]:
        return {"old_model": self.old_model, "new_model": self.new_model}

    @property
    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        return self.old["train"], self.new["train"]

    @property
    def old_scores(self) -> np.ndarray:
        return compare(self.old["test"], self.old["test"], self.old_model)

    @property
    def new_scores(self) -> np.ndarray:
        return compare(self.new["test"], self.new["test"], self.new_model)

    def classifier(self) -> Classifier:
        """The new model's, for vectors as given here."""
        if not self.way.unit:
            return self.toy.classifier
        length = float(np.mean(np.linalg.norm(self.toy.new["train"], axis=1)))
        return Classifier(
            self.toy.classifier.weight * np.float32(length), self.toy.classifier.offset
        )

    def farthest_from_class_mean(self, mapped: np.ndarray) -> np.ndarray:
        """The order of section 6.1: needs the gallery's labels."""
        labels = self.toy.labels["test"]
        _, classes = np.unique(labels, return_inverse=True)
        means = np.stack([mapped[classes == c].mean(axis=0) for c in range(classes.max() + 1)])
        return highest_first(np.linalg.norm(mapped - means[classes], axis=1), seed=self.seed)

    def calibrated(self, kind: str, carried: np.ndarray) -> np.ndarray:
        """Old-side test scores of carried queries, calibrated on training items (own ones apart).

        carried: queries in the old space, {"train" rows, "test" rows} stacked in this order.
        """
        count = len(self.old["train"])
        reference = np.random.default_rng(self.seed).permutation(count)[:500]
        calibration = _calibration(
            kind,
            compare(carried[:count][reference], self.old["train"][reference], self.old_model),
            compare(self.new["train"][reference], self.new["train"][reference], self.new_model),
        )
        queries = carried[count:]
        prepared = calibration.prepare(
            compare(queries, self.old["train"][reference], self.old_model),
            compare(self.new["test"], self.new["train"][reference], self.new_model),
        )
        raw = compare(queries, self.old["test"], self.old_model)
        return np.stack([prepared(row, raw[row]) for row in range(len(raw))])

    def side(self, scores: np.ndarray) -> PerQuery:
        """Measure one system alone, by its scores (q, n)."""
        return evaluate_side(lambda rows: scores[rows], self.relevance, exclude=self.own)

    def stages(
        self,
        old_side: np.ndarray,
        new_side: np.ndarray,
        orders: dict[str, np.ndarray] | None = None,
        merge: Callable = side_of_each,
    ) -> dict[str, Stages]:
        """Measure the backfill in each order: scores (q, n) of every item on both sides."""
        gallery = MixedGallery(
            "toy", "", "", lambda rows: (old_side[rows], new_side[rows]), merge=merge
        )
        orders = orders or {"random": random_order(len(self.own), seed=self.seed)}
        return evaluate_backfill(gallery, self.relevance, orders, evenly(11), exclude=self.own)

    def curves(
        self,
        old_side: np.ndarray,
        new_side: np.ndarray,
        orders: dict[str, np.ndarray] | None = None,
        merge: Callable = side_of_each,
    ) -> dict[str, dict]:
        """Measure the backfill in each order: `stages`, averaged over the queries."""
        stages = self.stages(old_side, new_side, orders, merge)
        old, new = (self.side(scores) for scores in (self.old_scores, self.new_scores))
        found = {}
        for name, stage in stages.items():
            map_curve = stage.curve(old=old.mean, new=new.mean)
            hits = stage.curve(old=old.mean, new=new.mean, figure="hit_rate@1")
            found[name] = {
                "gain_map": map_curve.gain,
                "gain_hit_rate@1": hits.gain,
                "auc_m_map": map_curve.auc_m,
                "auc_m_hit_rate@1": hits.auc_m,
                "dips": map_curve.dips,
                "floor": map_curve.floor,
                "end": map_curve.end,
                "map": list(map_curve.values),
                "hit_rate@1": list(hits.values),
                "old": map_curve.old,
                "new": map_curve.new,
            }
        return found


def naive(bench: Bench) -> dict[str, dict]:
    return bench.curves(bench.old_scores, bench.new_scores)


def rank_fusion(bench: Bench) -> dict[str, dict]:
    return bench.curves(bench.old_scores, bench.new_scores, merge=fuse_ranks)


def two_encoders(bench: Bench, kind: str) -> dict[str, dict]:
    own = np.vstack([bench.old["train"], bench.old["test"]])
    return bench.curves(bench.calibrated(kind, own), bench.new_scores)


def slerp(bench: Bench) -> dict[str, dict]:
    """Old query and rotated new query, half-way along the sphere; needs both encoders."""
    rotated = fit_procrustes(*reversed(bench.pairs), source=bench.new_model, target=bench.old_model)
    carried = slerped(bench.old["test"], rotated(bench.new["test"]), 0.5)
    return bench.curves(compare(carried, bench.old["test"], bench.old_model), bench.new_scores)


def slerped(first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
    """Spherical interpolation of rows of unit length: first at 0, second at 1."""
    angles = np.arccos(np.clip(np.einsum("ij,ij->i", first, second), -1 + 1e-6, 1 - 1e-6))[:, None]
    mixed = np.sin((1 - share) * angles) * first + np.sin(share * angles) * second
    return (mixed / np.linalg.norm(mixed, axis=1, keepdims=True)).astype(np.float32)


def reverse(bench: Bench, kind: str = "none") -> dict[str, dict]:
    psi = train_reverse_query_transform(
        *bench.pairs, **bench.spaces, hidden=bench.hidden, settings=bench.settings
    )
    carried = np.vstack([psi(bench.new["train"]), psi(bench.new["test"])])
    return bench.curves(bench.calibrated(kind, carried), bench.new_scores)


def contrast(
    bench: Bench, kind: str, *, rho: bool, chained: bool = False, neighbours: int | None = None
) -> dict[str, dict]:
    positives = (
        SameLabel(bench.toy.labels["train"])
        if neighbours is None
        else Neighbours(bench.new["train"], count=neighbours)
    )
    psi, learned = train_metric_compatible(
        *bench.pairs,
        positives,
        **bench.spaces,
        learned_model=bench.learned if rho else None,
        chained=chained,
        contrast=kind,
        hidden=bench.hidden,
        settings=bench.settings,
    )
    new = bench.new["test"] if learned is None else learned(bench.new["test"])
    carried = psi(new if chained else bench.new["test"])
    return bench.curves(
        compare(carried, bench.old["test"], bench.old_model),
        compare(new, new, bench.new_model),
    )


def forward(bench: Bench, *, fastfill: bool) -> dict[str, dict]:
    plain = {**bench.spaces, "hidden": bench.forward_hidden, "settings": bench.settings}
    if fastfill:
        h = train_fastfill(*bench.pairs, bench.toy.labels["train"], bench.classifier(), **plain)
    else:
        h = train_forward(*bench.pairs, **plain)
    mapped = h(bench.old["test"])
    orders = {"random": random_order(len(bench.own), seed=bench.seed)}
    if fastfill:
        doubts = uncertainty(h, bench.old["test"])
        orders["sigma"] = highest_first(doubts, seed=bench.seed)
        orders["class mean"] = bench.farthest_from_class_mean(mapped)
    return bench.curves(
        compare(bench.new["test"], mapped, bench.new_model), bench.new_scores, orders
    )


def lambda_orthogonal(bench: Bench) -> dict[str, dict]:
    """New queries B(new) against F(old) and B(new); random, and farthest from the class mean."""
    backward, forward_map = train_lambda_orthogonal(
        *bench.pairs,
        SameLabel(bench.toy.labels["train"]),
        **bench.spaces,
        unified_model=bench.learned,
        hidden=bench.hidden,
        settings=bench.settings,
    )
    new, old = backward(bench.new["test"]), forward_map(bench.old["test"])
    orders = {
        "random": random_order(len(bench.own), seed=bench.seed),
        "class mean": bench.farthest_from_class_mean(old),
    }
    scores = compare(new, old, bench.learned), compare(new, new, bench.learned)
    return bench.curves(*scores, orders)


LABELLED: dict[str, Callable[[Bench], dict[str, dict]]] = {
    "RM-naive": naive,
    "RQT": reverse,
    "RQT + CL_old": lambda bench: contrast(bench, "old", rho=False),
    "RQT + MCL (psi only)": lambda bench: contrast(bench, "joint", rho=False),
    "RQT + CL_new (psi, rho)": lambda bench: contrast(bench, "new", rho=True),
    "RQT + independent CL (psi, rho)": lambda bench: contrast(bench, "independent", rho=True),
    "RQT + MCL (psi, rho)": lambda bench: contrast(bench, "joint", rho=True),
    "RQT + MCL (psi of rho)": lambda bench: contrast(bench, "joint", rho=True, chained=True),
    "FCT h": lambda bench: forward(bench, fastfill=False),
    "FastFill": lambda bench: forward(bench, fastfill=True),
    "lambda-orthogonality": lambda_orthogonal,
}

LABEL_FREE: dict[str, Callable[[Bench], dict[str, dict]]] = {
    "RRF": rank_fusion,
    "RM + z-score": lambda bench: two_encoders(bench, "z_score"),
    "RM + isotonic": lambda bench: two_encoders(bench, "isotonic"),
    "RM + tail": lambda bench: two_encoders(bench, "tail"),
    "SLERP": slerp,
    "RQT + z-score": lambda bench: reverse(bench, "z_score"),
    "RQT + isotonic": lambda bench: reverse(bench, "isotonic"),
    "RQT + tail": lambda bench: reverse(bench, "tail"),
    "MCL, 5 neighbours (psi, rho)": lambda bench: contrast(bench, "joint", rho=True, neighbours=5),
    "MCL, 20 neighbours (psi, rho)": lambda bench: contrast(
        bench, "joint", rho=True, neighbours=20
    ),
}


def _as(rows: np.ndarray, way: Way) -> np.ndarray:
    if way.unit:
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float32)


def _calibration(kind: str, old: np.ndarray, new: np.ndarray) -> Calibration:
    if kind == "none":
        return Uncalibrated()
    if kind == "tail":
        return tail()
    others = ~np.eye(len(old), dtype=np.bool_)
    shape = len(old), len(old) - 1
    fit = fit_z_score if kind == "z_score" else fit_isotonic
    return fit(old[others].reshape(shape), new[others].reshape(shape))
