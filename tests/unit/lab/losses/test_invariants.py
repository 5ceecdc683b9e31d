"""What must hold whatever the data: the specification's list."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cross_entropy, linear, normalize

from hotfill.lab.losses import Cosine, Dot, Head, PairedBatch, ReferencePair, recipes, terms
from hotfill.lab.losses.maps import SameSpace
from hotfill.lab.losses.references import from_head, from_means, perturbed, refined, simplex
from tests.unit.lab.losses import oracles

HERE = SameSpace()

OLD_ANCHORED = [
    terms.AnchorSoftmax("old", Cosine(5.0)),
    terms.CosineBoundary(),
    terms.ElasticBoundary(6).double(),
    terms.AnchorAlignment(),
]


def named(term) -> str:
    return type(term).__name__


@pytest.mark.parametrize("bias", [True, False])
def test_bct_with_the_old_model_itself_is_the_old_models_own_cross_entropy(bias) -> None:
    old = torch.randn(20, 6)
    label = torch.randint(5, (20,))
    weight, b = torch.randn(5, 6), torch.randn(5) if bias else None
    recipe = recipes.bct(
        Head.random(5, 6, Cosine(10.0)),
        from_head(weight, rows=torch.arange(5), bias=b),
        score=Dot(),
    )
    value = recipe(PairedBatch(old.clone().requires_grad_(), old, label))
    expected = cross_entropy(linear(old, weight, b), label)
    torch.testing.assert_close(value.parts["influence"].loss, expected)


def test_ract_without_new_negatives_is_the_contrast_across_models(pairs, references) -> None:
    """With one item per class the two contrasts are one formula."""
    batch = replace(pairs, label=torch.arange(len(pairs)))
    ract = terms.ItemContrast(0.1, new_negatives=False)(batch, references, HERE, 0.0)
    contrast = terms.ClassContrast(0.1)(batch, references, HERE, 0.0)
    torch.testing.assert_close(ract.loss, contrast.loss)


@pytest.mark.parametrize("hardest", [11, 12, 100])
def test_ract_with_as_many_negatives_as_there_are_is_the_full_softmax(
    pairs, references, hardest
) -> None:
    full = terms.ItemContrast(0.1)(pairs, references, HERE, 0.0).loss
    some = terms.ItemContrast(0.1, hardest=hardest)(pairs, references, HERE, 0.0).loss
    torch.testing.assert_close(some, full)


@pytest.mark.parametrize(
    "term",
    [
        *OLD_ANCHORED,
        terms.AnchorSoftmax("new", Cosine(5.0, 0.2)),
        terms.ItemContrast(0.1, hardest=3),
        terms.ClassContrast(),
        terms.StationaryContrast(),
        terms.Regression(),
        terms.Adversarial(5).double(),
    ],
    ids=named,
)
def test_the_order_of_the_batch_changes_nothing(term, pairs, references) -> None:
    order = torch.randperm(len(pairs))
    shuffled = PairedBatch(pairs.new[order], pairs.old[order], pairs.label[order])
    before = term(pairs, references, HERE, 0.3)
    after = term(shuffled, references, HERE, 0.3)
    torch.testing.assert_close(after.loss, before.loss)
    assert after.active == before.active


@pytest.mark.parametrize(
    "term",
    [
        *OLD_ANCHORED,
        terms.AnchorSoftmax("new", Cosine(5.0, 0.2, "angle")),
        terms.ItemContrast(0.1, hardest=3),
        terms.ClassContrast(),
        terms.StationaryContrast(),
        terms.Regression(),
        terms.Adversarial(5).double(),
    ],
    ids=named,
)
def test_lengths_of_embeddings_change_nothing(term, pairs, references) -> None:
    longer = PairedBatch(pairs.new * 7.0, pairs.old * 0.2, pairs.label)
    before = term(pairs, references, HERE, 0.3).loss
    torch.testing.assert_close(term(longer, references, HERE, 0.3).loss, before)


@pytest.mark.parametrize("term", OLD_ANCHORED, ids=named)
def test_anchors_that_are_all_invalid_give_zero_with_a_graph(term, pairs, references) -> None:
    none = replace(references.old, valid=torch.zeros(6, dtype=torch.bool))
    value = term(pairs, replace(references, old=none), HERE, 0.0)
    assert value.loss.item() == 0.0
    assert value.active == 0
    value.loss.backward()
    assert torch.equal(pairs.new.grad, torch.zeros_like(pairs.new))


@pytest.mark.parametrize("term", [terms.CosineBoundary(), terms.ElasticBoundary(4, threshold=1.0)])
def test_a_boundary_leaves_alone_who_is_inside(term) -> None:
    label = torch.arange(4).repeat_interleave(5)
    centre = normalize(torch.randn(4, 6))
    old = normalize(centre[label] + 0.3 * torch.randn(20, 6))
    anchors = from_means(old, label, 4, normalise=True)
    new = centre.new_tensor(anchors.vectors.numpy())[label].requires_grad_()
    value = term(PairedBatch(new, old, label), ReferencePair(old=anchors), HERE, 0.0)
    assert value.loss.item() == 0.0
    value.loss.backward()
    assert not new.grad.any()


@pytest.mark.parametrize("propagation", [0.0, 0.9])
def test_refinement_of_a_single_item_is_the_item(propagation) -> None:
    old, new = torch.randn(3, 4), torch.randn(3, 6)
    found = refined(old, new, torch.arange(3), 3, propagation=propagation)
    torch.testing.assert_close(found.vectors, normalize(old))


def test_refinement_without_propagation_is_the_mean() -> None:
    old, new = torch.randn(30, 4), torch.randn(30, 6)
    label = torch.randint(4, (30,))
    plain = from_means(old, label, 4)
    found = refined(old, new, label, 4, propagation=0.0)
    torch.testing.assert_close(found.vectors, plain.vectors)
    assert torch.equal(found.count, plain.count)


def test_refinement_is_the_limit_of_spreading_along_rows() -> None:
    old = torch.randn(9, 3, dtype=torch.float64)
    new = torch.randn(9, 4, dtype=torch.float64)
    found = refined(old, new, torch.zeros(9, dtype=torch.int64), 1, temperature=0.3)
    expected = oracles.refined_mean(old.tolist(), new.tolist(), 0.9, 0.3)
    assert found.vectors[0].tolist() == pytest.approx(expected, abs=1e-9)


def test_refinement_along_columns_would_be_the_plain_mean() -> None:
    """The trap in the published code: with columns that sum to 1, refinement does nothing."""
    old = normalize(torch.randn(9, 3, dtype=torch.float64))
    new = normalize(torch.randn(9, 4, dtype=torch.float64))
    scores = (new @ new.T / 0.05).fill_diagonal_(float("-inf"))
    system = torch.eye(9, dtype=torch.float64) - 0.9 * scores.softmax(dim=0)
    columns = (0.1 * torch.linalg.solve(system, old)).mean(dim=0)
    ours = refined(old, new, torch.zeros(9, dtype=torch.int64), 1).vectors[0]
    torch.testing.assert_close(columns, old.mean(dim=0))
    assert (ours - old.mean(dim=0)).norm() > 0.01


@pytest.mark.parametrize("classes", [2, 3, 10, 100])
def test_a_simplex_is_regular(classes) -> None:
    anchors = simplex(classes).vectors.double()
    assert anchors.shape == (classes, classes - 1)
    cosines = anchors @ anchors.T
    expected = torch.full((classes, classes), -1 / (classes - 1), dtype=torch.float64)
    torch.testing.assert_close(cosines, expected.fill_diagonal_(1.0), atol=1e-6, rtol=0)
    torch.testing.assert_close(
        anchors.sum(dim=0), torch.zeros(classes - 1, dtype=torch.float64), atol=1e-5, rtol=0
    )


def test_perturbation_spreads_crowded_anchors_and_keeps_lone_ones_near() -> None:
    crowd = normalize(torch.tensor([1.0, 0, 0, 0]) + 0.1 * torch.randn(6, 4))
    anchors = from_means(crowd, torch.arange(6), 7)
    moved = perturbed(anchors, strength=0.2, neighbours=3)

    def nearest(vectors):
        unit = normalize(vectors[:6])
        return (unit @ unit.T).fill_diagonal_(-1).max(dim=1).values

    assert nearest(moved.vectors).mean() < nearest(anchors.vectors).mean()
    turned = (normalize(anchors.vectors[:6]) * moved.vectors[:6]).sum(dim=1)
    assert (turned >= 1 / (1 + 0.2**2) ** 0.5 - 1e-6).all()
    still = perturbed(anchors, strength=0.0)
    torch.testing.assert_close(still.vectors, normalize(anchors.vectors))
