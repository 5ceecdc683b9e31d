"""From files to a trained model: what `hotfill train RECIPE` does."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from hotfill.errors import ConfigError, InputError
from hotfill.lab.losses import Cosine, Head, Recipe, Reference, TwoStages
from hotfill.lab.losses.maps import ResidualBranch
from hotfill.lab.losses.references import from_head, simplex
from hotfill.lab.training.backbones import build_backbone
from hotfill.lab.training.compatible_recipe import FIXED_HEAD, Ingredients, compatible_recipe
from hotfill.lab.training.fit import Augment, Outcome, TrainingSettings, fit
from hotfill.lab.training.items import (
    ArrayItems,
    FolderItems,
    OldVectors,
    TrainingItems,
    embed,
    read_arrays,
)
from hotfill.lab.training.model_file import ModelFacts, ModelFile, model_id_of
from hotfill.ranking import ResidualMap
from hotfill.types import ModelId

if TYPE_CHECKING:
    from hotfill.ranking.transform import Facts


def forward_map(
    map_: ResidualBranch, source: ModelId, target: ModelId, facts: Facts | None = None
) -> ResidualMap:
    """Take a trained map out of torch.

    map_: `recipe.maps["up"]` after training. source, target: the old and the new space. The map was
    trained on unit vectors if the old vectors given to the training were of unit length; give it
    the same here (a space that compares by the cosine does so by itself).
    Raises ShapeError when the spaces have other dimensions.
    """
    with torch.inference_mode():
        whole = torch.eye(map_.source)
        arrays = {
            "straight": map_.straight(whole),
            "inner": map_.inner.weight.T,
            "inner_offset": map_.inner.bias,
            "outer": map_.outer.weight.T,
            "outer_offset": map_.outer.bias,
        }
        plain = {name: tensor.detach().cpu().numpy() for name, tensor in arrays.items()}
    return ResidualMap(source, target, plain, facts)


MODEL, UP = "model.safetensors", "up.safetensors"
ALONE = ("independent", "cores")
"""The recipes that never look at the old model."""


@dataclass(frozen=True)
class Trained:
    """outcome: of the (last) training loop. model: the file of the new model, once finished."""

    outcome: Outcome
    model: Path | None


def train_compatible(
    recipe: str,
    data: Path,
    output: Path,
    *,
    old: Path | None = None,
    backbone: str = "small",
    dimension: int | None = None,
    side: int = 32,
    channels: int = 3,
    score: Cosine | None = None,
    settings: TrainingSettings | None = None,
    options: Mapping[str, Any] | None = None,
    augment: Augment | None = None,
    stop_after_seconds: float | None = None,
    show_progress: bool = False,
) -> Trained:
    """Train a model on files, compatible with an old one. The same call again goes on.

    recipe: one of RECIPE_NAMES; "independent" and "cores" need no old model.
    data: a folder with one subfolder of pictures per class, or an .npz file (`read_arrays`).
    output: a folder for everything that is written: checkpoint, log, old vectors, and, once
        finished, model.safetensors; also up.safetensors, the forward map for the `prefill`
        strategy, where the recipe trains one and `old` is a model file.
    old: a model file written by this function; or a file of old vectors by item id, from any model
        (`OldVectors.read`). With a model file the old head is used too, its classes found by name.
    backbone: as `build_backbone` takes it. dimension: of the new embeddings; the old dimension by
        default, 128 without an old model, classes - 1 for "cores" and "hoc".
    side, channels: how pictures of a folder are read.
    score: of the head; Cosine(20, 0.1) by default.
    options: of the recipe, such as {"weight": 2.0}.
    Raises InputError, ConfigError, DivergedError.
    """
    settings, score = settings or TrainingSettings(), score or Cosine(20.0, 0.1)
    items = _read(data, side, channels)
    output.mkdir(parents=True, exist_ok=True)
    there = _old(old, items, output, settings.device)
    old_vectors = there.vectors
    classes = len(items.classes)
    width = dimension or (old_vectors.dimension if old_vectors else 128)
    pictures = items(np.arange(1)).shape[1]
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay their own
        torch.manual_seed(settings.seed)
        if recipe in FIXED_HEAD:
            width = classes - 1
            head = Head(simplex(classes).vectors, score, trained=False)
        else:
            head = Head.random(classes, width, score)
        model = build_backbone(backbone, channels=pictures, dimension=width)
        built = _build(recipe, head, items, old_vectors, there.head, options or {})
    stages = built if isinstance(built, TwoStages) else TwoStages(built, built)
    common: dict[str, Any] = {
        "stop_after_seconds": stop_after_seconds,
        "show_progress": show_progress,
    }
    outcome = fit(
        model,
        stages.backward,
        items,
        settings,
        folder=output,
        old_vectors=old_vectors,
        augment=augment,
        **common,
    )
    if outcome.finished and isinstance(built, TwoStages):
        outcome = fit_forward(model, built, items, settings, output, old_vectors, **common)
    if not outcome.finished:
        return Trained(outcome, None)
    scaled = side if data.is_dir() else 0
    agreed = None if recipe in ALONE else there.model
    facts = ModelFacts(recipe, backbone, pictures, width, tuple(items.classes), scaled, agreed)
    up = stages.forward.maps["up"]
    kept = head.vectors if stages.backward.head is not None else None
    ModelFile(facts, model, kept, up.state_dict()).save(output / MODEL)
    if isinstance(up, ResidualBranch) and there.model is not None:
        forward_map(up, there.model, model_id_of(output / MODEL, facts)).save(output / UP)
    return Trained(outcome, output / MODEL)


def fit_forward(
    model: nn.Module,
    stages: TwoStages,
    items: TrainingItems,
    settings: TrainingSettings,
    output: Path,
    old_vectors: OldVectors | None,
    **common: Any,
) -> Outcome:
    """The second stage: the map alone, over the finished model's embeddings of the items."""
    vectors = embed(model, items, device=settings.device)
    finished = ArrayItems(vectors, items.labels, items.item_ids, items.classes)
    return fit(
        nn.Identity(),
        stages.forward,
        finished,
        settings,
        folder=output / "forward",
        old_vectors=old_vectors,
        **common,
    )


