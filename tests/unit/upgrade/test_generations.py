"""Model after model: an upgrade that begins at a gallery in which items stayed imputed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hotfill.errors import PlanError
from hotfill.ranking.calibration import tail
from hotfill.ranking.kept_origin import origin_over
from hotfill.ranking.one_space import OneSpace, fit_one_space
from hotfill.stores.memory import MemoryGallery
from hotfill.types import ModelId
from hotfill.upgrade.canaries import kept_canaries
from hotfill.upgrade.guard import moved_vectors, quality_curve
from hotfill.upgrade.phases import Phase
from hotfill.upgrade.upgrade import Upgrade
from tests.unit.upgrade.small import OLD, Contents, Projection, contents

SECOND, THIRD = ModelId("second", "1", 6), ModelId("third", "1", 7)
N, OWN = 300, 130
GATE = {"agreement": 0.01}  # so that the end is measured


def generation(gallery: Any, folder: Any, old: Any, new: ModelId, **settings: Any) -> Upgrade:
    given: dict[str, Any] = {
        "source": contents(N),
        "batch_size": 50,
        "fit_items": 100,
        "verify_items": 20,
        "ranking": "calibrated",
        "allow_below_old": True,
    }
    given |= settings
    embedder = given.pop("embedder", None) or Projection(new)
    return Upgrade(gallery, old=old, new=embedder, folder=folder, **given)


def to_the_end(up: Upgrade) -> None:
    up.start()
    assert up.verify().passed
    up.cutover()
    up.complete()


@pytest.fixture
def mixed(tmp_path):
    """A gallery of the second model: some items are its own, the others imputed from the first."""
    source = contents(N)
    gallery = MemoryGallery(OLD)
    gallery.upsert(list(source), Projection(OLD)(list(source.values())), space=OLD)
    settings = {"backfill": "budget", "budget_items": OWN, "fit_items": N}
    with generation(gallery, tmp_path / "first", OLD, SECOND, **settings) as up:
        to_the_end(up)
    assert gallery.count(SECOND, origin=SECOND.fingerprint) == OWN
    return gallery


def origins(gallery: Any, space: ModelId) -> dict[str, str]:
    page = gallery.scan(space, limit=10_000)
    return dict(zip(page.item_ids, page.origins, strict=True))


def test_what_was_imputed_is_mapped_again_under_an_origin_of_its_own(mixed, tmp_path):
    before = origins(mixed, SECOND)
    (record,) = mixed.origins
    names = sorted(before)
    vectors = mixed.vectors(names, SECOND).vectors
    with generation(mixed, tmp_path / "second", SECOND, THIRD, backfill="none") as up:
        up.start()
        fit = up._state().load_fit()
        carried = fit.over[record].imputation
        over = origin_over(carried.fingerprint, record)
        now = origins(mixed, THIRD)
        for name in names:
            own = before[name] == SECOND.fingerprint
            assert now[name] == (fit.up.fingerprint if own else over)
        own = np.array([before[name] == SECOND.fingerprint for name in names])[:, None]
        wanted = np.where(own, fit.up(vectors), carried(vectors))
        np.testing.assert_allclose(mixed.vectors(names, THIRD).vectors, wanted, atol=1e-5)
        report = up.verify()
        assert (report.passed, report.imputed, report.remapped) == (True, N, 40)
        up.cutover()
        up.complete()
        (covered,) = up.current().models
        told = {each.origin: each.items for each in covered.imputed}
    assert told == {
        f"imputed from {SECOND} by fit 1": OWN,
        f"imputed from vectors of {SECOND} that were imputed from {OLD} by fit 1 by fit 1": N - OWN,
    }
    assert set(mixed.origins) == {fit.up.fingerprint, over}


def test_each_origin_is_calibrated_by_items_of_its_own(mixed, tmp_path):
    with generation(mixed, tmp_path / "second", SECOND, THIRD, backfill="none") as up:
        to_the_end(up)
        made = {bool(each.over): each for each in up._state().origins.of(THIRD)}
        assert len(made[True].references.own) == (N - OWN) // 4
        assert len(made[False].references.own) == 25  # a quarter of the pairs
        queries = Projection(THIRD)(list(contents(8, seed=5).values()))
        page = mixed.scan(THIRD, limit=1000)
        rows = mixed.vectors(page.item_ids, THIRD).vectors
        wanted = []
        for query in queries:
            scores = []
            for row, origin in zip(rows, page.origins, strict=True):
                reference = next(e for e in made.values() if e.origin == origin).references
                own, imputed = reference.own @ query, reference.imputed @ query
                middle, rise = tail().background(np.stack([own, imputed]))
                scores.append(middle[0] + (row @ query - middle[1]) * rise[0] / rise[1])
            wanted.append(dict(zip(page.item_ids, scores, strict=True)))
        # In order but for what rounding decides.
        for result, scores in zip(up.search_vectors(queries, THIRD, N), wanted, strict=True):
            assert sorted(result.item_ids) == sorted(scores)
            expected = [scores[item_id] for item_id in result.item_ids]
            np.testing.assert_allclose(expected, sorted(expected, reverse=True), atol=1e-5)


def test_the_guard_sees_old_vectors_by_the_map_of_what_made_them(mixed, tmp_path):
    before = origins(mixed, SECOND)
    (record,) = mixed.origins
    stored = mixed.vectors(sorted(before), SECOND)
    old = dict(zip(stored.item_ids, stored.vectors, strict=True))
    with generation(
        mixed, tmp_path / "second", SECOND, THIRD, ranking="raw", canary_items=30, gate=GATE
    ) as up:
        up.start()
        fit = up._state().load_fit()
        canaries = kept_canaries(tmp_path / "second", up._state().journal)
        measured = quality_curve(up._state().journal)[-1]
    made = mixed.vectors(list(canaries.watched), THIRD)
    new = dict(zip(made.item_ids, made.vectors, strict=True))
    seen = {"right": dict(new), "by the main map": dict(new)}
    for name in list(moved_vectors(mixed, canaries.watched, THIRD))[1::2]:
        by_origin = fit.over[record] if before[name] == record else fit
        up_of = {"right": by_origin, "by the main map": fit}
        for how, each in up_of.items():
            carry = each.up if each is fit else each.imputation
            seen[how][name] = carry(old[name][None])[0]
    agreement = {}
    for how, rows in seen.items():
        shares = []
        for query, own in zip(canaries.queries, canaries.item_ids, strict=True):
            best = [
                set(sorted(some.keys() - {own}, key=lambda n, s=some: -float(s[n] @ query))[:10])
                for some in (rows, new)
            ]
            shares.append(len(best[0] & best[1]) / 10)
        agreement[how] = np.mean(shares)
    assert measured["watched"] == len(new)
    assert measured["agreement"] == pytest.approx(agreement["right"])
    assert agreement["right"] != pytest.approx(agreement["by the main map"])


@pytest.mark.parametrize("strategy", ["prefill", "merge"])
@pytest.mark.parametrize("step", ["abort", "rollback"])
def test_on_the_way_back_an_imputed_vector_does_not_pass_for_the_models_own(
    mixed, tmp_path, step, strategy
):
    before = origins(mixed, SECOND)
    vectors = mixed.vectors(sorted(before), SECOND).vectors
    settings = {"strategy": strategy, "ranking": "auto"}
    with generation(mixed, tmp_path / "second", SECOND, THIRD, **settings) as up:
        up.start()
        assert set(origins(mixed, THIRD).values()) == {THIRD.fingerprint}
        written = sorted(before)[3]
        if step == "rollback":
            up.verify()
            up.cutover()
        getattr(up, step)()
    assert origins(mixed, SECOND) == before
    np.testing.assert_allclose(mixed.vectors(sorted(before), SECOND).vectors, vectors, atol=1e-6)
    assert written in before
    assert len(mixed.origins) == 1


@pytest.mark.parametrize("strategy", ["prefill", "merge"])
def test_an_imputed_item_of_a_restored_store_is_known_though_it_was_written_before_the_start(
    mixed, tmp_path, strategy
):
    before, (record,) = origins(mixed, SECOND), mixed.origins
    item = next(name for name, origin in before.items() if origin == record)
    vector = mixed.vectors([item], SECOND).vectors
    settings = {"strategy": strategy, "ranking": "auto"}
    if strategy == "prefill":
        settings |= {"backfill": "budget", "budget_items": 20}
    second = Projection(SECOND)
    with generation(mixed, tmp_path / "second", second, THIRD, **settings) as up:
        up.upsert([item], [contents(1, seed=9)["item-00000"]])
        up.start()
        moved = up.gallery.count(THIRD)
        put_back(mixed, item, vector, record)
        up.start()
        assert up.gallery.count(THIRD) == moved == N
        if strategy == "prefill":
            carried, over = up._state().map_over(up._state().load_fit(), record)
            assert origins(mixed, THIRD)[item] == over
            now = mixed.vectors([item], THIRD).vectors
            np.testing.assert_allclose(now, carried(vector), atol=1e-5)
        up.abort()
    assert origins(mixed, SECOND)[item] == record


def put_back(gallery: Any, item: str, vector: Any, origin: str) -> None:
    """Let an item be as it was: on the side of SECOND, by an imputed vector."""
    gallery.add_space(OLD)
    (version,) = gallery.upsert([item], np.ones((1, OLD.dimension), np.float32), space=OLD)
    gallery.move([item], vector, space=SECOND, expected_versions=[version], origin=origin)
    gallery.drop_space(OLD)


def test_an_item_written_in_between_goes_back_by_its_own_vector(mixed, tmp_path):
    before = origins(mixed, SECOND)
    written = next(name for name, origin in before.items() if origin != SECOND.fingerprint)
    row = contents(1, seed=9)["item-00000"]
    with generation(mixed, tmp_path / "second", Projection(SECOND), THIRD) as up:
        up.start()
        up.upsert([written], [row])
        up.abort()
    assert origins(mixed, SECOND) == {**before, written: SECOND.fingerprint}


def test_a_whole_backfill_of_a_mixed_gallery_ends_as_any_other(mixed, tmp_path):
    with generation(mixed, tmp_path / "second", SECOND, THIRD) as up:
        to_the_end(up)
        assert mixed.count(THIRD, origin=THIRD.fingerprint) == N
        assert mixed.spaces == (THIRD,)
        assert not mixed.origins


def test_a_fourth_model_over_three_origins(mixed, tmp_path):
    with generation(
        mixed, tmp_path / "2", SECOND, THIRD, backfill="budget", budget_items=120
    ) as up:
        to_the_end(up)
    assert len(set(origins(mixed, THIRD).values())) == 3
    fourth = ModelId("fourth", "1", 5)
    with generation(mixed, tmp_path / "3", THIRD, fourth, backfill="none") as up:
        to_the_end(up)
        assert len(set(origins(mixed, fourth).values())) == 3
        assert len(up.current().models[0].imputed) == 3


# Too few own vectors ------------------------------------------------------------------------------


@pytest.fixture
def imputed(tmp_path):
    """A gallery of the second model of which all items are imputed."""
    source = contents(N)
    gallery = MemoryGallery(OLD)
    gallery.upsert(list(source), Projection(OLD)(list(source.values())), space=OLD)
    with generation(gallery, tmp_path / "first", OLD, SECOND, backfill="none") as up:
        to_the_end(up)
    return gallery


def test_nothing_is_fitted_on_imputed_vectors(imputed, tmp_path):
    with generation(imputed, tmp_path / "second", SECOND, THIRD, backfill="none") as up:
        with pytest.raises(PlanError, match="0 items with contents have one, where 100") as told:
            up.start()
        assert "--more" in str(told.value)
        assert up.phase is Phase.PLANNED
    assert imputed.spaces == (SECOND,)


def test_the_embedder_of_the_old_model_makes_what_a_map_is_fitted_on(imputed, tmp_path):
    old = Projection(SECOND)
    with generation(imputed, tmp_path / "second", old, THIRD, backfill="none") as up:
        to_the_end(up)
        direct = {**contents(N)}
        rows = [direct[name] for name in sorted(direct)]
        fit = up._state().load_fit()
        one = fit.one_space
        assert len(one.known_old) == 75
        # They are of the second model itself, not what the first fit had made.
        made = Projection(SECOND)(rows)
        nearest = (one.known_old @ made.T).max(axis=1)
        np.testing.assert_allclose(nearest, 1.0, atol=1e-5)


def test_a_gallery_without_contents_goes_on_by_pairs_from_a_file(imputed, tmp_path):
    rows = list(contents(200, seed=77).values())
    path = tmp_path / "pairs.npz"
    np.savez(path, old=Projection(SECOND)(rows), new=Projection(THIRD)(rows))
    with generation(
        imputed,
        tmp_path / "second",
        SECOND,
        THIRD,
        backfill="none",
        source=None,
        pairs=str(path),
    ) as up:
        to_the_end(up)
        ((told, count),) = [(each.origin, each.items) for each in up.current().models[0].imputed]
    assert count == N
    assert "that were imputed from" in told


def test_a_chain_over_a_gallery_that_stayed_imputed_is_refused(mixed, tmp_path):
    class Stopping:
        model_id = THIRD

        def __call__(self, rows: Any) -> Any:
            if up.phase is Phase.BACKFILLING:
                up.stop()
            return Projection(THIRD)(rows)

    with generation(mixed, tmp_path / "second", SECOND, THIRD, embedder=Stopping()) as up:
        up.start()
        assert up.phase is Phase.BACKFILLING
        fourth = ModelId("fourth", "1", 5)
        with (
            generation(mixed, tmp_path / "third", THIRD, fourth, previous=up) as chained,
            pytest.raises(PlanError, match="a chain does not know which"),
        ):
            chained.start()
        assert up.phase is Phase.BACKFILLING


def test_contents_of_imputed_items_that_nobody_knows_leave_the_maps_own_calibration(
    mixed, tmp_path
):
    before = origins(mixed, SECOND)
    known = Contents(
        {name: row for name, row in contents(N).items() if before[name] == SECOND.fingerprint}
    )
    with generation(mixed, tmp_path / "second", SECOND, THIRD, backfill="none", source=known) as up:
        to_the_end(up)
        first, second = up._state().origins.of(THIRD)
        np.testing.assert_array_equal(first.references.own, second.references.own)


# Which map carries imputed vectors on -------------------------------------------------------------


def kept(one: OneSpace, old: Any, true: Any) -> float:
    """The share of each item's ten nearest others that are among its ten best, item by item."""
    scores, shares = true @ one.impute(old).T, []
    for row, query in enumerate(true):
        others = [each for each in range(len(true)) if each != row]
        nearest = sorted(others, key=lambda each: -float(true[each] @ query))[:10]
        best = sorted(others, key=lambda each: -float(scores[row, each]))[:10]
        shares.append(len({*nearest} & {*best}) / 10)
    return float(np.mean(shares))


