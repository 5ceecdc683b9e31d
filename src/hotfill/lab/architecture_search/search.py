"""The whole method: train the super-network, search, retrain the best, keep the best of those."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hotfill.errors import ConfigError
from hotfill.lab.architecture_search.batch_norm import recalibrate
from hotfill.lab.architecture_search.budget import Budget
from hotfill.lab.architecture_search.evolution import Evolution, evolve
from hotfill.lab.architecture_search.gallery_model import GalleryModel
from hotfill.lab.architecture_search.history import Candidate, History
from hotfill.lab.architecture_search.network import Network
from hotfill.lab.architecture_search.query_model_file import QueryModelFile
from hotfill.lab.architecture_search.retrain import train_agreeing
from hotfill.lab.architecture_search.reward import Measured, RewardName, reward
from hotfill.lab.architecture_search.space import Architecture, Space
from hotfill.lab.architecture_search.super_network import SuperNetwork
from hotfill.lab.architecture_search.validation import Validation
from hotfill.lab.training import Items, Settings
from hotfill.lab.training.fit import Augment

HISTORY, QUERY_MODEL = "history.json", "query_model.safetensors"


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """The numbers of a search.

    flops, flops_at_least: how many multiply-adds a query may cost. reward: what the search climbs.
    super_training: of the super-network. warm_up_epochs: its first epochs, in which no path is
        drawn; the paper's 10.
    retraining: of the best, from scratch. finalists: how many are retrained; 5 in the paper. Of
        those the one with the highest reward on the validation split is kept.
    calibration_batches, calibration_batch: for each candidate's batch statistics; 200 of 128 in
        the reference search code.
    Raises ConfigError.
    """

    space: Space
    flops: int
    reward: RewardName = "r3"
    evolution: Evolution = field(default_factory=Evolution)
    super_training: Settings = field(default_factory=Settings)
    warm_up_epochs: int = 10
    retraining: Settings = field(default_factory=Settings)
    finalists: int = 5
    calibration_batches: int = 200
    calibration_batch: int = 128
    flops_at_least: int = 0

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


@dataclass(frozen=True, eq=False)
class Finalist:
    """A candidate after retraining. measured: on the validation split, with its own weights."""

    candidate: Candidate
    network: Network
    measured: Measured


@dataclass(frozen=True, eq=False)
class Found:
    """finalists: highest reward first. path: the file of the first."""

    history: History
    finalists: tuple[Finalist, ...]
    path: Path


def search(
    plan: SearchPlan,
    gallery_model: GalleryModel,
    items: Items,
    validation: Validation,
    *,
    folder: Path,
    augment: Augment | None = None,
    on_candidate: Callable[[Candidate], None] | None = None,
) -> Found:
    """Find a query model for a gallery. The same call again goes on where the last one stopped.

    items: the training set, numbered as gallery_model.head answers. validation: other items.
    folder: for the super-network, the history and the query model; made when missing.
    Raises ConfigError for an impossible budget or dimensions that differ, InputError when the
    folder is of another search, DivergedError.
    """
    budget = Budget(plan.space, plan.flops, plan.flops_at_least)
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
    return Found(history, tuple(finalists), path)


def train_super_network(
    plan: SearchPlan,
    gallery_model: GalleryModel,
    items: Items,
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
    items: Items,
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
    space: Space,
    architecture: Architecture,
    gallery_model: GalleryModel,
    items: Items,
    settings: Settings,
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


def check_dimension(space: Space, gallery_model: GalleryModel) -> None:
    """Raise ConfigError unless the space makes embeddings of the gallery's dimension."""
    if space.dimension != gallery_model.model_id.dimension:
        raise ConfigError(
            f"space {space.name!r} makes embeddings of dimension {space.dimension}, the gallery of "
            f"{gallery_model.model_id} has {gallery_model.model_id.dimension}; make them equal"
        )


def _batches(plan: SearchPlan, items: Items, device: str) -> Iterator[Tensor]:
    """The same training items for every candidate, unchanged; fewer where there are fewer."""
    order = np.random.default_rng([plan.evolution.seed, 1]).permutation(len(items.item_ids))
    size = min(plan.calibration_batch, len(order))
    for number in range(min(plan.calibration_batches, len(order) // size)):
        yield items(order[number * size : (number + 1) * size]).to(device)
