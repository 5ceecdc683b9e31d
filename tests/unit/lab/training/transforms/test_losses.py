"""Every loss against double loops in plain Python numbers (float64)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from hotfill.errors import ConfigError
from hotfill.lab.training.transforms.gallery_maps import orthogonality_loss
from hotfill.lab.training.transforms.loop import distances
from hotfill.lab.training.transforms.losses import (
    SideMasks,
    contrast_loss,
    fastfill_loss,
    mean_square,
    smoothed_cross_entropy,
    supervised_contrast,
)


def given(count: int = 9, classes: int = 3, seed: int = 0):
    rng = np.random.default_rng(seed)
    carried, old, new = (rng.normal(size=(count, 5)) for _ in range(3))
    labels = np.append(np.arange(count - 1) % classes, classes)  # the last one is alone
    return carried, old, new, labels


def masks_of(labels: np.ndarray) -> SideMasks:
    same = labels[:, None] == labels[None, :]
    return SideMasks(
        torch.from_numpy(same & ~np.eye(len(labels), dtype=bool)), torch.from_numpy(~same)
    )


def slow_distance(a: np.ndarray, b: np.ndarray) -> float:
    return math.sqrt(sum((float(x) - float(y)) ** 2 for x, y in zip(a, b, strict=True)))


def slow_contrast(carried, old, new, labels, temperature: float, kind: str) -> float:
    """Section 2.4 word by word: plain exponentials, no logsumexp."""
    count = len(labels)
    old_parts, new_parts = [], []
    for i in range(count):
        s_old, s_new = {}, {}
        for k in range(count):
            s_old[k] = math.exp(-slow_distance(carried[i], old[k]) / temperature)
            s_new[k] = math.exp(-slow_distance(new[i], new[k]) / temperature)
        positives = [k for k in range(count) if k != i and labels[k] == labels[i]]
        negatives = [k for k in range(count) if labels[k] != labels[i]]
        if not positives:
            continue
        n_old, n_new = sum(s_old[k] for k in negatives), sum(s_new[k] for k in negatives)
        p_old, p_new = sum(s_old[k] for k in positives), sum(s_new[k] for k in positives)
        other = (n_new, n_old) if kind == "joint" else (0.0, 0.0)
        old_parts.append(-math.log(p_old / (p_old + n_old + other[0])))
        new_parts.append(-math.log(p_new / (p_new + n_new + other[1])))
    parts = {"old": [old_parts], "new": [new_parts]}.get(kind, [old_parts, new_parts])
    return sum(sum(part) / len(part) for part in parts)


@pytest.mark.parametrize("kind", ["joint", "independent", "old", "new"])
@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_the_contrast_is_that_of_the_specification(kind, temperature) -> None:
    carried, old, new, labels = given()
    masks = masks_of(labels)
    tensors = [torch.from_numpy(rows) for rows in (carried, old, new)]
    loss = contrast_loss(
        distances(tensors[0], tensors[1]),
        distances(tensors[2], tensors[2]),
        masks,
        masks,
        temperature=temperature,
        kind=kind,
    )
    slow = slow_contrast(carried, old, new, labels, temperature, kind)
    assert loss.item() == pytest.approx(slow, rel=1e-6)


def test_the_contrast_stays_finite_where_plain_exponentials_vanish() -> None:
    carried, old, new, labels = (torch.tensor(part) for part in given())
    masks = masks_of(labels.numpy())
    carried.requires_grad_()
    loss = contrast_loss(
        distances(1e4 * carried, old), distances(new, new), masks, masks, temperature=0.01
    )
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(carried.grad).all()


def test_a_batch_without_positives_pulls_nowhere() -> None:
    carried, old, new, _ = (torch.tensor(part) for part in given())
    masks = masks_of(np.arange(9))
    carried.requires_grad_()
    loss = contrast_loss(distances(carried, old), distances(new, new), masks, masks, temperature=1)
    loss.backward()
    assert loss.item() == 0.0
    assert not carried.grad.any()


def test_unknown_contrasts_and_temperatures_are_refused() -> None:
    masks, square = masks_of(np.arange(2)), torch.ones(2, 2)
    with pytest.raises(ConfigError, match="both"):
        contrast_loss(square, square, masks, masks, temperature=1.0, kind="both")
    with pytest.raises(ConfigError, match="temperature"):
        contrast_loss(square, square, masks, masks, temperature=0.0)


def test_mining_keeps_the_farthest_positive_and_the_nearest_negatives() -> None:
    carried, old, _, labels = given()
    between = distances(torch.from_numpy(carried), torch.from_numpy(old))
    masks = masks_of(labels)
    hard = masks.hardest(between, 2)
    for i in range(len(labels)):
        mates = [k for k in range(len(labels)) if k != i and labels[k] == labels[i]]
        others = [k for k in range(len(labels)) if labels[k] != labels[i]]
        expected = sorted(mates, key=lambda k: -slow_distance(carried[i], old[k]))[:1]
        assert hard.positives[i].nonzero().flatten().tolist() == expected
        nearest = sorted(others, key=lambda k: slow_distance(carried[i], old[k]))[:2]
        assert hard.negatives[i].nonzero().flatten().tolist() == sorted(nearest)


def test_distances_are_euclidean() -> None:
    carried, old, _, _ = given()
    found = distances(torch.from_numpy(carried), torch.from_numpy(old)).numpy()
    slow = [[slow_distance(a, b) for b in old] for a in carried]
    np.testing.assert_allclose(found, slow, rtol=1e-9)


def test_the_squared_error_is_a_mean_over_coordinates() -> None:
    carried, old, _, _ = given()
    slow = sum(
        (a - b) ** 2 for x, y in zip(carried, old, strict=True) for a, b in zip(x, y, strict=True)
    )
    found = mean_square(torch.from_numpy(carried), torch.from_numpy(old))
    assert found.item() == pytest.approx(slow / carried.size)


def slow_cross_entropy(logits: np.ndarray, label: int, smoothing: float) -> float:
    total = sum(math.exp(value) for value in logits)
    logs = [math.log(math.exp(value) / total) for value in logits]
    return -(1 - smoothing) * logs[label] - smoothing * sum(logs) / len(logs)


def test_cross_entropy_is_smoothed_over_all_classes() -> None:
    logits = np.random.default_rng(0).normal(size=(6, 4))
    labels = np.array([0, 1, 2, 3, 3, 0])
    found = smoothed_cross_entropy(
        torch.from_numpy(logits), torch.from_numpy(labels), smoothing=0.1
    )
    slow = [slow_cross_entropy(row, c, 0.1) for row, c in zip(logits, labels, strict=True)]
    np.testing.assert_allclose(found.numpy(), slow, rtol=1e-9)


def test_fastfill_weighs_both_losses_by_the_variance_it_states() -> None:
    rng = np.random.default_rng(0)
    similarity, discrimination = rng.uniform(size=7), rng.uniform(size=7)
    log_variance = rng.normal(size=7)
    rows = zip(similarity, discrimination, log_variance, strict=True)
    slow = sum(0.5 * math.exp(-s) * (a + b) + 0.3 * s for a, b, s in rows) / 7
    found = fastfill_loss(
        *(torch.from_numpy(part) for part in (similarity, discrimination, log_variance)),
        uncertainty_weight=0.3,
    )
    assert found.item() == pytest.approx(slow)


def test_the_best_variance_is_the_combined_loss_at_one_half() -> None:
    loss = torch.tensor([0.7, 2.0], dtype=torch.float64)
    best = (loss).log().requires_grad_()
    zero = torch.zeros(2, dtype=torch.float64)
    fastfill_loss(loss, zero, best, uncertainty_weight=0.5).backward()
    assert best.grad.abs().max() < 1e-12


def test_supcon_is_the_mean_outside_the_logarithm() -> None:
    anchors, others, _, labels = given()
    masks = masks_of(labels).with_itself()
    slow = []
    for i in range(len(labels)):
        cosine = [
            float(anchors[i] @ other / np.linalg.norm(anchors[i]) / np.linalg.norm(other)) / 0.2
            for other in others
        ]
        total = sum(math.exp(value) for value in cosine)
        mates = [k for k in range(len(labels)) if labels[k] == labels[i]]
        slow.append(sum(-math.log(math.exp(cosine[k]) / total) for k in mates) / len(mates))
    found = supervised_contrast(
        torch.from_numpy(anchors), torch.from_numpy(others), masks, temperature=0.2
    )
    assert found.item() == pytest.approx(sum(slow) / len(slow))


def test_the_orthogonality_loss_counts_beyond_its_threshold() -> None:
    matrix = np.random.default_rng(0).normal(size=(4, 4))
    gram = [[sum(matrix[i] * matrix[j]) - (i == j) for j in range(4)] for i in range(4)]
    far = math.sqrt(sum(value**2 for row in gram for value in row))
    slow = far / (1 + math.exp(-2.0 * (far - 1.5)))
    found = orthogonality_loss(torch.from_numpy(matrix), threshold=1.5, sharpness=2.0)
    assert found.item() == pytest.approx(slow)
    start = torch.eye(4, requires_grad=True)
    orthogonality_loss(start, threshold=1.5, sharpness=2.0).backward()
    assert torch.isfinite(start.grad).all()
