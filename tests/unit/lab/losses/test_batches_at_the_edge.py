"""Empty batches, one item, no labels, classes nobody has seen: a number, a graph, no NaN."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from pytorch_metric_learning.losses import TripletMarginLoss

from hotfill.errors import ConfigError, InputError, ShapeError
from hotfill.lab.losses import Cosine, Dot, PairedBatch, ReferencePair, terms
from hotfill.lab.losses.maps import SameSpace, Slice

HERE = SameSpace()

EVERY_TERM = [
    terms.AnchorSoftmax("old", Cosine(5.0, 0.1)),
    terms.AnchorSoftmax("old", Dot()),
    terms.AnchorSoftmax("new", Cosine(5.0, 0.1, "angle")),
    terms.AnchorSoftmax("new", Cosine(5.0), asks="old"),
    terms.ItemContrast(0.01, hardest=10),
    terms.ItemContrast(0.01),
    terms.ClassContrast(),
    terms.StationaryContrast(),
    terms.Regression(),
    terms.Regression(asks="old"),
    terms.CosineBoundary(),
    terms.ElasticBoundary(6).double(),
    terms.AnchorAlignment(),
    terms.Adversarial(5).double(),
    terms.MixedSoftmax(Cosine(5.0)),
    terms.MetricLoss(TripletMarginLoss()),
]


def named(term) -> str:
    return type(term).__name__


def check(term, pairs: PairedBatch, references: ReferencePair) -> float:
    """Every term gives a finite scalar that can be differentiated into finite gradients."""
    pairs = replace(pairs, new=pairs.new.detach().clone().requires_grad_())
    up = torch.nn.Linear(5, 5).double()  # so that a term asked by old vectors has a graph too
    value = term(pairs, references, up, 0.5)
    assert value.loss.shape == ()
    assert torch.isfinite(value.loss)
    value.loss.backward()
    for tensor in (pairs.new, references.new.vectors, *term.parameters(), *up.parameters()):
        assert tensor.grad is None or torch.isfinite(tensor.grad).all()
    assert 0 <= value.active <= max(len(pairs), 6)
    return value.loss.item()


@pytest.mark.parametrize("term", EVERY_TERM, ids=named)
class TestEveryTerm:
    def test_takes_an_empty_batch(self, term, pairs, references) -> None:
        empty = PairedBatch(pairs.new[:0], pairs.old[:0], pairs.label[:0])
        found = check(term, empty, references)
        assert found == 0.0 or isinstance(term, terms.AnchorAlignment)

    def test_takes_one_item(self, term, pairs, references) -> None:
        check(term, PairedBatch(pairs.new[:1], pairs.old[:1], pairs.label[:1]), references)

    def test_takes_a_batch_of_one_class(self, term, pairs, references) -> None:
        same = torch.zeros_like(pairs.label)
        check(term, replace(pairs, label=same), references)

    def test_takes_no_labels(self, term, pairs, references) -> None:
        check(term, replace(pairs, label=None), references)

    def test_takes_labels_that_are_all_unknown(self, term, pairs, references) -> None:
        check(term, replace(pairs, label=torch.full_like(pairs.label, -1)), references)

    def test_takes_classes_that_the_old_model_never_saw(self, term, pairs, references) -> None:
        check(term, replace(pairs, label=torch.full_like(pairs.label, 2)), references)

    def test_takes_weights_that_are_all_zero(self, term, pairs, references) -> None:
        check(term, pairs.weighted(torch.zeros(len(pairs), dtype=torch.float64)), references)

    def test_takes_embeddings_of_length_zero(self, term, pairs, references) -> None:
        check(term, replace(pairs, new=torch.zeros_like(pairs.new)), references)


@pytest.mark.parametrize(
    "term",
    [term for term in EVERY_TERM if "old" in term.needs],
    ids=named,
)
def test_a_term_that_compares_items_says_when_old_vectors_are_absent(
    term, pairs, references
) -> None:
    with pytest.raises(InputError, match="old embeddings"):
        term(replace(pairs, old=None), references, HERE, 0.0)


@pytest.mark.parametrize(
    "term", [term for term in EVERY_TERM if not isinstance(term, terms.MetricLoss)], ids=named
)
def test_dimensions_that_do_not_meet_ask_for_a_map(term, pairs, references) -> None:
    wide = PairedBatch(
        torch.cat([pairs.new] * 2, dim=1), torch.cat([pairs.old] * 3, 1), pairs.label
    )
    head = replace(references.new, vectors=torch.cat([references.new.vectors] * 2, dim=1))
    with pytest.raises(ShapeError, match="dimension"):
        term(wide, replace(references, new=head), Slice(10, 9), 0.0)


def test_a_label_outside_the_head_is_named(pairs, references) -> None:
    names = [f"drawing-{row}" for row in range(len(pairs))]
    label = pairs.label.clone()
    label[7] = 4
    with pytest.raises(InputError, match=r"drawing-7 \(label 4\)"):
        terms.AnchorSoftmax("new", Cosine(5.0))(
            PairedBatch(pairs.new, label=label, item_ids=names), references, HERE, 0.0
        )


def test_a_cosine_softmax_has_no_default_scale() -> None:
    with pytest.raises(TypeError):
        Cosine()  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match="scale"):
        Cosine(0.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"new": torch.zeros(12)}, "new embeddings"),
        ({"old": torch.zeros(11, 5)}, "expected one row per new embedding"),
        ({"label": torch.zeros(12)}, "int64"),
        ({"weight": torch.zeros(3)}, "weights"),
        ({"item_ids": ["a"]}, "item ids"),
    ],
)
def test_rows_that_do_not_agree_are_refused(pairs, change, words) -> None:
    with pytest.raises(ShapeError, match=words):
        replace(pairs, **change)
