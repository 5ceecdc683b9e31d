"""Upgrades that embed no item, or some: the rest of the gallery stays imputed for good."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hotfill.errors import ConfigError, HeldError, InputError, PhaseError, PlanError
from hotfill.ranking.linear import fit_ridge
from hotfill.stores.memory import MemoryGallery
from hotfill.upgrade.order import RandomOrder
from hotfill.upgrade.phases import Phase
from hotfill.upgrade.plan import Plan
from hotfill.upgrade.upgrade import Upgrade
from tests.unit.upgrade.small import NEW, OLD, Contents, Projection, Small, contents, upgrade

N = 200


def mixing(folder: Any, n: int = N, **changes: Any) -> Small:
    """An upgrade that fits as hotfill does, and embeds no item unless told otherwise."""
    given = {"backfill": "none", "fit_items": n, "fitting": None, "batch_size": 30}
    return upgrade(folder, n=n, **{**given, **changes})


def without_contents(up: Small) -> Small:
    up.remade(given_source=None)
    return up


def to_the_end(up: Small) -> Small:
    up.start()
    assert up.verify().passed
    up.cutover()
    up.complete()
    return up


def pairs_file(folder: Any, n: int = 300) -> str:
    """Vectors of other contents by both models."""
    rows = list(contents(n, seed=77).values())
    path = folder / "pairs.npz"
    np.savez(path, old=Projection(OLD)(rows), new=Projection(NEW)(rows))
    return str(path)


def queries(n: int = 20) -> Any:
    return Projection(NEW)(list(contents(n, seed=5).values()))


def own(up: Small) -> set[str]:
    page = up.gallery.scan(NEW, limit=10_000)
    told = zip(page.item_ids, page.origins, strict=True)
    return {item_id for item_id, origin in told if origin == NEW.fingerprint}


def best(vectors: Any, ids: list[str], k: int) -> list[tuple[str, ...]]:
    """The slow way: inner products of all, sorted."""
    scores = queries() @ np.asarray(vectors).T
    return [tuple(ids[row] for row in np.argsort(-each, kind="stable")[:k]) for each in scores]


def expected(old: Any, up_map: Any, source: Contents, embedded: set[str]) -> Any:
    """What each item is to be found by: the model's own vector, or the imputed one."""
    ids = sorted(source)
    imputed, direct = up_map(old), Projection(NEW)([source[each] for each in ids])
    mine = np.array([each in embedded for each in ids])[:, None]
    return np.where(mine, direct, imputed)


def test_without_backfill_the_gallery_is_what_the_map_makes_of_it(tmp_path):
    up = mixing(tmp_path, ranking="raw")
    ids = sorted(up.source)
    old = up.gallery.vectors(ids, OLD).vectors
    status = up.start()
    assert (status.phase, status.dead_letters) == (Phase.BACKFILLED, 0)
    calls = up.new_embedder.calls
    report = up.verify()
    assert (report.passed, report.imputed, report.remapped, report.sampled) == (True, N, 16, 0)
    assert report.imputed_ids == tuple(up.gallery.scan(NEW, limit=20).item_ids)
    up_map = up.state.load_fit().up
    wanted = best(expected(old, up_map, up.source, set()), ids, 10)
    assert [each.item_ids for each in up.search_vectors(queries(), NEW, 10)] == wanted
    up.cutover()
    assert [each.item_ids for each in up.search_vectors(queries(), NEW, 10)] == wanted
    up.complete()
    assert up.gallery.spaces == (NEW,)
    assert up.gallery.count(NEW, origin=up_map.fingerprint) == N
    assert [each.item_ids for each in up.search_vectors(queries(), NEW, 10)] == wanted
    assert up.new_embedder.calls == calls


def test_new_items_of_a_gallery_that_stays_imputed_are_embedded(tmp_path):
    up = to_the_end(mixing(tmp_path))
    up.upsert(["fresh"], [contents(1, seed=3)["item-00000"]])
    assert own(up) == {"fresh"}
    up.delete(["item-00000"])
    assert len(up.gallery) == N


