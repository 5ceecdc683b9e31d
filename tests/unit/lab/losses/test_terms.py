"""Each Term equals its slow double-loop oracle."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from pytorch_metric_learning.losses import NTXentLoss, TripletMarginLoss
from pytorch_metric_learning.reducers import PerAnchorReducer

from hotfill.lab.losses import Cosine, Dot, PairedBatch, Reference, terms
from hotfill.lab.losses.maps import ResidualBranch, SameSpace, Slice
from tests.unit.lab.losses import oracles

HERE = SameSpace()


def loss(term, pairs, references, map_=HERE, progress=0.5) -> float:
    return term(pairs, references, map_, progress).loss.item()


@pytest.mark.parametrize(
    ("margin", "kind"), [(0.0, "cosine"), (0.3, "cosine"), (0.3, "angle"), (1.5, "angle")]
)
def test_softmax_over_old_anchors(pairs, references, rows, margin, kind) -> None:
    term = terms.AnchorSoftmax("old", Cosine(7.0, margin, kind))
    old = references.old
    expected = oracles.cosine_softmax(
        pairs.new.tolist(), old.vectors.tolist(), rows, old.valid.tolist(), 7.0, margin, kind
    )
    value = term(pairs, references, HERE, 0.0)
    assert value.loss.item() == pytest.approx(expected, rel=1e-9)
    assert value.active == 9


def test_softmax_over_the_new_head(pairs, references) -> None:
    term = terms.AnchorSoftmax("new", Cosine(3.0))
    head = references.new.vectors.tolist()
    expected = oracles.cosine_softmax(
        pairs.new.tolist(), head, pairs.label.tolist(), [True] * 4, 3.0
    )
    assert loss(term, pairs, references) == pytest.approx(expected, rel=1e-9)


def test_inner_products_keep_the_heads_scale_and_bias(pairs, references, rows) -> None:
    bias = torch.randn(5, dtype=torch.float64)
    old = Reference(
        references.old.vectors[:5],
        references.old.valid[:5],
        references.old.rows,
        space="old",
        bias=bias,
    )
    expected = oracles.dot_softmax(pairs.new.tolist(), old.vectors.tolist(), bias.tolist(), rows)
    term = terms.AnchorSoftmax("old", Dot())
    assert loss(term, pairs, replace(references, old=old)) == pytest.approx(expected, rel=1e-9)


def test_old_vectors_ask_the_new_head_through_the_map(pairs, references) -> None:
    up = ResidualBranch(5, 5, hidden=3).double()
    torch.nn.init.normal_(up.outer.weight)
    term = terms.AnchorSoftmax("new", Cosine(3.0), asks="old")
    expected = oracles.cosine_softmax(
        up(pairs.old).tolist(),
        references.new.vectors.tolist(),
        pairs.label.tolist(),
        [True] * 4,
        3.0,
    )
    assert loss(term, pairs, references, up) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("hardest", [None, 1, 3, 100])
@pytest.mark.parametrize("new_negatives", [True, False])
@pytest.mark.parametrize("labelled", [True, False])
def test_item_contrast(pairs, references, hardest, new_negatives, labelled) -> None:
    pairs = pairs if labelled else replace(pairs, label=None)
    term = terms.ItemContrast(0.2, hardest=hardest, new_negatives=new_negatives)
    labels = pairs.label.tolist() if labelled else None
    expected = oracles.item_contrast(
        pairs.new.tolist(), pairs.old.tolist(), labels, 0.2, hardest, new_negatives
    )
    assert loss(term, pairs, references) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("labelled", [True, False])
def test_class_contrast(pairs, references, labelled) -> None:
    pairs = pairs if labelled else replace(pairs, label=None)
    labels = pairs.label.tolist() if labelled else None
    expected = oracles.class_contrast(pairs.new.tolist(), pairs.old.tolist(), labels, 0.2)
    assert loss(terms.ClassContrast(0.2), pairs, references) == pytest.approx(expected, rel=1e-9)


def test_class_contrast_is_the_ntxent_of_pytorch_metric_learning(pairs, references) -> None:
    known = pairs.label >= 0
    batch = PairedBatch(pairs.new[known], pairs.old[known], pairs.label[known])
    theirs = NTXentLoss(temperature=0.2, reducer=PerAnchorReducer())(
        batch.new, batch.label, ref_emb=batch.old, ref_labels=batch.label.clone()
    )
    assert loss(terms.ClassContrast(0.2), batch, references) == pytest.approx(theirs.item())


@pytest.mark.parametrize("labelled", [True, False])
def test_stationary_contrast(pairs, references, labelled) -> None:
    pairs = pairs if labelled else replace(pairs, label=None)
    labels = pairs.label.tolist() if labelled else None
    expected = oracles.stationary_contrast(pairs.new.tolist(), pairs.old.tolist(), labels, 10.0)
    assert loss(terms.StationaryContrast(), pairs, references) == pytest.approx(expected, rel=1e-9)


def test_regression_is_twice_one_minus_the_cosine(pairs, references) -> None:
    expected = oracles.regression(pairs.new.tolist(), pairs.old.tolist())
    assert loss(terms.Regression(), pairs, references) == pytest.approx(expected, rel=1e-9)
    both = zip(pairs.new.tolist(), pairs.old.tolist(), strict=True)
    assert expected == pytest.approx(2 - 2 * oracles.mean([oracles.cosine(*two) for two in both]))


def test_cosine_boundary(pairs, references, rows) -> None:
    expected = oracles.cosine_boundary(
        pairs.new.tolist(),
        references.old.vectors.tolist(),
        rows,
        references.old.min_cosine.tolist(),
    )
    assert expected > 0
    assert loss(terms.CosineBoundary(), pairs, references) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("threshold", [0.4, 1.0])
def test_elastic_boundary(pairs, references, rows, threshold) -> None:
    term = terms.ElasticBoundary(6, threshold=threshold).double()
    old = replace(references.old, count=torch.tensor([3, 1, 3, 3, 3, 0]))
    expected = oracles.elastic_boundary(
        pairs.new.tolist(),
        old.vectors.tolist(),
        rows,
        old.radius.tolist(),
        old.count.tolist(),
        term.elastic.tolist(),
        threshold,
    )
    assert expected > 0
    assert loss(term, pairs, replace(references, old=old)) == pytest.approx(expected, rel=1e-9)


def test_anchor_alignment(pairs, references) -> None:
    expected = oracles.anchor_alignment(
        references.new.vectors.tolist(), references.old.vectors.tolist(), [3, 1, -1, 4]
    )
    value = terms.AnchorAlignment()(pairs, references, HERE, 0.0)
    assert value.loss.item() == pytest.approx(expected, rel=1e-9)
    assert value.active == 3


def test_adversarial_is_two_cross_entropies(pairs, references) -> None:
    term = terms.Adversarial(5).double()
    first, norm, _, last = term.critic
    expected = 0.0
    for side, domain in ((pairs.new, 0), (pairs.old, 1)):
        units = [torch.tensor(oracles.unit(vector)).double() for vector in side.tolist()]
        hidden = torch.stack([first.weight @ unit + first.bias for unit in units])
        # Every domain by its own mean and deviation: the critic never sees a shift between them.
        spread = (hidden.var(dim=0, correction=0) + norm.eps).sqrt()
        for row in (hidden - hidden.mean(dim=0)) / spread:
            logits = (last.weight @ row.clamp(min=0) + last.bias).tolist()
            expected += -logits[domain] + math.log(sum(math.exp(x) for x in logits))
    assert loss(term, pairs, references) == pytest.approx(expected / len(pairs), rel=1e-9)


def test_the_critic_does_not_see_a_shift_and_leaves_a_lone_item_alone(pairs, references) -> None:
    term = terms.Adversarial(5).double()
    kept = {name: value.clone() for name, value in term.state_dict().items()}
    loss(term, pairs, references)
    assert all(torch.equal(value, kept[name]) for name, value in term.state_dict().items())
    one = PairedBatch(pairs.new[:1], pairs.old[:1], pairs.label[:1])
    assert loss(term, one, references) == 0.0


def test_mixed_softmax_classifies_old_vectors_where_they_are_credible(
    pairs, references, rows
) -> None:
    everything = terms.MixedSoftmax(Cosine(4.0), share=1.0)
    far = [
        oracles.distance(oracles.unit(old), references.old.vectors[row].tolist())
        for old, row in zip(pairs.old.tolist(), rows, strict=True)
    ]
    radius = torch.zeros(6, dtype=torch.float64)
    radius[3], radius[1] = sorted(far[:3])[1], 9.0  # two items of label 0, all of label 1
    old = replace(references.old, radius=radius)
    mixture = [
        old_vector if row >= 0 and distance <= radius[row] else new_vector
        for old_vector, new_vector, distance, row in zip(
            pairs.old.tolist(), pairs.new.tolist(), far, rows, strict=True
        )
    ]
    assert sum(vector in pairs.old.tolist() for vector in mixture) == 5
    expected = oracles.cosine_softmax(
        mixture, references.new.vectors.tolist(), pairs.label.tolist(), [True] * 4, 4.0
    )
    found = loss(everything, pairs, replace(references, old=old))
    assert found == pytest.approx(expected, rel=1e-9)


def test_mixed_softmax_without_a_share_is_plain_classification(pairs, references) -> None:
    mixed = terms.MixedSoftmax(Cosine(4.0, 0.1), share=0.0)
    plain = terms.AnchorSoftmax("new", Cosine(4.0, 0.1))
    assert loss(mixed, pairs, references) == pytest.approx(loss(plain, pairs, references))


def test_any_pair_loss_of_pytorch_metric_learning_is_a_term(pairs, references) -> None:
    known = pairs.label >= 0
    expected = oracles.triplet(
        pairs.new[known].tolist(), pairs.old[known].tolist(), pairs.label[known].tolist(), 0.2
    )
    term = terms.MetricLoss(TripletMarginLoss(margin=0.2))
    assert loss(term, pairs, references) == pytest.approx(expected, rel=1e-6)


def test_a_slice_is_normalised_after_it_is_cut(pairs, references) -> None:
    wide = PairedBatch(torch.cat([pairs.new, 9 + pairs.new], dim=1), pairs.old, pairs.label)
    for term in (terms.Regression(), terms.ItemContrast(0.2), terms.CosineBoundary()):
        cut = loss(term, wide, references, Slice(10, 5))
        assert cut == pytest.approx(loss(term, pairs, references))


@pytest.mark.parametrize(
    "term",
    [
        terms.AnchorSoftmax("old", Cosine(5.0)),
        terms.ItemContrast(0.2, hardest=2),
        terms.ClassContrast(),
        terms.StationaryContrast(),
        terms.Regression(),
        terms.CosineBoundary(),
    ],
    ids=lambda term: type(term).__name__,
)
def test_weights_of_items_make_a_weighted_mean(term, pairs, references) -> None:
    """Weight 2 is the item counted twice, weight 0 the item left out of the mean."""
    weight = torch.rand(len(pairs), dtype=torch.float64)
    single = []
    for row in range(len(pairs)):
        only = torch.zeros(len(pairs), dtype=torch.float64)
        only[row] = 1.0
        single.append(term(pairs.weighted(only), references, HERE, 0.0))
    kept = [row for row, value in enumerate(single) if value.active]
    expected = oracles.weighted(
        [single[row].loss.item() for row in kept], [weight[row].item() for row in kept]
    )
    found = loss(term, pairs.weighted(weight), references)
    assert found == pytest.approx(expected, rel=1e-9)
    alike = pairs.weighted(torch.full((len(pairs),), 3.0, dtype=torch.float64))
    assert loss(term, alike, references) == pytest.approx(loss(term, pairs, references))