def _read(data: Path, side: int, channels: int) -> TrainingItems:
    if data.is_dir():
        return FolderItems(data, side=side, channels=channels)
    return read_arrays(data)


@dataclass(frozen=True)
class _Old:
    """What is known of the old model: its vectors of the items, its head, its space."""

    vectors: OldVectors | None = None
    head: Reference | None = None
    model: ModelId | None = None


def _old(old: Path | None, items: TrainingItems, output: Path, device: str) -> _Old:
    if old is None:
        return _Old()
    try:
        return _Old(OldVectors.read(old))
    except InputError as error:
        try:
            file = ModelFile.read(old)
        except InputError:
            raise InputError(
                f"{old}: expected a model file or a file of old vectors; it is neither ({error})"
            ) from error
    # Named after the old model, so that another one is never taken for it.
    digest = hashlib.sha256(old.read_bytes()).hexdigest()[:12]
    cache = output / f"old_vectors-{digest}.safetensors"
    if not cache.exists():
        vectors = embed(file.model.to(device), items, device=device)
        OldVectors(items.item_ids, vectors).save(cache)
    head = None
    if file.head is not None:
        number = {name: row for row, name in enumerate(file.facts.classes)}
        rows = torch.tensor([number.get(name, -1) for name in items.classes])
        head = from_head(file.head, rows=rows)
    return _Old(OldVectors.read(cache), head, model_id_of(old, file.facts))


def _build(
    recipe: str,
    head: Head,
    items: TrainingItems,
    old_vectors: OldVectors | None,
    old_head: Reference | None,
    options: Mapping[str, Any],
) -> Recipe | TwoStages:
    labels = torch.from_numpy(items.labels)
    if old_vectors is None:
        if recipe not in ALONE:
            raise ConfigError(f"recipe {recipe!r} needs the old model: pass old=")
        old = torch.zeros(len(labels), head.vectors.shape[1])  # read by no Term
    else:
        old = torch.from_numpy(old_vectors.of(items.item_ids))
    return compatible_recipe(recipe, Ingredients(head, labels, old, old_head), **options)