def test_a_budget_ends_in_the_middle_of_a_batch_and_takes_the_first_of_the_order(tmp_path):
    up = mixing(tmp_path, backfill="budget", budget_items=77, ranking="raw")
    ids = sorted(up.source)
    old = up.gallery.vectors(ids, OLD).vectors
    page = up.gallery.scan(OLD, limit=1000)
    ranks = RandomOrder(0)(up.gallery, page)
    first = {page.item_ids[row] for row in np.argsort(ranks)[:77]}
    up.start()
    assert own(up) == first
    assert up.journal.tally("embed").left == 0
    up_map = up.state.load_fit().up
    wanted = best(expected(old, up_map, up.source, first), ids, 10)
    assert [each.item_ids for each in up.search_vectors(queries(), NEW, 10)] == wanted
    report = up.verify()
    assert (report.passed, report.imputed, report.sampled) == (True, N - 77, 16)
    up.start()  # nothing is left to pay for
    assert own(up) == first
    up.cutover()
    up.complete()
    assert [each.item_ids for each in up.search_vectors(queries(), NEW, 10)] == wanted


def test_a_budget_goes_on_to_items_whose_content_somebody_has(tmp_path):
    source = contents(N)
    known = Contents({each: source[each] for each in sorted(source)[::2]})
    up = mixing(tmp_path, source=source, backfill="budget", budget_share=0.25, fit_items=100)
    up.remade(given_source=known)
    up.start()
    assert len(own(up)) == 50
    assert own(up) <= set(known)
    assert up.status().dead_letters == 0
    report = up.verify()
    assert (report.passed, report.imputed) == (True, 150)


def test_a_source_that_knows_fewer_items_than_the_budget_pays_for_ends_it(tmp_path):
    source = contents(N)
    known = Contents({each: source[each] for each in sorted(source)[:20]})
    up = mixing(
        tmp_path, source=source, backfill="budget", budget_items=90, pairs=pairs_file(tmp_path)
    )
    up.remade(given_source=known)
    up.start()
    assert own(up) == set(known)
    assert up.status().phase is Phase.BACKFILLED
    assert up.status().dead_letters == 0


def test_an_item_that_cannot_be_embedded_stays_imputed_and_holds_nothing(tmp_path):
    up = mixing(tmp_path, backfill="budget", budget_share=1.0)
    up.new_embedder.broken = {float(up.source["item-00007"][0])}
    to_the_end(up)
    assert own(up) == set(up.source) - {"item-00007"}
    assert len(up.gallery) == N


def test_a_kill_in_the_middle_of_a_budget_embeds_no_item_twice(tmp_path):
    up = mixing(tmp_path, backfill="budget", budget_items=100)
    embedder = up.new_embedder

    class Dying:
        model_id = NEW
        embedded = 0

        def __call__(self, rows: Any) -> Any:
            if up.phase is Phase.BACKFILLING:
                self.embedded += len(rows)
                if self.embedded > 40:
                    raise KeyboardInterrupt
            return embedder(rows)

    up.new_embedder = Dying()
    with pytest.raises(KeyboardInterrupt):
        up.start()
    assert 0 < len(own(up)) <= 40
    up.remade()  # another process
    up.new_embedder = embedder
    up.start()
    assert len(own(up)) == 100


