"""Heads trained to be compatible with the head before, generation after generation.

The first gallery is never embedded again. Later queries search it as it is, upgraded by the
recipe's own map (BiCT, DMU), or by a map fitted without labels on 1,000 other items; where there
are two upgrades, the second map carries what the first one made.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.compatible_training.splits import KINDS
from benchmarks.generations.data import Chain, Rows
from benchmarks.generations.measure import Measured, apart, measure, way
from hotfill.lab.heads import FeaturePreparation, HeadPlan, OldSpace, TrainedHead, train_head
from hotfill.ranking import fit_one_space
from hotfill.types import ModelId

EXTENDED = tuple(kind for kind in KINDS if kind.startswith("extended"))
SHARES = (0.3, 0.6, 1.0)
"""What each generation has seen: of every class's items, or of the classes."""

TRAIN = 50  # of each class; what the chain has beyond is for maps
PAIRS = 1000
RECIPES = ("independent", "bct", "unibct", "advbct", "bict", "dmu")
UPGRADING = frozenset({"bict", "dmu"})
WEIGHTS = (0.0, 0.001, 0.01, 0.1, 10.0)
"""Of backward compatibility; with the recipe's own, which is 1, four decades and none at all."""

WEIGHED = "extended-backbone"
"""In which kind BiCT's weight is swept."""

FIRST_EPOCHS = 32  # as in `compatible_heads`: the first model sees less

Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Generation:
    """head, and its embeddings: queries, gallery, pairs, unit rows each."""

    head: TrainedHead
    queries: Rows
    gallery: Rows
    pairs: Rows


@dataclass(frozen=True, eq=False)
class Growth:
    """What each generation has seen of the chain's rest, (n,) bool, and the model it reads.

    pairs: rows that no generation has seen, for maps.
    """

    seen: tuple[NDArray[np.bool_], ...]
    models: tuple[str, ...]
    pairs: NDArray[np.int64]


def grow(chain: Chain, kind: str, seed: int) -> Growth:
    """Draw what each generation sees: more items, more classes, or also a larger model."""
    rest = chain.rest.labels
    rng = np.random.default_rng([seed, 31])
    place = np.empty(len(rest), dtype=np.int64)
    for label in np.unique(rest):
        rows = np.flatnonzero(rest == label)
        place[rows] = rng.permutation(len(rows))
    pairs = rng.permutation(np.flatnonzero(place >= TRAIN))[:PAIRS]
    classes = rng.permutation(np.unique(rest))
    seen = []
    for share in SHARES:
        if kind == "extended-data":
            seen.append(place < round(share * TRAIN))
        else:
            known = np.isin(rest, classes[: round(share * len(classes))])
            seen.append((place < TRAIN) & known)
    middle = (chain.models[1],) * len(SHARES)
    models = chain.models if kind == "extended-backbone" else middle
    return Growth(tuple(seen), models, pairs)


