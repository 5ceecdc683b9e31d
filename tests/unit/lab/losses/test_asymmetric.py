"""Losses of asymmetric retrieval against slow double loops, and what must hold of them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from hotfill.errors import ConfigError, InputError, ShapeError
from hotfill.lab.losses import Cosine, Head, PairedBatch, ReferencePair, asymmetric, terms
from hotfill.lab.losses.asymmetric import product_centroids
from hotfill.lab.losses.maps import SameSpace, Slice
from tests.unit.lab.losses import oracles

HERE = SameSpace()
NONE = ReferencePair()
PARTS = torch.randn(2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))

ALL = [
    terms.AsymmetricContrast(0.2),
    terms.AsymmetricContrast(0.2, itself=False),
    terms.ContextualSimilarity(4, gallery_temperature=0.1),
    terms.StructureSimilarity(PARTS),
    terms.RelationalRegression(across=0.6, within=0.4),
    terms.DifferentialSimilarity(5),
]


@pytest.fixture
def six(pairs) -> PairedBatch:
    """Of six dimensions, which divide into parts."""
    more = torch.randn(12, 1, dtype=torch.float64)
    new = torch.cat([pairs.new.detach(), more], dim=1).requires_grad_()
    return PairedBatch(new, torch.cat([pairs.old, more.flip(0)], dim=1), pairs.label)


def loss(term, pairs, map_=HERE) -> float:
    return term(pairs, NONE, map_, 0.5).loss.item()


def named(term) -> str:
    return type(term).__name__


@pytest.mark.parametrize("itself", [True, False])
def test_the_contrast_of_aml(six, itself) -> None:
    new, old, label = six.new.tolist(), six.old.tolist(), six.label.tolist()
    losses = []
    for i in range(12):
        push, pull = [], []
        for j in range(12):
            score = oracles.cosine(new[i], old[j])
            if i == j:
                if itself:
                    pull.append(score)
            elif label[i] >= 0 and label[j] >= 0:
                if label[i] == label[j]:
                    pull.append(score)
                else:
                    push.append(max(0.0, score - 0.2))
        if push or pull:
            losses.append(oracles.mean(push) - oracles.mean(pull))
    term = terms.AsymmetricContrast(0.2, itself=itself)
    assert loss(term, six) == pytest.approx(oracles.mean(losses), rel=1e-9)
    assert term(six, NONE, HERE, 0.0).active == len(losses)


def softmax(scores):
    powers = [math.exp(score) for score in scores]
    return [power / sum(powers) for power in powers]


def divergence(wanted, found) -> float:
    return sum(p * math.log(p / q) for p, q in zip(wanted, found, strict=True))


def test_the_context_of_csd(six) -> None:
    new, old = six.new.tolist(), six.old.tolist()
    losses = []
    for i in range(12):
        order = sorted(range(12), key=lambda j: -oracles.cosine(old[i], old[j]))[:5]
        assert order[0] == i
        wanted = softmax([oracles.cosine(old[i], old[j]) / 0.1 for j in order])
        found = softmax([oracles.cosine(new[i], old[j]) / 0.7 for j in order])
        losses.append(divergence(wanted, found))
    term = terms.ContextualSimilarity(4, gallery_temperature=0.1, query_temperature=0.7)
    assert loss(term, six) == pytest.approx(oracles.mean(losses), rel=1e-9)


def test_the_structure_of_ssp(six) -> None:
    losses = []
    for new, old in zip(six.new.tolist(), six.old.tolist(), strict=True):
        for part in range(2):
            here = slice(part * 3, part * 3 + 3)
            both = [
                softmax([10 * oracles.cosine(vector[here], anchor) for anchor in PARTS[part]])
                for vector in (old, new)
            ]
            losses.append(divergence(*both))
    assert loss(terms.StructureSimilarity(PARTS), six) == pytest.approx(
        oracles.mean(losses), rel=1e-9
    )


def test_the_relations_of_raml(six) -> None:
    new, old = six.new.tolist(), six.old.tolist()
    losses = []
    for i in range(12):
        others = [j for j in range(12) if j != i]
        wanted = [oracles.cosine(old[i], old[j]) for j in others]
        losses.append(
            (1 - oracles.cosine(new[i], old[i])) ** 2
            + 0.6
            * oracles.mean(
                [
                    (oracles.cosine(new[i], old[j]) - w) ** 2
                    for j, w in zip(others, wanted, strict=True)
                ]
            )
            + 0.4
            * oracles.mean(
                [
                    (oracles.cosine(new[i], new[j]) - w) ** 2
                    for j, w in zip(others, wanted, strict=True)
                ]
            )
        )
    assert loss(terms.RelationalRegression(across=0.6, within=0.4), six) == pytest.approx(
        oracles.mean(losses), rel=1e-9
    )


def test_the_differences_of_d3still(six) -> None:
    new, old = six.new.tolist(), six.old.tolist()
    first, wrong, right = 0.0, [], []
    for i in range(12):
        order = sorted(range(12), key=lambda j: -oracles.cosine(old[i], old[j]))[:5]
        gallery = [oracles.cosine(old[i], old[j]) for j in order]
        query = [oracles.cosine(new[i], old[j]) for j in order]
        first += (gallery[0] - query[0]) ** 2
        sums = {True: 0.0, False: 0.0}
        for j in range(1, 5):
            for k in range(1, 5):
                wanted, found = gallery[k] - gallery[j], query[k] - query[j]
                if wanted * found != 0:
                    error = (found - wanted) / (0.1 + abs(wanted))
                    sums[wanted * found < 0] += error**2
        wrong.append(math.sqrt(sums[True]) / 4)
        right.append(math.sqrt(sums[False]) / 4)
    expected = 100 * math.sqrt(first) / 12 + 5 * oracles.mean(wrong) + 1 * oracles.mean(right)
    assert loss(terms.DifferentialSimilarity(5), six) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("term", ALL, ids=named)
def test_gradients_are_those_of_finite_differences(term, six) -> None:
    def f(new):
        return term(replace(six, new=new), NONE, HERE, 0.5).loss

    assert torch.autograd.gradcheck(f, (six.new.detach().clone().requires_grad_(),), atol=1e-6)


@pytest.mark.parametrize("term", ALL, ids=named)
def test_the_order_of_the_batch_and_the_lengths_of_vectors_change_nothing(term, six) -> None:
    order = torch.randperm(12)
    other = PairedBatch(six.new[order] * 3.0, six.old[order] * 0.2, six.label[order])
    assert loss(term, other) == pytest.approx(loss(term, six), rel=1e-9)


@pytest.mark.parametrize("term", ALL[2:], ids=named)
def test_a_query_model_equal_to_the_gallery_model_is_where_the_loss_ends(term, six) -> None:
    """Zero for all but CSD, whose two temperatures differ; then no gradient is left either."""
    same = PairedBatch(six.old.clone().requires_grad_(), six.old, six.label)
    value = (
        terms.ContextualSimilarity(4, gallery_temperature=0.3, query_temperature=0.3)
        if isinstance(term, terms.ContextualSimilarity)
        else term
    )(same, NONE, HERE, 0.5).loss
    value.backward()
    assert value.item() == pytest.approx(0.0, abs=1e-6)
    assert same.new.grad.isfinite().all()


@pytest.mark.parametrize("term", ALL, ids=named)
@pytest.mark.parametrize("count", [0, 1, 2])
def test_the_smallest_batches_give_a_finite_loss_with_a_graph(term, six, count) -> None:
    new = six.new[:count].detach().clone().requires_grad_()
    value = term(PairedBatch(new, six.old[:count], six.label[:count]), NONE, HERE, 0.0)
    value.loss.backward()
    assert value.loss.isfinite()
    assert new.grad.isfinite().all()


@pytest.mark.parametrize("term", ALL, ids=named)
def test_what_a_term_cannot_use_is_refused(term, six) -> None:
    with pytest.raises(InputError, match="pass PairedBatch"):
        term(PairedBatch(six.new), NONE, HERE, 0.0)
    with pytest.raises(ShapeError, match="give the recipe a map"):
        term(PairedBatch(six.new, six.old[:, :4]), NONE, HERE, 0.0)


def test_parameters_that_make_no_sense_are_refused() -> None:
    for wrong in (
        lambda: terms.AsymmetricContrast(2.0),
        lambda: terms.ContextualSimilarity(0),
        lambda: terms.ContextualSimilarity(query_temperature=0.0),
        lambda: terms.StructureSimilarity(PARTS, sharpness=0.0),
        lambda: terms.DifferentialSimilarity(2),
    ):
        with pytest.raises(ConfigError, match="expected"):
            wrong()
    with pytest.raises(ShapeError, match="anchors: expected"):
        terms.StructureSimilarity(PARTS[0])


@pytest.mark.parametrize("with_head", [True, False])
@pytest.mark.parametrize("name", ["aml", "csd", "ssp", "raml", "d3still"])
def test_every_recipe_brings_a_query_model_to_the_gallery(name, with_head) -> None:
    """A linear query model of half the inputs learns to point where the gallery model does."""
    label = torch.arange(40) % 8
    inputs = torch.randn(8, 12)[label] + 0.3 * torch.randn(40, 12)
    gallery = normalize(inputs @ torch.randn(12, 6))
    head = Head.random(8, 8, Cosine(5.0)) if with_head else None
    options = {"anchors": product_centroids(gallery, parts=2, centroids=8)} if name == "ssp" else {}
    recipe = getattr(asymmetric, name)(head=head, down=Slice(8, 6), **options)
    assert recipe.needs >= {"old"}
    query = torch.nn.Linear(12, 8)
    optimiser = torch.optim.Adam([*query.parameters(), *recipe.parameters()], lr=0.03)

    @torch.no_grad()
    def agreement() -> float:
        return float((normalize(query(inputs)[:, :6]) * gallery).sum(dim=1).mean())

    before = agreement()
    for _ in range(120):
        optimiser.zero_grad()
        recipe(PairedBatch(query(inputs), gallery, label)).loss.backward()
        optimiser.step()
    assert before < 0.4
    assert agreement() > 0.7


def test_centroids_are_of_each_part_and_the_same_for_the_same_seed() -> None:
    pytest.importorskip("faiss")
    vectors = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    first, again = (product_centroids(vectors, parts=4, centroids=5, seed=3) for _ in range(2))
    assert first.shape == (4, 5, 2)
    assert torch.equal(first, again)
    with pytest.raises(InputError, match="divide 8"):
        product_centroids(vectors, parts=3, centroids=5)
    with pytest.raises(InputError, match="2 to 50 centroids"):
        product_centroids(vectors, parts=4, centroids=51)