def test_models_that_are_compatible_serve_the_old_vectors_as_they_are(tmp_path):
    old_space = replace(OLD, dimension=6)

    class Old:
        model_id = old_space

        def __call__(self, rows: Any) -> Any:
            return Projection(NEW)(rows)

    source = contents(40)
    gallery = MemoryGallery(old_space)
    vectors = Old()(list(source.values()))
    gallery.upsert(list(source), vectors, space=old_space)
    with Upgrade(
        gallery,
        old=old_space,
        new=Projection(NEW),
        folder=tmp_path,
        strategy="compatible",
        backfill="none",
        allow_below_old=True,  # there are no contents to measure it by
    ) as up:
        up.start()
        report = up.verify()
        assert (report.passed, report.imputed) == (True, 40)
        up.cutover()
        up.complete()
        there = gallery.vectors(list(source), NEW)
        np.testing.assert_allclose(there.vectors, vectors, atol=1e-6)
        wanted = best(vectors, list(source), 5)
        assert [each.item_ids for each in up.search_vectors(queries(), NEW, 5)] == wanted


# Without any contents -----------------------------------------------------------------------------


def test_without_contents_a_map_is_fitted_on_pairs_from_a_file(tmp_path):
    up = without_contents(mixing(tmp_path, pairs=pairs_file(tmp_path)))
    up.new_embedder = Projection(NEW)
    plan = up.plan()
    assert (plan.blockers, plan.sampled_items) == ((), 0)
    assert any("200 stay" in note for note in plan.notes)
    to_the_end(up)
    assert up.new_embedder.calls == 0
    assert not own(up)


def test_without_contents_a_trained_map_does(tmp_path):
    rows = list(contents(300, seed=77).values())
    trained = fit_ridge(Projection(OLD)(rows), Projection(NEW)(rows), source=OLD, target=NEW)
    trained.save(tmp_path / "up.safetensors")
    up = without_contents(mixing(tmp_path, up=str(tmp_path / "up.safetensors")))
    old = up.gallery.vectors(sorted(up.source), OLD).vectors
    assert up.plan().blockers == ()
    to_the_end(up)
    found = up.gallery.vectors(sorted(up.source), NEW).vectors
    made = trained(old)
    np.testing.assert_allclose(
        found / np.linalg.norm(found, axis=1, keepdims=True),
        made / np.linalg.norm(made, axis=1, keepdims=True),
        atol=1e-5,
    )


def test_without_contents_and_without_a_map_nothing_begins(tmp_path):
    up = without_contents(mixing(tmp_path))
    (blocker,) = up.plan().blockers
    assert "pairs = FILE" in blocker
    with pytest.raises(PlanError, match="pairs = FILE"):
        up.start()
    assert up.gallery.spaces == (OLD,)


def test_too_few_contents_for_a_map_are_told_before_anything_is_written(tmp_path):
    source = contents(N)
    up = mixing(tmp_path, source=source, fit_items=N)
    up.remade(given_source=Contents({each: source[each] for each in sorted(source)[:60]}))
    with pytest.raises(PlanError, match="knows 60 that make a pair, and 100 are needed"):
        up.start()
    assert up.gallery.spaces == (OLD,)


class Unrelated:
    """A model that has nothing in common with any other."""

    model_id = NEW

    def __call__(self, rows: Any) -> Any:
        made = [np.random.default_rng(abs(hash(float(row[0])))).normal(size=6) for row in rows]
        return np.asarray(made, np.float32) / np.linalg.norm(made, axis=1, keepdims=True)


def test_a_map_that_begins_below_the_old_model_is_refused(tmp_path):
    up = mixing(tmp_path, allow_below_old=False, new_embedder=Unrelated())
    with pytest.raises(PlanError, match="--yes-below-old"):
        up.start()
    assert up.gallery.spaces == (OLD,)


# Verifying ----------------------------------------------------------------------------------------


def test_a_vector_that_another_map_made_is_found_and_imputed_again(tmp_path):
    up = mixing(tmp_path)
    up.start()
    state = up.gallery.get(["item-00003"])[0]
    up.gallery.move(
        ["item-00003"],
        queries(1),
        space=NEW,
        expected_versions=np.array([state.version]),
        origin="a lost fit",
    )
    report = up.verify()
    assert (report.passed, report.foreign, report.imputed) == (False, 1, N - 1)
    with pytest.raises(HeldError):
        up.cutover()
    up.start()
    assert up.verify().passed
    assert up.gallery.count(NEW, origin="a lost fit") == 0


