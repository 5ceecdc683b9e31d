"""One split, one seed: the old model, the independent one, and every recipe."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.compatible_training.data import Pictures, Task
from benchmarks.compatible_training.measure import Side, compare, resized, search
from benchmarks.compatible_training.splits import split
from hotfill.lab.losses import Cosine, Head, Recipe, Reference, TwoStages
from hotfill.lab.losses.references import from_head, from_means, simplex
from hotfill.lab.training import (
    ArrayItems,
    Ingredients,
    OldVectors,
    TrainingSettings,
    build_backbone,
    compatible_recipe,
    fit,
)
from hotfill.lab.training.compatible_recipe import FIXED_HEAD
from hotfill.lab.training.items import embed
from hotfill.metrics import same_label

SCORE = Cosine(20.0, 0.1)


class OutOfTimeError(Exception):
    """The time that a call was given is over; the same call again goes on."""


@dataclass(frozen=True)
class Plan:
    """What is run.

    old_epochs: the old model sees less data, so it may need more passes. options: by recipe, what
    differs from the library's defaults.
    """

    name: str
    recipes: tuple[str, ...]
    splits: tuple[str, ...]
    backbone: str
    larger: str
    dimension: int
    settings: TrainingSettings
    old_epochs: int
    options: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(eq=False)
class Trained:
    """A model after training, with what others need of it."""

    model: nn.Module
    head: Head
    classes: NDArray[np.int64]
    recipe: Recipe | None = None


class Experiment:
    """Trains and measures, one recipe at a time. work: for checkpoints; emptied when done."""

    def __init__(
        self, plan: Plan, task: Task, kind: str, seed: int, work: Path, deadline: float
    ) -> None:
        self.plan, self.task, self.seed, self.deadline = plan, task, seed, deadline
        self.split = split(kind, task.train.labels, seed)
        self.work = work / f"{plan.name}-{kind}-{seed}"
        self.settings = replace(plan.settings, seed=seed)
        self.relevance = same_label(task.queries.labels, task.gallery.labels)
        self._kept: dict[str, Trained] = {}

    def rows(self, recipes: tuple[str, ...]) -> Iterator[dict[str, object]]:
        """Train and measure each recipe."""
        reference = self._side(self._reference())
        best = search(reference.queries, reference.gallery, self.relevance)
        for name in recipes:
            started = time.monotonic()
            old = self._old(fixed=name in FIXED_HEAD)
            if name == "independent":
                new, up = self._reference(), None
            else:
                new, up = self._compatible(name, old)
            seconds = time.monotonic() - started
            before, after = self._side(old), self._side(new)
            dimension = after.gallery.shape[1]
            carried = resized(before.gallery, dimension)
            plain = search(after.queries, carried, self.relevance)
            if up is not None:
                carried = up(before.gallery)
            figures = compare(
                old=before,
                new=after,
                old_gallery_in_new=carried,
                upgraded=up is not None,
                reference=best,
                relevance=self.relevance,
                seed=self.seed,
            )
            yield {
                "split": self.split.kind,
                "seed": self.seed,
                "recipe": name,
                "options": dict(self.plan.options.get(name, {})),
                **figures,
                "new/old without map": plain.figures(),
                "seconds": round(seconds, 1),
            }
        shutil.rmtree(self.work, ignore_errors=True)

    def _old(self, *, fixed: bool) -> Trained:
        name = "old-simplex" if fixed else "old"
        if name not in self._kept:
            seen = self.task.train.where(self.split.old)
            settings = replace(self.settings, epochs=self.plan.old_epochs)
            self._kept[name] = self._train(
                name, "cores" if fixed else "independent", seen, self.plan.backbone, settings
            )
        return self._kept[name]

    def _reference(self) -> Trained:
        if "independent" not in self._kept:
            self._kept["independent"] = self._train(
                "independent",
                "independent",
                self.task.train.where(self.split.new),
                self._new_backbone(),
                replace(self.settings, seed=self.seed + 1000),
            )
        return self._kept["independent"]

    def _compatible(self, name: str, old: Trained) -> tuple[Trained, object]:
        seen = self.task.train.where(self.split.new)
        settings = replace(self.settings, seed=self.seed + 1000)
        new = self._train(name, name, seen, self._new_backbone(), settings, old)
        map_ = new.recipe.maps["up"] if new.recipe is not None else None
        if name not in ("bict", "dmu") or map_ is None:
            return new, None
        map_.eval().cpu()

        def up(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
            with torch.inference_mode():
                mapped = nn.functional.normalize(map_(torch.from_numpy(vectors)))
            return mapped.numpy()

        return new, up

    def _new_backbone(self) -> str:
        return self.plan.larger if self.split.larger else self.plan.backbone

    def _train(
        self,
        folder: str,
        recipe: str,
        seen: Pictures,
        backbone: str,
        settings: TrainingSettings,
        old: Trained | None = None,
    ) -> Trained:
        classes, labels = np.unique(seen.labels, return_inverse=True)
        items = ArrayItems(seen.images, labels, seen.item_ids, [str(c) for c in classes])
        channels = items(np.arange(1)).shape[1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            if recipe in FIXED_HEAD:
                # One simplex for all classes of the task; each model uses its classes' corners.
                corners = simplex(int(self.task.train.labels.max()) + 1).vectors
                head = Head(corners[classes], SCORE, trained=False)
            else:
                head = Head.random(len(classes), self.plan.dimension, SCORE)
            model = build_backbone(backbone, channels=channels, dimension=head.vectors.shape[1])
            vectors, built = self._recipe(recipe, head, items, classes, old)
        first, second = (
            (built.backward, built.forward) if isinstance(built, TwoStages) else (built, None)
        )
        self._fit(model, first, items, settings, folder, vectors, augment=True)
        if second is not None:
            found = ArrayItems(embed(model, items, device=settings.device), labels, items.item_ids)
            self._fit(nn.Identity(), second, found, settings, f"{folder}-forward", vectors)
        return Trained(model, head, classes, second or first)

    def _recipe(
        self,
        name: str,
        head: Head,
        items: ArrayItems,
        classes: NDArray[np.int64],
        old: Trained | None,
    ) -> tuple[OldVectors | None, Recipe | TwoStages]:
        labels = torch.from_numpy(items.labels)
        if old is None:
            nothing = torch.zeros(len(labels), head.vectors.shape[1])
            return None, compatible_recipe(name, Ingredients(head, labels, nothing))
        vectors = embed(old.model, items, device=self.settings.device)
        ingredients = Ingredients(
            head,
            labels,
            torch.from_numpy(vectors),
            from_head(old.head.vectors.cpu(), rows=_rows(classes, old.classes)),
            self._old_training(classes, old),
        )
        options = self.plan.options.get(name, {})
        return OldVectors(items.item_ids, vectors), compatible_recipe(name, ingredients, **options)

    def _old_training(self, classes: NDArray[np.int64], old: Trained) -> Reference:
        """Class means of the old training set, and which of them answers for each new class."""
        seen = self.task.train.where(self.split.old)
        items = ArrayItems(seen.images, seen.labels, seen.item_ids)
        vectors = torch.from_numpy(embed(old.model, items, device=self.settings.device))
        labels = torch.from_numpy(np.searchsorted(old.classes, seen.labels))
        means = from_means(vectors, labels, len(old.classes))
        return replace(means, rows=_rows(classes, old.classes))

    def _fit(
        self,
        model: nn.Module,
        recipe: Recipe,
        items: ArrayItems,
        settings: TrainingSettings,
        folder: str,
        vectors: OldVectors | None,
        *,
        augment: bool = False,
    ) -> None:
        outcome = fit(
            model,
            recipe,
            items,
            settings,
            folder=self.work / folder,
            old_vectors=vectors,
            augment=self.task.augment if augment else None,
            stop_after_seconds=self.deadline - time.monotonic(),
        )
        if not outcome.finished:
            raise OutOfTimeError

    def _side(self, trained: Trained) -> Side:
        sides = []
        for pictures in (self.task.queries, self.task.gallery):
            items = ArrayItems(pictures.images, pictures.labels, pictures.item_ids)
            sides.append(embed(trained.model, items, device=self.settings.device))
        return Side(*sides)


def _rows(classes: NDArray[np.int64], old_classes: NDArray[np.int64]) -> torch.Tensor:
    place = {int(label): row for row, label in enumerate(old_classes)}
    return torch.tensor([place.get(int(label), -1) for label in classes])
