"""From files to a found query model: what `hotfill architecture-search run` does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hotfill.errors import ConfigError, InputError
from hotfill.lab.architecture_search.evolution import Candidate, Evolution, RewardName
from hotfill.lab.architecture_search.gallery_model import GalleryModel, GalleryVectors, Validation
from hotfill.lab.architecture_search.search import WAYS, FoundQueryModel, SearchPlan, search
from hotfill.lab.architecture_search.space import SearchSpace, paper_space, small_space
from hotfill.lab.losses import Cosine
from hotfill.lab.losses.references import from_head
from hotfill.lab.training import (
    FolderItems,
    ModelFile,
    TrainingItems,
    TrainingSettings,
    read_arrays,
)
from hotfill.lab.training.items import embed
from hotfill.lab.training.model_file import model_id_of

HELD_OUT = 0.2  # of the items of each class, for the reward; at least 4


def search_files(
    data: Path,
    gallery_model: Path,
    output: Path,
    *,
    flops: int,
    space: str = "small",
    side: int = 32,
    reward: RewardName = "r3",
    evolution: Evolution | None = None,
    epochs: int = 30,
    warm_up_epochs: int = 3,
    finalists: int = 5,
    ways: Sequence[str] = tuple(WAYS),
    distil_epochs: int | None = None,
    score: Cosine | None = None,
    seed: int = 0,
    device: str = "cpu",
    flops_at_least: int | None = None,
    unseen_classes: bool = False,
    on_candidate: Callable[[Candidate], None] | None = None,
) -> FoundQueryModel:
    """Search a query model for the gallery of a trained model. The same call again goes on.

    data: a folder with one subfolder of pictures per class, or an .npz file (`read_arrays`); a
        fifth of each class is held out for the reward.
    unseen_classes: hold out a fifth of the classes instead. Right where queries will be of classes
        that are not in the training set: a reward over known ones measures another task.
    gallery_model: a file that
        `train_compatible` wrote, with its head; its classes are found by name.
    output: a folder for everything that is written. flops, flops_at_least: of one query.
    space: "small" (6 blocks, for 28 to 64 pixels) or "paper" (20 blocks). side: pictures of a
        folder are read at this size.
    score: of the gallery model's head; Cosine(20, 0.1), as `train_compatible` has it.
    epochs: of the super-network and of the retraining. ways, distil_epochs: how, and for how long,
        the best is trained again (three times `epochs`). The rest: see SearchPlan.
    Raises InputError, ConfigError, DivergedError.
    """
    file = ModelFile.read(gallery_model)
    if file.head is None:
        raise InputError(
            f"{gallery_model}: the model has no classifier, which query models are trained with; "
            "train the gallery model by a recipe that has one"
        )
    items: TrainingItems = (
        FolderItems(data, side=side, channels=file.facts.channels)
        if data.is_dir()
        else read_arrays(data)
    )
    pictures = items(np.arange(1))
    model_id = model_id_of(gallery_model, file.facts)
    number = {name: row for row, name in enumerate(file.facts.classes)}
    rows = torch.tensor([number.get(name, -1) for name in items.classes])
    if not bool((rows >= 0).any()):
        raise InputError(
            f"{data}: no class of the training set is one of the gallery model's "
            f"({', '.join(file.facts.classes[:5])} ...); name the classes alike"
        )
    split = _split_classes if unseen_classes else _split
    train, queries, gallery = split(items, seed)
    model = GalleryModel(model_id, from_head(file.head, rows=rows), score or Cosine(20.0, 0.1))
    large = file.model.to(device)

    def by_large(some: TrainingItems) -> GalleryVectors:
        return GalleryVectors(model_id, some.item_ids, embed(large, some, device=device))

    validation = Validation(queries, gallery, by_large(gallery), model_id)
    settings = TrainingSettings(epochs=epochs, seed=seed, device=device)
    plan = SearchPlan(
        _space(space, pictures.shape, model_id.dimension),
        flops,
        reward=reward,
        evolution=evolution or Evolution(seed=seed),
        super_training=settings,
        warm_up_epochs=warm_up_epochs,
        retraining=settings,
        finalists=finalists,
        ways=tuple(ways),
        distillation=None if distil_epochs is None else replace(settings, epochs=distil_epochs),
        flops_at_least=flops_at_least,
    )
    return search(
        plan,
        model,
        train,
        validation,
        folder=output,
        vectors=by_large(train),
        on_candidate=on_candidate,
    )


@final
class _Some:
    """Some of the items, with the labels and classes of all."""

    def __init__(self, items: TrainingItems, rows: NDArray[np.int64]) -> None:
        self._items, self._rows = items, rows
        self.item_ids: Sequence[str] = [items.item_ids[row] for row in rows]
        self.labels = items.labels[rows]
        self.classes = items.classes

    def __len__(self) -> int:
        return len(self.item_ids)

    def __call__(self, rows: NDArray[np.int64], /) -> Tensor:
        return self._items(self._rows[rows])


def _split(items: TrainingItems, seed: int) -> tuple[TrainingItems, TrainingItems, TrainingItems]:
    """Training items, and held out: queries and gallery, half of each class's share each."""
    rng = np.random.default_rng([seed, 2])
    held: dict[int, list[int]] = {0: [], 1: []}
    for label in np.unique(items.labels[items.labels >= 0]):
        rows = rng.permutation(np.flatnonzero(items.labels == label))
        kept = max(4, round(HELD_OUT * len(rows)))
        if len(rows) < 2 * kept:
            continue  # too few to spare any; the class is trained on only
        for place, row in enumerate(rows[:kept]):
            held[place % 2].append(int(row))
    if not held[0]:
        raise InputError("no class has the 8 items that it takes to hold some out for the reward")
    rest = np.setdiff1d(np.arange(len(items.item_ids)), [*held[0], *held[1]])
    queries, gallery = (np.array(sorted(held[part]), dtype=np.int64) for part in (0, 1))
    return _Some(items, rest), _Some(items, queries), _Some(items, gallery)


