from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from hotfill import ranking
from hotfill.errors import InputError, ModelMismatchError, ShapeError
from hotfill.ranking import (
    Affine,
    OldSide,
    Scorer,
    Uncalibrated,
    compare,
    fit_bridge,
    fit_isotonic,
    fit_z_score,
    tail,
)
from hotfill.stores.base import Found, Hits
from hotfill.types import ModelId
from hotfill.vectors import Checked

OLD = ModelId("old", "1", 4)
MIDDLE = ModelId("middle", "1", 5)
NEW = ModelId("new", "1", 6)
RNG = np.random.default_rng(0)


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


REFERENCE = {model: unit(RNG.normal(size=(60, model.dimension))) for model in (OLD, MIDDLE, NEW)}


def cut(source: ModelId, target: ModelId) -> Affine:
    """Keep the first dimensions."""
    matrix = np.eye(source.dimension, target.dimension)
    return Affine(source, target, {"matrix": matrix, "offset": np.zeros(target.dimension)})


BRIDGE = fit_bridge(REFERENCE[NEW], REFERENCE[OLD], new_model=NEW, old_model=OLD)


class Shelf:
    """Vectors by side, searched by a full matrix."""

    def __init__(self, sides: dict[ModelId, dict[str, np.ndarray]]) -> None:
        self.sides = sides

    def search(self, queries: dict[ModelId, Checked], k: int) -> dict[ModelId, Hits]:
        found = {}
        for space, query in queries.items():
            names = list(self.sides[space])
            scores = compare(query.rows, np.stack(list(self.sides[space].values())), space)
            best = np.argsort(-scores, axis=1)[:, :k]
            found[space] = Hits(
                tuple(tuple(names[column] for column in row) for row in best),
                tuple(np.take_along_axis(scores, best, axis=1)),
            )
        return found

    def vectors(self, item_ids: Sequence[str], space: ModelId) -> Found:
        here = [name for name in item_ids if name in self.sides[space]]
        rows = [(name, 1, self.sides[space][name]) for name in here]
        return Found.of(rows, space.dimension)


def shelf(*models: ModelId, count: int = 40) -> Shelf:
    rng = np.random.default_rng(5)
    return Shelf(
        {
            model: {
                f"{model.name}{row}": vector
                for row, vector in enumerate(unit(rng.normal(size=(count, model.dimension))))
            }
            for model in models
        }
    )


def scorer(calibration: ranking.Calibration | None = None) -> Scorer:
    calibration = calibration or tail()
    return Scorer(NEW, REFERENCE[NEW], [OldSide(OLD, cut(NEW, OLD), calibration, REFERENCE[OLD])])


def test_a_merge_by_pieces_equals_the_merge_of_full_matrices() -> None:
    queries, gallery = unit(RNG.normal(size=(3, 6))), shelf(OLD, NEW)
    prepared = scorer().prepare(queries)
    ranked = prepared.rank(gallery.search(dict(prepared.vectors), 7), 7)
    for row, hits in enumerate(ranked):
        rows = []
        for space, vector in prepared.vectors.items():
            for name, stored in gallery.sides[space].items():
                score = np.float32([vector.rows[row] @ stored])
                if space == OLD:
                    score = prepared.calibrated[OLD](row, score)
                rows.append((float(score[0]), name))
        expected = [name for _, name in sorted(rows, reverse=True)[:7]]
        assert list(hits.item_ids) == expected
        assert all(
            (side == 0) == name.startswith("old")
            for name, side in zip(hits.item_ids, hits.sides, strict=True)
        )


def test_new_scores_stay_on_their_own_scale() -> None:
    queries, gallery = unit(RNG.normal(size=(2, 6))), shelf(OLD, NEW)
    prepared = scorer().prepare(queries)
    for hits in prepared.rank(gallery.search(dict(prepared.vectors), 9), 9):
        new = hits.sides == 1
        np.testing.assert_array_equal(hits.scores[new], hits.raw_scores[new])


def test_a_bridge_orders_its_hits_by_their_exact_scores() -> None:
    queries, gallery = unit(RNG.normal(size=(4, 6))), shelf(OLD, NEW)
    side = OldSide(OLD, BRIDGE, tail(), REFERENCE[OLD])
    prepared = Scorer(NEW, REFERENCE[NEW], [side]).prepare(queries)
    assert prepared.depth(10) == 40
    hits = {OLD: gallery.search(dict(prepared.vectors), 40)[OLD]}
    for row, ranked in enumerate(prepared.rank(hits, 40, read=gallery.vectors)):
        query = BRIDGE.query_features(queries[row : row + 1])[0]
        exact = {
            name: float(BRIDGE.gallery_features(stored[None])[0] @ query)
            for name, stored in gallery.sides[OLD].items()
        }
        assert list(ranked.item_ids) == sorted(exact, key=exact.get, reverse=True)


def test_an_item_whose_vector_is_gone_stays_in_the_list() -> None:
    queries, gallery = unit(RNG.normal(size=(1, 6))), shelf(OLD)
    side = OldSide(OLD, BRIDGE, tail(), REFERENCE[OLD])
    prepared = Scorer(NEW, REFERENCE[NEW], [side]).prepare(queries)
    hits = gallery.search({OLD: prepared.vectors[OLD]}, 10)
    gone = hits[OLD].item_ids[0][3]
    del gallery.sides[OLD][gone]
    assert gone in prepared.rank(hits, 10, read=gallery.vectors)[0].item_ids


