"""One split, one seed: the old head, the independent one, and every recipe."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from benchmarks.compatible_heads.data import Features, Task
from benchmarks.compatible_training.measure import Side, compare, resized, search
from benchmarks.compatible_training.splits import KINDS, split
from hotfill.lab.heads import FeaturePreparation, HeadPlan, OldSpace, TrainedHead, train_head
from hotfill.lab.losses import Cosine, Dot
from hotfill.lab.training.compatible_recipe import FIXED_HEAD
from hotfill.metrics import same_label

Recipes = Mapping[str, tuple[str, Mapping[str, Any]]]
"""By title: the library's name and the options that differ from its defaults."""

OLD_HEAD_ONLY, SYNTHESISED = "bct, old head only", "bct, synthesised"
SOFTER = {"score": Cosine(5.0), "weight": 3.0}
"""What `unibct` does by default; for BCT, too, to tell what that alone brings."""

RECIPES: Recipes = {
    "independent": ("independent", {}),
    OLD_HEAD_ONLY: ("bct", {"old_head_only": True}),
    SYNTHESISED: ("bct", {}),
    f"{OLD_HEAD_ONLY}, softer": ("bct", {"old_head_only": True, **SOFTER}),
    f"{SYNTHESISED}, softer": ("bct", SOFTER),
    "unibct": ("unibct", {}),
    "unibct, alternatives": ("unibct", {"alternatives": True}),
    "advbct": ("advbct", {}),
    "bounded": ("bounded", {}),
    "contrastive": ("contrastive", {}),
    "ract": ("ract", {"temperature": 0.05}),
    "lce": ("lce", {}),
    "mixbct": ("mixbct", {}),
    "l2": ("l2", {}),
    "hoc": ("hoc", {}),
    "cores": ("cores", {}),
    "bict": ("bict", {}),
    "dmu": ("dmu", {}),
}

UPGRADING = ("bict", "dmu")
"""The recipes whose map rewrites the old gallery before the first query."""


@dataclass(frozen=True)
class Plan:
    """What is run. items: for training, of each class. old_epochs: the old model sees less data.

    unseen: search classes that no model was trained on.
    """

    name: str
    recipes: Recipes
    splits: tuple[str, ...] = KINDS
    items: int = 50
    queries: int = 10
    gallery: int = 30
    unseen: bool = False
    old_epochs: int = 32
    head: HeadPlan = field(default_factory=HeadPlan)


SEEN = Plan("seen", RECIPES)

# On classes that no model saw a hidden layer hurts even an independent head; a linear one, wider,
# is above the raw features, and BCT meets its own criterion.
UNSEEN = replace(
    SEEN,
    name="unseen",
    recipes={
        title: RECIPES[title]
        for title in (
            "independent",
            OLD_HEAD_ONLY,
            SYNTHESISED,
            f"{OLD_HEAD_ONLY}, softer",
            f"{SYNTHESISED}, softer",
            "unibct",
            "unibct, alternatives",
            "advbct",
            "bounded",
        )
    },
    unseen=True,
    items=100,
    queries=20,
    gallery=60,
    head=HeadPlan(dimension=128, hidden=0, noise=0.6),
)

# With more noise BCT gains and AdvBCT falls: its boundary holds what is embedded, noise and all.
NOISY = replace(
    UNSEEN,
    name="unseen-noisy",
    recipes={title: RECIPES[title] for title in ("independent", OLD_HEAD_ONLY, "unibct", "advbct")},
    head=replace(UNSEEN.head, noise=1.0),
)

# As in AdvBCT's and BCT's code: no scale, no margin. A head's rows and class means of unit vectors
# have other lengths, so only recipes that keep to one of them are run.
PLAIN = replace(
    SEEN,
    name="plain-softmax",
    recipes={title: RECIPES[title] for title in ("independent", OLD_HEAD_ONLY, "advbct")},
    head=HeadPlan(score=Dot()),
)


def possible(kind: str, options: Mapping[str, Any]) -> bool:
    """Whether a recipe has anything to learn by: in open-class no new class is in the old head."""
    return not (kind == "open-class" and options.get("old_head_only"))


class Experiment:
    """Trains and measures, one recipe at a time."""

    def __init__(self, plan: Plan, task: Task, kind: str, seed: int) -> None:
        self.plan, self.seed = plan, seed
        self.task = task.unseen(seed) if plan.unseen else task
        self.classes = int(task.train_labels.max()) + 1
        self.split = split(kind, self.task.train_labels, seed)
        self.old_features = self.task.models["old"]
        self.new_features = self.task.models["larger" if self.split.larger else "new"]
        self.prepare_old = FeaturePreparation(self.old_features.train[self.split.old])
        self.prepare_new = FeaturePreparation(self.new_features.train[self.split.new])
        self.relevance = same_label(self.task.query_labels, self.task.gallery_labels)
        self._olds: dict[str, TrainedHead] = {}

    def rows(self, titles: tuple[str, ...]) -> Iterator[dict[str, Any]]:
        """Train and measure each recipe that the split allows."""
        independent = self._new("independent", {}, None)
        reference = self._side(independent, self.new_features, self.prepare_new)
        best = search(reference.queries, reference.gallery, self.relevance)
        for title in titles:
            recipe, options = self.plan.recipes[title]
            started = time.process_time()
            old = self._old("cores" if recipe in FIXED_HEAD else "independent")
            new = independent
            if recipe != "independent":
                new = self._new(recipe, options, self._space(old))
            seconds = time.process_time() - started
            before = self._side(old, self.old_features, self.prepare_old)
            after = self._side(new, self.new_features, self.prepare_new)
            mapped = new.upgrade(before.gallery) if recipe in UPGRADING else None
            carried = resized(before.gallery, after.gallery.shape[1]) if mapped is None else mapped
            figures = compare(
                old=before,
                new=after,
                old_gallery_in_new=carried,
                upgraded=mapped is not None,
                reference=best,
                relevance=self.relevance,
                seed=self.seed,
            )
            yield {
                "split": self.split.kind,
                "seed": self.seed,
                "recipe": title,
                **figures,
                "cpu_seconds": round(seconds, 1),
            }

    def _old(self, recipe: str) -> TrainedHead:
        if recipe not in self._olds:
            seen = self.split.old
            settings = replace(self.plan.head.settings, epochs=self.plan.old_epochs)
            self._olds[recipe] = train_head(
                recipe,
                self.prepare_old(self.old_features.train[seen]),
                self.task.train_labels[seen],
                replace(self.plan.head, settings=settings),
                seed=self.seed,
                corners=self.classes,
            )
        return self._olds[recipe]

    def _space(self, old: TrainedHead) -> OldSpace:
        prepared = self.prepare_old(self.old_features.train)
        new, seen = self.split.new, self.split.old
        labels = self.task.train_labels
        return old.old_space(prepared[new], labels[new], prepared[seen], labels[seen])

    def _new(self, recipe: str, options: Mapping[str, Any], old: OldSpace | None) -> TrainedHead:
        seen = self.split.new
        return train_head(
            recipe,
            self.prepare_new(self.new_features.train[seen]),
            self.task.train_labels[seen],
            self.plan.head,
            seed=self.seed + 1000,
            old=old,
            options=options,
            corners=self.classes,
        )

    def _side(self, head: TrainedHead, features: Features, prepare: FeaturePreparation) -> Side:
        return Side(head(prepare(features.queries)), head(prepare(features.gallery)))
