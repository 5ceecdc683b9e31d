"""The training loop: plain torch, resumable at any step."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hotfill.errors import InputError
from hotfill.extras import need
from hotfill.lab.losses import Pairs, Recipe, Value
from hotfill.lab.training.diverged import DivergedError
from hotfill.lab.training.embed import embed
from hotfill.lab.training.items import Items
from hotfill.lab.training.log import Log
from hotfill.lab.training.old_vectors import OldVectors
from hotfill.lab.training.order import Order
from hotfill.lab.training.settings import Settings
from hotfill.lab.training.state import TrainingState

CHECKPOINT, LOG = "checkpoint.safetensors", "log.jsonl"

Augment = Callable[[Tensor, torch.Generator], Tensor]
"""Distorts a batch of contents; draws only from the generator."""


@dataclass(frozen=True)
class Outcome:
    """What a call of `fit` came to.

    finished: whether all steps are done. step, steps: done, and in all.
    losses: mean of each part over the last epoch of this call that was completed.
    """

    finished: bool
    step: int
    steps: int
    losses: Mapping[str, float] = field(default_factory=dict)


def fit(
    model: nn.Module,
    recipe: Recipe,
    items: Items,
    settings: Settings,
    *,
    folder: Path,
    old_vectors: OldVectors | None = None,
    augment: Augment | None = None,
    stop_after_seconds: float | None = None,
    show_progress: bool = False,
) -> Outcome:
    """Train a model by a recipe, in place. Calling it again goes on where it stopped.

    model: contents to (n, dimension) embeddings of any length; parameters that need no gradient
        stay unchanged. recipe: its heads, maps and critics are trained along.
    folder: for the checkpoint and the log (`log.jsonl`); made when missing. A checkpoint there of
        the same training is gone on with, and the result is the same as without the stop.
    old_vectors: for recipes that compare items; read by id, so the old model is not needed.
    augment: applied to each batch. Old vectors are those of the items before it.
    stop_after_seconds: stop after the step in which this much time is over, with a checkpoint.
    Raises InputError for data the recipe cannot use (before the first step), DivergedError when a
    loss or gradient is not finite; the checkpoint before it stays.
    """
    run = _Run(model, recipe, items, settings, folder, old_vectors, augment)
    deadline = math.inf if stop_after_seconds is None else time.monotonic() + stop_after_seconds
    cuda = [torch.device(settings.device)] if settings.device.startswith("cuda") else []
    with torch.random.fork_rng(devices=cuda):  # the caller's random numbers stay their own
        return run.go_on(deadline, show_progress)


class _Run:
    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        items: Items,
        settings: Settings,
        folder: Path,
        old_vectors: OldVectors | None,
        augment: Augment | None,
    ) -> None:
        if not len(items.item_ids):
            raise InputError("training needs at least one item, got none")
        self.items, self.settings, self.augment = items, settings, augment
        self.labels = torch.from_numpy(items.labels)
        self.old = _check(recipe, items, self.labels, old_vectors)
        self.order = Order(len(items.item_ids), settings.batch, settings.epochs, settings.seed)
        model.to(settings.device).train()
        recipe.to(settings.device).train()
        everything = [*model.parameters(), *recipe.parameters()]
        self.parameters = [parameter for parameter in everything if parameter.requires_grad]
        self.state = TrainingState(model, recipe, _optimiser(settings, self.parameters))
        self.identity = _identity(recipe, items, settings, self.old)
        folder.mkdir(parents=True, exist_ok=True)
        self.checkpoint, self.log = folder / CHECKPOINT, Log(folder / LOG)
        self.sums: dict[str, list[float]] = {}
        self.losses: dict[str, float] = {}

    def go_on(self, deadline: float, show_progress: bool) -> Outcome:
        state, steps = self.state, self.order.steps
        if self.checkpoint.exists():
            state.restore(self.checkpoint, self.identity)
        self.log.write("resume" if state.step else "start", step=state.step, steps=steps)
        saved = time.monotonic()
        tqdm = need("tqdm", "train").tqdm
        with tqdm(
            total=steps, initial=state.step, desc=state.recipe.name, disable=not show_progress
        ) as bar:
            while state.step < steps:
                self._refresh_if_due()
                loss = self._step()
                state.step += 1
                bar.update()
                bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
                if state.step % self.order.steps_per_epoch == 0:
                    self._end_epoch()
                if time.monotonic() - saved >= self.settings.checkpoint_seconds:
                    self._save()
                    saved = time.monotonic()
                if time.monotonic() >= deadline:
                    break  # after a step, so that even the shortest calls get somewhere
        self._save()
        finished = state.step == steps
        self.log.write("finish" if finished else "stop", step=state.step)
        return Outcome(finished, state.step, steps, self.losses)

    def _step(self) -> float:
        """One step; gives the loss before it."""
        settings, state, step = self.settings, self.state, self.state.step
        for group in state.optimiser.param_groups:
            group["lr"] = settings.learning_rate_at(step / self.order.steps)
        value = self._losses()
        state.optimiser.zero_grad(set_to_none=True)
        value.loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.parameters, settings.clip or math.inf)
        if not bool(torch.isfinite(norm)):
            self._diverged(self._guilty_of_the_gradient())
        state.optimiser.step()
        for name, part in {"": value, **value.parts}.items():
            sums = self.sums.setdefault(name, [0.0, 0.0, 0.0])
            for place, number in enumerate((float(part.loss.detach()), part.active, 1)):
                sums[place] += number
        return float(value.loss.detach())

    def _losses(self) -> Value:
        """The recipe's value for the present step's batch. Draws the same whenever called."""
        settings, state = self.settings, self.state
        rows, seed = self.order.rows(state.step), self.order.seed_of(state.step)
        torch.manual_seed(seed)
        contents = self.items(rows)
        if self.augment is not None:
            contents = self.augment(contents, torch.Generator().manual_seed(seed))
        where = torch.from_numpy(rows)
        with torch.autocast(
            torch.device(settings.device).type,
            dtype=torch.bfloat16,
            enabled=settings.precision == "bfloat16",
        ):
            embeddings = state.model(contents.to(settings.device))
        pairs = Pairs(
            embeddings.float(),
            None if self.old is None else self.old[where].to(settings.device),
            self.labels[where].to(settings.device),
            [self.items.item_ids[row] for row in rows],
        )
        if not bool(torch.isfinite(pairs.new).all()):
            self._diverged(["backbone"])
        value: Value = state.recipe(pairs, state.step / self.order.steps)
        guilty = [n for n, part in value.parts.items() if not bool(torch.isfinite(part.loss))]
        if guilty:
            self._diverged(guilty)
        return value

    def _guilty_of_the_gradient(self) -> list[str]:
        parts = self._losses().parts
        guilty = []
        for name, part in parts.items():
            gradients = torch.autograd.grad(
                part.loss, self.parameters, retain_graph=True, allow_unused=True
            )
            if any(g is not None and not bool(torch.isfinite(g).all()) for g in gradients):
                guilty.append(name)
        return guilty or list(parts)

    def _diverged(self, terms: list[str]) -> None:
        kept = self.checkpoint if self.checkpoint.exists() else None
        self.log.write("diverged", step=self.state.step, terms=terms)
        raise DivergedError(terms, self.state.step, kept)

    def _refresh_if_due(self) -> None:
        refresh, state = self.state.recipe.refresh, self.state
        before, now = ((state.step - back) / self.order.steps for back in (1, 0))
        if refresh is None or not refresh.due(before, now):
            return
        new = torch.from_numpy(embed(state.model, self.items, device=self.settings.device))
        state.recipe.renew(refresh.build(self.old_of_all(), new, self.labels))
        self.log.write("refresh", step=state.step)

    def old_of_all(self) -> Tensor:
        """Old vectors of every item, for a refresh."""
        if self.old is None:
            raise InputError("this recipe refreshes its anchors from old vectors: pass old_vectors")
        return self.old

    def _end_epoch(self) -> None:
        means = {
            name: {"loss": loss / steps, "active": active / steps}
            for name, (loss, active, steps) in self.sums.items()
        }
        self.losses = {name or "total": mean["loss"] for name, mean in means.items()}
        self.log.write(
            "epoch",
            epoch=self.state.step // self.order.steps_per_epoch,
            step=self.state.step,
            loss=means.pop("")["loss"],
            parts=means,
        )
        self.sums = {}

    def _save(self) -> None:
        # A step can leave weights that are not finite although its gradient was: never keep those.
        if all(bool(torch.isfinite(parameter).all()) for parameter in self.parameters):
            self.state.save(self.checkpoint, self.identity)
        else:
            self._diverged(["optimiser"])


def _check(
    recipe: Recipe, items: Items, labels: Tensor, old_vectors: OldVectors | None
) -> Tensor | None:
    """Refuse what the recipe cannot use; return the old vectors of every item."""
    if "label" in recipe.needs and not bool((labels >= 0).any()):
        raise InputError(f"recipe {recipe.name!r} needs labels, but no item has one")
    names = Pairs(torch.zeros(len(labels), 1), label=labels, item_ids=items.item_ids)
    references = recipe.references
    for reference in (references.new, references.old):
        if reference is not None:
            reference.map_tensors(Tensor.cpu).answering(names)
    if old_vectors is None:
        if "old" in recipe.needs:
            raise InputError(f"recipe {recipe.name!r} compares with old vectors: pass old_vectors")
        return None
    return torch.from_numpy(old_vectors.of(items.item_ids))


def _optimiser(settings: Settings, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    if settings.optimiser == "sgd":
        return torch.optim.SGD(
            parameters, settings.learning_rate, momentum=0.9, weight_decay=settings.weight_decay
        )
    return torch.optim.AdamW(parameters, settings.learning_rate, weight_decay=settings.weight_decay)


def _identity(
    recipe: Recipe, items: Items, settings: Settings, old: Tensor | None
) -> dict[str, Any]:
    """What makes two calls the same training; where and how often it is saved does not."""
    numbers = asdict(settings)
    for name in ("device", "checkpoint_seconds"):
        del numbers[name]
    content = hashlib.sha256(json.dumps([*items.item_ids, *items.labels.tolist()]).encode())
    if old is not None:
        content.update(old.numpy().tobytes())
    return {"recipe": recipe.name, **numbers, "items": content.hexdigest()[:12]}
