"""One space against the slow formulas of its page, in float64 and loops."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hotfill.errors import ConfigError, InputError, ShapeError, VectorError
from hotfill.ranking import (
    FinishedEmbedder,
    OneSpace,
    fit_one_space,
    old_query_weight,
    scale_of,
)
from hotfill.ranking.impute import known_pairs
from hotfill.ranking.one_space import correlation
from hotfill.stores.base import Hits
from hotfill.types import ModelId
from hotfill.vectors import checked, unit

OLD, NEW = ModelId("old", "1", 12), ModelId("new", "1", 16)


class World:
    """Items of thirty classes, seen dimly by the old model and clearly by the new one."""

    def __init__(self) -> None:
        rng = np.random.default_rng(7)
        self.centres = rng.normal(size=(30, 8))
        self.old, self.new = rng.normal(size=(8, 12)), rng.normal(size=(8, 16))

    def draw(self, count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        labels = rng.integers(30, size=count)
        hidden = self.centres[labels] + 0.6 * rng.normal(size=(count, 8))
        old = np.tanh(hidden) @ self.old + 0.5 * rng.normal(size=(count, 12)) + 1
        new = hidden @ self.new + 0.3 * rng.normal(size=(count, 16)) + 1.5
        return unit(old), unit(new), labels


WORLD = World()


@pytest.fixture(scope="module")
def space() -> OneSpace:
    old, new, _ = WORLD.draw(1500, seed=1)
    return fit_one_space(old, new, OLD, NEW)


@pytest.fixture(scope="module")
def agreed() -> OneSpace:
    old, new, _ = WORLD.draw(1500, seed=1)
    return fit_one_space(old, new, OLD, NEW, finish="agreement")


def test_an_imputed_vector_is_what_the_page_says(space) -> None:
    arrays = {name: array.astype(float) for name, array in space.imputation.arrays.items()}
    mean, whitening = space.whitening.mean.astype(float), space.whitening.matrix.astype(float)
    across = mean / np.linalg.norm(mean)
    old = WORLD.draw(5, seed=2)[0].astype(float)
    for row, got in zip(old, space.impute(old), strict=True):
        turned = row - arrays["regression.centre"]
        turned /= np.linalg.norm(turned)
        predicted = np.zeros(16)
        for landmark, weights in zip(
            arrays["regression.landmarks"], arrays["regression.weights"], strict=True
        ):
            square = np.square(turned - landmark).sum()
            predicted += np.exp(-arrays["regression.exponent"][0] * square) * weights
        direction = whitening @ (predicted / np.linalg.norm(predicted))
        direction -= (direction @ across) * across
        np.testing.assert_allclose(got, space.level * across + space.reach * direction, atol=2e-4)


def test_level_and_reach_let_the_median_query_see_both_kinds_stand_out_alike(space) -> None:
    background = [
        (_background(query, space.references.own), _background(query, space.references.imputed))
        for query in space.queries.astype(float)
    ]
    ratios = [own[1] / imputed[1] for own, imputed in background]
    assert np.median(ratios) == pytest.approx(1.0, abs=1e-3)
    shifts = [own[0] - imputed[0] for own, imputed in background]
    # <q, a> is not the same for all queries, so the middles agree only about their median.
    assert abs(np.median(shifts)) < 0.01


def _background(query: np.ndarray, items: np.ndarray) -> tuple[float, float]:
    scores = np.array([query @ item.astype(float) for item in items])
    middle = np.median(scores)
    upper = np.quantile(scores, [0.90, 0.95, 0.97, 0.98, 0.99])
    return float(middle), float(np.sqrt(np.mean(np.square(upper - middle))))


def test_the_models_own_vectors_keep_their_order(space) -> None:
    new = WORLD.draw(50, seed=3)[1]
    np.testing.assert_allclose(space.own(3 * new), new, atol=1e-6)
    np.testing.assert_allclose(space.searching(3 * new), new, atol=1e-6)


def test_imputed_vectors_keep_a_length_of_their_own_below_the_longest(space) -> None:
    lengths = np.linalg.norm(space.impute(WORLD.draw(200, seed=4)[0]), axis=1)
    assert np.ptp(lengths) > 1e-3
    assert lengths.max() <= space.imputation.longest


@pytest.mark.parametrize("kind", ["kernel", "ridge"])
def test_after_a_perfect_map_imputed_vectors_rank_as_the_true_ones(kind) -> None:
    rng = np.random.default_rng(0)
    new = unit(rng.normal(size=(1200, 16)))
    turn, _ = np.linalg.qr(rng.normal(size=(16, 16)))
    old = new @ turn
    model = ModelId("old", "1", 16)
    space = fit_one_space(old[:1000], new[:1000], model, NEW, map=kind)
    scores = new[1000:] @ space.impute(old[1000:]).T
    assert np.mean(scores.argmax(axis=1) == np.arange(200)) > 0.99
    assert space.rho > 0.97


def test_a_mixed_index_is_better_than_the_old_model_at_every_share(space) -> None:
    old, new, labels = WORLD.draw(1500, seed=5)
    old_queries, new_queries, asked = WORLD.draw(150, seed=6)

    def quality(scores: np.ndarray) -> float:
        best = np.argsort(-scores, axis=1)[:, :10]
        return float(np.mean(labels[best] == asked[:, None]))

    floor = quality(old_queries @ old.T)
    imputed, own = new_queries @ space.impute(old).T, new_queries @ new.T
    points = [
        quality(np.where(np.arange(1500) < moved, own, imputed)) for moved in range(0, 1501, 300)
    ]
    assert min(points) > floor
    assert points[-1] == quality(own)


def test_rho_is_the_mean_correlation_of_true_and_predicted_scores() -> None:
    rng = np.random.default_rng(0)
    queries, true, predicted = (unit(rng.normal(size=(n, 5))) for n in (7, 40, 40))
    expected = [
        np.corrcoef([query @ item for item in true], [query @ item for item in predicted])[0, 1]
        for query in queries
    ]
    assert correlation(queries, true, predicted) == pytest.approx(np.mean(expected), abs=1e-5)
    assert correlation(queries, true, true) == pytest.approx(1)
    assert correlation(queries, true, -true) == pytest.approx(-1)


def test_rho_is_high_where_old_and_new_agree_and_low_where_they_do_not(space) -> None:
    assert 0.8 < space.rho <= 1
    assert space.old_query_weight == 0
    rng = np.random.default_rng(1)
    _, new, _ = WORLD.draw(1500, seed=1)
    blind = fit_one_space(unit(rng.normal(size=(1500, 12))), new, OLD, NEW)
    assert -1 <= blind.rho < 0.3
    assert blind.old_query_weight > 0.7


def test_rho_is_measured_by_real_queries_where_there_are_any(space) -> None:
    old, new, _ = WORLD.draw(1500, seed=1)
    strange = unit(np.random.default_rng(0).normal(size=(60, 16)))
    asked = fit_one_space(old, new, OLD, NEW, queries=strange)
    assert (asked.by_items, space.by_items) == (False, True)
    assert asked.rho != space.rho


@pytest.mark.parametrize(("rho", "weight"), [(0.0, 0.9), (0.59, 0.4823), (0.9, 0.0), (-1, 0.0)])
def test_the_old_models_weight_follows_from_rho(rho, weight) -> None:
    assert old_query_weight(rho) == pytest.approx(weight, abs=1e-4)


def test_rho_of_a_query_that_scores_all_items_alike_is_left_out_and_of_all_such_refused() -> None:
    items = unit(np.random.default_rng(0).normal(size=(9, 3)))
    flat = np.zeros((1, 3), np.float32)
    one = items[:1]
    assert correlation(np.vstack([one, flat]), items, items) == pytest.approx(1)
    with pytest.raises(InputError, match="scores all items alike"):
        correlation(flat, items, items)


def test_overfetch_holds_the_best_of_the_common_scale(space) -> None:
    old, new, _ = WORLD.draw(1500, seed=5)
    queries = WORLD.draw(150, seed=6)[1]
    own, imputed = queries @ new.T, queries @ space.impute(old).T
    moved = np.arange(1500) < 750
    raw = np.where(moved, own, imputed).astype(np.float32)
    background = space.scale.prepare(queries)
    origins = np.where(moved, NEW.fingerprint, space.origin).tolist()
    scores = np.stack([background.scores(row, line, origins) for row, line in enumerate(raw)])
    best = np.argsort(-scores, axis=1)[:, :10]
    found = np.argsort(-raw, axis=1)[:, : 10 * space.overfetch]
    assert np.mean((best[:, :, None] == found[:, None, :]).any(axis=2)) > 0.98


def test_imputed_vectors_are_not_taken_for_checked_ones_of_the_new_model(space) -> None:
    with pytest.raises(ShapeError, match="to store, not to search with"):
        space.imputation.carry(checked(WORLD.draw(3, seed=2)[0], OLD))


def test_the_common_scale_is_chosen_where_it_finds_more_of_the_new_models_own_ten(space) -> None:
    for raw, calibrated, wanted in [
        (0.6, 0.61, "calibrated"),
        (0.6, 0.604, "raw"),
        (0.7, 0.6, "raw"),
    ]:
        assert replace(space, raw_kept=raw, calibrated_kept=calibrated).ranking == wanted
    old, new, _ = WORLD.draw(1500, seed=5)
    queries = WORLD.draw(300, seed=6)[1]
    own, imputed = queries @ new.T, queries @ space.impute(old).T
    mixed = np.where(np.arange(1500) < 750, own, imputed)
    first, second = (np.argsort(-scores, axis=1)[:, :10] for scores in (own, mixed))
    found = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(first, second, strict=True)])
    assert space.raw_kept == pytest.approx(found, abs=0.1)


# Residuals ------------------------------------------------------------------------------------


def test_residuals_bring_imputed_vectors_nearer_to_the_true_ones(space) -> None:
    """A fit on few pairs errs where many moved items know better."""
    few = fit_one_space(*(rows[:120] for rows in WORLD.draw(1500, seed=1)[:2]), OLD, NEW)
    moved_old, moved_new, _ = WORLD.draw(3000, seed=8)
    better = few.refreshed(moved_old, moved_new)
    assert 0 < better.imputation.facts["lambda"] <= 1
    old, new, _ = WORLD.draw(300, seed=9)
    wanted = unit(few.whitening(new))

    def nearness(one: OneSpace) -> float:
        return float(np.mean(np.sum(one.imputation.predicted(old) * wanted, axis=1)))

    assert nearness(better) > nearness(few) + 0.01
    assert better.origin != few.origin
    assert better.index_model == few.index_model


def test_the_correction_is_the_weighted_mean_residual_of_the_nearest_known(space) -> None:
    moved_old, moved_new, _ = WORLD.draw(1100, seed=8)
    better = space.refreshed(moved_old, moved_new)
    known = {
        name.removeprefix("known."): array.astype(float)
        for name, array in better.imputation.arrays.items()
        if name.startswith("known.")
    }
    for row in WORLD.draw(3, seed=9)[0]:
        turned = row.astype(float) - known["centre"]
        turned /= np.linalg.norm(turned)
        cosines = [float(turned @ other) for other in known["old"]]
        nearest = sorted(range(len(cosines)), key=lambda j: -cosines[j])[:20]
        weights = [np.exp(20 * (cosines[j] - 1)) for j in nearest]
        mean = sum(w * known["residual"][j] for w, j in zip(weights, nearest, strict=True))
        corrected = space.imputation.regressed(row[None])[0].astype(float)
        corrected += known["weight"][0] * mean / sum(weights)
        expected = corrected / np.linalg.norm(corrected)
        np.testing.assert_allclose(better.imputation.predicted(row[None])[0], expected, atol=1e-4)


def test_lambda_is_the_slope_of_true_on_predicted_residuals_each_left_out_of_its_own() -> None:
    rng = np.random.default_rng(3)
    old = unit(rng.normal(size=(60, 6)))
    residual = (np.sin(3 * old) + 0.2 * rng.normal(size=old.shape)).astype(np.float32)
    known = known_pairs(old, residual, moved=40)
    centred = old - old.mean(axis=0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    above = below = 0.0
    for i in range(40):
        cosines = centred @ centred[i]
        cosines[i] = -np.inf
        nearest = np.argsort(-cosines)[:20]
        weights = np.exp(20 * (cosines[nearest] - 1))
        guess = (weights[:, None] * residual[nearest]).sum(axis=0) / weights.sum()
        above += residual[i] @ guess
        below += guess @ guess
    assert known.weight[0] == pytest.approx(np.clip(above / below, 0, 1), abs=1e-4)


def test_where_residuals_say_nothing_lambda_is_nearly_nothing() -> None:
    rng = np.random.default_rng(4)
    old = unit(rng.normal(size=(2000, 12)))
    noise = rng.normal(size=(2000, 8)).astype(np.float32)
    assert known_pairs(old, noise, moved=1500).weight[0] < 0.3


def test_reference_items_are_corrected_like_the_vectors_they_stand_for(space) -> None:
    moved_old, moved_new, _ = WORLD.draw(1100, seed=8)
    better = space.refreshed(moved_old, moved_new)
    np.testing.assert_allclose(
        better.references.imputed, better.impute(better.old_reference), atol=1e-5
    )
    np.testing.assert_array_equal(better.references.own, space.references.own)


def test_few_moved_items_are_noise_and_refused(space) -> None:
    old, new, _ = WORLD.draw(999, seed=8)
    with pytest.raises(InputError, match="999 pairs are too few: at least 1000"):
        space.refreshed(old, new)


# Origins --------------------------------------------------------------------------------------


def test_imputed_hits_come_on_the_scale_of_the_models_own_by_the_querys_own_tail(space) -> None:
    queries = WORLD.draw(4, seed=6)[1]
    background = space.scale.prepare(queries)
    raw = np.array([0.9, 0.8, 0.7, 0.2], np.float32)
    origins = [space.origin, NEW.fingerprint, space.origin, NEW.fingerprint]
    for row, query in enumerate(queries.astype(float)):
        own, imputed = (
            _background(query, items) for items in (space.references.own, space.references.imputed)
        )
        expected = [
            score
            if origin == NEW.fingerprint
            else own[0] + (score - imputed[0]) * own[1] / imputed[1]
            for score, origin in zip(raw, origins, strict=True)
        ]
        np.testing.assert_allclose(background.scores(row, raw, origins), expected, atol=1e-4)


def test_hits_are_cut_to_the_best_of_the_common_scale(space) -> None:
    queries = WORLD.draw(1, seed=6)[1]
    background = space.scale.prepare(queries)
    raw = np.array([0.9, 0.8, 0.7, 0.6], np.float32)
    origins = [space.origin, NEW.fingerprint, space.origin, NEW.fingerprint]
    hits = Hits((("a", "b", "c", "d"),), (raw,))
    [ranked] = background.rank(hits, [origins], 3)
    scores = dict(zip("abcd", background.scores(0, raw, origins), strict=True))
    assert list(ranked.item_ids) == sorted(scores, key=scores.get, reverse=True)[:3]
    assert [int(side) for side in ranked.sides] == [int(item in "bd") for item in ranked.item_ids]
    with pytest.raises(ShapeError, match="1 queries, got 1 and 2"):
        background.rank(hits, [origins, origins], 3)


def test_equal_scores_stand_by_their_rank_among_those_of_their_kind_and_then_by_item_id(
    space,
) -> None:
    background = space.scale.prepare(WORLD.draw(1, seed=6)[1])
    line = background.lines[space.origin]
    own = np.array([0.9, 0.5, 0.5], np.float32)
    imputed = (own - line.shift[0]) / line.scale[0]  # equal to them on the common scale
    hits = Hits((("z", "b", "a", "c", "y", "x"),), (np.concatenate([own, imputed]),))
    origins = [NEW.fingerprint] * 3 + [space.origin] * 3
    [ranked] = background.rank(hits, [origins], 6)
    assert ranked.item_ids == ("c", "z", "b", "y", "a", "x")
    assert ranked.sides.tolist() == [0, 1, 1, 0, 1, 0]


def test_many_queries_have_the_backgrounds_that_each_has_alone(space) -> None:
    queries = WORLD.draw(40, seed=6)[1]
    together = space.scale.prepare(queries).lines[space.origin]
    for row in range(len(queries)):
        alone = space.scale.prepare(queries[row : row + 1]).lines[space.origin]
        assert alone.scale[0] == pytest.approx(together.scale[row], rel=1e-4)
        assert alone.shift[0] == pytest.approx(together.shift[row], abs=1e-4)


def test_no_background_is_measured_that_no_hit_needs(space) -> None:
    queries = WORLD.draw(2, seed=6)[1]
    own = space.index_model.fingerprint
    assert not space.scale.prepare(queries, {own}).lines
    scores = np.array([0.9, 0.5], np.float32)
    found = space.scale.prepare(queries, {own, space.origin}).scores(1, scores, [own, space.origin])
    np.testing.assert_array_equal(
        found, space.scale.prepare(queries).scores(1, scores, [own, space.origin])
    )


def test_a_vector_of_another_fit_is_named(space) -> None:
    background = space.scale.prepare(WORLD.draw(1, seed=6)[1])
    with pytest.raises(InputError, match="made by feedc0ffee42, which is neither the model"):
        background.scores(0, np.ones(1, np.float32), ["feedc0ffee42"])


def test_vectors_from_before_and_after_a_refresh_stand_in_one_index(space) -> None:
    better = space.refreshed(*WORLD.draw(1100, seed=8)[:2])
    background = scale_of(space, better).prepare(WORLD.draw(1, seed=6)[1])
    raw = np.full(2, 0.8, np.float32)
    both = background.scores(0, raw, [space.origin, better.origin])
    assert both[0] == space.scale.prepare(WORLD.draw(1, seed=6)[1]).scores(
        0, raw[:1], [space.origin]
    )
    assert both[0] != both[1]


def test_a_chain_ranks_vectors_imputed_from_two_old_models(space) -> None:
    other = ModelId("older", "1", 12)
    old, new, _ = WORLD.draw(1500, seed=1)
    turned = old[:, ::-1]
    second = fit_one_space(turned, new, other, NEW)
    assert set(scale_of(space, second).imputed) == {space.origin, second.origin}
    elsewhere = fit_one_space(old, new, OLD, replace(NEW, revision="2"))
    with pytest.raises(InputError, match="into one space"):
        scale_of(space, elsewhere)


def test_codes_of_both_kinds_of_vectors_come_on_one_scale(space) -> None:
    def signs(vectors: np.ndarray) -> np.ndarray:
        return np.where(vectors >= 0.2, 1, -1).astype(np.float32) / 4

    old, new, _ = WORLD.draw(1500, seed=1)
    coded = fit_one_space(old, new, OLD, NEW, stored_as=signs)
    assert coded.origin == space.origin
    np.testing.assert_array_equal(coded.references.imputed, signs(space.references.imputed))
    np.testing.assert_array_equal(coded.references.own, signs(space.references.own))
    moved = WORLD.draw(1100, seed=8)[:2]
    better = coded.refreshed(*moved, stored_as=signs)
    assert set(np.unique(better.references.imputed)) == {-0.25, 0.25}
    assert np.any(better.references.imputed != coded.references.imputed)


# The old model's own queries --------------------------------------------------------------------


def test_the_old_models_own_query_has_its_share_of_every_score_and_none_at_the_end(space) -> None:
    old_queries, queries, _ = WORLD.draw(3, seed=6)
    items = WORLD.draw(6, seed=7)[0]
    scores = np.linspace(0.9, 0.4, 6).astype(np.float32)
    own = [True, False] * 3
    for moved in (0.0, 0.4, 1.0):
        both = space.old_query_scores(queries, old_queries, moved=moved, weight=0.5)
        for row, old_query in enumerate(old_queries.astype(float)):
            raw = (items @ old_queries[row]).astype(np.float32)
            there = _background(old_query, space.old_reference)
            here = _background(queries[row].astype(float), space.references.own)
            expected = []
            for score, old_score, is_own in zip(scores, raw, own, strict=True):
                calibrated = here[0] + (old_score - there[0]) * here[1] / there[1]
                share = 0.5 * (1 - moved) if is_own else 0.5
                expected.append((1 - share) * score + share * calibrated)
            np.testing.assert_allclose(both.blend(row, scores, raw, own), expected, atol=1e-4)
    np.testing.assert_array_equal(both.blend(0, scores, raw, [True] * 6), scores)


def test_shares_outside_their_range_and_a_finish_are_refused(space, agreed) -> None:
    old_queries, queries, _ = WORLD.draw(3, seed=6)
    with pytest.raises(InputError, match="between 0 and 1, got weight 2"):
        space.old_query_scores(queries, old_queries, moved=0.5, weight=2)
    with pytest.raises(ShapeError, match="3 and 2 rows"):
        space.old_query_scores(queries, old_queries[:2], moved=0.5)
    with pytest.raises(ConfigError, match='finish = "plain"'):
        agreed.old_query_scores(queries, old_queries, moved=0.5)


# The finish -----------------------------------------------------------------------------------


def test_the_finish_adds_what_the_old_model_shares(agreed) -> None:
    arrays = {name: array.astype(float) for name, array in agreed.finish.arrays.items()}
    for row, got in zip(
        WORLD.draw(5, seed=2)[1], agreed.own(WORLD.draw(5, seed=2)[1]), strict=True
    ):
        whitened = arrays["matrix"] @ (row - arrays["mean"])
        shared = row @ arrays["regression.matrix"] + arrays["regression.offset"]
        summed = whitened / np.linalg.norm(whitened) + shared / np.linalg.norm(shared)
        np.testing.assert_allclose(got, summed / np.linalg.norm(summed), atol=1e-4)
        query = agreed.searching(row[None])[0]
        np.testing.assert_allclose(query, whitened / np.linalg.norm(whitened), atol=1e-4)


def test_in_a_finish_imputed_vectors_are_predictions_at_one_reach(agreed) -> None:
    old = WORLD.draw(20, seed=2)[0]
    np.testing.assert_allclose(
        agreed.impute(old), agreed.reach * agreed.imputation.predicted(old), atol=1e-5
    )


def test_a_finish_has_a_stamp_of_its_own_that_differs_with_its_weights(agreed, space) -> None:
    assert agreed.new_model == space.index_model == NEW
    assert agreed.index_model != NEW
    assert agreed.index_model.revision.startswith("1+agreement.")
    old, new, _ = WORLD.draw(1500, seed=2)
    other = fit_one_space(old, new, OLD, NEW, finish="agreement")
    assert other.index_model != agreed.index_model


def test_a_finish_by_kernels_serves_too() -> None:
    old, new, _ = WORLD.draw(800, seed=1)
    made = fit_one_space(old, new, OLD, NEW, finish="agreement", finish_form="kernel")
    finished = made.own(WORLD.draw(9, seed=2)[1])
    np.testing.assert_allclose(np.linalg.norm(finished, axis=1), 1, atol=1e-5)


def test_new_items_are_embedded_into_the_finish(agreed) -> None:
    class Looked:
        model_id = NEW

        def __call__(self, contents):
            return np.stack([WORLD.draw(9, seed=2)[1][row] for row in contents])

    items = FinishedEmbedder(Looked(), agreed.finish)
    queries = FinishedEmbedder(Looked(), agreed.finish.queries)
    assert items.model_id == queries.model_id == agreed.index_model
    np.testing.assert_array_equal(items([3, 1]), agreed.own(WORLD.draw(9, seed=2)[1][[3, 1]]))


def test_a_finished_index_is_refreshed_too(agreed) -> None:
    better = agreed.refreshed(*WORLD.draw(1500, seed=8)[:2])
    assert better.level == 0
    assert better.index_model == agreed.index_model


# Files and bad input --------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["plain", "agreement", "refreshed"])
def test_a_fit_comes_back_from_its_folder_bit_for_bit(which, space, agreed, tmp_path) -> None:
    made = {
        "plain": lambda: space,
        "agreement": lambda: agreed,
        "refreshed": lambda: space.refreshed(*WORLD.draw(1100, seed=8)[:2]),
    }[which]()
    made.save(tmp_path)
    back = OneSpace.load(tmp_path)
    old, new, _ = WORLD.draw(10, seed=2)
    np.testing.assert_array_equal(back.impute(old), made.impute(old))
    np.testing.assert_array_equal(back.own(new), made.own(new))
    np.testing.assert_array_equal(back.searching(new), made.searching(new))
    facts = ("origin", "overfetch", "raw_kept", "calibrated_kept", "rho", "by_items", "ranking")
    assert [getattr(back, name) for name in facts] == [getattr(made, name) for name in facts]
    moved = WORLD.draw(1200, seed=3)[:2]
    assert back.refreshed(*moved).origin == made.refreshed(*moved).origin


def test_a_folder_of_two_versions_is_refused(space, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    space.save(first)
    space.refreshed(*WORLD.draw(1100, seed=8)[:2]).save(second)
    shutil.copy(second / "imputation.safetensors", first)
    with pytest.raises(InputError, match="mixes two versions"):
        OneSpace.load(first)
    with pytest.raises(FileNotFoundError):
        OneSpace.load(tmp_path / "nothing")


def test_bad_input_is_refused() -> None:
    old, new, _ = WORLD.draw(150, seed=1)
    with pytest.raises(InputError, match="99 pairs are too few: at least 100"):
        fit_one_space(old[:99], new[:99], OLD, NEW)
    with pytest.raises(ShapeError, match="150 and 149 rows"):
        fit_one_space(old, new[:149], OLD, NEW)
    with pytest.raises(VectorError, match="the same"):
        fit_one_space(np.repeat(old[:1], 150, axis=0), new, OLD, NEW)
    with pytest.raises(ShapeError, match="length has a meaning"):
        fit_one_space(old, new, OLD, replace(NEW, metric="dot", normalised=False))
    with pytest.raises(ConfigError, match="kernel"):
        fit_one_space(old, new, OLD, NEW, map="procrustes")
    with pytest.raises(ConfigError, match="agreement"):
        fit_one_space(old, new, OLD, NEW, finish="best")
    with pytest.raises(ShapeError, match="queries"):
        fit_one_space(old, new, OLD, NEW, queries=old)


def test_an_old_model_of_free_lengths_is_imputed_all_the_same() -> None:
    old, new, _ = WORLD.draw(600, seed=1)
    free = ModelId("old", "1", 12, metric="l2", normalised=False)
    lengths = np.random.default_rng(0).uniform(1, 3, size=(600, 1))
    assert fit_one_space(lengths * old, new, free, NEW).rho > 0.5
