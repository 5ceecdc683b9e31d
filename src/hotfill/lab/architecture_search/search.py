"""The whole method: train the super-network, search, retrain the best, distil the best of those."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from hotfill.errors import ConfigError, InputError
from hotfill.lab.architecture_search.evolution import (
    Candidate,
    Evolution,
    History,
    Measured,
    RewardName,
    evolve,
    reward,
)
from hotfill.lab.architecture_search.gallery_model import GalleryModel, GalleryVectors, Validation
from hotfill.lab.architecture_search.network import Network, SuperNetwork, recalibrate
from hotfill.lab.architecture_search.space import Architecture, Budget, SearchSpace
from hotfill.lab.losses import Head, Part, Recipe, asymmetric, recipes
from hotfill.lab.training import OldVectors, Outcome, TrainingItems, TrainingSettings, fit
from hotfill.lab.training.checkpoint import Checkpoint, under
from hotfill.lab.training.fit import Augment
from hotfill.types import ModelId


def agreeing_recipe(gallery_model: GalleryModel) -> Recipe:
    """BCT with both weights 1 (the paper's choice): own head, and the frozen gallery head."""
    return recipes.bct(
        _own_head(gallery_model), gallery_model.head, score=gallery_model.score, weight=1.0
    )


def _own_head(gallery_model: GalleryModel) -> Head:
    classes, dimension = gallery_model.head.labels, gallery_model.model_id.dimension
    return Head.random(classes, dimension, gallery_model.score)


def _together(gallery_model: GalleryModel) -> Recipe:
    """The sum of the three: one own head, the frozen gallery head, both distillations."""
    agree = agreeing_recipe(gallery_model)
    parts: list[Part] = [
        replace(recipe.parts[0], name=recipe.name)
        for recipe in (asymmetric.csd(), asymmetric.d3still())
    ]
    return Recipe("together", [*agree.parts, *parts], head=agree.head, anchors=gallery_model.head)


WAYS: dict[str, Callable[[GalleryModel], Recipe]] = {
    "bct": agreeing_recipe,
    "csd": lambda model: asymmetric.csd(_own_head(model)),
    "d3still": lambda model: asymmetric.d3still(_own_head(model)),
    "together": _together,
}
"""How the found architecture can be trained to search the gallery."""


def train_agreeing(
    network: nn.Module,
    gallery_model: GalleryModel,
    items: TrainingItems,
    settings: TrainingSettings,
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


# A found query model in one file: weights, architecture, and whose gallery it searches.


@dataclass(frozen=True, eq=False)
class QueryModelFile:
    """What the file holds. gallery_model: the space that the network's embeddings live in."""

    network: Network
    gallery_model: ModelId

    def save(self, path: Path) -> None:
        """Write one safetensors file, in one step."""
        facts = {
            "space": self.network.space.to_dict(),
            "architecture": self.network.architecture.to_dict(),
            "gallery_model": self.gallery_model.to_dict(),
        }
        tensors = under("model", self.network.state_dict())
        Checkpoint(tensors, {"query_model": facts}).save(path)

    @classmethod
    def read(cls, path: Path) -> QueryModelFile:
        """Read what `save` wrote, in evaluation mode. Raises InputError, ConfigError."""
        found = Checkpoint.read(path)
        if "query_model" not in found.facts:
            raise InputError(f"{path}: expected a query model that a search has found")
        facts = found.facts["query_model"]
        network = Network(
            SearchSpace.from_dict(facts["space"]), Architecture.from_dict(facts["architecture"])
        )
        network.load_state_dict(found.part("model"))
        return cls(network.eval(), ModelId.from_dict(facts["gallery_model"]))


HISTORY, QUERY_MODEL = "history.json", "query_model.safetensors"

SPENT = 0.8  # SPOS searches 290 to 360 of 330 M
LONGER = 3  # times the epochs of a finalist's training


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """The numbers of a search.

    flops, flops_at_least: how many multiply-adds a query may cost; by default at least SPENT of
        what can be spent, so that rewards compare networks of about one size. 0 = no lower bound.
    reward: what the search climbs.
    super_training: of the super-network. warm_up_epochs: its first epochs, in which no path is
        drawn; the paper's 10.
    retraining: of the best, from scratch. finalists: how many are retrained; 5 in the paper. Of
        those the one with the highest reward on the validation split is kept.
    ways: of WAYS, in which the best finalist is trained from scratch once more, for longer; what
        searches the held-out gallery best is kept. distillation: of those trainings; by default
        as `retraining`, with LONGER times its epochs.
    calibration_batches, calibration_batch: for each candidate's batch statistics; 200 of 128 in
        the reference search code.
    Raises ConfigError.
    """

    space: SearchSpace
    flops: int
    reward: RewardName = "r3"
    evolution: Evolution = field(default_factory=Evolution)
    super_training: TrainingSettings = field(default_factory=TrainingSettings)
    warm_up_epochs: int = 10
    retraining: TrainingSettings = field(default_factory=TrainingSettings)
    finalists: int = 5
    ways: tuple[str, ...] = tuple(WAYS)
    distillation: TrainingSettings | None = None
    calibration_batches: int = 200
    calibration_batch: int = 128
    flops_at_least: int | None = None

    def __post_init__(self) -> None:
        reward(self.reward, Measured(0.0, 0.0))  # is the name known?
        if unknown := [way for way in self.ways if way not in WAYS]:
            raise ConfigError(
                f"ways of training: expected some of {', '.join(WAYS)}, got {', '.join(unknown)}"
            )
        counts = (self.finalists, self.calibration_batches, self.calibration_batch)
        if min(counts) < 1 or not 0 <= self.warm_up_epochs < self.super_training.epochs:
            raise ConfigError(
                "search: expected finalists and calibration >= 1, and a warm-up shorter than the "
                f"super-network's {self.super_training.epochs} epochs; got finalists "
                f"{self.finalists}, calibration {self.calibration_batches} x "
                f"{self.calibration_batch}, warm-up {self.warm_up_epochs}"
            )

    def budget(self) -> Budget:
        """Return the bounds of the search. Raises ConfigError where nothing lies within them."""
        least = self.flops_at_least
        if least is None:
            least = int(SPENT * Budget(self.space, self.flops).spendable)
        return Budget(self.space, self.flops, least)


@dataclass(frozen=True, eq=False)
class Finalist:
    """A candidate after retraining. measured: on the validation split, with its own weights."""

    candidate: Candidate
    network: Network
    measured: Measured


@dataclass(frozen=True, eq=False)
class TrainedQueryModel:
    """One network and what it is worth on the validation split. way: one of WAYS, or "finalist"."""

    way: str
    network: Network
    measured: Measured


@dataclass(frozen=True, eq=False)
class FoundQueryModel:
    """What a search found.

    finalists: highest reward first. trained: the architecture of the first, as a finalist and in
    every way of the plan, the best M(q, g) first. path: the file of the first of them.
    """

    history: History
    finalists: tuple[Finalist, ...]
    trained: tuple[TrainedQueryModel, ...]
    path: Path


def search(
    plan: SearchPlan,
    gallery_model: GalleryModel,
    items: TrainingItems,
    validation: Validation,
    *,
    folder: Path,
    vectors: GalleryVectors | None = None,
    augment: Augment | None = None,
    on_candidate: Callable[[Candidate], None] | None = None,
) -> FoundQueryModel:
    """Find a query model for a gallery. The same call again goes on where the last one stopped.

    items: the training set, numbered as gallery_model.head answers. validation: other items.
    vectors: of the training set, by the gallery model; without them only the ways are tried that
        need none ("bct").
    folder: for the super-network, the history and the query model; made when missing.
    Raises ConfigError for an impossible budget or dimensions that differ, InputError when the
    folder is of another search, DivergedError.
    """
    budget = plan.budget()
    check_dimension(plan.space, gallery_model)
    mark = gallery_model.model_id.fingerprint  # so that another one's checkpoint is never taken up
    super_network = train_super_network(
        plan, gallery_model, items, folder=folder / f"super_network-{mark}", augment=augment
    )
    device = plan.super_training.device
    history = evolve(
        budget,
        plan.evolution,
        candidate_measure(plan, super_network, items, validation, device=device),
        reward_name=plan.reward,
        path=folder / HISTORY,
        identity={
            "gallery_model": gallery_model.model_id.to_dict(),
            "super_training": asdict(plan.super_training) | {"device": "", "checkpoint_seconds": 0},
            "warm_up_epochs": plan.warm_up_epochs,
            "calibration": [plan.calibration_batches, plan.calibration_batch],
        },
        on_candidate=on_candidate,
    )
    finalists = []
    for candidate in history.best(plan.finalists):
        network = retrain(
            plan.space,
            candidate.architecture,
            gallery_model,
            items,
            plan.retraining,
            folder=folder / f"finalist-{mark}-{_mark(candidate.architecture)}",
            augment=augment,
        )
        measured = validation.measure(network, device=plan.retraining.device)
        finalists.append(Finalist(candidate, network, measured))
    finalists.sort(key=lambda each: -reward(plan.reward, each.measured))
    best = finalists[0]
    trained = [
        TrainedQueryModel("finalist", best.network, best.measured),
        *_in_every_way(
            plan,
            best.network.architecture,
            gallery_model,
            items,
            validation,
            vectors,
            folder=folder / f"way-{mark}-{_mark(best.network.architecture)}",
            augment=augment,
        ),
    ]
    trained.sort(key=lambda each: -each.measured.query_to_gallery)
    path = folder / QUERY_MODEL
    QueryModelFile(trained[0].network, gallery_model.model_id).save(path)
    return FoundQueryModel(history, tuple(finalists), tuple(trained), path)


def _mark(architecture: Architecture) -> str:
    choice = json.dumps(architecture.to_dict()).encode()
    return hashlib.sha256(choice).hexdigest()[:12]


def _in_every_way(
    plan: SearchPlan,
    architecture: Architecture,
    gallery_model: GalleryModel,
    items: TrainingItems,
    validation: Validation,
    vectors: GalleryVectors | None,
    *,
    folder: Path,
    augment: Augment | None,
) -> Iterator[TrainedQueryModel]:
    """Train one architecture from the same first weights in every way that can be had."""
    settings = plan.distillation or replace(plan.retraining, epochs=LONGER * plan.retraining.epochs)
    for way in plan.ways:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            network = Network(plan.space, architecture)
            recipe = WAYS[way](gallery_model)
        old = None
        if "old" in recipe.needs:
            if vectors is None:
                continue
            rows = vectors.of(items.item_ids, model=gallery_model.model_id)
            old = OldVectors(items.item_ids, rows)
        fit(
            network,
            recipe,
            items,
            settings,
            folder=folder.with_name(f"{folder.name}-{way}"),
            old_vectors=old,
            augment=augment,
        )
        network.eval()
        measured = validation.measure(network, device=settings.device)
        yield TrainedQueryModel(way, network, measured)


def train_super_network(
    plan: SearchPlan,
    gallery_model: GalleryModel,
    items: TrainingItems,
    *,
    folder: Path,
    augment: Augment | None = None,
) -> SuperNetwork:
    """The first step of `search`: every path learns, and all agree with the gallery model."""
    check_dimension(plan.space, gallery_model)
    settings = plan.super_training
    batches_per_epoch = max(1, len(items.item_ids) // settings.batch)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = SuperNetwork(plan.space, warm_up_batches=plan.warm_up_epochs * batches_per_epoch)
    train_agreeing(network, gallery_model, items, settings, folder=folder, augment=augment)
    return network


def candidate_measure(
    plan: SearchPlan,
    super_network: SuperNetwork,
    items: TrainingItems,
    validation: Validation,
    *,
    device: str = "cpu",
) -> Callable[[Architecture], Measured]:
    """How a candidate is measured: inherited weights, its own batch statistics, no training."""

    def measure(architecture: Architecture) -> Measured:
        network = super_network.take(architecture)
        recalibrate(network, _batches(plan, items, device))
        return validation.measure(network, device=device)

    return measure


def retrain(
    space: SearchSpace,
    architecture: Architecture,
    gallery_model: GalleryModel,
    items: TrainingItems,
    settings: TrainingSettings,
    *,
    folder: Path,
    augment: Augment | None = None,
) -> Network:
    """Train one architecture from random weights of `settings.seed`; in evaluation mode."""
    check_dimension(space, gallery_model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = Network(space, architecture)
    train_agreeing(network, gallery_model, items, settings, folder=folder, augment=augment)
    return network.eval()


def check_dimension(space: SearchSpace, gallery_model: GalleryModel) -> None:
    """Raise ConfigError unless the space makes embeddings of the gallery's dimension."""
    if space.dimension != gallery_model.model_id.dimension:
        raise ConfigError(
            f"space {space.name!r} makes embeddings of dimension {space.dimension}, the gallery of "
            f"{gallery_model.model_id} has {gallery_model.model_id.dimension}; make them equal"
        )


def _batches(plan: SearchPlan, items: TrainingItems, device: str) -> Iterator[Tensor]:
    """The same training items for every candidate, unchanged; fewer where there are fewer."""
    order = np.random.default_rng([plan.evolution.seed, 1]).permutation(len(items.item_ids))
    size = min(plan.calibration_batch, len(order))
    for number in range(min(plan.calibration_batches, len(order) // size)):
        yield items(order[number * size : (number + 1) * size]).to(device)
