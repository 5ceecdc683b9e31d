"""Independent models, one after the other, whose gallery is never (or hardly) embedded again.

An item is stored by the last model that embedded it. What a later model's query compares it by is
that vector imputed: `kept`, by one map from the model that made it, or `composed`, by one map after
the other, as when nothing but the imputed vector is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.generations.data import Chain, Part, Rows
from benchmarks.generations.measure import Measured, apart, measure, way
from hotfill.ranking import fit_one_space
from hotfill.ranking.common_scale import CommonScale, ReferenceItems
from hotfill.ranking.one_space import OneSpace
from hotfill.rehearsal.orders import highest_first
from hotfill.types import ModelId
from hotfill.upgrade.order import popularity_times_uncertainty

PAIRS = 2000
BUDGETS = (0.0, 0.01, 0.05, 0.1, 0.2, 0.5, 1.0)
ORDERS = ("random", "uncertainty", "popularity", "popularity_uncertainty")
LOGGED, TOP = 2000, 10

Row = dict[str, Any]
Path = tuple[str, ...]
"""The models that a vector went through: what made it, then the targets of the maps."""


@dataclass(frozen=True, eq=False)
class Traffic:
    """asked: by whom the log's queries are, (m,) rows of the pairs. weights: of the queries."""

    asked: NDArray[np.int64]
    weights: NDArray[np.float64]