def test_a_vector_that_is_not_what_the_map_makes_is_named(tmp_path):
    up = mixing(tmp_path, verify_items=N)
    up.start()
    state = up.gallery.get(["item-00003"])[0]
    up.gallery.move(
        ["item-00003"],
        -up.gallery.vectors(["item-00003"], NEW).vectors,
        space=NEW,
        expected_versions=np.array([state.version]),
        origin=state.origin,
    )
    report = up.verify()
    assert (report.passed, report.misplaced_ids) == (False, ("item-00003",))


# A gallery of several origins, for good ---------------------------------------------------------


def calibrated(up: Small, ids: list[str]) -> list[tuple[str, ...]]:
    """The slow way: all items on the common scale, from the fit's own reference items."""
    one = up.state.load_fit().one_space
    page = up.gallery.scan(NEW, limit=1000)
    vectors = up.gallery.vectors(page.item_ids, NEW)
    assert vectors.item_ids == page.item_ids
    background = one.scale.prepare(queries())
    lists = []
    for query, row in enumerate(queries()):
        scores = background.scores(query, vectors.vectors @ row, page.origins)
        order = np.argsort(-scores, kind="stable")
        lists.append(tuple(page.item_ids[each] for each in order))
    return lists


def found(up: Upgrade, k: int = N) -> list[tuple[str, ...]]:
    return [each.item_ids for each in up.search_vectors(queries(), NEW, k)]


def test_a_mixed_gallery_is_calibrated_by_origin_before_and_after_complete(tmp_path):
    up = mixing(tmp_path, backfill="budget", budget_items=80, ranking="calibrated")
    up.start()
    wanted = calibrated(up, sorted(up.source))
    raw = best(up.gallery.vectors(sorted(up.source), NEW).vectors, sorted(up.source), N)
    assert wanted != raw
    assert found(up) == wanted
    up.verify()
    up.cutover()
    assert found(up) == wanted
    up.complete()
    assert found(up) == wanted
    (made,) = up.state.origins.of(NEW)
    assert len(made.references.own) == 50  # a quarter of the pairs


def test_a_copy_of_the_store_is_searched_without_the_upgrade(tmp_path):
    up = mixing(tmp_path / "first", backfill="budget", budget_items=80, ranking="calibrated")
    to_the_end(up)
    wanted = found(up)
    third = replace(NEW, name="third")
    with Upgrade(
        up.gallery, old=NEW, new=third, source=up.source, folder=tmp_path / "next"
    ) as later:
        assert later.phase is Phase.PLANNED
        assert found(later) == wanted
        models = later.current().to_dict()["models"]
    (covered,) = models
    assert (covered["items"], covered["embedded"]) == (N, 80)
    (imputed,) = covered["imputed"]
    assert imputed["items"] == N - 80
    assert str(OLD) in imputed["origin"]
    assert "fit 1" in imputed["origin"]


def test_records_of_origins_go_with_the_last_vector(tmp_path):
    up = mixing(tmp_path / "aborted", ranking="calibrated")
    up.start()
    assert len(up.gallery.origins) == 1
    up.abort()
    assert not up.gallery.origins
    assert up.gallery.spaces == (OLD,)
    up = mixing(tmp_path / "all", backfill="all")
    up.start()
    assert not up.gallery.origins


def test_what_stayed_imputed_is_embedded_later(tmp_path):
    up = to_the_end(mixing(tmp_path, backfill="budget", budget_items=70, ranking="calibrated"))
    before = own(up)
    up.start(more=True)
    assert len(own(up)) == 140
    assert before < own(up)
    assert found(up) == calibrated(up, sorted(up.source))
    up.changed(backfill="all", budget_items=None)
    status = up.start(more=True)
    assert (status.phase, status.dead_letters) == (Phase.COMPLETED, 0)
    assert own(up) == set(up.source)
    assert not up.gallery.origins
    direct = Projection(NEW)([up.source[each] for each in sorted(up.source)])
    assert found(up, 10) == best(direct, sorted(up.source), 10)