def test_without_refinement_one_search_of_depth_k_is_enough() -> None:
    side = OldSide(OLD, BRIDGE, tail(), REFERENCE[OLD])
    prepared = Scorer(NEW, REFERENCE[NEW], [side]).prepare(REFERENCE[NEW][:1], refine=False)
    assert prepared.depth(10) == 10
    assert not prepared.refined


def test_a_side_without_a_transform_takes_the_old_models_queries() -> None:
    side = OldSide(
        OLD, None, fit_z_score(RNG.normal(size=(3, 9)), RNG.normal(size=(3, 9))), REFERENCE[OLD]
    )
    two = Scorer(NEW, REFERENCE[NEW], [side])
    own = unit(RNG.normal(size=(2, 4)))
    prepared = two.prepare(REFERENCE[NEW][:2], {OLD: own})
    np.testing.assert_array_equal(prepared.vectors[OLD].rows, own)
    with pytest.raises(InputError, match="old_queries"):
        two.prepare(REFERENCE[NEW][:2])
    with pytest.raises(ShapeError, match="expected 2 queries"):
        two.prepare(REFERENCE[NEW][:2], {OLD: own[:1]})


def test_a_chain_of_three_sides_is_merged_oldest_first() -> None:
    sides = [OldSide(model, cut(NEW, model), tail(), REFERENCE[model]) for model in (OLD, MIDDLE)]
    chain = Scorer(NEW, REFERENCE[NEW], sides)
    gallery = shelf(OLD, MIDDLE, NEW)
    prepared = chain.prepare(REFERENCE[NEW][:2])
    assert chain.spaces == tuple(prepared.vectors) == (OLD, MIDDLE, NEW)
    for hits in prepared.rank(gallery.search(dict(prepared.vectors), 30), 30):
        assert set(hits.sides.tolist()) == {0, 1, 2}


def test_only_the_sides_that_were_searched_are_merged() -> None:
    queries, gallery = unit(RNG.normal(size=(2, 6))), shelf(OLD, NEW)
    prepared = scorer().prepare(queries)
    hits = gallery.search({NEW: prepared.vectors[NEW]}, 5)
    for row, ranked in enumerate(prepared.rank(hits, 5)):
        assert list(ranked.item_ids) == list(hits[NEW].item_ids[row])
    with pytest.raises(ModelMismatchError):
        prepared.rank({MIDDLE: hits[NEW]}, 5)


def test_what_does_not_belong_together_is_refused() -> None:
    with pytest.raises(ModelMismatchError, match="target"):
        Scorer(NEW, REFERENCE[NEW], [OldSide(OLD, cut(NEW, MIDDLE), tail(), REFERENCE[OLD])])
    with pytest.raises(ModelMismatchError, match="source"):
        Scorer(NEW, REFERENCE[NEW], [OldSide(OLD, cut(MIDDLE, OLD), tail(), REFERENCE[OLD])])
    with pytest.raises(ShapeError, match="60 reference items"):
        Scorer(NEW, REFERENCE[NEW], [OldSide(OLD, None, tail(), REFERENCE[OLD][:5])])
    with pytest.raises(InputError, match="twice"):
        Scorer(NEW, REFERENCE[NEW], [OldSide(OLD, None, tail(), REFERENCE[OLD])] * 2)


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_scores_are_those_of_a_store(metric: str) -> None:
    model = ModelId("any", "1", 3, metric=metric, normalised=False)
    queries, rows = RNG.normal(size=(2, 3)).astype(np.float32), RNG.normal(size=(4, 3))
    for query, got in zip(queries, compare(queries, rows.astype(np.float32), model), strict=True):
        for row, score in zip(rows, got, strict=True):
            expected = {
                "dot": query @ row,
                "cosine": query @ row / np.linalg.norm(query) / np.linalg.norm(row),
                "l2": -np.linalg.norm(query - row),
            }[metric]
            assert score == pytest.approx(expected, abs=1e-4)


def every_kind() -> list[ranking.Calibration]:
    scores = RNG.normal(size=(3, 50)).astype(np.float32)
    return [
        Uncalibrated(),
        tail(),
        fit_z_score(2 * scores, scores),
        fit_isotonic(2 * scores, scores),
    ]


@pytest.mark.parametrize("calibration", every_kind(), ids=lambda one: one.kind)
def test_a_scorer_comes_back_from_its_folder(
    calibration: ranking.Calibration, tmp_path: Path
) -> None:
    made = scorer(calibration)
    ranking.save_scorer(made, tmp_path / "scorer")
    back = ranking.load_scorer(tmp_path / "scorer", new_model=NEW)
    queries = unit(RNG.normal(size=(2, 6)))
    first, second = made.prepare(queries), back.prepare(queries)
    assert back.spaces == made.spaces
    raw = np.linspace(-1, 1, 9, dtype=np.float32)
    np.testing.assert_array_equal(first.vectors[OLD].rows, second.vectors[OLD].rows)
    np.testing.assert_array_equal(first.calibrated[OLD](1, raw), second.calibrated[OLD](1, raw))


def test_a_damaged_foreign_or_mixed_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ranking.load_scorer(tmp_path)
    ranking.save_scorer(scorer(), tmp_path)
    with pytest.raises(ModelMismatchError):
        ranking.load_scorer(tmp_path, new_model=MIDDLE)
    turned = Affine(NEW, OLD, {"matrix": np.ones((6, 4)), "offset": np.zeros(4)})
    turned.save(tmp_path / "transform_0.safetensors")
    with pytest.raises(InputError, match="mixes two versions"):
        ranking.load_scorer(tmp_path)
    (tmp_path / "scorer.safetensors").write_bytes(b"no")
    with pytest.raises(InputError, match="not a readable"):
        ranking.load_scorer(tmp_path)
