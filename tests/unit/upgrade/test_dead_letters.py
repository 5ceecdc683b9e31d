"""Items that failed for good: from each decision about them a command leads on."""

from __future__ import annotations

import pytest

from hotfill import retry as retrying
from hotfill.errors import HeldError, InputError, PhaseError
from hotfill.upgrade import control
from hotfill.upgrade.phases import Phase
from tests.unit.upgrade.small import NEW, OLD, Projection, assert_reembedded, contents, upgrade

BAD = ("item-00003", "item-00007")


@pytest.fixture
def up(tmp_path, monkeypatch):
    """An upgrade of 40 items, backfilled but for two that cannot be embedded."""
    monkeypatch.setattr(retrying, "RETRY_SECONDS", ())
    source = contents(40)
    embedder = Projection(NEW, broken={float(source[item][0]) for item in BAD})
    up = upgrade(tmp_path, source=source, new_embedder=embedder, old_embedder=Projection(OLD))
    up.start()
    assert waiting(up) == list(BAD)
    return up


def waiting(up):
    return sorted(each.item_id for each in up.journal.dead_letters())


def cut_over(up):
    up.verify()
    up.cutover()


def test_they_hold_the_cutover_until_somebody_decides(up):
    up.verify()
    with pytest.raises(HeldError, match="dead_letters=2"):
        up.cutover()


def test_accepted_ones_keep_their_old_vector_through_the_whole_upgrade(up):
    assert control.accept_dead_letters(up.journal, "ada") == 2
    assert up.verify().to_dict().items() >= {"passed": True, "accepted": 2}.items()
    assert up.status().dead_letters == 0
    assert up.status().accepted == 2
    up.cutover()
    assert up.gallery.count(NEW, origin=NEW.fingerprint) == 38
    assert list(up.gallery.vectors(list(BAD), OLD).item_ids) == list(BAD)


def test_complete_asks_before_accepted_ones_leave_the_gallery(up):
    control.accept_dead_letters(up.journal, "ada")
    cut_over(up)
    with pytest.raises(HeldError, match="2 accepted items have no vector of the new model"):
        up.complete()
    assert (up.journal.phase, len(up.gallery)) == (Phase.CUT_OVER, 40)
    up.complete(delete_accepted=True)
    assert (up.journal.phase, len(up.gallery)) == (Phase.COMPLETED, 38)


def test_accepted_ones_can_be_tried_again_after_the_cutover(up):
    control.accept_dead_letters(up.journal, "ada")
    cut_over(up)
    up.new_embedder.broken.clear()
    assert control.retry_dead_letters(up.journal, 8, list(BAD)) == 2
    up.complete()
    assert_reembedded(up.gallery, up.source)


def test_the_way_back_is_open_with_accepted_ones(up):
    control.accept_dead_letters(up.journal, "ada")
    cut_over(up)
    up.rollback()
    assert (up.journal.phase, up.gallery.count(OLD)) == (Phase.ROLLED_BACK, 40)


def test_complete_waits_for_items_that_failed_since_the_cutover(tmp_path, monkeypatch):
    monkeypatch.setattr(retrying, "RETRY_SECONDS", ())
    source = contents(40)
    up = upgrade(tmp_path, source=source, old_embedder=Projection(OLD))
    up.start()
    cut_over(up)
    # A client that does not know of the upgrade writes to the old side.
    up.gallery.upsert([BAD[0]], Projection(OLD)([source[BAD[0]]]), space=OLD)
    up.new_embedder.broken.add(float(source[BAD[0]][0]))
    with pytest.raises(HeldError, match=r"'item-00003' for one.*`hotfill dead-letters`"):
        up.complete()
    assert up.phase is Phase.CUT_OVER
    up.new_embedder.broken.clear()
    assert control.retry_dead_letters(up.journal, 8) == 1
    up.complete()
    assert_reembedded(up.gallery, up.source)


def test_one_may_be_accepted_and_the_other_deleted(up):
    control.accept_dead_letters(up.journal, "ada", [BAD[0]])
    assert up.delete_dead_letters() == 1
    assert up.gallery.get([BAD[1]]) == (None,) or up.gallery.get([BAD[1]]) == [None]
    assert up.verify().passed
    assert (up.verify().accepted, len(up.gallery)) == (1, 39)


def test_retried_ones_are_work_again_for_the_next_start(up):
    up.new_embedder.broken.clear()
    assert control.retry_dead_letters(up.journal, 8) == 2
    up.start()
    assert_reembedded(up.gallery, up.source)
    assert up.journal.phase is Phase.BACKFILLED


def test_what_is_written_anew_is_no_dead_letter_whoever_accepted_it(up):
    control.accept_dead_letters(up.journal, "ada")
    assert up.journal.forget([BAD[0]])
    assert [each.item_id for each in up.journal.dead_letters(accepted=True)] == [BAD[1]]


def test_who_accepted_what_is_written_down(up):
    control.accept_dead_letters(up.journal, "ada")
    assert up.journal.last("dead_letters_accepted").body == {"by": "ada", "items": 2}


def test_an_id_that_is_no_dead_letter_changes_nothing(up):
    for decide in (
        lambda: control.accept_dead_letters(up.journal, "ada", [BAD[0], "item-00001"]),
        lambda: control.retry_dead_letters(up.journal, 8, [BAD[0], "item-00001"]),
        lambda: up.delete_dead_letters([BAD[0], "item-00001"]),
    ):
        with pytest.raises(InputError, match="expected ids of dead letters, got 'item-00001'"):
            decide()
    assert waiting(up) == list(BAD)
    assert len(up.gallery) == 40


def test_items_that_cannot_go_back_are_not_accepted_but_can_be_deleted(up):
    control.accept_dead_letters(up.journal, "ada")
    cut_over(up)
    written = "item-new"
    up.source[written] = contents(1, seed=9)["item-00000"]
    up.gallery.upsert([written], Projection(NEW)([up.source[written]]), space=NEW)
    up.old_embedder = None  # nothing can make its old vector
    with pytest.raises(HeldError, match="cannot go back"):
        up.rollback()
    with pytest.raises(InputError, match="no old vector"):
        control.accept_dead_letters(up.journal, "ada", [written])
    up.delete_dead_letters([written])
    up.rollback()
    assert up.journal.phase is Phase.ROLLED_BACK


def test_an_upgrade_that_has_ended_takes_no_decisions(up):
    control.accept_dead_letters(up.journal, "ada")
    cut_over(up)
    up.complete(delete_accepted=True)
    with pytest.raises(PhaseError):
        control.accept_dead_letters(up.journal, "ada")


def test_a_way_back_that_is_gone_is_not_entered_and_complete_leads_on(up):
    """The store is ahead of a journal that was restored from before `complete`."""
    up.new_embedder.broken.clear()
    up.start(retry_dead_letters=True)
    cut_over(up)
    up.gallery.drop_space(OLD)
    with pytest.raises(HeldError, match=r"no vectors of old@1.* `hotfill complete` leads on"):
        up.rollback()
    assert up.journal.phase is Phase.CUT_OVER
    assert up.complete().phase is Phase.COMPLETED


def test_an_abort_whose_old_side_is_gone_says_so_and_leaves_no_phase_that_nothing_leads_on_from(up):
    up.new_embedder.broken.clear()
    up.start(retry_dead_letters=True)
    up.gallery.drop_space(OLD)
    with pytest.raises(HeldError, match="no way back; all is on the new side"):
        up.abort()
    assert up.phase is Phase.COMPLETED
