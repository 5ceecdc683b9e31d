"""Two small encoders of scikit-learn's digits: the old one was trained on five digits of ten."""

from __future__ import annotations

import numpy as np

HIDDEN, DIMENSION = 128, 32
EPOCHS, BATCH, RATE = 80, 256, 1e-3
OLD_DIGITS = 5
TEST_SHARE = 0.3


def embed(seed: int) -> dict[str, dict[str, np.ndarray]]:
    """Return "old" and "new" embeddings, of unit length, and "labels", each of "train", "test"."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    images = (data.data / 16.0).astype(np.float32)
    rows, test_rows = train_test_split(
        np.arange(len(images)), test_size=TEST_SHARE, random_state=seed, stratify=data.target
    )
    labels = {"train": data.target[rows], "test": data.target[test_rows]}
    parts = {"train": images[rows], "test": images[test_rows]}
    known = np.flatnonzero(labels["train"] < OLD_DIGITS)
    return {
        "old": _trained(parts["train"][known], labels["train"][known], parts, seed=2 * seed),
        "new": _trained(parts["train"], labels["train"], parts, seed=2 * seed + 1),
        "labels": labels,
    }


def _trained(
    images: np.ndarray, labels: np.ndarray, parts: dict[str, np.ndarray], *, seed: int
) -> dict[str, np.ndarray]:
    """Train with cross-entropy over a linear head, then embed every part."""
    import torch
    from torch import nn

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = nn.Sequential(
            nn.Linear(images.shape[1], HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, DIMENSION),
        )
        head = nn.Linear(DIMENSION, int(labels.max()) + 1)
        x, y = torch.from_numpy(images), torch.from_numpy(labels)
        both = [*encoder.parameters(), *head.parameters()]
        optimiser = torch.optim.Adam(both, lr=RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, EPOCHS)
        for _ in range(EPOCHS):
            for batch in torch.randperm(len(x)).split(BATCH):
                optimiser.zero_grad()
                nn.functional.cross_entropy(head(encoder(x[batch])), y[batch]).backward()
                optimiser.step()
            schedule.step()
        with torch.no_grad():
            return {
                name: nn.functional.normalize(encoder(torch.from_numpy(rows)), dim=1).numpy()
                for name, rows in parts.items()
            }
