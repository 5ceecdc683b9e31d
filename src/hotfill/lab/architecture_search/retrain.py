"""A found architecture from scratch, with weights that agree with the gallery model."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from hotfill.errors import ConfigError
from hotfill.lab.architecture_search.gallery_model import GalleryModel
from hotfill.lab.losses import Head, Recipe, recipes
from hotfill.lab.training import Items, Outcome, Settings, fit
from hotfill.lab.training.fit import Augment


def agreeing_recipe(gallery_model: GalleryModel) -> Recipe:
    """BCT with both weights 1 (the paper's choice): own head, and the frozen gallery head."""
    classes, dimension = gallery_model.head.labels, gallery_model.model_id.dimension
    head = Head.random(classes, dimension, gallery_model.score)
    return recipes.bct(head, gallery_model.head, score=gallery_model.score, weight=1.0)


def train_agreeing(
    network: nn.Module,
    gallery_model: GalleryModel,
    items: Items,
    settings: Settings,
    *,
    folder: Path,
    augment: Augment | None = None,
    stop_after_seconds: float | None = None,
) -> Outcome:
    """Train a query model (or a super-network) to be searched against the gallery model's vectors.

    Calling it again goes on where it stopped. The network's first weights are the caller's; the
    head's are of `settings.seed`. Raises InputError, DivergedError as `training.fit` does, and
    ConfigError when the labels go beyond the gallery model's head.
    """
    if len(items.classes) > gallery_model.head.labels:
        raise ConfigError(
            f"the training set has {len(items.classes)} classes, the gallery model's head answers "
            f"for {gallery_model.head.labels}; build it with a row (or -1) for each of them"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        recipe = agreeing_recipe(gallery_model)
    return fit(
        network,
        recipe,
        items,
        settings,
        folder=folder,
        augment=augment,
        stop_after_seconds=stop_after_seconds,
    )
