"""A gallery model of a second, for pictures of eight characters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from demo.omniglot import drawings
from hotfill.lab.architecture_search.evolution import Evolution
from hotfill.lab.architecture_search.gallery_model import GalleryModel, GalleryVectors, Validation
from hotfill.lab.architecture_search.search import SearchPlan
from hotfill.lab.architecture_search.space import SearchSpace, Stage
from hotfill.lab.losses import Cosine, Head, recipes
from hotfill.lab.losses.references import from_head
from hotfill.lab.training import ArrayItems, TrainingSettings, build_backbone, fit
from hotfill.lab.training.items import embed
from hotfill.types import ModelId

CLASSES, DIMENSION = 8, 16


@dataclass(frozen=True, eq=False)
class World:
    """Everything that a search needs. plan: one of seconds. trained_on: vectors of `train`."""

    gallery_model: GalleryModel
    vectors: GalleryVectors
    trained_on: GalleryVectors
    train: ArrayItems
    queries: ArrayItems
    gallery: ArrayItems
    plan: SearchPlan

    def validation(self) -> Validation:
        return Validation(self.queries, self.gallery, self.vectors, self.gallery_model.model_id)


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> World:
    torch.set_num_threads(1)
    some = drawings.load("background").first(CLASSES)

    def items(mask: np.ndarray) -> ArrayItems:
        part = some.where(mask)
        labels = np.unique(some.labels, return_inverse=True)[1][mask]
        return ArrayItems(part.images, labels, part.item_ids, [str(c) for c in range(CLASSES)])

    train = items(some.drawers <= 12)
    queries = items((some.drawers > 12) & (some.drawers <= 16))
    gallery = items(some.drawers > 16)
    score = Cosine(10.0)
    torch.manual_seed(0)
    large = build_backbone("small", channels=1, dimension=DIMENSION)
    head = Head.random(CLASSES, DIMENSION, score)
    fit(
        large,
        recipes.independent(head),
        train,
        TrainingSettings(epochs=12, batch=32),
        folder=tmp_path_factory.mktemp("gallery_model"),
    )
    model_id = ModelId("large", "1", DIMENSION)
    return World(
        GalleryModel(model_id, from_head(head.vectors, rows=torch.arange(CLASSES)), score),
        GalleryVectors(model_id, gallery.item_ids, embed(large, gallery)),
        GalleryVectors(model_id, train.item_ids, embed(large, train)),
        train,
        queries,
        gallery,
        SearchPlan(
            SearchSpace(
                *("tiny", 28, 1, 6, 2),
                (Stage(1, 12), Stage(1, 24)),
                48,
                DIMENSION,
                widths=(0.4, 1.2),
            ),
            flops=100_000,
            evolution=Evolution(generations=2, population=4, crossover=2, parents=2),
            super_training=TrainingSettings(epochs=6, batch=32),
            warm_up_epochs=2,
            retraining=TrainingSettings(epochs=25, batch=32),
            finalists=1,
            distillation=TrainingSettings(epochs=4, batch=32),
            calibration_batches=2,
            calibration_batch=32,
        ),
    )
