"""The pairs of models: small heads over frozen, pre-trained features, as in the papers' set-up.

The old head has seen the first half of the classes, the new one all of them. Maps between them are
trained on the heads' training items; queries and gallery are other items, each query's own left
out.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.mixed_toy.toys import Toy
from hotfill.lab.heads import FeaturePreparation, HeadPlan, train_head
from hotfill.lab.training import TrainingSettings
from hotfill.lab.training.transforms import Classifier

IMAGES = {"v1 0.25": "v1_025_128", "v1 0.5": "v1_050_160", "v2": "v2_100_224"}
"""MobileNets by width, and the side of the pictures they read."""

TRAIN, TEST = 100, 30  # of each class

Features = tuple[np.ndarray, np.ndarray]
"""Of the training and of the test items, (n, dimension) float32."""


def cifar100(folder: Path, model: str, classes: int) -> tuple[Features, np.ndarray, np.ndarray]:
    """Read one model's features, sorted by class, and the labels of both parts."""
    with np.load(folder / "cifar100" / f"features_{IMAGES[model]}.npz") as arrays:
        parts = []
        for name, count in (("train_0", TRAIN), ("test", TEST)):
            by_class = arrays[name].reshape(100, 100, -1)[:classes, :count]
            parts.append(by_class.reshape(classes * count, -1).astype(np.float32))
        labels = [np.repeat(np.arange(classes), count) for count in (TRAIN, TEST)]
        return (parts[0], parts[1]), *labels


def texts(path: Path, side: str, classes: int) -> tuple[Features, np.ndarray, np.ndarray]:
    """Read one side of a file that `mixed_quality/texts.py` made, cut like the pictures."""
    with np.load(path) as arrays:
        labels, rows = arrays["gallery_labels"], arrays[f"{side}_gallery"]
    train, test = [], []
    drawn = np.random.default_rng(0)
    counts = np.bincount(labels)
    enough = [label for label in np.flatnonzero(counts) if counts[label] >= 2 * TEST][:classes]
    for label in enough:
        own = drawn.permutation(np.flatnonzero(labels == label))
        test.append(own[:TEST])
        train.append(own[TEST : TEST + TRAIN])
    kept = [np.concatenate(part) for part in (train, test)]
    names = [
        np.repeat(np.arange(len(enough)), [len(some) for some in part]) for part in (train, test)
    ]
    return (rows[kept[0]], rows[kept[1]]), *names


def pair(
    old: Features,
    new: Features,
    train_labels: np.ndarray,
    test_labels: np.ndarray,
    seed: int,
    *,
    epochs: int,
) -> Toy:
    """Train both heads and embed everything."""
    known = train_labels < (train_labels.max() + 1) // 2
    before, _ = _embedded(old, train_labels, known, 64, 2 * seed, epochs)
    after, classifier = _embedded(new, train_labels, np.ones_like(known), 128, 2 * seed + 1, epochs)
    return Toy(before, after, {"train": train_labels, "test": test_labels}, classifier)


def _embedded(
    features: Features,
    labels: np.ndarray,
    rows: np.ndarray,
    dimension: int,
    seed: int,
    epochs: int,
) -> tuple[dict[str, np.ndarray], Classifier]:
    prepare = FeaturePreparation(features[0][rows])
    plan = HeadPlan(
        dimension=dimension,
        hidden=2 * dimension,
        settings=TrainingSettings(epochs=epochs, batch=250),
    )
    head = train_head("independent", prepare(features[0][rows]), labels[rows], plan, seed=seed)
    vectors = {
        name: head(prepare(part)) for name, part in zip(("train", "test"), features, strict=True)
    }
    anchors = head.classifier.vectors.detach().numpy()
    anchors = plan.score.scale * anchors / np.linalg.norm(anchors, axis=1, keepdims=True)
    return vectors, Classifier(anchors, np.zeros(len(anchors), np.float32))


def all_pairs(folder: Path, texts_folder: Path | None) -> dict[str, Callable[..., Toy]]:
    """Every pair whose data are at hand: called with a seed, the classes and the epochs."""

    def made(read: Callable[..., tuple[Features, np.ndarray, np.ndarray]], *sides: str) -> Toy:
        def make(seed: int, *, classes: int, epochs: int) -> Toy:
            (old, *labels), (new, *_) = (read(side, classes) for side in sides)
            return pair(old, new, *labels, seed, epochs=epochs)

        return make

    def pictures(model: str, classes: int):
        return cifar100(folder, model, classes)

    makers = {
        f"cifar100: {old} to {new}": made(pictures, old, new)
        for old, new in (("v1 0.25", "v1 0.5"), ("v1 0.25", "v2"), ("v1 0.5", "v2"))
    }
    for name in ("banking77", "clinc150"):
        path = (texts_folder or folder) / f"{name}.npz"
        if path.exists():
            makers[name] = made(
                lambda side, classes, path=path: texts(path, side, classes), "old", "new"
            )
    return makers
