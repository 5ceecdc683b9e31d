"""Training and applying a backbone by FCT's recipe; goes on from its checkpoint."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.cifar100_paper.data import Images
from benchmarks.cifar100_paper.resnet import ResNet, Shape
from hotfill.lab.training.checkpoint import Checkpoint, pack_optimiser, under, unpack_optimiser

MEAN, DEVIATION = (0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762)


class OutOfTimeError(Exception):
    """The next piece of work would end after the deadline; what is done is on disk."""


@dataclass(frozen=True)
class Recipe:
    """FCT's, section 4.2 of the method notes. size: what pictures are resized to."""

    epochs: int = 100
    warm_up_epochs: int = 5
    batch: int = 1024
    learning_rate: float = 1.024
    momentum: float = 0.875
    weight_decay: float = 2.0**-15
    smoothing: float = 0.1
    size: int = 224
    classes: int = 100
    shape: Shape = field(default_factory=Shape)

    def learning_rate_of(self, epoch: int) -> float:
        if epoch < self.warm_up_epochs:
            return self.learning_rate * (epoch + 1) / self.warm_up_epochs
        falling = (epoch - self.warm_up_epochs) / (self.epochs - self.warm_up_epochs)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * falling))


def train(
    images: Images, recipe: Recipe, *, seed: int, device: str, path: Path, deadline: float
) -> ResNet:
    """Train epoch by epoch, with a checkpoint after each. Raises OutOfTimeError."""
    torch.manual_seed(seed)
    model = ResNet(recipe.classes, recipe.shape).to(device)
    optimiser = torch.optim.SGD(
        model.parameters(),
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
    )
    identity = {"recipe": asdict(recipe), "seed": seed, "items": len(images.labels)}
    identity = _plain(identity)
    epoch = 0
    if path.exists():
        found = Checkpoint.read(path)
        if found.facts["identity"] != identity:
            raise SystemExit(f"{path} is of another training; choose another --work")
        model.load_state_dict(found.part("model"))
        unpack_optimiser(optimiser, found.part("optimiser"), found.facts["optimiser"])
        epoch = found.facts["epoch"]
    pixels = torch.from_numpy(images.images).to(device)
    labels = torch.from_numpy(images.labels).to(device)
    seconds = 0.0
    while epoch < recipe.epochs:
        began = time.monotonic()
        if seconds and began + seconds > deadline:  # each call does one epoch at least
            raise OutOfTimeError
        for group in optimiser.param_groups:
            group["lr"] = recipe.learning_rate_of(epoch)
        _one_epoch(model, optimiser, pixels, labels, recipe, seed=seed * 100_000 + epoch)
        epoch += 1
        seconds = time.monotonic() - began
        tensors, facts = pack_optimiser(optimiser)
        Checkpoint(
            {**under("model", model.state_dict()), **under("optimiser", tensors)},
            {"epoch": epoch, "optimiser": facts, "identity": identity},
        ).save(path)
    return model.eval()


def embed(model: ResNet, images: Images, recipe: Recipe, *, device: str) -> np.ndarray:
    """Embeddings float32 (n, dimension), not normalised."""
    model.eval()
    pixels = torch.from_numpy(images.images)
    with torch.inference_mode():
        parts = [
            model(_prepared(some.to(device), recipe.size))[0].float().cpu()
            for some in pixels.split(256)
        ]
    return torch.cat(parts).numpy()


def _one_epoch(
    model: ResNet,
    optimiser: torch.optim.Optimizer,
    pixels: Tensor,
    labels: Tensor,
    recipe: Recipe,
    *,
    seed: int,
) -> None:
    model.train()
    random = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(pixels), generator=random)
    whole = max(1, len(order) // recipe.batch)
    kind = pixels.device.type
    for rows in order[: whole * recipe.batch].split(recipe.batch):
        flipped = (torch.rand(len(rows), generator=random) < 0.5).to(pixels.device)
        rows = rows.to(pixels.device)
        some = pixels[rows]
        some = torch.where(flipped[:, None, None, None], some.flip(3), some)
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast(kind, torch.bfloat16, enabled=kind == "cuda"):
            _, logits = model(_prepared(some, recipe.size))
        loss = nn.functional.cross_entropy(
            logits.float(), labels[rows], label_smoothing=recipe.smoothing
        )
        loss.backward()
        optimiser.step()
    if not torch.isfinite(loss):
        raise SystemExit("training diverged: the loss is not finite")


def _prepared(pixels: Tensor, size: int) -> Tensor:
    mean = torch.tensor(MEAN, device=pixels.device)[:, None, None]
    deviation = torch.tensor(DEVIATION, device=pixels.device)[:, None, None]
    images = (pixels.float() / 255 - mean) / deviation
    images = nn.functional.interpolate(images, size=(size, size), mode="bilinear", antialias=False)
    return images.contiguous(memory_format=torch.channels_last)


def _plain(value: object) -> object:
    """As it comes back from JSON."""
    import json

    return json.loads(json.dumps(value))