@pytest.mark.parametrize(
    ("numbers", "known", "wanted"),
    [
        pytest.param(3, 600, "anew", id="the map before lost most, and pairs are many"),
        pytest.param(8, 110, "composed", id="the map before was good, and pairs are few"),
    ],
)
def test_imputed_vectors_are_carried_on_by_the_map_that_serves_them_better(
    tmp_path, numbers, known, wanted
):
    first, items, own = ModelId("first", "1", numbers), 1500, 700
    source = contents(items)
    gallery = MemoryGallery(first)
    gallery.upsert(list(source), Projection(first)(list(source.values())), space=first)
    settings = {"source": source, "fit_items": 600}
    budget = {"backfill": "budget", "budget_items": own}
    with generation(gallery, tmp_path / "first", first, SECOND, **settings, **budget) as up:
        to_the_end(up)
    before = origins(gallery, SECOND)
    imputed = [name for name in sorted(before) if before[name] != SECOND.fingerprint]
    old = gallery.vectors(imputed, SECOND).vectors
    settings["source"] = Contents(
        {name: row for name, row in source.items() if name not in imputed[known:]}
    )
    with generation(gallery, tmp_path / "2", SECOND, THIRD, backfill="none", **settings) as up:
        to_the_end(up)
        state = up._state()
        composed = state.load_fit().one_space
        ((_, pairs),) = state.pairs_over.items()
        anew = fit_one_space(*pairs, SECOND, THIRD)
        true = Projection(THIRD)([source[name] for name in imputed[known:]])
        by = {"composed": composed, "anew": anew}
        quality = {name: kept(one, old[known:], true) for name, one in by.items()}
        assert max(quality, key=quality.__getitem__) == wanted
        made = by[wanted].impute(old)
        np.testing.assert_allclose(gallery.vectors(imputed, THIRD).vectors, made, atol=1e-4)
        (told,) = up.status().maps_over
        assert (told["map"], told["held_out"]) == (wanted, len(pairs[0]) // 4)
        held_out = kept(by[wanted], anew.old_reference, anew.references.own)
        assert told[wanted] == pytest.approx(held_out, abs=1e-6)
        why = [each.why for each in up.current().models[0].imputed if each.why]
        assert why == [told["why"]]
    named = {"anew": "a map fitted anew on such vectors: kept ", "composed": "composed maps: kept "}
    assert told["why"].startswith(named[wanted])


def test_with_too_few_pairs_of_imputed_vectors_maps_compose(mixed, tmp_path):
    before = origins(mixed, SECOND)
    imputed = [name for name in sorted(before) if before[name] != SECOND.fingerprint]
    source = Contents({n: row for n, row in contents(N).items() if n not in imputed[99:]})
    with generation(mixed, tmp_path / "2", SECOND, THIRD, backfill="none", source=source) as up:
        to_the_end(up)
        assert not up._state().load_fit().over
        (told,) = up.status().maps_over
    assert (told["map"], told["composed"], told["anew"]) == ("composed", None, None)
    assert "fewer than 100 pairs" in told["why"]