def test_what_nobody_has_the_content_of_stays_imputed_later_too(tmp_path):
    up = without_contents(mixing(tmp_path, pairs=pairs_file(tmp_path)))
    to_the_end(up)
    some = sorted(up.source)[:50]
    up.remade(given_source=Contents({each: up.source[each] for each in some}))  # it appears later
    up.changed(backfill="all")
    up.start(more=True)
    assert own(up) == set(some)
    assert up.status().dead_letters == 0
    assert len(up.gallery.origins) == 1


def test_a_killed_run_of_more_goes_on_with_the_budget_it_began(tmp_path):
    up = to_the_end(mixing(tmp_path, backfill="budget", budget_items=20))
    embedder = up.new_embedder

    class Dying:
        model_id = NEW
        embedded = 0

        def __call__(self, rows: Any) -> Any:
            self.embedded += len(rows)
            if self.embedded > 30:
                raise KeyboardInterrupt
            return embedder(rows)

    up.changed(budget_items=100)
    up.new_embedder = Dying()
    with pytest.raises(KeyboardInterrupt):
        up.start(more=True)
    assert 20 < len(own(up)) <= 50
    up.remade()
    up.new_embedder = embedder
    up.start(more=True)
    assert len(own(up)) == 120
    up.start(more=True)
    assert own(up) == set(up.source)


def test_more_is_refused_before_complete_and_for_another_model(tmp_path):
    up = mixing(tmp_path)
    with pytest.raises(PhaseError, match="embed more"):
        up.start(more=True)
    to_the_end(up)
    with pytest.raises(PlanError, match="embeds nothing"):
        up.start(more=True)
    third = replace(NEW, name="third")
    up.remade(new=replace(up.parts.new, embedder=Projection(third)))
    up.changed(backfill="all")
    with pytest.raises(PlanError, match="--new"):
        up.start(more=True)


def test_a_lost_journal_of_a_mixed_gallery_is_no_reason_to_begin_again(tmp_path):
    up = to_the_end(mixing(tmp_path / "first", backfill="budget", budget_items=40))
    settings = {**up.parts.settings}
    again = upgrade(tmp_path / "second", source=up.source, gallery=up.gallery, **settings)
    assert again.start().phase is Phase.COMPLETED
    assert len(own(again)) == 40


def test_a_damaged_record_of_an_origin_is_told_in_one_sentence(tmp_path):
    up = to_the_end(mixing(tmp_path, ranking="calibrated"))
    (name,) = up.gallery.origins
    up.gallery.origins[name] = up.gallery.origins[name][:100]
    up.remade()
    with pytest.raises(InputError, match=f"the record of origin {name}"):
        found(up)


