"""Every published method is a Recipe that works in a loop of three lines."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from hotfill.errors import ConfigError, InputError
from hotfill.lab.losses import (
    Cosine,
    Head,
    PairedBatch,
    Part,
    Recipe,
    ReferencePair,
    recipes,
    terms,
)
from hotfill.lab.losses.maps import ResidualBranch, SameSpace, Slice
from hotfill.lab.losses.references import (
    from_head,
    from_means,
    nearest_share,
    refined,
    simplex,
    synthesised,
    with_alternatives,
)

CLASSES, WIDE, NARROW = 6, 8, 5
SCORE = Cosine(10.0, 0.1)


def build(name: str) -> Recipe:
    old, label = torch.randn(60, NARROW), torch.arange(60) % CLASSES
    head, anchors = Head.random(CLASSES, WIDE, SCORE), from_means(old, label, CLASSES)
    down, up = Slice(WIDE, NARROW), ResidualBranch(NARROW, WIDE, hidden=4)
    fixed = Head(simplex(WIDE + 1).vectors, SCORE, trained=False)
    credible = from_means(old, label, CLASSES, radius=nearest_share(0.9))
    old_head = from_head(torch.randn(4, NARROW), rows=torch.tensor([0, 1, 2, 3, -1, -1]))
    return {
        "independent": lambda: recipes.independent(head),
        "bct": lambda: recipes.bct(head, old_head, down=down),
        "unibct": lambda: recipes.unibct(head, anchors, down=down),
        "advbct": lambda: recipes.advbct(head, anchors, down=down),
        "bounded": lambda: recipes.bounded(head, anchors, down=down),
        "ract": lambda: recipes.ract(head, down=down),
        "lce": lambda: recipes.lce(head, anchors, down=down),
        "cores": lambda: recipes.cores(fixed),
        "hoc": lambda: recipes.hoc(fixed, down=down),
        "mixbct": lambda: recipes.mixbct(head, credible, up=up),
        "contrastive": lambda: recipes.contrastive(head, down=down),
        "l2": lambda: recipes.l2(down=down),
        "bict": lambda: recipes.bict(head, anchors, up, down=down).backward,
        "dmu": lambda: recipes.dmu(head, anchors, up, down=down),
    }[name]()


EVERY = [
    "independent",
    "bct",
    "unibct",
    "advbct",
    "bounded",
    "ract",
    "lce",
    "cores",
    "hoc",
    "mixbct",
    "contrastive",
    "l2",
    "bict",
    "dmu",
]


@pytest.mark.parametrize("name", EVERY)
def test_a_recipe_lowers_its_loss_in_a_plain_loop(name) -> None:
    recipe, model = build(name), torch.nn.Linear(7, WIDE)
    inputs, label = torch.randn(24, 7), torch.arange(24) % CLASSES
    old = torch.randn(24, NARROW)
    optimiser = torch.optim.Adam([*model.parameters(), *recipe.parameters()], lr=0.05)
    losses = []
    for step in range(30):
        loss = recipe(PairedBatch(model(inputs), old, label), progress=0.5 + step / 1000).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert min(losses[-3:]) < losses[0]


@pytest.mark.parametrize("name", EVERY)
def test_a_recipe_comes_back_from_its_state(name) -> None:
    torch.manual_seed(1)
    first = build(name)
    torch.manual_seed(2)
    second = build(name)
    second.load_state_dict(first.state_dict())
    batch = PairedBatch(torch.randn(8, WIDE), torch.randn(8, NARROW), torch.arange(8) % CLASSES)
    torch.manual_seed(3)
    expected = first(batch, 0.5).loss
    torch.manual_seed(3)
    torch.testing.assert_close(second(batch, 0.5).loss, expected)


def test_the_loss_is_the_weighted_sum_of_the_parts() -> None:
    recipe = build("lce")
    batch = PairedBatch(torch.randn(8, WIDE), torch.randn(8, NARROW), torch.arange(8) % CLASSES)
    value = recipe(batch)
    parts = {name: part.loss for name, part in value.parts.items()}
    expected = parts["classification"] + 100 * parts["alignment"] + parts["boundary"]
    torch.testing.assert_close(value.loss, expected)


def test_progress_is_the_only_clock() -> None:
    batch = PairedBatch(torch.randn(8, WIDE), torch.randn(8, NARROW), torch.arange(8) % CLASSES)
    advbct = build("advbct")
    assert "critic" in advbct(batch, 0.99).parts
    assert "critic" not in advbct(batch, 1.0).parts
    with pytest.raises(ConfigError, match="progress"):
        advbct(batch, 1.5)


def test_unibct_keeps_to_the_plain_means_until_it_refines_them() -> None:
    batch = PairedBatch(torch.randn(8, WIDE), torch.randn(8, NARROW), torch.arange(8) % CLASSES)
    unibct = build("unibct")
    means = unibct.references.old
    softer = Cosine(SCORE.scale / 4)
    expected = terms.AnchorSoftmax("old", softer)(
        PairedBatch(batch.new[:, :NARROW], label=batch.label),
        ReferencePair(means),
        SameSpace(),
        0.0,
    )
    torch.testing.assert_close(unibct(batch, 0.0).parts["prototypes"].loss, expected.loss)


def test_unibct_refines_the_anchors_of_its_labels_and_no_alternatives() -> None:
    old, new, label = torch.randn(60, NARROW), torch.randn(60, WIDE), torch.arange(60) % CLASSES
    others = from_head(torch.randn(3, NARROW), rows=torch.tensor([1, -1, -1, -1, -1, -1]))
    anchors = with_alternatives(from_means(old, label, CLASSES), others)
    torch.testing.assert_close(anchors.vectors[CLASSES:], others.vectors[[0, 2]])
    recipe = recipes.unibct(Head.random(CLASSES, WIDE, SCORE), anchors, down=Slice(WIDE, NARROW))
    recipe.renew(recipe.refresh.build(old, new, label))
    found = recipe.references.old
    torch.testing.assert_close(found.vectors[:CLASSES], refined(old, new, label, CLASSES).vectors)
    torch.testing.assert_close(found.vectors[CLASSES:], anchors.vectors[CLASSES:])
    with pytest.raises(ConfigError, match="from_means"):
        recipes.unibct(Head.random(CLASSES, WIDE, SCORE), others)


def test_bounded_adds_wrong_answers_to_the_boundary() -> None:
    """Same boundary as AdvBCT's; the softmax knows the old classes that no new class has."""
    old, label = torch.randn(60, NARROW), torch.arange(60) % CLASSES
    known = from_means(torch.randn(40, NARROW), torch.arange(40) % 4, 4)
    known = replace(known, rows=torch.tensor([2, 0, -1, -1, -1, -1]))
    anchors = synthesised(known, from_means(old, label, CLASSES))
    assert anchors.rows.tolist() == [2, 0, 4, 5, 6, 7]
    recipe = recipes.bounded(Head.random(CLASSES, WIDE, SCORE), anchors, down=Slice(WIDE, NARROW))
    batch = PairedBatch(torch.randn(8, WIDE), None, torch.arange(8) % CLASSES)
    parts = recipe(batch, 0.5).parts
    assert list(parts) == ["classification", "influence", "boundary"]
    row = anchors.rows[batch.label]
    cosines = torch.nn.functional.normalize(batch.new[:, :NARROW]) @ (
        torch.nn.functional.normalize(anchors.vectors).T
    )
    cosines[torch.arange(8), row] -= 0.1
    expected = torch.nn.functional.cross_entropy(10 * cosines, row)
    torch.testing.assert_close(parts["influence"].loss, expected)
    assert anchors.radius is not None


