"""The whole method: train the super-network, search, retrain the best, keep the best of those."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
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
from hotfill.lab.architecture_search.gallery_model import GalleryModel, Validation
from hotfill.lab.architecture_search.network import Network, SuperNetwork, recalibrate
from hotfill.lab.architecture_search.space import Architecture, Budget, SearchSpace
from hotfill.lab.losses import Head, Recipe, recipes
from hotfill.lab.training import Outcome, TrainingItems, TrainingSettings, fit
from hotfill.lab.training.checkpoint import Checkpoint, under
from hotfill.lab.training.fit import Augment
from hotfill.types import ModelId


def agreeing_recipe(gallery_model: GalleryModel) -> Recipe:
    """BCT with both weights 1 (the paper's choice): own head, and the frozen gallery head."""
    classes, dimension = gallery_model.head.labels, gallery_model.model_id.dimension
    head = Head.random(classes, dimension, gallery_model.score)
    return recipes.bct(head, gallery_model.head, score=gallery_model.score, weight=1.0)


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
    calibration_batches: int = 200
    calibration_batch: int = 128
    flops_at_least: int | None = None

    def __post_init__(self) -> None:
        reward(self.reward, Measured(0.0, 0.0))  # is the name known?
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
class FoundQueryModel:
    """finalists: highest reward first. path: the file of the first."""

    history: History
    finalists: tuple[Finalist, ...]
    path: Path


def search(
    plan: SearchPlan,
    gallery_model: GalleryModel,
    items: TrainingItems,
    validation: Validation,
    *,
    folder: Path,
    augment: Augment | None = None,
    on_candidate: Callable[[Candidate], None] | None = None,
) -> FoundQueryModel:
    """Find a query model for a gallery. The same call again goes on where the last one stopped.

    items: the training set, numbered as gallery_model.head answers. validation: other items.
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
        choice = json.dumps(candidate.architecture.to_dict()).encode()
        network = retrain(
            plan.space,
            candidate.architecture,
            gallery_model,
            items,
            plan.retraining,
            folder=folder / f"finalist-{mark}-{hashlib.sha256(choice).hexdigest()[:12]}",
            augment=augment,
        )
        measured = validation.measure(network, device=plan.retraining.device)
        finalists.append(Finalist(candidate, network, measured))
    finalists.sort(key=lambda each: -reward(plan.reward, each.measured))
    path = folder / QUERY_MODEL
    QueryModelFile(finalists[0].network, gallery_model.model_id).save(path)
    return FoundQueryModel(history, tuple(finalists), path)


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
