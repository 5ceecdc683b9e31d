"""Imputed vectors that wait gain by what has moved, and no search mixes two fits wrongly."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from hotfill.errors import ConfigError
from hotfill.ranking import fit_models
from hotfill.stores import StoreCost
from hotfill.stores.memory import MemoryGallery
from hotfill.upgrade import refit
from hotfill.upgrade.indexes import Tidying, seconds_to_index
from hotfill.upgrade.pace import left_out
from hotfill.upgrade.phases import Phase
from tests.unit.upgrade.refreshing import (
    ITEMS,
    Steps,
    assert_ranked_by_origin,
    refreshing,
    run_until,
    waiting,
)
from tests.unit.upgrade.small import NEW, OLD, Projection, contents, filled, upgrade


def test_at_each_tenth_the_waiting_vectors_are_made_anew_by_what_has_moved(tmp_path):
    up = refreshing(tmp_path)
    run_until(up, 1800)
    tenths = [fact.body["tenths"] for fact in up.journal.facts("refresh")]
    assert tenths == sorted({*tenths})
    assert tenths[0] == 4, "a thousand of 2,400"
    last = up.journal.last("fit").body
    assert last["weight"] >= 0.05
    fit = up.state.load_fit()
    origins = waiting(up.gallery)
    assert {*origins.values()} == {fit.up.fingerprint}
    ids = sorted(origins)
    expected = fit.up(up.gallery.vectors(ids, OLD).vectors)
    np.testing.assert_allclose(up.gallery.vectors(ids, NEW).vectors, expected, atol=1e-4)
    assert up.start().phase is Phase.BACKFILLED


def test_refreshed_vectors_stand_nearer_to_where_the_new_ones_will(tmp_path):
    far = {}
    for refresh in (False, True):
        up = refreshing(tmp_path / str(refresh), refresh=refresh)
        run_until(up, 1600)
        ids = sorted(waiting(up.gallery))
        true = up.new_embedder([up.source[name] for name in ids])
        stored = up.gallery.vectors(ids, NEW).vectors
        stored /= np.linalg.norm(stored, axis=1, keepdims=True)
        far[refresh] = dict(zip(ids, 1 - np.sum(true * stored, axis=1), strict=True))
    common = far[True].keys() & far[False].keys()
    assert len(common) >= 400
    assert np.mean([far[True][name] for name in common]) < 0.95 * np.mean(
        [far[False][name] for name in common]
    )


def test_it_can_be_turned_off_and_needs_a_thousand_moved_items(tmp_path):
    off = refreshing(tmp_path / "off", refresh=False)
    off.start()
    few = upgrade(tmp_path / "few", n=900, fit_items=300, fitting=None, batch_size=100)
    few.start()
    for up in (off, few):
        assert up.journal.last("refresh") is None
        assert [*up.folder.glob("fit-*")] == [up.folder / "fit-1"]


def test_a_refresh_that_would_take_too_long_is_left_out_and_status_and_log_say_so(
    tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(refit.Refreshing, "_seconds_imputing", lambda self: 1e6)
    caplog.set_level("INFO", logger="hotfill.upgrade")
    up = refreshing(tmp_path, refresh_share=0.25)
    run_until(up, 1800)
    facts = [fact.body for fact in up.journal.facts("refresh")]
    assert facts[0]["tenths"] == 4
    assert not any(each["kept"] for each in facts)
    assert up.journal.last("fit").body["folder"] == "fit-1"
    (said,) = [each for each in up.status().warnings if "refresh_share" in each]
    assert said.startswith(f"at {10 * facts[-1]['tenths']}% imputed vectors were not made anew")
    assert said in caplog.messages
    assert up.start().phase is Phase.BACKFILLED
    assert not [each for each in up.status().warnings if "refresh_share" in each]


@pytest.mark.parametrize(("share", "due"), [(0.24, False), (0.26, True)])
def test_a_refresh_is_weighed_by_what_imputing_took_and_embedding_takes(tmp_path, share, due):
    up = refreshing(tmp_path, refresh_share=share)
    state = up._state()
    up.journal.add_work("embed", [([f"{i}" for i in range(5000)], [0.0] * 5000)], 500)
    up.journal.record("imputed", items=5000, seconds=250.0)
    refresh = refit.Refreshing(state)

    def embed(batches, seconds):
        for _ in range(batches):
            up.journal.finish(up.journal.lease("embed", "x", 9.0), moved=500, skipped=0)
        state.progress.working_seconds += seconds
        refresh.after_batch(500 * batches)

    embed(1, 7000.0)  # with what came before embedding
    embed(3, 300.0)  # 0.2 s an item; imputing took 0.05 s, a quarter of that
    assert refresh.is_due() is due
    assert (left_out(up.journal) is None) is due


class Indexed(MemoryGallery):
    """Has an index of which all that is written anew falls out."""

    share = 1.0

    def _indexed(self, space):
        return self.share


@pytest.mark.parametrize(("seconds", "due"), [(90.0, True), (130.0, False)])
def test_a_refresh_is_weighed_by_the_index_that_it_undoes_as_well(tmp_path, seconds, due):
    """0.02 s to impute and 0.036 (0.052) to index, of a quarter of 0.2 and a little."""
    source = contents(ITEMS)
    gallery = filled(source, Indexed(OLD))
    gallery.add_space(NEW)
    up = refreshing(tmp_path, gallery=gallery, source=source, refresh_share=0.3)
    state = up._state()
    up.journal.add_work("embed", [([f"{i}" for i in range(5000)], [0.0] * 5000)], 500)
    up.journal.record("imputed", items=5000, seconds=100.0)
    up.journal.record("optimise", items=2500, seconds=seconds)
    refresh = refit.Refreshing(state)
    for batches, took in ((1, 0.0), (3, 300.0)):
        for _ in range(batches):
            up.journal.finish(up.journal.lease("embed", "x", 9.0), moved=500, skipped=0)
        state.progress.working_seconds += took
        refresh.after_batch(500 * batches)
    assert refresh.is_due() is due


def test_what_indexing_took_is_noted_and_before_that_what_is_known_of_the_store_counts(tmp_path):
    source = contents(100)
    up = upgrade(tmp_path, gallery=filled(source, Indexed(OLD)), source=source)
    up.gallery.add_space(NEW)
    plan, journal = up.plan_in_force, up.journal
    assert seconds_to_index(up.gallery, journal, plan) == 0.0
    cost = StoreCost(imputed=1.0, embedded=1.0, indexed=384e6 / NEW.dimension)
    vars(up.gallery)["capabilities"] = replace(up.gallery.capabilities, cost=cost)
    assert seconds_to_index(up.gallery, journal, plan) == pytest.approx(1.0)
    tidying, known = Tidying(up.gallery, journal), pytest.approx(1.0)
    up.gallery.share = 0.5
    tidying._run(lambda: time.sleep(0.05), 100)  # and builds nothing
    assert seconds_to_index(up.gallery, journal, plan) == known

    def build():
        time.sleep(0.05)
        up.gallery.share = 1.0

    tidying._run(build, 100)
    assert 0.0005 <= seconds_to_index(up.gallery, journal, plan) < 0.5
    assert seconds_to_index(up.gallery, journal, replace(plan, optimise=False)) == 0.0


def test_what_imputing_took_is_noted(tmp_path):
    up = refreshing(tmp_path)
    run_until(up, 1800)
    first, *later = [fact.body for fact in up.journal.facts("imputed")]
    assert first["items"] == ITEMS
    assert first["seconds"] > 0
    assert later
    assert all(each["items"] < ITEMS for each in later)


def test_the_folders_of_fits_without_vectors_go_but_for_the_first(tmp_path):
    up = refreshing(tmp_path, n=ITEMS)
    up.start()
    made = [fact.body["folder"] for fact in up.journal.facts("fit")]
    assert len(made) > 3
    assert sorted(path.name for path in tmp_path.glob("fit-*")) == sorted({"fit-1", *made[-2:]})


def test_residuals_that_say_nothing_leave_the_vectors_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(refit, "_LEAST_WEIGHT", 2.0)
    up = refreshing(tmp_path)
    up.start()
    assert up.journal.last("fit").body["folder"] == "fit-1"
    assert not any(fact.body["kept"] for fact in up.journal.facts("refresh"))


def test_residuals_of_a_fit_that_imputes_nothing_are_refused():
    source = list(contents(200).values())
    fit = fit_models(Projection(OLD)(source), Projection(NEW)(source), OLD, NEW)
    with pytest.raises(ConfigError, match="imputes none"):
        fit.refreshed(Projection(OLD)(source), Projection(NEW)(source))


class End(BaseException):
    """The process ends here. No exception that anybody catches."""


def end():
    raise End


def steps_of_a_refresh(folder, monkeypatch):
    up, steps = refreshing(folder), Steps(0, end)
    with monkeypatch.context() as patch:
        steps.watch(up, patch)
        run_until(up, 2000)
    return steps.count


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_end_between_any_two_steps_leaves_a_gallery_that_is_ranked_right(tmp_path, monkeypatch):
    source = contents(ITEMS)
    count = steps_of_a_refresh(tmp_path / "whole", monkeypatch)
    assert count > 20
    for at in range(1, 30, 3):
        gallery = filled(source, MemoryGallery(OLD))
        folder = tmp_path / str(at)
        first = refreshing(folder, gallery, source, ranking="calibrated")
        with monkeypatch.context() as patch:
            Steps(at, end).watch(first, patch)
            with pytest.raises(End):
                first.start()
        first.close()
        again = refreshing(folder, gallery, source, ranking="calibrated")
        assert_ranked_by_origin(again)
        run_until(again, 400)
        in_force = again.state.load_fit().up.fingerprint
        assert {*waiting(gallery).values()} <= {in_force}
        assert_ranked_by_origin(again)
        again.close()


def test_what_stays_imputed_learns_from_all_that_a_budget_paid_for(tmp_path):
    up = refreshing(tmp_path, backfill="budget", budget_items=1100)
    up.start()
    assert up.gallery.count(NEW, origin=NEW.fingerprint) == 1100
    last = up.journal.last("fit").body
    assert (last["pairs"], last["tenths"]) == (1100, 10)
    (origin,) = last["origins"]
    assert up.gallery.count(NEW, origin=origin) == ITEMS - 1100
    up.start()  # once is enough
    assert up.journal.last("fit").body == last
    report = up.verify()
    assert (report.passed, report.imputed) == (True, ITEMS - 1100)
    up.cutover()
    up.complete()
    assert list(up.gallery.origins) == [origin]
