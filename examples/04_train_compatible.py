"""Train a new model that can search what the old model wrote: three lines in your own loop.

    python examples/04_train_compatible.py

scikit-learn's digits. The old model knows the digits 0 to 4. The new one learns all ten, once by
itself and once with RACT; then each searches the gallery that the old model wrote.
"""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import normalize

from hotfill.lab.losses import Cosine, Head, PairedBatch, Recipe, recipes
from hotfill.metrics import average_precision, rank_scores, same_label

EPOCHS, BATCH, DIMENSION = 20, 64, 16


def network() -> nn.Module:
    """A small network from 64 pixels to an embedding."""
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, DIMENSION))


def train(
    model: nn.Module, recipe: Recipe, images: Tensor, labels: Tensor, old: Tensor | None
) -> None:
    """A user's own loop; the lines marked are all that compatibility adds."""
    optimiser = torch.optim.Adam([*model.parameters(), *recipe.parameters()], lr=3e-3)  # line 1
    for epoch in range(EPOCHS):
        for rows in torch.randperm(len(images)).split(BATCH):
            pairs = PairedBatch(
                model(images[rows]), old if old is None else old[rows], labels[rows]
            )  # 2
            loss = recipe(pairs, progress=epoch / EPOCHS).loss  # line 3
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()


def embed(model: nn.Module, images: Tensor) -> np.ndarray:
    """Unit vectors of all images."""
    with torch.inference_mode():
        return normalize(model(images)).numpy()


def quality(queries: np.ndarray, gallery: np.ndarray, labels: tuple[Tensor, Tensor]) -> float:
    """Mean average precision; relevant = the same digit."""
    relevance = same_label(labels[0].numpy(), labels[1].numpy())
    return float(average_precision(rank_scores(queries @ gallery.T, relevance)).mean())


def main() -> dict[str, float]:
    """Train, measure, print."""
    torch.manual_seed(0)
    digits = load_digits()
    images = torch.from_numpy(digits.data / 16).float()
    labels = torch.from_numpy(digits.target).long()
    training = torch.arange(len(images)) % 2 == 0
    train_images, train_labels = images[training], labels[training]
    queries, gallery = images[~training][:300], images[~training][300:]
    both = labels[~training][:300], labels[~training][300:]

    old = network()
    known = train_labels < 5
    head = Head.random(5, DIMENSION, Cosine(scale=10))
    train(old, recipes.independent(head), train_images[known], train_labels[known], None)
    # The old vectors of the training images, computed once: the old model is not needed again.
    old_vectors = torch.from_numpy(embed(old, train_images))

    alone, compatible = network(), network()
    head = Head.random(10, DIMENSION, Cosine(scale=10))
    train(alone, recipes.independent(head), train_images, train_labels, None)
    head = Head.random(10, DIMENSION, Cosine(scale=10))
    train(compatible, recipes.ract(head, temperature=0.1), train_images, train_labels, old_vectors)

    written_by_old = embed(old, gallery)
    found = {
        "old queries, old gallery": quality(embed(old, queries), written_by_old, both),
        "independent new queries, old gallery": quality(
            embed(alone, queries), written_by_old, both
        ),
        "compatible new queries, old gallery": quality(
            embed(compatible, queries), written_by_old, both
        ),
        "compatible new queries, new gallery": quality(
            embed(compatible, queries), embed(compatible, gallery), both
        ),
    }
    for name, value in found.items():
        print(f"{name:38} mAP {value:.3f}")
    return found


if __name__ == "__main__":
    main()
