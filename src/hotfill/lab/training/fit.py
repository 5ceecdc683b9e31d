"""The training loop: plain torch, resumable at any step."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hotfill.errors import ConfigError, HotfillError, InputError
from hotfill.extras import need
from hotfill.lab.losses import PairedBatch, Recipe, Value
from hotfill.lab.training.checkpoint import TrainingState
from hotfill.lab.training.items import OldVectors, TrainingItems, embed


@dataclass(frozen=True)
class TrainingSettings:
    """The numbers of one training run; with the same ones it gives the same model.

    epochs: passes over the items. batch: items per step; the last short batch of an epoch is left
        out unless it is the only one.
    learning_rate: the highest; it rises over the first `warm_up` of the steps, then falls to 0 in
        half a cosine.
    optimiser: "adamw", or "sgd" with momentum 0.9. weight_decay: for all parameters alike.
    clip: the largest norm of the whole gradient, or None for no bound.
    seed: of weights drawn later, of the order and of the augmentation.
    device: as torch names it. precision: of the backbone; losses are always float32.
    checkpoint_seconds: at least this long between two checkpoints; one is always made at the end.
    Raises ConfigError.
    """

    epochs: int = 30
    batch: int = 128
    learning_rate: float = 1e-2
    warm_up: float = 0.1
    optimiser: Literal["adamw", "sgd"] = "adamw"
    weight_decay: float = 0.02
    clip: float | None = None
    seed: int = 0
    device: str = "cpu"
    precision: Literal["float32", "bfloat16"] = "float32"
    checkpoint_seconds: float = 60.0

    def __post_init__(self) -> None:
        wrong = [
            name
            for name, right in {
                "epochs >= 1": self.epochs >= 1,
                "batch >= 1": self.batch >= 1,
                "learning_rate > 0": 0 < self.learning_rate < math.inf,
                "warm_up from 0 to below 1": 0 <= self.warm_up < 1,
                "optimiser 'adamw' or 'sgd'": self.optimiser in ("adamw", "sgd"),
                "weight_decay >= 0": self.weight_decay >= 0,
                "clip > 0 or None": self.clip is None or self.clip > 0,
                "precision 'float32' or 'bfloat16'": self.precision in ("float32", "bfloat16"),
                "checkpoint_seconds >= 0": self.checkpoint_seconds >= 0,
            }.items()
            if not right
        ]
        if wrong:
            raise ConfigError(f"training settings: expected {', '.join(wrong)}; got {self}")

    def learning_rate_at(self, progress: float) -> float:
        """The learning rate at a share of the training, 0 to 1."""
        if progress < self.warm_up:
            return self.learning_rate * (0.01 + 0.99 * progress / self.warm_up)
        falling = (progress - self.warm_up) / (1 - self.warm_up)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * falling))


# Which items make up which step: a function of the seed, so that a resumed run goes on exactly.


@dataclass(frozen=True)
class BatchOrder:
    """A fresh random order of `items` items for every epoch, cut into batches.

    The last short batch is left out unless it is the only one.
    """

    items: int
    batch: int
    epochs: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """At least 1."""
        return max(1, self.items // self.batch)

    @property
    def steps(self) -> int:
        """Of the whole training."""
        return self.steps_per_epoch * self.epochs

    def rows(self, step: int) -> NDArray[np.int64]:
        """The items of a step."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = _permutation(self.items, self.seed, epoch)
        return order[place * self.batch : (place + 1) * self.batch]

    def seed_of(self, step: int) -> int:
        """A seed for whatever a step draws, different for every step and run."""
        digest = hashlib.sha256(f"{self.seed}/{step}".encode()).digest()
        return int.from_bytes(digest[:6], "big")


@lru_cache(maxsize=2)
def _permutation(items: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(items)


class DivergedError(HotfillError):
    """A loss or gradient became NaN or infinite; training stopped before that step was taken.

    terms: names of the recipe's parts that are not finite, or "backbone" for the embeddings.
    step: of the whole training, from 0. checkpoint: the last good one, None if there was none yet.
    """

    def __init__(self, terms: Sequence[str], step: int, checkpoint: Path | None) -> None:
        self.terms, self.step, self.checkpoint = tuple(terms), step, checkpoint
        kept = f"the last good checkpoint is {checkpoint}" if checkpoint else "nothing was saved"
        super().__init__(
            f"expected finite losses and gradients, got NaN or infinite ones from "
            f"{', '.join(self.terms)} in step {step}; {kept}: lower the learning rate or that "
            "part's weight, or set clip, and train again"
        )


@final
class Log:
    """Appends to a JSON-lines file; each line has `time` (UTC) and `event`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, event: str, **facts: Any) -> None:
        """Append one line."""
        line = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "event": event, **facts}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


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
    items: TrainingItems,
    settings: TrainingSettings,
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
        items: TrainingItems,
        settings: TrainingSettings,
        folder: Path,
        old_vectors: OldVectors | None,
        augment: Augment | None,
    ) -> None:
        if not len(items.item_ids):
            raise InputError("training needs at least one item, got none")
        self.items, self.settings, self.augment = items, settings, augment
        self.labels = torch.from_numpy(items.labels)
        self.old = _check(recipe, items, self.labels, old_vectors)
        self.order = BatchOrder(len(items.item_ids), settings.batch, settings.epochs, settings.seed)
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
        pairs = PairedBatch(
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
    recipe: Recipe, items: TrainingItems, labels: Tensor, old_vectors: OldVectors | None
) -> Tensor | None:
    """Refuse what the recipe cannot use; return the old vectors of every item."""
    if "label" in recipe.needs and not bool((labels >= 0).any()):
        raise InputError(f"recipe {recipe.name!r} needs labels, but no item has one")
    names = PairedBatch(torch.zeros(len(labels), 1), label=labels, item_ids=items.item_ids)
    references = recipe.references
    for reference in (references.new, references.old):
        if reference is not None:
            reference.map_tensors(Tensor.cpu).answering(names)
    if old_vectors is None:
        if "old" in recipe.needs:
            raise InputError(f"recipe {recipe.name!r} compares with old vectors: pass old_vectors")
        return None
    return torch.from_numpy(old_vectors.of(items.item_ids))


def _optimiser(settings: TrainingSettings, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    if settings.optimiser == "sgd":
        return torch.optim.SGD(
            parameters, settings.learning_rate, momentum=0.9, weight_decay=settings.weight_decay
        )
    return torch.optim.AdamW(parameters, settings.learning_rate, weight_decay=settings.weight_decay)


def _identity(
    recipe: Recipe, items: TrainingItems, settings: TrainingSettings, old: Tensor | None
) -> dict[str, Any]:
    """What makes two calls the same training; where and how often it is saved does not."""
    numbers = asdict(settings)
    for name in ("device", "checkpoint_seconds"):
        del numbers[name]
    content = hashlib.sha256(json.dumps([*items.item_ids, *items.labels.tolist()]).encode())
    if old is not None:
        content.update(old.numpy().tobytes())
    return {"recipe": recipe.name, **numbers, "items": content.hexdigest()[:12]}
