"""One index during an upgrade: what one search with the plain query finds, pair by pair.

    python benchmarks/mixed_quality/one_index.py [--data DIR] [--texts DIR] [--pairs NAME ...]
        [--queries N] [--seed N] [--map kernel|ridge] [--json FILE]

Every pair is fitted on 2,000 pairs, 500 of which are reference items, see `ranking.one_space`.
Random order, eleven shares. Full rankings: raw is the inner product alone; calibrated puts both
origins on the query's scale. Served: ten hits, chosen among c x 10 raw ones, with c as the fit
found it; `kept` is the share of the full calibrated ten that they hold. Residuals are refreshed at
every share from 1,000 moved items on. Gain is measured against the plain new model; against its own
end too where the end is another. Where rho by the real queries does not say that the new model's
own are enough, the plain end is measured with the queries of both models, too (`queries = "both"`).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.mixed_quality.pairs import QUERIES, Pair, all_pairs  # noqa: E402
from hotfill.metrics import (  # noqa: E402
    BackfillCurve,
    average_precision,
    harm_beyond_noise,
    hit_rate,
    ndcg,
    rank_scores,
)
from hotfill.ranking import OneSpace, fit_one_space  # noqa: E402
from hotfill.ranking.one_space import (  # noqa: E402
    RESIDUALS_FROM,
    RHO_UNSURE,
    old_query_weight,
)
from hotfill.types import ModelId  # noqa: E402

SHARES = tuple(step / 10 for step in range(11))
K = 10
PAGE = {
    "digits": (0.942, 0.849),
    "omniglot": (0.735, 0.739),
    "cifar100: v1 0.25 to v1 0.5": (1.099, 1.051),
    "cifar100: v1 0.25 to v2": (0.978, 0.938),
    "cifar100: v1 0.5 to v2": (1.233, 1.150),
    "banking77": (0.933, 0.921),
    "clinc150": (0.922, 0.919),
}
"""Gain of today's two-sided merge and of the raw inner product, as measured apart (six shares, 250
queries) before this was built."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--texts", type=Path)
    parser.add_argument("--pairs", nargs="+")
    parser.add_argument("--queries", type=int, default=QUERIES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--map", choices=["kernel", "ridge"], default="kernel")
    parser.add_argument("--json", type=Path, help="write all figures there")
    arguments = parser.parse_args()
    makers = all_pairs(arguments.data, arguments.texts)
    cells = []
    for name in arguments.pairs or makers:
        pair = first_queries(makers[name](arguments.seed), arguments.queries)
        for finish in ("plain", "agreement"):
            cells += measure(pair, finish, arguments.map, arguments.seed)
            for cell in cells[-2:]:
                print(line(cell), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(cells, indent=1) + "\n")


def first_queries(pair: Pair, count: int) -> Pair:
    """Keep some queries: measuring is most of the work."""
    rows = np.arange(min(count, len(pair.old["queries"])))
    for side in (pair.old, pair.new):
        side["queries"] = side["queries"][rows]
    exclude = None if pair.exclude is None else pair.exclude[rows]
    return Pair(pair.name, pair.old, pair.new, pair.relevance.take(slice(0, len(rows))), exclude)


def measure(pair: Pair, finish: str, map_name: str, seed: int) -> list[dict]:
    """Measure one pair in one finish: without residuals, and with them."""
    old_model = ModelId("old", pair.name, pair.old["fit"].shape[1])
    new_model = ModelId("new", pair.name, pair.new["fit"].shape[1])
    began = time.perf_counter()
    space = fit_one_space(
        pair.old["fit"], pair.new["fit"], old_model, new_model, map=map_name, finish=finish
    )
    seconds = time.perf_counter() - began
    by_queries = fit_rho(pair, space)
    plain, new_ap = figures(pair.new["queries"] @ pair.new["gallery"].T, pair)
    previous, _ = figures(pair.old["queries"] @ pair.old["gallery"].T, pair)
    cells = []
    weight = None
    if finish == "plain" and by_queries < RHO_UNSURE[1]:
        weight = old_query_weight(by_queries)
    for residuals in (False, True):
        points = stages(pair, space, residuals, seed, weight)
        cell = {
            "pair": pair.name,
            "finish": finish,
            "map": map_name,
            "residuals": residuals,
            "old": previous,
            "new": plain,
            "rho_items": space.rho,
            "rho_queries": by_queries,
            "overfetch": space.overfetch,
            "level": space.level,
            "reach": space.reach,
            "fit_seconds": seconds,
            "points": points,
        }
        for way in ("raw", "calibrated") if weight is None else ("raw", "calibrated", "both"):
            values = tuple(point[way]["map"] for point in points)
            curve = BackfillCurve(SHARES, values, previous["map"], plain["map"])
            cell[way] = {
                "gain": curve.gain,
                "gain_to_end": curve.gain_to_end,
                "floor": curve.floor,
                "dips": curve.dips,
                "harm": harm_beyond_noise([point.pop(f"{way}_ap") for point in points], new_ap),
                "overshoot": curve.overshoot,
            }
        cell["kept"] = min(point["kept"] for point in points)
        cell["kept_raw"] = min(point["kept_raw"] for point in points)
        cells.append(cell)
    return cells


def fit_rho(pair: Pair, space: OneSpace) -> float:
    """The switch by the real queries."""
    return fit_one_space(
        pair.old["fit"],
        pair.new["fit"],
        space.old_model,
        space.new_model,
        queries=pair.new["queries"],
    ).rho


def stages(
    pair: Pair, space: OneSpace, residuals: bool, seed: int, weight: float | None
) -> list[dict]:
    """Measure each share of one backfill. weight: of the old model's queries; None without them."""
    count = len(pair.new["gallery"])
    order = np.random.default_rng(seed).permutation(count)
    queries = space.searching(pair.new["queries"])
    own = queries @ space.own(pair.new["gallery"]).T
    points = []
    current, refreshed = space, 0
    imputed = queries @ space.impute(pair.old["gallery"]).T
    by_old = pair.old["queries"] @ pair.old["gallery"].T
    for share in SHARES:
        moved = order[: int(share * count)]
        if residuals and RESIDUALS_FROM <= len(moved) < count and len(moved) > refreshed:
            current = space.refreshed(pair.old["gallery"][moved], pair.new["gallery"][moved])
            imputed = queries @ current.impute(pair.old["gallery"]).T
            refreshed = len(moved)
        new = np.zeros(count, np.bool_)
        new[moved] = True
        raw = np.where(new, own, imputed).astype(np.float32)
        background = current.scale.prepare(queries)
        origins = np.where(new, current.index_model.fingerprint, current.origin)
        scores = np.stack(
            [background.scores(row, line, origins.tolist()) for row, line in enumerate(raw)]
        )
        both = scores
        if weight is not None:
            said = current.old_query_scores(
                pair.new["queries"], pair.old["queries"], moved=share, weight=weight
            )
            both = np.stack(
                [said.blend(row, line, by_old[row], new) for row, line in enumerate(scores)]
            )
        if pair.exclude is not None:
            here = np.arange(len(raw)), pair.exclude
            both[here] = -np.inf
            raw[here] = scores[here] = -np.inf
        best = np.argsort(-scores, axis=1)[:, :K]
        found = np.argsort(-raw, axis=1)[:, : space.overfetch * K]
        served = np.full_like(scores, -1e9)
        some = np.take_along_axis(scores, found, axis=1)
        np.put_along_axis(served, found, some, axis=1)
        cut = np.argsort(-served, axis=1)[:, :K]
        raw_figures, raw_ap = figures(raw, pair)
        calibrated, calibrated_ap = figures(scores, pair)
        ten, _ = figures(served, pair)
        points.append(
            {
                "raw": raw_figures,
                "raw_ap": raw_ap,
                "calibrated": calibrated,
                "calibrated_ap": calibrated_ap,
                "served": {name: value for name, value in ten.items() if name != "map"},
                "kept": overlap(best, cut),
                "kept_raw": overlap(best, found[:, :K]),
                "lambda": current.imputation.facts.get("lambda", 0.0),
            }
        )
        if weight is not None:
            points[-1]["both"], points[-1]["both_ap"] = figures(both, pair)
    return points


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Mean share of one row's items that the other row holds."""
    return float(np.mean((first[:, :, None] == second[:, None, :]).any(axis=2)))


def figures(scores: np.ndarray, pair: Pair) -> tuple[dict[str, float], np.ndarray]:
    """Mean figures over the judged queries, and each one's average precision."""
    ranks = rank_scores(scores, pair.relevance, exclude=pair.exclude)
    precision = average_precision(ranks)
    means = {
        "map": float(precision.mean()),
        "hit_rate@1": float(hit_rate(ranks, 1).mean()),
        "ndcg@10": float(ndcg(ranks, 10).mean()),
    }
    return means, precision


def line(cell: dict) -> str:
    """One row of the table."""
    page = PAGE.get(cell["pair"], (float("nan"),) * 2)
    ends, both = cell["points"][-1]["raw"], cell.get("both")
    with_both = f"both {both['gain']:.3f} ({both['floor']:+.3f}) " if both else ""
    return (
        f"{cell['pair']:28} {cell['finish']:9} {'residuals' if cell['residuals'] else '':9} "
        f"rho {cell['rho_queries']:.2f}/{cell['rho_items']:.2f} "
        f"raw {cell['raw']['gain']:.3f} ({cell['raw']['floor']:+.3f}) "
        f"calibrated {cell['calibrated']['gain']:.3f} ({cell['calibrated']['floor']:+.3f}) "
        f"{with_both}to its own end {cell['calibrated']['gain_to_end']:.3f} "
        f"harm {cell['raw']['harm']}/{cell['calibrated']['harm']} "
        f"dips {cell['raw']['dips']}/{cell['calibrated']['dips']} "
        f"page: two sides {page[0]:.3f}, raw {page[1]:.3f}; "
        f"c {cell['overfetch']} kept {cell['kept']:.3f}, raw ten {cell['kept_raw']:.3f} "
        f"end map {ends['map']:.3f} of {cell['new']['map']:.3f} "
        f"reach {cell['reach']:.2f} level {cell['level']:.2f} fit {cell['fit_seconds']:.1f} s"
    )


if __name__ == "__main__":
    main()
