"""Two toys with known labels: a synthetic one, and scikit-learn's digits.

Old and new are small encoders trained alike and apart; the old one has seen half of the classes.
The method specification (section 7) leaves open how wide the tanh layer is weighed and whether
encoders smooth their labels; here its weights have variance 1 / 16, and labels are smoothed by 0.1,
as FCT and FastFill train their models. Without smoothing FastFill fails on these toys.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from hotfill.lab.training.transforms import Classifier

HIDDEN, DIMENSION = 128, 32
EPOCHS, BATCH, RATE = 80, 256, 1e-3
TEST_SHARE = 0.3
SMOOTHING = 0.1


@dataclass(frozen=True, eq=False)
class Toy:
    """Vectors of any length of the training and the test items, and the new model's classifier.

    old, new: {"train", "test"} -> float32 (n, 32). labels: the same keys -> int64 (n,).
    """

    old: dict[str, np.ndarray]
    new: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    classifier: Classifier


def synthetic(
    seed: int, *, classes: int = 24, points: int = 70, epochs: int = EPOCHS, spread: float = 0.75
) -> Toy:
    """Class Gaussians in 16 dimensions, through a random tanh layer to 64, plus noise of 0.3."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), points)
    means = random.normal(size=(classes, 16))
    inner = means[labels] + spread * random.normal(size=(len(labels), 16))
    layer = random.normal(size=(16, 64)) / 4
    given = np.tanh(inner @ layer) + 0.3 * random.normal(size=(len(labels), 64))
    return _toy(given.astype(np.float32), labels, seed, epochs)


def digits(seed: int, *, epochs: int = EPOCHS) -> Toy:
    """8 x 8 pictures of ten digits; the old model knows the first five."""
    from sklearn.datasets import load_digits

    data = load_digits()
    return _toy((data.data / 16).astype(np.float32), data.target, seed, epochs)


def _toy(given: np.ndarray, labels: np.ndarray, seed: int, epochs: int) -> Toy:
    order = np.random.default_rng(seed).permutation(len(given))
    cut = round(TEST_SHARE * len(given))
    rows = {"train": order[cut:], "test": order[:cut]}
    parts = {name: given[some] for name, some in rows.items()}
    kept = {name: labels[some].astype(np.int64) for name, some in rows.items()}
    known = kept["train"] < (labels.max() + 1) // 2
    old, _ = _encoder(parts["train"][known], kept["train"][known], parts, 2 * seed, epochs)
    new, classifier = _encoder(parts["train"], kept["train"], parts, 2 * seed + 1, epochs)
    return Toy(old, new, kept, classifier)


def _encoder(
    given: np.ndarray, labels: np.ndarray, parts: dict[str, np.ndarray], seed: int, epochs: int
) -> tuple[dict[str, np.ndarray], Classifier]:
    """Train with cross-entropy over a linear head, then embed every part."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = nn.Sequential(
            nn.Linear(given.shape[1], HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, DIMENSION),
        )
        head = nn.Linear(DIMENSION, int(labels.max()) + 1)
        x, y = torch.from_numpy(given), torch.from_numpy(labels)
        optimiser = torch.optim.Adam([*encoder.parameters(), *head.parameters()], lr=RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
        for _ in range(epochs):
            for batch in torch.randperm(len(x)).split(BATCH):
                optimiser.zero_grad()
                logits = head(encoder(x[batch]))
                nn.functional.cross_entropy(logits, y[batch], label_smoothing=SMOOTHING).backward()
                optimiser.step()
            schedule.step()
        with torch.no_grad():
            vectors = {
                name: encoder(torch.from_numpy(rows)).numpy() for name, rows in parts.items()
            }
            return vectors, Classifier(head.weight.numpy(), head.bias.numpy())
