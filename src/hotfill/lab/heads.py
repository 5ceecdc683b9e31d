"""Heads: small networks over frozen features, trained by a recipe in seconds on a CPU.

The cheapest honest comparison of recipes: the backbones stay unchanged, only a head over their
features learns, and it learns enough for the criterion of compatibility to hold.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hotfill.errors import ShapeError
from hotfill.lab.losses import Cosine, Head, Recipe, Reference, Score, TwoStages
from hotfill.lab.losses.maps import ResidualBranch
from hotfill.lab.losses.references import from_head, from_means, simplex
from hotfill.lab.training import ArrayItems, OldVectors, TrainingSettings, fit
from hotfill.lab.training.compatible_recipe import FIXED_HEAD, Ingredients, compatible_recipe
from hotfill.lab.training.items import embed
from hotfill.types import Vectors
from hotfill.vectors import unit


@final
class FeaturePreparation:
    """Unit length, centred, cut to the directions of the largest variance.

    features: (n, dimension) float, of the training items. dimensions: kept, at most the features'.
    """

    def __init__(self, features: Vectors, dimensions: int = 256) -> None:
        unit = _unit(features)
        self.mean = unit.mean(axis=0)
        _, _, axes = np.linalg.svd(unit - self.mean, full_matrices=False)
        self.axes = axes[:dimensions].T
        # One scale for all coordinates: a head learns best on inputs of about unit deviation.
        self.scale = 1 / float(((unit - self.mean) @ self.axes).std())

    def __call__(self, features: Vectors) -> Vectors:
        """Return float32 (n, kept dimensions)."""
        return np.asarray((_unit(features) - self.mean) @ self.axes * self.scale, dtype=np.float32)


@dataclass(frozen=True)
class HeadPlan:
    """How a head is made and trained.

    dimension: of the embedding. hidden: width of its inner layer; 0 = a linear head, which carries
    over best to classes that nobody trained on. noise: added to every coordinate of the input, in
    deviations over all of them; without any, heads over some thousand items learn them by heart
    and no recipe meets the criterion. score: of the classifier.
    """

    dimension: int = 64
    hidden: int = 128
    noise: float = 0.5
    score: Score = field(default_factory=lambda: Cosine(20.0, 0.1))
    settings: TrainingSettings = field(
        default_factory=lambda: TrainingSettings(epochs=16, batch=250)
    )


@dataclass(frozen=True, eq=False)
class OldSpace:
    """What a new head is to be compatible with.

    vectors: (n, old dimension), the old model's of the new head's training items, row by row.
    head, training: as `Ingredients` takes them as old_head and old_training, where they are known.
    """

    vectors: Vectors
    head: Reference | None = None
    training: Reference | None = None


@dataclass(frozen=True, eq=False)
class TrainedHead:
    """network: features to embeddings. classifier: its anchors. classes: (c,) the label of each.

    up: the map for the old gallery, where the recipe trains one.
    """

    network: nn.Module
    classifier: Head
    classes: NDArray[np.int64]
    up: ResidualBranch | None = None

    def __call__(self, features: Vectors) -> Vectors:
        """Embed (n, dimension) prepared features: float32, unit rows."""
        return embed(self.network, _items(features, np.full(len(features), -1)))

    def old_space(
        self,
        features: Vectors,
        labels: NDArray[np.int64],
        seen: Vectors,
        seen_labels: NDArray[np.int64],
    ) -> OldSpace:
        """Return what another head needs to know to become compatible with this one.

        features, labels: (n, dimension) and (n,), that head's training items as this one reads
        them. seen, seen_labels: what this head was trained on.
        """
        row = {int(label): place for place, label in enumerate(self.classes)}
        rows = torch.tensor([row.get(int(label), -1) for label in np.unique(labels)])
        means = from_means(
            torch.from_numpy(self(seen)),
            torch.from_numpy(np.searchsorted(self.classes, seen_labels)),
            len(self.classes),
        )
        return OldSpace(
            self(features),
            from_head(self.classifier.vectors, rows=rows),
            replace(means, rows=rows),
        )

    def upgrade(self, old: Vectors) -> Vectors | None:
        """Map old vectors (n, old dimension) up, unit rows; None where no map was trained."""
        if self.up is None:
            return None
        with torch.inference_mode():
            return np.asarray(nn.functional.normalize(self.up(torch.from_numpy(old))).numpy())


def train_head(
    recipe: str | Callable[[Ingredients], Recipe | TwoStages],
    features: Vectors,
    labels: NDArray[np.int64],
    plan: HeadPlan,
    *,
    seed: int,
    old: OldSpace | None = None,
    options: Mapping[str, Any] | None = None,
    corners: int | None = None,
) -> TrainedHead:
    """Train a head over prepared features by a recipe of `compatible_recipe`, or one of your own.

    recipe: one of RECIPE_NAMES, or a function that makes a recipe of `Ingredients`.
    features: (n, dimension) float32. labels: (n,) int64, any numbers. seed: of the first weights,
    the order and the noise. old: what to be compatible with; `independent` and `cores` need none.
    options: of the recipe. corners: of the simplex of `cores` and `hoc`, whose corner `label`
    stands for that class; the old and the new model must have the same.
    Raises ShapeError, InputError, ConfigError, DivergedError.
    """
    if features.ndim != 2 or labels.shape != (len(features),):
        raise ShapeError(
            f"expected features (n, dimension) and labels (n,), got {features.shape} and "
            f"{labels.shape}"
        )
    if old is not None and len(old.vectors) != len(features):
        raise ShapeError(
            f"expected an old vector for each of {len(features)} items, got {len(old.vectors)}"
        )
    classes, numbers = np.unique(labels, return_inverse=True)
    items = _items(features, numbers.reshape(-1))
    settings = replace(plan.settings, seed=seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if recipe in FIXED_HEAD:
            fixed = simplex(corners or len(classes)).vectors
            head = Head(fixed[classes if corners else slice(None)], plan.score, trained=False)
        else:
            head = Head.random(len(classes), plan.dimension, plan.score)
        network = _network(features.shape[1], plan.hidden, head.vectors.shape[1])
        known = torch.zeros(len(features), head.vectors.shape[1])  # read by no Term
        ingredients = Ingredients(head, torch.from_numpy(items.labels), known)
        if old is not None:
            ingredients = replace(
                ingredients,
                old=torch.from_numpy(old.vectors),
                old_head=old.head,
                old_training=old.training,
            )
        if isinstance(recipe, str):
            built = compatible_recipe(recipe, ingredients, **(options or {}))
        else:
            built = recipe(ingredients)
    deviation = float(features.std()) * plan.noise

    def blur(contents: Tensor, generator: torch.Generator) -> Tensor:
        return contents + deviation * torch.randn(contents.shape, generator=generator)

    vectors = None if old is None else OldVectors(items.item_ids, old.vectors)
    stages = built if isinstance(built, TwoStages) else TwoStages(built, built)
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder, "backward"), Path(folder, "forward")
        fit(
            network,
            stages.backward,
            items,
            settings,
            folder=first,
            old_vectors=vectors,
            augment=blur,
        )
        if isinstance(built, TwoStages):
            finished = _items(embed(network, items), items.labels)
            fit(
                nn.Identity(),
                stages.forward,
                finished,
                settings,
                folder=second,
                old_vectors=vectors,
            )
    return TrainedHead(network.eval(), head, classes, _up(stages.forward))


def _up(recipe: Recipe) -> ResidualBranch | None:
    found = recipe.maps["up"].eval()
    return found if isinstance(found, ResidualBranch) else None


def _network(source: int, hidden: int, dimension: int) -> nn.Module:
    if not hidden:
        return nn.Sequential(nn.Linear(source, dimension, bias=False), nn.BatchNorm1d(dimension))
    return nn.Sequential(
        nn.Linear(source, hidden, bias=False),
        nn.BatchNorm1d(hidden),
        nn.ReLU(),
        nn.Linear(hidden, dimension, bias=False),
        nn.BatchNorm1d(dimension),
    )


def _items(features: Vectors, labels: NDArray[np.int64]) -> ArrayItems:
    return ArrayItems(features, labels, [str(row) for row in range(len(features))])


def _unit(features: Vectors) -> NDArray[np.float64]:
    wide = np.asarray(features, dtype=np.float64)
    return unit(wide)
