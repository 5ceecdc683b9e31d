"""An upgrade from start to end, and every way to leave it."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from hotfill import retry as retrying
from hotfill.errors import (
    EmbedError,
    HeldError,
    PhaseError,
    PlanError,
    ShapeError,
    UpgradeBusyError,
)
from hotfill.types import ModelId
from hotfill.upgrade import control
from hotfill.upgrade.journal.lock import running_lock
from hotfill.upgrade.parts import Model
from hotfill.upgrade.phases import Phase
from tests.unit.upgrade.small import (
    NEW,
    OLD,
    Contents,
    Projection,
    assert_reembedded,
    contents,
    filled,
    upgrade,
)


@pytest.mark.parametrize("strategy", ["merge", "prefill"])
@pytest.mark.parametrize(
    "order", ["random", "uncertainty", "priority", "popularity", "popularity_uncertainty"]
)
def test_a_backfill_ends_with_exactly_the_directly_embedded_gallery(tmp_path, strategy, order):
    (tmp_path / "hits.txt").write_text("item-00007\nitem-00003\nitem-00007\n")
    up = upgrade(
        tmp_path,
        strategy=strategy,
        order=order,
        priority_key="number",
        query_log=str(tmp_path / "hits.txt"),
    )
    status = up.start()
    assert status.phase is Phase.BACKFILLED
    assert (status.moved, status.dead_letters, status.holds) == (100, 0, ())
    assert_reembedded(up.gallery, up.source)


def test_verify_cutover_complete_lead_to_the_end_and_leave_one_space(tmp_path):
    up = upgrade(tmp_path)
    up.start()
    assert up.verify().passed
    assert up.cutover().phase is Phase.CUT_OVER
    assert up.complete().phase is Phase.COMPLETED
    assert up.gallery.spaces == (NEW,)
    assert up.status().next_steps == ()


def test_an_automatic_cutover_verifies_first(tmp_path):
    up = upgrade(tmp_path, cutover="auto")
    assert up.start().phase is Phase.CUT_OVER
    assert up.journal.last("verified").body["passed"]


def test_a_cutover_without_verification_is_held(tmp_path):
    up = upgrade(tmp_path)
    up.start()
    with pytest.raises(HeldError, match="never verified"):
        up.cutover()
    assert up.status().phase is Phase.BACKFILLED


def test_a_verification_goes_stale(tmp_path):
    up = upgrade(tmp_path, verification_lasts_seconds=0.0)
    up.start()
    up.verify()
    with pytest.raises(HeldError, match="age_seconds"):
        up.cutover()


def test_verify_names_an_item_that_vanished_and_one_with_a_wrong_vector(tmp_path):
    up = upgrade(tmp_path, verify_items=100)
    up.start()
    up.gallery.delete(["item-00003"])
    state = up.gallery.get(["item-00004"])[0]
    up.gallery.move(
        ["item-00004"],
        np.ones((1, 6), np.float32),
        space=NEW,
        expected_versions=np.array([state.version]),
    )
    report = up.verify()
    assert not report.passed
    assert report.missing_ids == ("item-00003",)
    assert report.disagreeing_ids == ("item-00004",)
    with pytest.raises(HeldError, match="verification failed"):
        up.cutover()


def test_an_item_deleted_through_hotfill_is_not_missing(tmp_path):
    up = upgrade(tmp_path)
    up.start()
    up.journal.mark_deleted(["item-00003"])
    up.gallery.delete(["item-00003"])
    assert up.verify().passed


@pytest.mark.parametrize("strategy", ["merge", "prefill"])
def test_rollback_after_the_cutover_restores_the_old_gallery(tmp_path, strategy):
    up = upgrade(tmp_path, strategy=strategy)
    before = up.gallery.vectors(sorted(up.source), OLD)
    up.start()
    up.verify()
    up.cutover()
    assert up.rollback().phase is Phase.ROLLED_BACK
    after = up.gallery.vectors(sorted(up.source), OLD)
    np.testing.assert_allclose(before.vectors, after.vectors, rtol=1e-6)
    assert up.gallery.count(OLD) == 100
    assert up.gallery.spaces == (OLD,)


def test_rollback_keeps_writes_made_after_the_cutover(tmp_path):
    up = upgrade(tmp_path, old_embedder=Projection(OLD))
    up.start()
    up.verify()
    up.cutover()
    up.source["late"] = contents(1, seed=9)["item-00000"]
    up.gallery.upsert(["late"], Projection(NEW)([up.source["late"]]), space=NEW)
    up.rollback()
    assert up.gallery.count(OLD) == 101
    found = up.gallery.vectors(["late"], OLD)
    np.testing.assert_allclose(found.vectors, Projection(OLD)([up.source["late"]]), atol=1e-6)


def test_going_back_without_an_old_vector_or_embedder_is_held_and_loses_nothing(tmp_path):
    up = upgrade(tmp_path)
    up.start()
    up.gallery.upsert(["late"], np.ones((1, 6), np.float32), space=NEW)
    with pytest.raises(HeldError, match=r"1 items cannot go back, 'late' .* has no old vector"):
        up.abort()
    assert up.status().phase is Phase.ABORTING
    assert (up.gallery.count(OLD), up.gallery.count(NEW)) == (100, 1)
    up.source["late"] = contents(1, seed=9)["item-00000"]
    up.old_embedder = Projection(OLD)
    assert up.abort().phase is Phase.ABORTED  # the remedy helps
    assert up.gallery.count(OLD) == 101


def test_an_old_embedder_that_fails_for_one_item_does_not_keep_the_others_from_going_back(tmp_path):
    up = upgrade(tmp_path, batch_size=16)
    up.start()
    late = contents(5, seed=9)
    for name, row in late.items():
        up.source[f"late-{name}"] = row
    names = [name for name in up.source if name.startswith("late")]
    rows = [up.source[name] for name in names]
    up.gallery.upsert(names, Projection(NEW)(rows), space=NEW)
    up.old_embedder = Projection(OLD, broken={float(rows[3][0])})
    with pytest.raises(HeldError, match="late-item-00003' for one: EmbedError: cannot read"):
        up.abort()
    assert (up.gallery.count(OLD), up.gallery.count(NEW)) == (104, 1)
    up.old_embedder = Projection(OLD)
    assert up.abort().phase is Phase.ABORTED
    found = up.gallery.vectors(names, OLD)
    np.testing.assert_allclose(found.vectors, Projection(OLD)(rows), atol=1e-6)


def test_after_a_failed_run_the_way_back_is_open(tmp_path, monkeypatch):
    monkeypatch.setattr(retrying, "RETRY_SECONDS", ())
    up = upgrade(tmp_path, fit_items=0)

    def fail(rows):
        raise EmbedError("the endpoint is down")

    up.new_embedder = _Calling(NEW, fail)
    with pytest.raises(EmbedError):
        up.start()
    assert [hold.kind for hold in up.status().holds] == ["error"]
    assert up.abort().phase is Phase.ABORTED
    assert up.gallery.count(OLD) == 100


def test_a_dead_letter_does_not_hide_another_item_that_is_left_over(tmp_path):
    source = contents(20)
    broken = {float(source["item-00007"][0])}
    up = upgrade(tmp_path, source=source, new_embedder=Projection(NEW, broken), strategy="merge")
    up.start()
    up.source["item-00007"] = contents(1, seed=5)["item-00000"]  # resolved by a live write ...
    up.gallery.upsert(["item-00007"], Projection(NEW)([up.source["item-00007"]]), space=NEW)
    up.source["stray"] = contents(1, seed=6)["item-00000"]  # ... and a late write to the old side
    up.gallery.upsert(["stray"], Projection(OLD)([up.source["stray"]]), space=OLD)
    up.start()
    assert_reembedded(up.gallery, up.source)
    assert up.verify().passed
    assert up.cutover().phase is Phase.CUT_OVER


def test_a_dead_letter_of_a_deleted_item_does_not_hold_the_cutover(tmp_path):
    source = contents(20)
    broken = {float(source["item-00007"][0])}
    up = upgrade(tmp_path, source=source, new_embedder=Projection(NEW, broken), strategy="merge")
    up.start()
    assert up.verify().dead_letters == 1
    up.journal.mark_deleted(["item-00007"])
    up.gallery.delete(["item-00007"])
    assert up.verify().passed
    assert up.cutover().phase is Phase.CUT_OVER


def test_one_item_that_cannot_be_embedded_does_not_keep_an_upgrade_from_being_prepared(tmp_path):
    source = contents(50)
    broken = {float(source["item-00007"][0])}
    up = upgrade(tmp_path, source=source, new_embedder=Projection(NEW, broken), fit_items=50)
    assert up.start().phase is Phase.BACKFILLED
    assert [each.item_id for each in up.journal.dead_letters()] == ["item-00007"]


def test_abort_half_way_restores_the_old_gallery(tmp_path):
    up = upgrade(tmp_path)
    embedder = Projection(NEW)

    def stop_after_a_while(rows):
        if embedder.calls > 9:
            up.stop()
        return embedder(rows)

    up.new_embedder = _Calling(NEW, stop_after_a_while)
    status = up.start()
    assert status.phase is Phase.BACKFILLING
    assert 0 < up.gallery.count(NEW, origin=NEW.fingerprint) < 100
    assert up.abort().phase is Phase.ABORTED
    assert up.gallery.count(OLD) == 100
    with pytest.raises(PhaseError, match="the upgrade has ended"):
        up.start()


class _Calling:
    """An embedder made of a function."""

    def __init__(self, model_id, function):
        self.model_id = model_id
        self.function = function

    def __call__(self, rows):
        return self.function(rows)


def test_the_same_command_goes_on_where_it_stopped_and_embeds_nothing_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(retrying, "RETRY_SECONDS", (0.01, 0.01))
    up = upgrade(tmp_path, fit_items=0, strategy="merge")
    first = Projection(NEW)

    def fail_later(rows):
        if first.calls == 6:
            raise EmbedError("the endpoint is down", retryable=True)
        return first(rows)

    up.new_embedder = _Calling(NEW, fail_later)
    with pytest.raises(EmbedError, match="endpoint is down"):
        up.start()
    moved = up.gallery.count(NEW)
    assert [hold.kind for hold in up.status().holds] == ["error"]
    up.new_embedder = Projection(NEW)
    assert up.start().phase is Phase.BACKFILLED
    assert up.new_embedder.calls == -(-(100 - moved) // 8)
    assert_reembedded(up.gallery, up.source)


def test_items_that_cannot_be_embedded_become_dead_letters_and_hold_the_cutover(tmp_path):
    source = contents(50)
    broken = {float(source["item-00007"][0]), float(source["item-00031"][0])}
    up = upgrade(tmp_path, source=source, new_embedder=Projection(NEW, broken), strategy="merge")
    status = up.start()
    assert status.phase is Phase.BACKFILLED
    letters = up.journal.dead_letters()
    assert sorted(each.item_id for each in letters) == ["item-00007", "item-00031"]
    assert all("cannot read this content" in each.error for each in letters)
    assert up.gallery.count(OLD) == 2
    assert not up.verify().passed
    with pytest.raises(HeldError, match="dead_letters=2"):
        up.cutover()

    up.new_embedder = Projection(NEW)
    assert up.start(retry_dead_letters=True).dead_letters == 0
    assert up.verify().passed
    assert_reembedded(up.gallery, up.source)


def test_an_item_without_content_becomes_a_dead_letter(tmp_path):
    source = contents(20)
    gallery = filled(source)
    up = upgrade(tmp_path, gallery=gallery, source=Contents(list(source.items())[:-1]))
    up.start()
    (letter,) = up.journal.dead_letters()
    assert letter.item_id == "item-00019"
    assert "no content" in letter.error


def test_too_many_dead_letters_stop_the_run(tmp_path):
    source = contents(64)
    broken = {float(row[0]) for row in source.values()}
    up = upgrade(
        tmp_path,
        source=source,
        new_embedder=Projection(NEW, broken),
        strategy="merge",
        fit_items=0,
        max_dead_letters=5,
    )
    with pytest.raises(EmbedError, match="6 items failed for good"):
        up.start()
    assert up.gallery.count(OLD) == 64


def test_an_embedder_of_another_dimension_stops_the_run_without_dead_letters(tmp_path):
    wrong = _Calling(NEW, lambda rows: np.ones((len(rows), 5), np.float32))
    up = upgrade(tmp_path, new_embedder=wrong, strategy="merge", fit_items=0)
    with pytest.raises(ShapeError, match=r"expected shape \(n, 6\)"):
        up.start()
    assert up.journal.dead_letters() == ()
    assert up.gallery.count(OLD) == 100


def test_vectors_with_nan_are_laid_to_the_item(tmp_path):
    source = contents(30)

    def nan_for_one(rows):
        vectors = Projection(NEW)(rows)
        vectors[[bool(np.allclose(row, source["item-00011"])) for row in rows]] = np.nan
        return vectors

    up = upgrade(tmp_path, source=source, new_embedder=_Calling(NEW, nan_for_one), strategy="merge")
    up.start()
    assert [each.item_id for each in up.journal.dead_letters()] == ["item-00011"]
    assert up.gallery.count(NEW) == 29


def test_a_write_to_the_old_side_during_the_backfill_is_found_and_reembedded(tmp_path):
    up = upgrade(tmp_path)
    wrote = threading.Event()

    def write_once(rows):
        if not wrote.is_set() and up.journal.phase is Phase.BACKFILLING:
            wrote.set()
            up.source["stray"] = contents(1, seed=5)["item-00000"]
            up.gallery.upsert(["stray"], Projection(OLD)([up.source["stray"]]), space=OLD)
        return Projection(NEW)(rows)

    up.new_embedder = _Calling(NEW, write_once)
    up.start()
    assert wrote.is_set()
    assert_reembedded(up.gallery, up.source)


def test_an_edit_during_the_backfill_is_never_overwritten_by_the_batch_in_flight(tmp_path):
    up = upgrade(tmp_path, n=40)
    edited = contents(1, seed=7)["item-00000"]
    done = []

    def edit_what_is_in_hand(rows):
        if up.journal.phase is Phase.BACKFILLING and not done:
            for item_id, row in list(up.source.items()):
                if any(row is each for each in rows):
                    done.append(item_id)
                    up.source[item_id] = edited
                    up.gallery.upsert([item_id], Projection(NEW)([edited]), space=NEW)
                    break
        return Projection(NEW)(rows)

    up.new_embedder = _Calling(NEW, edit_what_is_in_hand)
    up.start()
    assert done
    assert_reembedded(up.gallery, up.source)


def test_pause_holds_the_work_and_resume_lets_it_go_on(tmp_path):
    up = upgrade(tmp_path)
    control.pause(up.journal, by="anna")
    runner = threading.Thread(target=up.start)
    runner.start()
    while up.journal.phase is not Phase.BACKFILLING:
        pass
    runner.join(0.5)
    assert runner.is_alive()
    status = up.status()
    assert [str(hold) for hold in status.holds] == ["paused (anna)"]
    assert "resume" in status.next_steps
    assert status.moved == 0
    control.resume(up.journal)
    runner.join(20)
    assert up.status().phase is Phase.BACKFILLED


def test_a_probe_above_its_limit_throttles_with_the_reason(tmp_path):
    measured = [500.0]
    up = upgrade(
        tmp_path,
        probes={"search_p99_milliseconds": lambda: measured[0]},
        limits={"search_p99_milliseconds": 150.0},
    )
    runner = threading.Thread(target=up.start)
    runner.start()
    while not up.status().holds:
        pass
    (hold,) = up.status().holds
    assert str(hold) == "throttled search_p99_milliseconds=500 > 150"
    measured[0] = 20.0
    runner.join(20)
    assert up.status().phase is Phase.BACKFILLED
    assert up.status().holds == ()


def test_a_second_process_cannot_run_the_same_upgrade(tmp_path):
    up = upgrade(tmp_path)
    with running_lock(tmp_path / "running"), pytest.raises(UpgradeBusyError, match="is running"):
        up.start()
    assert up.status().phase is Phase.PLANNED


def test_another_plan_for_a_begun_upgrade_is_refused(tmp_path):
    upgrade(tmp_path).start()
    with pytest.raises(PlanError, match=r"another plan \(seed differ\)"):
        upgrade(tmp_path, seed=3).start()


def test_a_store_of_another_model_is_refused_and_left_alone(tmp_path):
    other = filled(contents(5))
    up = upgrade(tmp_path, gallery=other)
    up.remade(old=Model(model_id=ModelId("other", "1", 4)))
    with pytest.raises(PlanError, match="the plan's old model is other@1"):
        up.start()
    assert other.spaces == (OLD,)


def test_a_failing_hook_stops_the_cutover_it_guards(tmp_path):
    def refuse(status):
        raise RuntimeError("not on a Friday")

    up = upgrade(tmp_path, hooks={"before_cutover": refuse})
    up.start()
    up.verify()
    with pytest.raises(RuntimeError, match="Friday"):
        up.cutover()
    assert up.status().phase is Phase.BACKFILLED


def test_steps_out_of_turn_are_refused_with_what_is_possible(tmp_path):
    up = upgrade(tmp_path)
    with pytest.raises(PhaseError, match="cannot cutover while planned; possible now: start"):
        up.cutover()
    with pytest.raises(PhaseError, match="cannot rollback while planned"):
        up.rollback()
    up.start()
    with pytest.raises(PhaseError, match=r"possible now: verify \| cutover \| abort"):
        up.complete()


def test_searches_are_told_of_a_phase_before_anything_moves_in_it(tmp_path):
    seen = []
    up = upgrade(tmp_path)
    up.on_phase = lambda phase: seen.append((phase, up.gallery.count(NEW)))
    up.start()
    assert seen == [(Phase.PREPARED, 0), (Phase.BACKFILLING, 0), (Phase.BACKFILLED, 100)]
