"""A small model embeds the queries of a large model's gallery: on a phone, in a browser.

    python examples/06_small_query_model.py

scikit-learn's digits. A large network has embedded the gallery. A network with a twentieth of its
work per query learns to search it, from the large one's vectors alone: no label is looked at.
"""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import normalize

from hotfill.lab.losses import Cosine, Head, PairedBatch, Recipe, asymmetric, recipes
from hotfill.metrics import average_precision, rank_scores, same_label

EPOCHS, BATCH, DIMENSION = 15, 64, 16


def network(width: int) -> nn.Module:
    """From 64 pixels to an embedding."""
    return nn.Sequential(
        nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
        nn.Linear(width, DIMENSION),
    )  # fmt: skip


def train(
    model: nn.Module,
    recipe: Recipe,
    images: Tensor,
    *,
    labels: Tensor | None = None,
    large: Tensor | None = None,
) -> None:
    """Your own loop. large: the large model's vectors of the same images."""
    optimiser = torch.optim.Adam([*model.parameters(), *recipe.parameters()], lr=3e-3)
    for epoch in range(EPOCHS):
        for rows in torch.randperm(len(images)).split(BATCH):
            pairs = PairedBatch(
                model(images[rows]),
                None if large is None else large[rows],
                None if labels is None else labels[rows],
            )
            loss = recipe(pairs, progress=epoch / EPOCHS).loss
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()


def embed(model: nn.Module, images: Tensor) -> np.ndarray:
    """Unit vectors of all images."""
    with torch.inference_mode():
        return normalize(model(images)).numpy()


def main() -> dict[str, float]:
    """Train, measure, print."""
    torch.manual_seed(0)
    digits = load_digits()
    images = torch.from_numpy(digits.data / 16).float()
    labels = torch.from_numpy(digits.target).long()
    training = torch.arange(len(images)) % 2 == 0
    seen, seen_labels = images[training], labels[training]
    queries, gallery = images[~training][:300], images[~training][300:]
    relevance = same_label(labels[~training][:300].numpy(), labels[~training][300:].numpy())

    large, alone, small = network(192), network(24), network(24)
    for model in (large, alone):
        head = Head.random(10, DIMENSION, Cosine(scale=10))
        train(model, recipes.independent(head), seen, labels=seen_labels)
    # What the small one learns from: the large one's vectors, computed once.
    train(small, asymmetric.csd(), seen, large=torch.from_numpy(embed(large, seen)))

    written = embed(large, gallery)  # the gallery is written once, by the large model
    found = {}
    for name, model in (("large", large), ("small alone", alone), ("small, taught", small)):
        work = sum(each.numel() for each in model.parameters() if each.ndim == 2)
        scores = embed(model, queries) @ written.T
        found[name] = float(average_precision(rank_scores(scores, relevance)).mean())
        print(f"{name:14} {work:7,} multiply-adds a query   mAP {found[name]:.3f}")
    return found


if __name__ == "__main__":
    main()
