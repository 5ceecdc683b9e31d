"""The trained maps as a user meets them: pairs in, ordinary transforms out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hotfill.errors import ConfigError, InputError, ShapeError, VectorError
from hotfill.lab.training import DivergedError
from hotfill.lab.training.transforms import (
    Classifier,
    MapSettings,
    Neighbours,
    Related,
    SameLabel,
    fit_classifier,
    train_fastfill,
    train_forward,
    train_lambda_orthogonal,
    train_metric_compatible,
    train_residual_mlp,
    train_reverse_query_transform,
)
from hotfill.ranking import (
    MlpMap,
    OldSide,
    Scorer,
    fit_ridge,
    join,
    joint_model,
    load_transform,
    tail,
    uncertainty,
)
from hotfill.types import ModelId

OLD, NEW = ModelId("old", "1", 6), ModelId("new", "1", 8)
LEARNED = ModelId("new", "1+rho", 8)
FREE_OLD = ModelId("old", "1", 6, metric="l2", normalised=False)
FREE_NEW = ModelId("new", "1", 8, metric="l2", normalised=False)
SPACES = {"old_model": OLD, "new_model": NEW}
SHORT = MapSettings(epochs=30, batch=40, learning_rate=5e-3, warm_up_epochs=2)
LONG = MapSettings(epochs=120, batch=40, learning_rate=2e-2, warm_up_epochs=2)
TWO = MapSettings(epochs=2, batch=40)


def cosine(mapped: np.ndarray, true: np.ndarray) -> float:
    return float(np.mean(np.sum(mapped * true, axis=1)))


def test_psi_searches_the_old_side_of_a_scorer(pairs, tmp_path) -> None:
    old, new = pairs
    psi = train_reverse_query_transform(old[:90], new[:90], **SPACES, settings=SHORT)
    assert (psi.source, psi.target) == (NEW, OLD)
    assert cosine(psi(new[90:]), old[90:]) > 0.8
    scorer = Scorer(NEW, new[:30], [OldSide(OLD, psi, tail(), old[:30])])
    prepared = scorer.prepare(new[90:])
    np.testing.assert_array_equal(prepared.vectors[OLD].rows, psi(new[90:]))
    psi.save(tmp_path / "psi.safetensors")
    back = load_transform(tmp_path / "psi.safetensors", source=NEW, target=OLD)
    np.testing.assert_array_equal(back(new), psi(new))


def test_the_same_seed_gives_the_same_map_and_leaves_the_callers_random_numbers(pairs) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, again, other = (
        train_reverse_query_transform(*pairs, **SPACES, settings=MapSettings(epochs=2, seed=seed))
        for seed in (1, 1, 2)
    )
    assert torch.equal(torch.rand(3), expected)
    assert first.fingerprint == again.fingerprint != other.fingerprint


def test_progress_is_told_after_every_epoch(pairs) -> None:
    told: list[tuple[int, int, float]] = []
    psi = train_reverse_query_transform(
        *pairs, **SPACES, settings=TWO, progress=lambda *what: told.append(what)
    )
    assert [(done, epochs) for done, epochs, _ in told] == [(1, 2), (2, 2)]
    assert psi.facts["loss"] == told[-1][2]


def test_training_lowers_the_loss(pairs, labels) -> None:
    told: list[float] = []
    train_metric_compatible(
        *pairs,
        SameLabel(labels),
        **SPACES,
        learned_model=LEARNED,
        settings=SHORT,
        progress=lambda done, epochs, loss: told.append(loss),
    )
    assert told[-1] < 0.5 * told[0]


@pytest.mark.parametrize("contrast", ["joint", "independent", "old", "new"])
def test_each_contrast_gives_a_psi_and_a_rho(pairs, labels, contrast) -> None:
    psi, rho = train_metric_compatible(
        *pairs,
        SameLabel(labels),
        **SPACES,
        learned_model=LEARNED,
        contrast=contrast,
        hardest=5,
        settings=TWO,
    )
    assert isinstance(rho, MlpMap)
    assert (psi.source, psi.target, rho.source, rho.target) == (NEW, OLD, NEW, LEARNED)
    assert rho(pairs[1]).shape == (120, 8)


def test_without_a_learned_space_psi_comes_alone(pairs, labels) -> None:
    psi, rho = train_metric_compatible(*pairs, SameLabel(labels), **SPACES, settings=TWO)
    assert rho is None
    assert psi.facts["positives"] == "SameLabel"


def test_a_chained_psi_reads_the_learned_space_and_so_fits_a_scorer(pairs, labels) -> None:
    psi, rho = train_metric_compatible(
        *pairs, SameLabel(labels), **SPACES, learned_model=LEARNED, chained=True, settings=TWO
    )
    assert psi.source == LEARNED
    queries = rho(pairs[1])
    scorer = Scorer(LEARNED, queries[:30], [OldSide(OLD, psi, tail(), pairs[0][:30])])
    assert scorer.prepare(queries).vectors[OLD].rows.shape == (120, 6)


def test_pairs_of_items_and_vectors_alone_are_positives_too(pairs) -> None:
    answers = np.stack([np.arange(60), np.arange(60) + 60], axis=1)  # same label by construction
    for positives in (Related(answers, items=120), Neighbours(pairs[1], count=5)):
        psi, _ = train_metric_compatible(*pairs, positives, **SPACES, settings=SHORT)
        assert cosine(psi(pairs[1]), pairs[0]) > 0.5


def test_spaces_with_lengths_are_trained_by_their_distances(pairs, labels) -> None:
    old, new = 3 * pairs[0], 5 * pairs[1]
    psi, _ = train_metric_compatible(
        old, new, SameLabel(labels), old_model=FREE_OLD, new_model=FREE_NEW, settings=SHORT
    )
    assert psi.facts["temperature"] == 1.0
    assert np.mean(np.square(psi(new) - old)) < 0.5 * np.mean(np.square(old - old.mean(0)))


def test_h_maps_unseen_items_better_than_a_straight_map(pairs) -> None:
    rng = np.random.default_rng(1)
    old = rng.normal(size=(900, 6)).astype(np.float32)
    new = np.hstack([np.sin(2 * old), old[:, :2] ** 2]).astype(np.float32)
    h = train_forward(
        old[:700],
        new[:700],
        old_model=FREE_OLD,
        new_model=FREE_NEW,
        hidden=32,
        settings=MapSettings(epochs=60, batch=100, learning_rate=5e-3),
    )
    straight = fit_ridge(old[:700], new[:700], source=FREE_OLD, target=FREE_NEW)
    errors = [np.mean(np.square(map_(old[700:]) - new[700:])) for map_ in (h, straight)]
    assert errors[0] < 0.3 * errors[1]
    assert not h.has_head


def test_h_with_side_information_reads_both_parts(pairs) -> None:
    old, new = pairs
    side = ModelId("side", "1", 2)
    both = joint_model(OLD, side)
    rows = join(old, new[:, :2], old_model=OLD, side_model=side)
    h = train_forward(
        rows, new, old_model=both, new_model=NEW, side_dimension=2, hidden=16, settings=TWO
    )
    moved = rows.copy()
    moved[:, 6:] *= -1
    assert h.source == both
    assert not np.allclose(h(rows), h(moved))
    with pytest.raises(ShapeError, match="none or all"):
        train_forward(rows, new, old_model=both, new_model=NEW, side_dimension=8)


def test_fastfill_doubts_the_items_whose_old_vectors_say_nothing() -> None:
    """Half of the items have noise for an old vector; the head must put them first."""
    rng = np.random.default_rng(0)
    labels = np.arange(600) % 6
    means = 2 * rng.normal(size=(6, 8))
    new = (means[labels] + 0.3 * rng.normal(size=(600, 8))).astype(np.float32)
    old = (new[:, :6] + 0.1 * rng.normal(size=(600, 6))).astype(np.float32)
    blank = rng.permutation(600) < 300
    old[blank] = 0.3 * rng.normal(size=(300, 6))
    classifier = fit_classifier(new, labels, new_model=FREE_NEW, settings=SHORT)
    train = np.arange(400)
    h = train_fastfill(
        old[train],
        new[train],
        labels[train],
        classifier,
        old_model=FREE_OLD,
        new_model=FREE_NEW,
        hidden=32,
        settings=MapSettings(epochs=40, batch=100, learning_rate=5e-3),
    )
    doubts = uncertainty(h, old[400:])
    first = np.argsort(-doubts)[: int(blank[400:].sum())]
    assert blank[400:][first].mean() > 0.9


def test_a_classifier_fitted_on_vectors_names_their_classes(pairs, labels) -> None:
    classifier = fit_classifier(pairs[1], labels, new_model=NEW, settings=LONG)
    logits = pairs[1] @ classifier.weight.T + classifier.offset
    assert np.mean(logits.argmax(axis=1) == labels) > 0.9


@pytest.mark.parametrize("relaxed", [True, False])
@pytest.mark.parametrize("dimensions", [(6, 8), (8, 6), (6, 6)])
def test_both_maps_of_lambda_orthogonality_meet_in_one_space(
    pairs, labels, relaxed, dimensions
) -> None:
    both = np.hstack(pairs)[:, :14]
    old, new = both[:, : dimensions[0]], both[:, -dimensions[1] :]
    models = [ModelId(name, "1", d) for name, d in zip(("old", "new"), dimensions, strict=True)]
    unified = ModelId("unified", "1", dimensions[1])
    backward, forward = train_lambda_orthogonal(
        old,
        new,
        SameLabel(labels),
        old_model=models[0],
        new_model=models[1],
        unified_model=unified,
        relaxed=relaxed,
        settings=SHORT,
    )
    assert backward.target == forward.target == unified
    assert cosine(forward(old), backward(new)) > 0.6
    far = np.linalg.norm(backward.matrix @ backward.matrix.T - np.eye(dimensions[1]))
    assert far < (12.5 if relaxed else 1e-4)


@pytest.mark.parametrize("target", [NEW, ModelId("other", "1", 6)])
def test_a_residual_mlp_joins_any_dimensions(pairs, target) -> None:
    old, new = pairs
    true = new if target is NEW else old[:, ::-1].copy()
    found = train_residual_mlp(old, true, source=OLD, target=target, hidden=16, settings=LONG)
    assert cosine(found(old), true) > 0.75
    if target.dimension == 6:
        np.testing.assert_array_equal(found.arrays["straight"], np.eye(6))


def test_spaces_that_are_compared_differently_are_refused(pairs, labels) -> None:
    positives = SameLabel(labels)
    with pytest.raises(ConfigError, match="compared differently"):
        train_metric_compatible(*pairs, positives, old_model=FREE_OLD, new_model=NEW)
    inner = ModelId("new", "1", 8, metric="dot", normalised=False)
    with pytest.raises(ConfigError, match="inner products"):
        train_metric_compatible(*pairs, positives, old_model=OLD, new_model=inner)


def test_an_ablation_without_anything_to_train_is_refused(pairs, labels) -> None:
    positives = SameLabel(labels)
    with pytest.raises(ConfigError, match="moves rho only"):
        train_metric_compatible(*pairs, positives, **SPACES, contrast="new")
    with pytest.raises(ConfigError, match="chained"):
        train_metric_compatible(*pairs, positives, **SPACES, chained=True)
    with pytest.raises(ConfigError, match="joint"):
        train_metric_compatible(*pairs, positives, **SPACES, contrast="all")


def test_bad_pairs_are_refused_before_training(pairs, labels) -> None:
    old, new = pairs
    with pytest.raises(ShapeError, match="120 and 119"):
        train_reverse_query_transform(old, new[1:], **SPACES)
    with pytest.raises(InputError, match="too few"):
        train_forward(old[:10], new[:10], **SPACES)
    with pytest.raises(VectorError, match="the same"):
        train_forward(np.ones((120, 6)), new, **SPACES)
    with pytest.raises(VectorError, match="NaN"):
        train_residual_mlp(old * np.nan, new, source=OLD, target=NEW)
    with pytest.raises(ShapeError, match="relate 60"):
        train_metric_compatible(old, new, SameLabel(labels[:60]), **SPACES)
    with pytest.raises(ConfigError, match="needs 8"):
        train_lambda_orthogonal(old, new, SameLabel(labels), **SPACES, unified_model=OLD)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"labels": np.full(120, 9)}, InputError),
        ({"labels": np.zeros(7, int)}, ShapeError),
        ({"classifier": Classifier(np.ones((6, 5)), np.ones(6))}, ShapeError),
        ({"smoothing": 1.0}, InputError),
        ({"uncertainty_weight": 0.0}, InputError),
        ({"similarity_weight": -1.0}, InputError),
    ],
)
def test_fastfill_refuses_what_does_not_fit(pairs, labels, change, error) -> None:
    given = {"labels": labels, "classifier": Classifier(np.ones((6, 8)), np.ones(6))} | change
    with pytest.raises(error):
        train_fastfill(*pairs, given.pop("labels"), given.pop("classifier"), **SPACES, **given)


def test_settings_that_make_no_sense_are_refused() -> None:
    for wrong in ({"epochs": 0}, {"batch": 1}, {"learning_rate": 0.0}, {"warm_up_epochs": -1}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            MapSettings(**wrong)


def test_the_learning_rate_warms_up_then_falls() -> None:
    settings = MapSettings(epochs=25, learning_rate=1.0, warm_up_epochs=5)
    rates = [settings.learning_rate_of(epoch) for epoch in range(25)]
    assert rates[:6] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])
    assert rates[15] == pytest.approx(0.5)
    assert sorted(rates[5:], reverse=True) == rates[5:]
    assert 0 < rates[-1] < 0.02


def test_a_training_that_diverges_says_so(pairs) -> None:
    wild = MapSettings(epochs=30, batch=40, learning_rate=1e30, warm_up_epochs=0)
    with pytest.raises(DivergedError):
        train_residual_mlp(pairs[0], pairs[1], source=OLD, target=FREE_NEW, settings=wild)