# Bad input ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"backfill": "budget"}, "needs one of budget_items"),
        ({"backfill": "budget", "budget_items": 5, "budget_share": 0.1}, "and budget_share"),
        ({"backfill": "budget", "budget_items": 0}, 'write backfill = "none"'),
        ({"backfill": "budget", "budget_cost": 0.0}, 'write backfill = "none"'),
        ({"backfill": "none", "budget_items": 5}, 'belongs to backfill = "budget"'),
        (
            {"backfill": "none", "strategy": "merge"},
            'imputes none: write strategy = "prefill", or "compatible"',
        ),
        (
            {"backfill": "none", "queries": "both"},
            'reads old vectors, .*: write queries = "new", or backfill = "all"',
        ),
        ({"pairs": "p.npz", "up": "u.safetensors"}, "leave it out"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(tmp_path, settings, said):
    with pytest.raises(ConfigError, match=said):
        upgrade(tmp_path, n=1, **settings)


def test_a_chain_embeds_all_and_is_told_how_else(tmp_path):
    with pytest.raises(ConfigError, match='finish or abort that one first, or write backfill = "a'):
        Plan(OLD, NEW, older_models=(replace(OLD, name="oldest"),), backfill="none")


def test_a_space_that_takes_no_imputed_vectors_is_refused_with_a_way_that_there_is(tmp_path):
    far = Projection(replace(NEW, metric="l2"))
    (blocker,) = mixing(tmp_path / "none", new_embedder=far).plan().blockers
    assert blocker.endswith(
        'write backfill = "all" and strategy = "merge" under [upgrade], which leaves old vectors '
        "where they are"
    )
    (blocker,) = mixing(tmp_path / "all", new_embedder=far, backfill="all").plan().blockers
    assert ': write strategy = "merge" under' in blocker


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"old": np.zeros((100, 4))}, "new"),
        ({"old": np.zeros((100, 5)), "new": np.zeros((100, 6))}, r"\(100, 4\)"),
        ({"old": np.zeros((100, 4)), "new": np.zeros((99, 6))}, r"\(100, 6\)"),
        ({"old": np.zeros((99, 4)), "new": np.zeros((99, 6))}, "100 or more"),
        ({"old": np.zeros((100, 4), int), "new": np.zeros((100, 6))}, "int64"),
    ],
)
def test_a_file_of_pairs_that_is_something_else_is_refused(tmp_path, arrays, said):
    np.savez(tmp_path / "pairs.npz", **arrays)
    up = mixing(tmp_path, pairs=str(tmp_path / "pairs.npz"))
    with pytest.raises(ConfigError, match=said):
        up.plan()


def test_a_budget_of_time_is_told_in_items(tmp_path):
    up = mixing(tmp_path, backfill="budget", budget_seconds=1e6)
    assert up.plan().items_to_embed == N
    up.changed(budget_seconds=1e-9)
    (blocker,) = up.plan().blockers
    assert "raise it, or lower fit_items" in blocker


def test_a_budget_of_time_is_told_anew_where_preparing_failed(tmp_path):
    up = mixing(
        tmp_path,
        backfill="budget",
        budget_seconds=1e6,
        allow_below_old=False,
        new_embedder=Unrelated(),
    )
    for _ in range(2):
        with pytest.raises(PlanError, match="--yes-below-old"):
            Upgrade.start(up)
    Upgrade.start(up, allow_below_old=True)
    assert own(up) == set(up.source)


def test_a_finish_is_searched_and_written_through_where_items_stay_imputed(tmp_path):
    up = to_the_end(mixing(tmp_path, finish="agreement", backfill="budget", budget_items=50))
    space = up.gallery.spaces[0]
    assert space.name == NEW.name
    assert space != NEW
    assert up.gallery.count(space, origin=space.fingerprint) == 50
    (record,) = up.state.origins.of(space)
    assert up.gallery.count(space, origin=record.origin) == N - 50
    name = "item-00017"
    up.upsert([name], [up.source[name]])
    direct = Projection(NEW)([up.source[name]])
    stored = up.gallery.vectors([name], space).vectors
    np.testing.assert_allclose(stored, up.state.finish(direct), atol=1e-6)
    (result,) = up.search_vectors(direct, NEW, N)
    assert set(result.item_ids) == set(up.source)
    up.start(more=True)
    assert up.gallery.count(space, origin=space.fingerprint) in (100, 101)


def test_a_budget_of_money_needs_a_price(tmp_path):
    up = mixing(tmp_path, backfill="budget", budget_cost=1.0)
    (blocker,) = up.plan().blockers
    assert "budget_items instead" in blocker

    class Priced(Projection):
        def price(self, rows: Any) -> float:
            return 0.01 * len(rows)

    up.remade(new=replace(up.parts.new, embedder=Priced(NEW)))
    up.changed(budget_cost=2.5, fit_items=100, verify_items=20)
    assert up.plan().items_to_embed == 250 - 120
