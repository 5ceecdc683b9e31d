"""Training an encoder's networks: minutes on one core for 100,000 x 512; stops and goes on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from hotfill.binary.encoder import BinaryEncoder
from hotfill.errors import ConfigError, InputError, ShapeError
from hotfill.lab.binary.network import (
    CodeNetwork,
    CodeQueue,
    MomentumCopy,
    similarity_loss,
    two_way_loss,
)
from hotfill.lab.binary.start import fit_decoder
from hotfill.vectors import unit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from hotfill.lab.binary.start import TrainingPairs
    from hotfill.types import Vectors


_KIND = "hotfill binary training 1"


def save_checkpoint(
    path: Path, key: str, network: CodeNetwork, optimiser: torch.optim.Optimizer, epochs: int
) -> None:
    """Write weights, statistics and momenta after some epochs. key: names the training."""
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    for name, weight in network.named_parameters():
        tensors[f"momentum.{name}"] = optimiser.state[weight]["momentum_buffer"]
    partial = path.with_name(path.name + ".partial")
    stamp = {"kind": _KIND, "key": key, "epochs": str(epochs)}
    save_file({name: value.contiguous() for name, value in tensors.items()}, partial, stamp)
    partial.replace(path)


def load_checkpoint(
    path: Path, key: str, network: CodeNetwork, optimiser: torch.optim.Optimizer
) -> int:
    """Read the state into network and optimiser; returns the epochs done.

    Raises InputError when the file is damaged or of another training.
    """
    try:
        with safe_open(path, framework="pt") as file:
            stamp = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: cannot be read: {error}; remove it to start again") from error
    if stamp.get("kind") != _KIND or stamp.get("key") != key:
        raise InputError(
            f"{path}: is the checkpoint of another training (data, start or plan differ): name "
            "another file, or remove it to start again"
        )
    prefix = "network."
    network.load_state_dict(
        {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
    )
    for name, weight in network.named_parameters():
        optimiser.state[weight]["momentum_buffer"] = tensors[f"momentum.{name}"]
    return int(stamp["epochs"])


# Training an encoder's networks. Minutes on one core for 100,000 x 512; stops and goes on.
# Paper's defaults (method notes 1.3, read): temperature 0.05, 5 hardest negatives, SGD with
# Nesterov momentum 0.9, weight decay 1e-3 on matrices, step x 0.1 after six tenths of the epochs,
# gradients clipped at 5. Ours: the width, the batch, the step and the anchored start, chosen by
# measurement.


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """How to train.

    epochs: passes over the pairs. batch: pairs per step, >= 2. learning_rate: of SGD, for
    this batch. hidden: width of the networks; None is the prepared dimension. anchored: start from
    the grid (else from the paper's random weights). queue: codes kept as further negatives from the
    second epoch on, 0 for none. momentum_share: of the copy that fills the queue.
    contrastive_weight: of the paper's loss. similarity_weight: of ours, see `similarity_loss`, with
    its own temperature. compatible_weight: of the term against old codes (the paper: 1).
    """

    epochs: int = 10
    batch: int = 1024
    learning_rate: float = 0.02
    hidden: int | None = None
    anchored: bool = True
    temperature: float = 0.05
    hardest: int = 5
    weight_decay: float = 1e-3
    gradient_clip: float = 5.0
    queue: int = 0
    momentum_share: float = 0.99
    contrastive_weight: float = 1.0
    similarity_weight: float = 0.0
    similarity_temperature: float = 0.02
    compatible_weight: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 2 or self.hardest < 1:
            raise ConfigError("training needs epochs >= 1, batch >= 2 and hardest >= 1")
        if self.temperature <= 0 or self.learning_rate <= 0:
            raise ConfigError("training needs a temperature and a learning rate above 0")


def similarity_plan(*, epochs: int = 4, seed: int = 0) -> TrainingPlan:
    """Return the plan that adds to the grid when there is nothing but vectors.

    Our loss alone, on pairs of neighbours. Measured on 9,000 x 256 image vectors at 2 bits:
    ann_recall@10 from 0.752 to 0.767; the paper's loss, made for pairs, added at most 0.003.
    Many more epochs lose it again.
    """
    return TrainingPlan(
        epochs=epochs,
        batch=512,
        learning_rate=0.1,
        contrastive_weight=0.0,
        similarity_weight=1.0,
        seed=seed,
    )


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """Told after each step: steps done of all, the epoch (from 1), and the loss of the step."""

    done: int
    total: int
    epoch: int
    loss: float


def train_encoder(
    start: BinaryEncoder,
    pairs: TrainingPairs,
    plan: TrainingPlan | None = None,
    *,
    old_values: NDArray[np.float32] | None = None,
    checkpoint: Path | str | None = None,
    progress: Callable[[TrainingProgress], None] | None = None,
) -> BinaryEncoder:
    """Train networks on top of a start encoder; its preparation is kept.

    start: see `fit_start`. pairs: of vectors of the start's source.
    old_values: float32 (n, old dimension), the old codes of all rows of `pairs.vectors` as grid
        values, for codes that can search an old gallery (method notes 1.5); the old dimension is
        at most the new one, whose first dimensions are compared.
    checkpoint: file kept after each epoch; an existing one of the same training is continued,
        and the result is that of a training without interruption. Removed by nobody.
    progress: called after each step.
    Raises ShapeError, InputError, ConfigError.
    """
    plan = plan or TrainingPlan()
    if len(pairs) < 2:
        raise InputError(f"training needs at least 2 pairs, got {len(pairs)}")
    plan = replace(plan, batch=min(plan.batch, len(pairs)))
    rows, _ = start.preparation.items(pairs.vectors)
    if old_values is not None:
        _check_old(old_values, len(rows), start)
    torch.manual_seed(plan.seed)
    network = CodeNetwork(
        start.code_format,
        start.preparation.kept,
        plan.hidden or start.preparation.kept,
        start.recurrent.anchor if plan.anchored else None,
        start.decoder if plan.similarity_weight else None,
    )
    optimiser = _optimiser(network, plan)
    done = 0
    key = f"{start.fingerprint} {plan} {len(pairs)}"
    if checkpoint is not None and Path(checkpoint).exists():
        done = load_checkpoint(Path(checkpoint), key, network, optimiser)
    per_epoch = len(pairs) // plan.batch
    for epoch in range(done, plan.epochs):
        for group in optimiser.param_groups:
            group["lr"] = plan.learning_rate * (0.1 if epoch >= 0.6 * plan.epochs else 1.0)
        losses = _epoch(network, optimiser, rows, pairs, plan, epoch, old_values)
        for step, loss in enumerate(losses):
            if progress is not None:
                total = plan.epochs * per_epoch
                progress(TrainingProgress(epoch * per_epoch + step + 1, total, epoch + 1, loss))
        if checkpoint is not None:
            save_checkpoint(Path(checkpoint), key, network, optimiser, epoch + 1)
    network.eval()
    recurrent = network.export()
    decoder = network.export_decoder()
    if decoder is None:
        decoder = fit_decoder(rows, recurrent)
    return BinaryEncoder(start.source, start.preparation, recurrent, decoder)


def _epoch(
    network: CodeNetwork,
    optimiser: torch.optim.Optimizer,
    rows: Vectors,
    pairs: TrainingPairs,
    plan: TrainingPlan,
    epoch: int,
    old_values: NDArray[np.float32] | None,
) -> Iterator[float]:
    """Train one epoch. Its random numbers depend on seed and epoch only, so it can be repeated."""
    random = np.random.default_rng((plan.seed, epoch))
    network.train()
    queue = CodeQueue(plan.queue)
    # The release makes its copy at the second epoch; ours is renewed with the queue at each.
    copy = MomentumCopy(network, plan.momentum_share) if plan.queue and epoch else None
    order = random.permutation(len(pairs))
    for step in range(len(pairs) // plan.batch):
        left = order[step * plan.batch : (step + 1) * plan.batch]
        chosen = random.integers(0, pairs.partners.shape[1], len(left))
        right = pairs.partners[left, chosen]
        both = np.concatenate([left, right])
        batch = torch.from_numpy(_moved(rows[both], pairs.noise, random))
        items = torch.from_numpy(pairs.items[left])
        codes = network(batch)
        first, second = codes.chunk(2)
        loss = torch.zeros(())
        if plan.contrastive_weight:
            contrast = _loss(first, second, first, second, items, plan, queue)
            loss = loss + plan.contrastive_weight * contrast
        if network.decoder is not None:
            loss = loss + plan.similarity_weight * similarity_loss(
                batch, codes, network.decoder, temperature=plan.similarity_temperature
            )
        if old_values is not None and plan.compatible_weight:
            old_first, old_second = torch.from_numpy(old_values[both]).chunk(2)
            width = old_values.shape[1]
            loss = loss + plan.compatible_weight * _loss(
                first[:, :width], second[:, :width], old_first, old_second, items, plan, None
            )
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), plan.gradient_clip)
        optimiser.step()
        if copy is not None:
            copy.follow(network)
            with torch.no_grad():
                queue.put(copy.network(batch[len(left) :]), items)
        yield loss.item()


def _loss(
    first: Tensor,
    second: Tensor,
    compared_first: Tensor,
    compared_second: Tensor,
    items: Tensor,
    plan: TrainingPlan,
    queue: CodeQueue | None,
) -> Tensor:
    return two_way_loss(
        first,
        second,
        compared_first,
        compared_second,
        items,
        temperature=plan.temperature,
        hardest=plan.hardest,
        bank=None if queue is None else queue.bank(),
    )


def _moved(rows: Vectors, noise: float, random: np.random.Generator) -> Vectors:
    if noise == 0:
        return rows
    steps = random.standard_normal(rows.shape, np.float32)
    moved = rows + steps * np.float32(noise / np.sqrt(rows.shape[1]))
    return unit(moved)


def _optimiser(network: CodeNetwork, plan: TrainingPlan) -> torch.optim.SGD:
    matrices = [weight for weight in network.parameters() if weight.ndim > 1]
    others = [weight for weight in network.parameters() if weight.ndim == 1]
    groups = [
        {"params": matrices, "weight_decay": plan.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.SGD(groups, lr=plan.learning_rate, momentum=0.9, nesterov=True)


def _check_old(old_values: NDArray[np.float32], rows: int, start: BinaryEncoder) -> None:
    if len(old_values) != rows or old_values.ndim != 2:
        raise ShapeError(f"expected the old code of each of {rows} rows, got {old_values.shape}")
    if old_values.shape[1] > start.code_format.dimension:
        raise InputError(
            f"new codes need at least the {old_values.shape[1]} dimensions of the old ones, "
            f"got {start.code_format.dimension}"
        )
