"""A side where the old query has a weight, against the plain arithmetic of two views."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hotfill import ranking
from hotfill.errors import InputError, ShapeError
from hotfill.ranking import OldSide, Scorer, fit_models, tail
from hotfill.stores.base import Found, Hits
from hotfill.types import ModelId

OLD, NEW = ModelId("old", "1", 12), ModelId("new", "1", 16)
SHARE = 0.4


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def world() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    latent = rng.normal(size=(760, 16)) * np.linspace(2, 0.3, 16)
    new = unit(latent + 0.2 * rng.normal(size=latent.shape))
    old = unit(np.tanh(latent[:, :12]) + 0.2 * rng.normal(size=(760, 12)))
    return {"old": old, "new": new}


@pytest.fixture(scope="module")
def scorer(world) -> Scorer:
    return fit_models(
        world["old"][:400],
        world["new"][:400],
        OLD,
        NEW,
        transform="bridge",
        old_query_weight=SHARE,
    ).scorer


def blended(scorer: Scorer, world: dict[str, np.ndarray], queries: slice, items: slice):
    """The slow way: both views of every item, each calibrated, then the weighted mean."""
    side = scorer.sides[0]
    asked_old, asked_new = world["old"][queries], world["new"][queries]
    new_scores = asked_new @ scorer.new_reference.T
    bridge = side.transform
    features = bridge.query_features(asked_new)
    mapped = side.calibration.prepare(
        features @ bridge.gallery_features(side.reference).T, new_scores
    )
    own = side.calibration.prepare(asked_old @ side.reference.T, new_scores)
    stored = world["old"][items]
    exact = features @ bridge.gallery_features(stored).T
    plain = asked_old @ stored.T
    return np.stack(
        [
            (1 - SHARE) * mapped(row, exact[row]) + SHARE * own(row, plain[row])
            for row in range(len(asked_new))
        ]
    )


def ranked(scorer: Scorer, world, old_queries, k: int):
    """Search items 400 to 740 on the old side with queries 740 to 760, as a store does."""
    stored = world["old"][400:740]
    prepared = scorer.prepare(world["new"][740:], old_queries)
    scores = ranking.compare(prepared.vectors[OLD].rows, stored, OLD)
    depth = prepared.depth(k)
    best = np.argsort(-scores, axis=1)[:, :depth]
    hits = Hits(
        tuple(tuple(str(item) for item in row) for row in best),
        tuple(np.take_along_axis(scores, best, axis=1)),
    )

    def read(item_ids, space):
        return Found.of([(item_id, 1, stored[int(item_id)]) for item_id in item_ids], 12)

    return prepared.rank({OLD: hits}, k, read=read)


def test_hits_get_the_weighted_mean_of_both_calibrated_views(scorer, world) -> None:
    expected = blended(scorer, world, slice(740, 760), slice(400, 740))
    for row, found in enumerate(ranked(scorer, world, {OLD: world["old"][740:]}, 10)):
        items = [int(item) for item in found.item_ids]
        np.testing.assert_allclose(found.scores, expected[row, items], atol=1e-4)


def test_one_search_by_the_summed_vector_finds_nearly_all_of_the_best(scorer, world) -> None:
    expected = np.argsort(-blended(scorer, world, slice(740, 760), slice(400, 740)), axis=1)
    kept = [
        len({int(item) for item in found.item_ids} & set(best[:10].tolist()))
        for found, best in zip(
            ranked(scorer, world, {OLD: world["old"][740:]}, 10), expected, strict=True
        )
    ]
    assert np.mean(kept) >= 9.5


def test_without_old_queries_the_transform_speaks_alone(scorer, world) -> None:
    side = scorer.sides[0]
    alone = Scorer(
        NEW, scorer.new_reference, [OldSide(OLD, side.transform, tail(), side.reference)]
    )
    for one, other in zip(
        ranked(scorer, world, None, 10), ranked(alone, world, None, 10), strict=True
    ):
        assert list(one.item_ids) == list(other.item_ids)
        np.testing.assert_array_equal(one.scores, other.scores)


def test_old_queries_do_not_count_for_a_side_without_a_weight(scorer, world) -> None:
    side = scorer.sides[0]
    alone = Scorer(
        NEW, scorer.new_reference, [OldSide(OLD, side.transform, tail(), side.reference)]
    )
    own = {OLD: world["old"][740:]}
    assert [list(found.item_ids) for found in ranked(alone, world, own, 10)] == [
        list(found.item_ids) for found in ranked(alone, world, None, 10)
    ]


def test_the_weight_is_saved_and_loaded(scorer, world, tmp_path: Path) -> None:
    ranking.save_scorer(scorer, tmp_path)
    loaded = ranking.load_scorer(tmp_path)
    assert loaded.sides[0].old_query_weight == SHARE
    own = {OLD: world["old"][740:]}
    for one, other in zip(
        ranked(scorer, world, own, 10), ranked(loaded, world, own, 10), strict=True
    ):
        assert list(one.item_ids) == list(other.item_ids)


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_weight_outside_its_range_is_refused(scorer, share) -> None:
    side = scorer.sides[0]
    wrong = OldSide(OLD, side.transform, tail(), side.reference, share)
    with pytest.raises(InputError, match="old_query_weight"):
        Scorer(NEW, scorer.new_reference, [wrong])


def test_old_queries_must_be_as_many_as_the_queries(scorer, world) -> None:
    with pytest.raises(ShapeError, match="expected 20 queries"):
        scorer.prepare(world["new"][740:], {OLD: world["old"][:3]})