def test_unibct_refreshes_its_anchors_with_the_new_model() -> None:
    recipe = build("unibct")
    assert [recipe.refresh.due(p / 35, (p + 1) / 35) for p in (8, 9, 10, 18, 19)] == [
        False,
        True,
        False,
        False,
        True,
    ]
    old, new, label = torch.randn(60, NARROW), torch.randn(60, WIDE), torch.arange(60) % CLASSES
    recipe.renew(recipe.refresh.build(old, new, label))
    torch.testing.assert_close(
        recipe.references.old.vectors, refined(old, new, label, CLASSES).vectors
    )
    with pytest.raises(ConfigError, match="parts and shapes"):
        recipe.renew(from_means(old, label, CLASSES))
    with pytest.raises(ConfigError, match="no old anchors"):
        build("ract").renew(recipe.references.old)


def test_a_recipe_says_what_its_batches_must_have() -> None:
    assert build("independent").needs == {"label"}
    assert build("l2").needs == {"old"}
    assert build("dmu").needs == {"old", "label"}


def test_dmu_keeps_what_tells_classes_apart() -> None:
    """An old vector at its own anchor counts, one at another class's anchor hardly does."""
    anchors = from_means(torch.eye(NARROW), torch.arange(NARROW), CLASSES)
    head = Head.random(CLASSES, NARROW, SCORE)
    recipe = recipes.dmu(head, anchors, ResidualBranch(NARROW, NARROW))
    part = next(part for part in recipe.parts if part.name == "influence")
    batch = PairedBatch(
        torch.randn(4, NARROW), torch.eye(NARROW)[[0, 1, 2, 3]], torch.tensor([0, 2, 5, -1])
    )
    weight = part.weigh(batch, recipe.references)
    assert weight[0] > 0.99
    assert weight[1] < 0.01
    assert weight[2:].tolist() == [0.0, 0.0]  # no anchor, no label
    forward = next(part for part in recipe.parts if part.name == "forward")
    torch.testing.assert_close(forward.weigh(batch, recipe.references), 2.0 - weight)


def test_bict_trains_its_map_only_in_the_second_stage() -> None:
    old, label = torch.randn(60, NARROW), torch.arange(60) % CLASSES
    head, up = Head.random(CLASSES, WIDE, SCORE), ResidualBranch(NARROW, WIDE, hidden=4)
    stages = recipes.bict(head, from_means(old, label, CLASSES), up, down=Slice(WIDE, NARROW))
    assert not set(up.parameters()) & set(stages.backward.parameters())
    batch = PairedBatch(torch.randn(8, WIDE), torch.randn(8, NARROW), torch.arange(8) % CLASSES)
    stages.forward(batch).loss.backward()
    assert up.outer.weight.grad.any()
    assert head.vectors.grad is None


def test_two_parts_cannot_share_a_name() -> None:
    part = Part("same", terms.Regression())
    with pytest.raises(ConfigError, match="share a name"):
        Recipe("twice", [part, part])


def test_a_term_without_its_anchors_says_so() -> None:
    recipe = Recipe("bare", [Part("boundary", terms.CosineBoundary())])
    with pytest.raises(InputError, match="old space"):
        recipe(PairedBatch(torch.randn(2, 3), label=torch.tensor([0, 1])))
