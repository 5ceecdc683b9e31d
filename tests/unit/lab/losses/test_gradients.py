"""Gradients flow only where they should."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from hotfill.lab.losses import Cosine, Head, PairedBatch, recipes, terms
from hotfill.lab.losses.maps import ResidualBranch, SameSpace
from hotfill.lab.losses.references import from_means
from hotfill.lab.losses.terms.adversarial import reverse_gradient

HERE = SameSpace()


def gradient(term, pairs, references, progress=0.5, map_=HERE):
    new = pairs.new.detach().clone().requires_grad_()
    term.zero_grad()
    term(replace(pairs, new=new), references, map_, progress).loss.backward()
    return new.grad


def test_old_embeddings_are_constants_even_if_they_come_with_a_graph(pairs, references) -> None:
    source = torch.randn(12, 5, dtype=torch.float64, requires_grad=True)
    batch = PairedBatch(pairs.new, source * 2, pairs.label)
    term = terms.ItemContrast(0.1)
    term(batch, references, HERE, 0.0).loss.backward()
    assert source.grad is None
    assert pairs.new.grad.any()


@pytest.mark.parametrize(
    "term",
    [
        terms.AnchorSoftmax("old", Cosine(5.0)),
        terms.ItemContrast(0.1),
        terms.ClassContrast(),
        terms.StationaryContrast(),
        terms.Regression(),
        terms.CosineBoundary(),
        terms.ElasticBoundary(6).double(),
    ],
    ids=lambda term: type(term).__name__,
)
def test_gradients_are_those_of_finite_differences(term, pairs, references) -> None:
    def f(new):
        return term(replace(pairs, new=new), references, HERE, 0.5).loss

    new = pairs.new.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(f, (new,), eps=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "term", [terms.Regression(asks="old"), terms.AnchorSoftmax("new", Cosine(5.0), asks="old")]
)
def test_a_forward_map_learns_alone(term, pairs, references) -> None:
    up = ResidualBranch(5, 5, hidden=3).double()
    term(pairs, references, up, 0.0).loss.backward()
    assert up.outer.weight.grad.any()
    assert pairs.new.grad is None or not pairs.new.grad.any()
    assert references.new.vectors.grad is None


def test_items_that_take_no_part_get_no_gradient(pairs, references) -> None:
    found = gradient(terms.AnchorSoftmax("old", Cosine(5.0)), pairs, references)
    assert not found[[6, 7, 11]].any()  # label 2 has no anchor, item 11 no label
    assert found[:6].any(dim=1).all()


def test_gradient_reversal_is_the_identity_forwards_and_minus_the_factor_backwards() -> None:
    tensor = torch.randn(4, 3, requires_grad=True)
    reversed_ = reverse_gradient(tensor, 0.3)
    assert torch.equal(reversed_, tensor)
    reversed_.sum().backward()
    torch.testing.assert_close(tensor.grad, torch.full((4, 3), -0.3))


def test_the_critic_descends_while_the_new_model_ascends(pairs, references) -> None:
    term = terms.Adversarial(5).double()
    early = gradient(term, pairs, references, progress=0.0)
    critic_early = term.critic[0].weight.grad.clone()
    late = gradient(term, pairs, references, progress=1.0)
    assert not early.any()  # the reversal starts at 0
    torch.testing.assert_close(term.critic[0].weight.grad, critic_early)  # the critic's does not

    step = replace(pairs, new=pairs.new.detach() - 0.01 * late / late.norm())
    before = term(pairs, references, HERE, 1.0).loss
    assert term(step, references, HERE, 1.0).loss > before


def test_an_elastic_radius_is_only_ever_widened(pairs, references) -> None:
    """Towards the threshold where r < T, back towards r where r > T: always a larger ball."""
    term = terms.ElasticBoundary(6, threshold=1.0).double()
    radius = torch.tensor([0.2, 0.2, 0.2, 1.3, 0.2, 0.2], dtype=torch.float64)
    old = replace(references.old, radius=radius)
    gradient(term, pairs, replace(references, old=old))
    # Descending w's gradient: up for the small radii (towards T), down for the one above T.
    assert term.elastic.grad[1] < 0
    assert term.elastic.grad[4] < 0
    assert term.elastic.grad[3] > 0


def test_dmus_map_does_not_pull_the_new_model(pairs) -> None:
    anchors = from_means(pairs.old, pairs.label, 4)
    head = Head(torch.randn(4, 5, dtype=torch.float64), Cosine(5.0))
    up = ResidualBranch(5, 5, hidden=3).double()
    grads = []
    for forward_weight in (0.0, 50.0):
        recipe = recipes.dmu(head, anchors, up, forward_weight=forward_weight).double()
        new = pairs.new.detach().clone().requires_grad_()
        recipe(replace(pairs, new=new)).loss.backward()
        grads.append(new.grad)
    torch.testing.assert_close(*grads)
    assert up.outer.weight.grad.any()
