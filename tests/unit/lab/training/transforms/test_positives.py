"""What counts as positive, and how batches are drawn."""

from __future__ import annotations

import numpy as np
import pytest

from hotfill.errors import InputError, ShapeError
from hotfill.lab.training.transforms import Neighbours, Related, SameLabel
from hotfill.lab.training.transforms.loop import shuffled


def test_same_label_leaves_the_anchor_itself_out_even_if_it_came_twice() -> None:
    positives = SameLabel([7, 7, 9, 9])
    old, new = positives.masks(np.array([0, 1, 2, 0]))
    expected = [[0, 1, 0, 0], [1, 0, 0, 1], [0, 0, 0, 0], [0, 1, 0, 0]]
    assert old.positives.int().tolist() == expected
    assert new.positives.int().tolist() == expected
    assert old.negatives.int().tolist() == [[0, 0, 1, 0], [0, 0, 1, 0], [1, 1, 0, 1], [0, 0, 1, 0]]


def test_batches_are_balanced_and_of_one_size() -> None:
    labels = np.repeat(np.arange(30), [90] + [5] * 29)
    batches = SameLabel(labels).batches(40, seed=1)
    for rows in batches:
        _, counts = np.unique(labels[rows], return_counts=True)
        assert counts.tolist() == [4] * 10
    assert abs(len(batches) * 40 - len(labels)) < 40
    again = SameLabel(labels).batches(40, seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(batches, again, strict=True))
    other = SameLabel(labels).batches(40, seed=2)
    assert not all(np.array_equal(a, b) for a, b in zip(batches, other, strict=True))


def test_few_classes_still_fill_a_batch() -> None:
    labels = np.arange(100) % 2
    rows = SameLabel(labels).batches(64, seed=0)[0]
    assert np.bincount(labels[rows]).tolist() == [32, 32]


def test_drawing_batches_leaves_the_callers_random_numbers_alone() -> None:
    before = np.random.get_state()[1].tolist()  # noqa: NPY002  # the sampler's library uses it
    SameLabel(np.arange(20) % 4).batches(8, seed=0)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


def test_related_holds_both_ways_round() -> None:
    positives = Related([[0, 3], [1, 4]], items=6)
    old, _ = positives.masks(np.array([0, 1, 3, 5]))
    assert old.positives.int().tolist() == [[0, 0, 1, 0], [0] * 4, [1, 0, 0, 0], [0] * 4]
    assert old.negatives.int().tolist() == [[0, 1, 0, 1], [1, 0, 1, 1], [0, 1, 0, 1], [1, 1, 1, 0]]


def test_every_related_anchor_has_a_partner_in_its_batch() -> None:
    rng = np.random.default_rng(0)
    pairs = np.stack([np.arange(50), 50 + rng.permutation(50)], axis=1)
    positives = Related(pairs, items=130)
    drawn = set()
    for epoch in range(30):
        batches = positives.batches(16, seed=epoch)
        assert len(batches) == 100 // 16
        for rows in batches:
            masks, _ = positives.masks(rows)
            assert masks.positives.any(dim=1).all()
            assert 8 <= len(rows) == len(set(rows)) <= 16
            drawn |= set(rows)
    assert drawn == set(range(100))  # everybody has a turn


def test_neighbours_are_the_nearest_others_and_the_item_itself_on_the_old_side() -> None:
    vectors = np.array([[0.0], [1.0], [2.5], [4.5]])
    positives = Neighbours(vectors, count=1)
    old, new = positives.masks(np.arange(4))
    assert new.positives.int().tolist() == [[0, 1, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]
    assert (old.positives.int() - new.positives.int()).tolist() == np.eye(4).tolist()
    assert not (old.negatives & old.positives).any()
    assert not new.negatives.diagonal().any()


def test_neighbours_equal_a_full_sort() -> None:
    vectors = np.random.default_rng(0).normal(size=(80, 5)).astype(np.float32)
    _, new = Neighbours(vectors, count=7).masks(np.arange(80))
    for i, row in enumerate(new.positives.numpy()):
        far = np.linalg.norm(vectors - vectors[i], axis=1)
        far[i] = np.inf
        assert set(np.flatnonzero(row)) == set(np.argsort(far)[:7])


def test_an_epoch_without_a_relation_takes_every_item_once() -> None:
    batches = shuffled(103, 25, seed=0)
    assert [len(rows) for rows in batches] == [25] * 4
    assert len(set(np.concatenate(batches))) == 100
    assert len(shuffled(10, 25, seed=0)[0]) == 10


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: SameLabel([1, 1, 1]), InputError),
        (lambda: SameLabel([1, 2, 3]), InputError),
        (lambda: SameLabel([[1, 2]]), ShapeError),
        (lambda: SameLabel([0.5, 1.5]), ShapeError),
        (lambda: Related([[0, 9]], items=5), InputError),
        (lambda: Related(np.empty((0, 2), int), items=5), InputError),
        (lambda: Related([[1, 1]], items=5), InputError),
        (lambda: Related([0, 1], items=5), ShapeError),
        (lambda: Neighbours(np.ones((3, 2)), count=3), InputError),
        (lambda: Neighbours(np.ones(3), count=1), ShapeError),
    ],
)
def test_relations_that_say_nothing_are_refused(make, error) -> None:
    with pytest.raises(error):
        make()
