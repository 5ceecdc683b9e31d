"""Train the two encoders on the background alphabets and measure them on the evaluation ones.

    python -m demo.omniglot.train               train both, export, measure (about 10 minutes)
    python -m demo.omniglot.train --evaluate    measure the weights that are there

Needs torch; measuring does not, it runs the numpy encoders.
"""

import argparse
import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from demo.omniglot import drawings, quality
from demo.omniglot.architecture import NEW, OLD, Architecture
from demo.omniglot.drawings import DATA, Drawings
from demo.omniglot.encoders import Encoder

if TYPE_CHECKING:
    from torch import Tensor

COMMAND = "python -m demo.omniglot.train"
BATCH = 256
QUICK_CHARACTERS = 100
WARM_UP = 0.1  # share of the steps in which the learning rate rises
WEIGHT_DECAY = 0.02


@dataclass(frozen=True)
class Recipe:
    """How one encoder is trained.

    alphabets: how many of the 30 background alphabets it sees, from the first. rotations: 4 =
    every character turned by 90, 180 and 270 degrees counts as three more; 1 = not. epochs:
    passes over the unrotated drawings; each is rotated and distorted at random each time.
    learning_rate: the highest, of AdamW. scale, margin: see `loss.CosineMarginLoss`.
    """

    file: str
    architecture: Architecture
    alphabets: int
    rotations: int
    epochs: int
    seed: int
    learning_rate: float = 1e-2
    scale: float = 20.0
    margin: float = 0.1


RECIPES = (
    Recipe("old", OLD, alphabets=15, rotations=1, epochs=12, seed=1),
    Recipe("new", NEW, alphabets=30, rotations=4, epochs=42, seed=2),
)


def seen(recipe: Recipe) -> Drawings:
    """The background drawings that a recipe trains on."""
    background = drawings.load("background")
    alphabets = list(dict.fromkeys(background.alphabets))[: recipe.alphabets]
    return background.where(np.isin(np.array(background.alphabets), alphabets))


def train(recipe: Recipe, data: Drawings, folder: Path) -> None:
    """Train from random weights, write `<file>.safetensors` and `<file>.json` into `folder`.

    The same seed gives the same encoder on the same machine and torch; elsewhere the last digits
    of the sums differ, and with them the weights.
    """
    import torch

    from demo.omniglot.augment import distort
    from demo.omniglot.loss import CosineMarginLoss
    from demo.omniglot.network import Network, export

    torch.manual_seed(recipe.seed)
    generator = torch.Generator().manual_seed(recipe.seed)
    images = torch.from_numpy(data.images).float().unsqueeze(1)
    _, indices = np.unique(data.labels, return_inverse=True)
    characters = int(indices.max()) + 1
    labels = torch.from_numpy(indices)

    network = Network(recipe.architecture)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    loss = CosineMarginLoss(
        characters * recipe.rotations,
        recipe.architecture.dimension,
        scale=recipe.scale,
        margin=recipe.margin,
    )
    parameters = [*network.parameters(), *loss.parameters()]
    optimiser = torch.optim.AdamW(parameters, weight_decay=WEIGHT_DECAY)
    batches = max(1, len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.learning_rate, total_steps=batches * recipe.epochs, pct_start=WARM_UP
    )
    started = time.monotonic()
    for epoch in range(recipe.epochs):
        total = 0.0
        order = torch.randperm(len(images), generator=generator)
        for rows in torch.split(order[: batches * BATCH], BATCH):
            turns = torch.randint(recipe.rotations, (len(rows),), generator=generator)
            pictures = distort(_turned(images[rows], turns), generator)
            value = loss(
                network(pictures.contiguous(memory_format=torch.channels_last)),
                labels[rows] + characters * turns,
            )
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
            schedule.step()
            total += float(value.detach())
        seconds = time.monotonic() - started
        print(
            f"{recipe.file}: epoch {epoch + 1}/{recipe.epochs}, "
            f"loss {total / batches:.3f}, {seconds:.0f} s",
            flush=True,
        )
    folder.mkdir(parents=True, exist_ok=True)
    export(network, folder / f"{recipe.file}.safetensors")
    facts = {
        **asdict(recipe),
        "characters": characters,
        "drawings": len(data),
        "batch": BATCH,
        "command": f"{COMMAND} --only {recipe.file}",
        "training_seconds": round(time.monotonic() - started),
        "torch": torch.__version__.split("+")[0],
    }
    _write_facts(folder / f"{recipe.file}.json", facts)


def evaluate(recipe: Recipe, data: Drawings, folder: Path) -> quality.Quality:
    """Measure the exported weights on `data`, evaluation drawings, and note it in `<file>.json`.

    Noted twice: on all of them, and on the first characters, which is quick to check.
    """
    encoder = Encoder(recipe.architecture, folder / f"{recipe.file}.safetensors")
    whole, quick = quality.measure(encoder, data), data.first(QUICK_CHARACTERS)
    path = folder / f"{recipe.file}.json"
    facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    facts["revision"] = encoder.revision
    facts["quality"] = _quality_facts(whole, data)
    facts["quick_quality"] = _quality_facts(quality.measure(encoder, quick), quick)
    facts["measured_by"] = f"{COMMAND} --evaluate"
    _write_facts(path, facts)
    return whole


def _quality_facts(measured: quality.Quality, data: Drawings) -> dict[str, Any]:
    return {
        "map": round(measured.mean_average_precision, 4),
        "hit_rate@1": round(measured.hit_rate_at_1, 4),
        "characters": len(np.unique(data.labels)),
        "gallery": f"{len(data.gallery())} drawings, drawers 1-10",
        "queries": f"{len(data.queries())} drawings, drawers 11-20",
    }


def _turned(images: "Tensor", turns: "Tensor") -> "Tensor":
    """Turn each (1, 28, 28) picture by its number of quarter turns."""
    import torch

    turned = images.clone()
    for quarters in (1, 2, 3):
        chosen = turns == quarters
        turned[chosen] = torch.rot90(images[chosen], quarters, dims=(2, 3))
    return turned


def _write_facts(path: Path, facts: dict[str, Any]) -> None:
    path.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line; train unless told only to evaluate; evaluate and print."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--evaluate", action="store_true", help="only measure existing weights")
    parser.add_argument("--only", choices=[recipe.file for recipe in RECIPES])
    parser.add_argument("--output", type=Path, default=DATA, help="folder of the weights")
    parser.add_argument("--epochs", type=int, help="instead of the recipe's, for a trial")
    parser.add_argument("--characters", type=int, help="use only this many, for a trial")
    options = parser.parse_args(arguments)
    for recipe in RECIPES:
        if options.only not in (None, recipe.file):
            continue
        if options.epochs is not None:
            recipe = replace(recipe, epochs=options.epochs)
        training, evaluation = seen(recipe), drawings.load("evaluation")
        if options.characters is not None:
            training = training.first(options.characters)
            evaluation = evaluation.first(options.characters)
        if not options.evaluate:
            train(recipe, training, options.output)
        measured = evaluate(recipe, evaluation, options.output)
        print(
            f"{recipe.file}: mAP {measured.mean_average_precision:.4f}, "
            f"hit_rate@1 {measured.hit_rate_at_1:.4f}"
        )


if __name__ == "__main__":
    main()