class Experiment:
    """One kind of growth and one seed."""

    def __init__(self, chain: Chain, kind: str, seed: int) -> None:
        self.chain, self.kind, self.seed, self.plan = chain, kind, seed, HeadPlan()
        self.relevance = chain.relevance
        growth = grow(chain, kind, seed)
        self.seen, self.models, self.pairs = growth.seen, growth.models, growth.pairs
        self.prepare = [
            FeaturePreparation(chain.rest.vectors[model][seen])
            for model, seen in zip(self.models, self.seen, strict=True)
        ]
        self.first = self._generation(0, "independent", {}, None)
        self.before = self._searched(self.first, self.first.gallery)
        self.independent = [self.first] + [
            self._generation(number, "independent", {}, None) for number in (1, 2)
        ]

    def row(self, recipe: str, weight: float | None) -> Row:
        """Train generations 2 and 3, and search every gallery that the first one becomes.

        BiCT's models are BCT's; a map without labels is fitted between those only.
        """
        began = time.process_time()
        options = {} if weight is None else {"weight": weight}
        line = self.independent if recipe == "independent" else [self.first]
        for number in range(len(line), len(SHARES)):
            line = [*line, self._generation(number, recipe, options, line[-1])]
        trained = time.process_time() - began
        galleries = {"as it is": [self.first.gallery] * len(line)}
        if recipe in UPGRADING:
            galleries["its map"] = self._upgraded(line)
        if recipe != "bict":
            galleries["label-free map"] = self._imputed(line)
        generations = []
        found: dict[str, list[Measured]] = {name: [self.before] for name in galleries}
        for number in (1, 2):
            own = self._searched(line[number], line[number].gallery)
            paragon = self._searched(self.independent[number], self.independent[number].gallery)
            for name, some in galleries.items():
                found[name].append(self._searched(line[number], some[number]))
            generations.append(
                {
                    "own": own.figures(),
                    "independent": paragon.figures(),
                    "galleries": {
                        name: self._against(some[-1], own) for name, some in found.items()
                    },
                }
            )
        return {
            "kind": self.kind,
            "seed": self.seed,
            "recipe": recipe,
            "weight": weight,
            "old": self.before.figures(),
            "generations": generations,
            "second upgrade": {name: apart(some[2], some[1]) for name, some in found.items()},
            "upgraded - as it is": {
                name: [apart(some[n], found["as it is"][n]) for n in (1, 2)]
                for name, some in found.items()
                if name != "as it is"
            },
            "cpu_seconds": round(trained, 1),
        }

    def _against(self, now: Measured, own: Measured) -> Row:
        return {
            **now.figures(),
            "way": way(now.map, old=self.before.map, new=own.map),
            "above old": apart(now, self.before),
            "flips@1": round(float((self.before.right & ~now.right).mean()), 4),
        }

    def _searched(self, by: Generation, gallery: Rows) -> Measured:
        return measure(by.queries @ gallery.T, self.relevance)

    def _upgraded(self, line: list[Generation]) -> list[Rows]:
        """Every generation's map, one after the other, over the first gallery."""
        galleries = [line[0].gallery]
        for generation in line[1:]:
            upgraded = generation.head.upgrade(galleries[-1])
            assert upgraded is not None
            galleries.append(upgraded)
        return galleries

    def _imputed(self, line: list[Generation]) -> list[Rows]:
        """The same, by a map that needs no labels and no recipe."""
        galleries = [line[0].gallery]
        for number in range(1, len(line)):
            old, new = line[number - 1].pairs, line[number].pairs
            models = [
                ModelId(f"head {place}", "1", rows.shape[1])
                for place, rows in ((number, old), (number + 1, new))
            ]
            one = fit_one_space(old, new, *models, seed=self.seed)
            galleries.append(one.impute(galleries[-1]))
        return galleries

    def _generation(
        self, number: int, recipe: str, options: Mapping[str, Any], before: Generation | None
    ) -> Generation:
        seen, labels = self.seen[number], self.chain.rest.labels
        settings = self.plan.settings
        if number == 0:
            settings = replace(settings, epochs=FIRST_EPOCHS)
        head = train_head(
            recipe,
            self._read(number, self.chain.rest.vectors)[seen],
            labels[seen],
            replace(self.plan, settings=settings),
            seed=self.seed + 1000 * number,
            old=None if before is None else self._old_space(number, before.head),
            options=options,
        )
        return Generation(
            head,
            head(self._read(number, self.chain.queries.vectors)),
            head(self._read(number, self.chain.gallery.vectors)),
            head(self._read(number, self.chain.rest.vectors)[self.pairs]),
        )

    def _old_space(self, number: int, head: TrainedHead) -> OldSpace:
        """What generation `number` may know of the head before it."""
        prepared = self._read(number - 1, self.chain.rest.vectors)
        now, then, labels = self.seen[number], self.seen[number - 1], self.chain.rest.labels
        return head.old_space(prepared[now], labels[now], prepared[then], labels[then])

    def _read(self, number: int, vectors: Mapping[str, Rows]) -> Rows:
        return self.prepare[number](vectors[self.models[number]])


def planned(kind: str) -> Iterator[tuple[str, float | None]]:
    """Recipe and weight of every row: all recipes, and BiCT's weights in one kind."""
    for recipe in RECIPES:
        yield recipe, None
    if kind == WEIGHED:
        for weight in WEIGHTS:
            yield "bict", weight