class Bench:
    """One chain and seed: its maps, and the scores of items by the way they went."""

    def __init__(self, chain: Chain, seed: int) -> None:
        self.chain, self.seed = chain, seed
        rng = np.random.default_rng([seed, 7])
        drawn = rng.permutation(len(chain.rest.labels))
        count = min(PAIRS, len(drawn) // 2)
        self.pairs = chain.rest.take(drawn[:count])
        self.others = chain.rest.take(drawn[count : 2 * count])
        self.relevance = chain.relevance
        self.map = cache(self._map)
        self.scores = cache(self._scores)
        self.traffic = _traffic(chain, self.pairs, seed)

    def model(self, name: str) -> ModelId:
        return ModelId(name, "1", self.pairs.vectors[name].shape[1])

    def _map(self, old: str, new: str) -> OneSpace:
        """Fit on the pairs, those of every map the same."""
        return fit_one_space(
            self.pairs.vectors[old],
            self.pairs.vectors[new],
            self.model(old),
            self.model(new),
            seed=self.seed,
        )

    def imputed(self, path: Path, part: Part) -> Rows:
        """Carry vectors of the first model on by every map of the path."""
        vectors = part.vectors[path[0]]
        for old, new in pairwise(path):
            vectors = self.map(old, new).impute(vectors)
        return vectors

    def _scores(self, path: Path) -> NDArray[np.float32]:
        """Scores of the last model's queries with all items, on the scale of its own vectors."""
        new = path[-1]
        queries = self.chain.queries.vectors[new]
        raw = queries @ self.imputed(path, self.chain.gallery).T
        if len(path) == 1:
            return raw
        # All maps keep the same pairs apart, so the references of a longer path are theirs too.
        last, reference = self.map(*path[-2:]), self.map(*path[:2]).old_reference
        for old, target in pairwise(path):
            reference = self.map(old, target).impute(reference)
        both = ReferenceItems(last.references.own, reference)
        line = CommonScale("own", {"imputed": both}).prepare(queries).lines["imputed"]
        return np.stack([line(row, scores) for row, scores in enumerate(raw)])

    def measure(self, path: Path) -> Measured:
        return measure(self.scores(path), self.relevance)

    def own(self, model: str) -> Measured:
        """The model's queries over its own vectors: everything embedded again."""
        return self.measure((model,))

    def mixed(self, paths: Sequence[Path], of: NDArray[np.int64]) -> Measured:
        """Measure a gallery in which item i went the path paths[of[i]]."""
        scores = np.empty_like(self.scores(paths[0]))
        for number, path in enumerate(paths):
            here = of == number
            if here.any():
                scores[:, here] = self.scores(path)[:, here]
        return measure(scores, self.relevance)

    def urgency(self, order: str, path: Path) -> NDArray[np.float64]:
        """How early each item is embedded again, higher is earlier."""
        stored = self.imputed(path[:-1], self.chain.gallery)
        one = self.map(*path[-2:])
        doubt = -one.imputation.confidence(stored).astype(np.float64)
        if order == "random":
            return np.zeros(len(doubt))
        if order == "uncertainty":
            return doubt
        # The log is of the system before: its queries over what was stored then.
        before = self.pairs.vectors[path[-2]][self.traffic.asked] @ stored.T
        best = np.argpartition(-before, TOP - 1, axis=1)[:, :TOP]
        returned = np.bincount(best.ravel(), minlength=len(doubt)).astype(np.float64)
        if order == "popularity":
            return returned
        return popularity_times_uncertainty(returned, doubt, np.sort(doubt))

    def order(self, order: str, path: Path) -> NDArray[np.int64]:
        return highest_first(self.urgency(order, path), seed=self.seed)

    def weighed(self, measured: Measured) -> float:
        """Map of the queries as often as they are asked."""
        return float(measured.precision @ self.traffic.weights)


def _traffic(chain: Chain, pairs: Part, seed: int) -> Traffic:
    """Make a log up, as `mixed_quality` does: classes asked for by Zipf's law."""
    classes = np.unique(chain.queries.labels)
    rank = np.random.default_rng([seed, 0]).permutation(len(classes)) + 1.0

    def weights(labels: NDArray[np.int64]) -> NDArray[np.float64]:
        found = 1.0 / rank[np.searchsorted(classes, labels)]
        return np.asarray(found / found.sum())

    drawn = np.random.default_rng([seed, 1]).choice(
        len(pairs.labels), LOGGED, p=weights(pairs.labels)
    )
    return Traffic(drawn, weights(chain.queries.labels))


def _without_contents(bench: Bench, old: str, new: str) -> Row:
    """Nothing embedded again: by one map, by all maps between, by a map fitted anew."""
    models = bench.chain.models
    between = models[models.index(old) : models.index(new) + 1]
    before, after = bench.own(old), bench.own(new)
    ways = {"kept": bench.measure((old, new))}
    if len(between) > 2:
        ways["composed"] = bench.measure(between)
        ways["fitted anew"] = measure(_fitted_anew(bench, between), bench.relevance)
    one = bench.map(old, new)
    return {
        "from": old,
        "to": new,
        "upgrades": len(between) - 1,
        "old": before.figures(),
        "new": after.figures(),
        "rho": round(one.rho, 4),
        "ways": {
            name: {
                **found.figures(),
                "way": way(found.map, old=before.map, new=after.map),
                "above old": apart(found, before),
                "flips@1": round(float((before.right & ~found.right).mean()), 4),
            }
            for name, found in ways.items()
        },
    }


def _fitted_anew(bench: Bench, between: Path) -> NDArray[np.float32]:
    """The last map fitted on imputed vectors of other items, as the gallery's are."""
    *path, new = between
    stored, old = bench.imputed(tuple(path), bench.others), bench.model(path[-1])
    one = fit_one_space(stored, bench.others.vectors[new], old, bench.model(new), seed=bench.seed)
    gallery = one.impute(bench.imputed(tuple(path), bench.chain.gallery))
    return bench.chain.queries.vectors[new] @ gallery.T


def _budgets(bench: Bench, old: str, new: str, order: str) -> Row:
    """One upgrade that ends with a mixed gallery."""
    before, after = bench.own(old), bench.own(new)
    first = bench.order(order, (old, new))
    points = []
    for budget in BUDGETS:
        of = np.zeros(len(first), dtype=np.int64)
        of[first[: round(budget * len(first))]] = 1
        found = bench.mixed([(old, new), (new,)], of)
        points.append(
            {
                "budget": budget,
                **found.figures(),
                "way": way(found.map, old=before.map, new=after.map),
                "way by traffic": way(
                    bench.weighed(found), old=bench.weighed(before), new=bench.weighed(after)
                ),
            }
        )
    return {"from": old, "to": new, "order": order, "points": points}


def _again_and_again(bench: Bench, budget: float, vectors: str) -> Iterator[Row]:
    """Every upgrade embeds a share, those it is least sure of; the gallery stays mixed."""
    first, *later = bench.chain.models
    items = len(bench.chain.gallery.labels)
    paths: list[Path] = [(first,)]
    of = np.zeros(items, dtype=np.int64)
    before = bench.own(first)
    for generation, new in enumerate(later, start=2):
        paths = [(path[0], new) if vectors == "kept" else (*path, new) for path in paths]
        doubt = np.empty(items)
        for number, path in enumerate(paths):
            here = of == number
            values = bench.urgency("uncertainty", path)
            # Confidences of two maps have no common unit: each item stands by its rank in its own.
            places = np.searchsorted(np.sort(values), values) / items
            doubt[here] = places[here]
        moved = highest_first(doubt, seed=bench.seed)[: round(budget * items)]
        paths.append((new,))
        of[moved] = len(paths) - 1
        found, after = bench.mixed(paths, of), bench.own(new)
        yield {
            "vectors": vectors,
            "budget": budget,
            "generation": generation,
            "origins": len(np.unique(of)),
            **found.figures(),
            "old": before.figures(),
            "new": after.figures(),
            "way": way(found.map, old=before.map, new=after.map),
            "above old": apart(found, before),
        }


def _all_without_contents(bench: Bench) -> Iterator[Row]:
    for old, new in combinations(bench.chain.models, 2):
        yield _without_contents(bench, old, new)


def _all_budgets(bench: Bench) -> Iterator[Row]:
    models = bench.chain.models
    for old, new in (*pairwise(models), (models[0], models[-1])):
        for order in ORDERS:
            yield _budgets(bench, old, new, order)


def _all_again_and_again(bench: Bench) -> Iterator[Row]:
    for budget in (0.0, 0.05, 0.2):
        for vectors in ("kept", "composed"):
            yield from _again_and_again(bench, budget, vectors)


PARTS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "without contents": _all_without_contents,
    "budgets": _all_budgets,
    "again and again": _all_again_and_again,
}
"""Maps alone, budgets in one upgrade, a budget in every upgrade."""
