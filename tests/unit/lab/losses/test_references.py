"""Anchors come from heads, means, both, or geometry; labels find theirs through an explicit map."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from hotfill.errors import ConfigError, InputError, ShapeError
from hotfill.lab.losses import PairedBatch, Reference
from hotfill.lab.losses.references import (
    from_head,
    from_means,
    nearest_share,
    perturbed,
    refined,
    simplex,
    synthesised,
    without_outliers,
)
from tests.unit.lab.losses import oracles


def test_means_of_unit_vectors_with_how_far_the_class_reaches() -> None:
    vectors = torch.randn(40, 3, dtype=torch.float64) * 5
    label = torch.randint(-1, 5, (40,))
    found = from_means(vectors, label, 6)
    assert found.valid.tolist() == [True] * 5 + [False]
    for c in range(5):
        members = [oracles.unit(v) for v in vectors[label == c].tolist()]
        mean = [oracles.mean([m[d] for m in members]) for d in range(3)]
        distances = sorted(oracles.distance(m, mean) for m in members)
        n = len(distances)
        q1, q3 = distances[n // 4], distances[3 * n // 4]
        kept = [d for d in distances if q1 - 1.5 * (q3 - q1) <= d <= q3 + 1.5 * (q3 - q1)]
        assert found.vectors[c].tolist() == pytest.approx(mean)
        assert found.radius[c].item() == pytest.approx(max(kept if n >= 4 else distances))
        lowest = min(oracles.cosine(m, mean) for m in members)
        assert found.min_cosine[c].item() == pytest.approx(lowest)
        assert found.count[c].item() == n


def test_means_can_be_brought_to_unit_length() -> None:
    vectors, label = torch.randn(20, 3), torch.arange(20) % 4
    plain, unit = from_means(vectors, label, 4), from_means(vectors, label, 4, normalise=True)
    torch.testing.assert_close(unit.vectors, normalize(plain.vectors))


def test_outliers_do_not_widen_a_class_but_small_classes_keep_all() -> None:
    assert without_outliers(torch.tensor([1.0, 1.1, 1.2, 1.3, 9.0])).item() == pytest.approx(1.3)
    assert without_outliers(torch.tensor([1.0, 1.1, 9.0])).item() == 9.0


@pytest.mark.parametrize(("share", "expected"), [(0.9, 9.0), (0.01, 1.0), (1.0, 10.0)])
def test_the_nearest_share_of_a_class(share, expected) -> None:
    assert nearest_share(share)(torch.arange(1.0, 11.0)).item() == expected
    with pytest.raises(ConfigError):
        nearest_share(0.0)


def test_a_label_finds_its_anchor_through_the_map_only() -> None:
    head = from_head(torch.randn(3, 2), rows=torch.tensor([2, -1, 0, 1]))
    pairs = PairedBatch(torch.randn(5, 2), label=torch.tensor([0, 1, 2, 3, -1]))
    assert head.answering(pairs).tolist() == [2, -1, 0, 1, -1]


def test_an_old_head_is_copied_so_that_training_cannot_change_it() -> None:
    weight = torch.randn(3, 2, requires_grad=True)
    head = from_head(weight, rows=torch.arange(3))
    assert not head.vectors.requires_grad
    with torch.no_grad():
        weight.zero_()
    assert head.vectors.any()


def test_only_missing_classes_are_synthesised() -> None:
    head = from_head(torch.randn(3, 2), rows=torch.tensor([2, -1, 0, -1, -1]))
    vectors, label = torch.randn(12, 2), torch.tensor([0, 1, 3] * 4)
    means = from_means(vectors, label, 5)
    both = synthesised(head, means)
    assert both.rows.tolist() == [2, 3, 0, 4, -1]  # label 4 has neither row nor vectors
    torch.testing.assert_close(both.vectors[:3], head.vectors)
    torch.testing.assert_close(both.vectors[3:], means.vectors[[1, 3]])
    assert both.valid.all()
    assert both.radius is None  # a head has none


def test_boundaries_are_of_the_old_training_set_where_it_has_the_class() -> None:
    known = from_means(torch.randn(12, 2), torch.tensor([0, 2, 2] * 4), 4)
    means = from_means(torch.randn(12, 2), torch.tensor([0, 1, 2] * 4), 4)
    both = synthesised(known, means)
    for label, expected in ((0, known), (1, means), (2, known)):
        row = int(both.rows[label])
        for part in ("vectors", "radius", "min_cosine", "count"):
            torch.testing.assert_close(getattr(both, part)[row], getattr(expected, part)[label])
    assert both.rows[3] == -1


def test_refinement_and_perturbation_skip_empty_classes() -> None:
    old, new = torch.randn(10, 3), torch.randn(10, 4)
    label = torch.tensor([0, 0, 0, 2, 2, 2, 2, -1, -1, -1])
    found = refined(old, new, label, 4)
    assert found.valid.tolist() == [True, False, True, False]
    moved = perturbed(found)
    assert moved.valid.tolist() == [True, False, True, False]
    assert torch.isfinite(moved.vectors).all()
    lone = perturbed(from_means(old[:1], label[:1], 2))
    torch.testing.assert_close(lone.vectors[:1], normalize(old[:1]))


def test_refinement_uses_at_most_the_first_items_of_a_class() -> None:
    old, new = torch.randn(50, 3), torch.randn(50, 4)
    label = torch.zeros(50, dtype=torch.int64)
    capped = refined(old, new, label, 1, most=10)
    torch.testing.assert_close(capped.vectors, refined(old[:10], new[:10], label[:10], 1).vectors)


@pytest.mark.parametrize(
    ("build", "error"),
    [
        (lambda: from_means(torch.zeros(3, 2), torch.zeros(2, dtype=torch.int64), 2), ShapeError),
        (lambda: from_means(torch.ones(3, 2), torch.tensor([0, 1, 2]), 2), InputError),
        (lambda: refined(torch.ones(3, 2), torch.ones(2, 2), torch.arange(3), 3), ShapeError),
        (
            lambda: refined(torch.ones(3, 2), torch.ones(3, 2), torch.arange(3), 3, propagation=1),
            ConfigError,
        ),
        (lambda: simplex(1), ConfigError),
        (lambda: from_head(torch.ones(2, 2), rows=torch.tensor([0, 2])), ShapeError),
        (lambda: from_head(torch.ones(2, 2), rows=torch.tensor([0.0])), ShapeError),
        (lambda: perturbed(simplex(3), strength=-1), ConfigError),
        (
            lambda: synthesised(
                from_head(torch.ones(2, 2), rows=torch.arange(2), bias=torch.ones(2)),
                from_means(torch.ones(2, 2), torch.arange(2), 2),
            ),
            InputError,
        ),
        (
            lambda: synthesised(
                from_head(torch.ones(2, 2), rows=torch.arange(2)),
                from_means(torch.ones(2, 3), torch.arange(2), 2),
            ),
            ShapeError,
        ),
        (
            lambda: Reference(
                torch.ones(2, 2), torch.ones(3, dtype=torch.bool), torch.arange(2), "old"
            ),
            ShapeError,
        ),
    ],
)
def test_what_does_not_fit_is_refused(build, error) -> None:
    with pytest.raises(error):
        build()