def _split_classes(
    items: TrainingItems, seed: int
) -> tuple[TrainingItems, TrainingItems, TrainingItems]:
    """Training items of four fifths of the classes; of the others, queries and gallery."""
    rng = np.random.default_rng([seed, 3])
    classes, counts = np.unique(items.labels[items.labels >= 0], return_counts=True)
    large = classes[counts >= 2]
    held = rng.permutation(large)[: round(HELD_OUT * len(classes))]
    if not len(held) or len(held) == len(classes):
        raise InputError(
            f"unseen classes: expected at least 3 classes of 2 items or more, got {len(large)} of "
            f"{len(classes)}; hold out items of each class instead"
        )
    out = np.isin(items.labels, held)
    places = np.zeros(len(items.labels), dtype=np.int64)
    for label in held:
        rows = rng.permutation(np.flatnonzero(items.labels == label))
        places[rows] = np.arange(len(rows)) % 2
    queries, gallery = (np.flatnonzero(out & (places == part)) for part in (0, 1))
    return _Some(items, np.flatnonzero(~out)), _Some(items, queries), _Some(items, gallery)


def _space(name: str, shape: Sequence[int], dimension: int) -> SearchSpace:
    if len(shape) != 4 or shape[2] != shape[3]:
        raise InputError(f"expected square pictures, got contents of shape {tuple(shape[1:])}")
    channels, side = shape[1], shape[2]
    if name == "small":
        return small_space(side=side, channels=channels, dimension=dimension)
    if name == "paper" and channels == 3:
        return paper_space(side=side, dimension=dimension)
    raise ConfigError(
        f"space: expected 'small', or 'paper' (for colour pictures), got {name!r} for {channels} "
        "channels"
    )
