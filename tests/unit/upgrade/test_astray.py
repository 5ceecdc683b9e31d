"""Journal and store disagree: searches find everything or say what puts it right."""

from __future__ import annotations

import shutil
import time

import numpy as np
import pytest

from hotfill.errors import HeldError, StoreError
from hotfill.stores.memory import MemoryGallery
from hotfill.stores.qdrant_edge import QdrantEdgeGallery
from hotfill.types import ModelId
from hotfill.upgrade.phases import GOING_BACK, Phase, Step
from tests.unit.upgrade.small import NEW, OLD, Projection, contents, filled, half_done, upgrade

ITEMS = 120
THIRD = ModelId("third", "1", 5)


@pytest.fixture
def source():
    return contents(ITEMS)


@pytest.fixture(params=["memory", "qdrant_edge"])
def gallery(request, source, tmp_path):
    if request.param == "memory":
        yield filled(source, MemoryGallery(OLD))
        return
    with QdrantEdgeGallery.create(tmp_path / "gallery", OLD, exact=True) as made:
        yield filled(source, made)


def project(tmp_path, source, gallery, **changes):
    """The upgrade with a real fit, as a process that has just started has it."""
    given = {"old_embedder": Projection(OLD), "fitting": None, "fit_items": 110, **changes}
    return upgrade(tmp_path / "upgrade", source=source, gallery=gallery, **given)


def lose_journal(tmp_path):
    shutil.rmtree(tmp_path / "upgrade")


def found_of(up):
    return {*up.search(next(iter(up.source.values())), ITEMS).item_ids}


def finish(up):
    """Take it to the cutover by the commands that the status names."""
    up.start()
    assert up.verify().passed
    up.cutover()


def found_while_it_moves(up, look):
    """Look at each batch that is embedded once something has moved; a list of what is found."""
    found, embedder = [], up.new_embedder

    def embed(rows):
        if len(rows) > 1 and up.gallery.count(NEW):  # a batch
            found.append(look())
        return embedder(rows)

    embed.model_id = NEW
    up.new_embedder = embed
    return found


def assert_right_again(up, source):
    up.state.look()
    assert not up.status().holds
    assert found_of(up) == {*source}


@pytest.mark.parametrize("moved", [None, "all"])
def test_a_journal_deleted_on_the_way_leaves_searches_whole(tmp_path, source, gallery, moved):
    before = project(tmp_path, source, gallery)
    finish(before) if moved else half_done(before)
    before.journal.close()
    lose_journal(tmp_path)
    up = project(tmp_path, source, gallery)
    assert found_of(up) == {*source}
    status = up.status()
    assert status.phase is Phase.PLANNED
    assert "does not search; `hotfill start` puts it right" in str(status.holds[0])
    finish(up)
    assert_right_again(up, source)


def test_without_the_old_embedder_a_search_is_refused_with_the_command(tmp_path, source, gallery):
    before = project(tmp_path, source, gallery)
    half_done(before)
    before.journal.close()
    lose_journal(tmp_path)
    up = project(tmp_path, source, gallery, old_embedder=None)
    with pytest.raises(HeldError, match="`hotfill start` puts it right"):
        found_of(up)
    with pytest.raises(HeldError, match="`hotfill start` puts it right"):
        up.search_vectors(Projection(NEW)([source["item-00000"]]), NEW, 3)
    finish(up)
    assert_right_again(up, source)


def test_vectors_of_both_models_search_both_sides(tmp_path, source, gallery):
    before = project(tmp_path, source, gallery, strategy="merge")
    half_done(before)
    before.journal.close()
    lose_journal(tmp_path)
    up = project(tmp_path, source, gallery, old_embedder=None)
    for item_id in ("item-00003", sorted(source)[-1]):
        rows = [source[item_id]]
        (result,) = up.search_vectors(
            Projection(OLD)(rows), OLD, ITEMS, other_queries={NEW: Projection(NEW)(rows)}
        )
        assert {*result.item_ids} == {*source}
        assert item_id in result.item_ids[:2]
        scores = [hit.score for hit in result.hits]
        assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("remedy", ["cutover", "complete"])
def test_a_store_from_an_older_backup_is_searched_whole(tmp_path, source, gallery, remedy):
    up = project(tmp_path, source, gallery)
    finish(up)
    backup = {item: up.gallery.vectors([item], OLD).vectors[0] for item in sorted(source)[:70]}
    if remedy == "complete":
        up.complete()
        gallery.add_space(OLD)
    versions = np.array([state.version for state in gallery.get([*backup])])
    gallery.move([*backup], np.array([*backup.values()]), space=OLD, expected_versions=versions)
    up.close()
    up = project(tmp_path, source, gallery)
    assert found_of(up) == {*source}
    status = up.status()
    assert status.next_steps[0] == remedy
    assert f"70 items are on the side of {OLD}" in str(status.holds[0])
    getattr(up, remedy)()
    assert_right_again(up, source)
    assert gallery.count(NEW) == ITEMS


def test_a_store_from_before_the_start_is_searched_by_the_old_model(tmp_path, source):
    up = project(tmp_path, source, filled(source, MemoryGallery(OLD)))
    finish(up)
    up.close()
    up = project(tmp_path, source, filled(source, MemoryGallery(OLD)))
    assert found_of(up) == {*source}
    with pytest.raises(HeldError, match="`hotfill cutover` puts it right"):
        up.upsert(["item-00001"], [source["item-00001"]])
    up.cutover()
    assert_right_again(up, source)
    assert up.gallery.count(NEW) == ITEMS


def test_searches_are_whole_while_a_store_from_before_the_start_is_embedded_again(tmp_path, source):
    up = project(tmp_path, source, filled(source, MemoryGallery(OLD)))
    half_done(up)
    up.close()
    up = project(tmp_path, source, filled(source, MemoryGallery(OLD)))
    assert found_of(up) == {*source}  # from now on there is a view of the one side that is left
    found = found_while_it_moves(up, lambda: found_of(up))
    up.start()
    assert len(found) > 5
    assert [{*source} - each for each in found] == [set()] * len(found)
    assert_right_again(up, source)


def test_searches_elsewhere_miss_nothing_when_the_side_that_was_gone_is_filled_again(
    tmp_path, source
):
    """They have just looked, at a store that had one side."""
    up = project(tmp_path, source, filled(source, MemoryGallery(OLD)))
    half_done(up)
    up.close()
    gallery = filled(source, MemoryGallery(OLD))
    up, elsewhere = (project(tmp_path, source, gallery) for _ in range(2))
    assert found_of(elsewhere) == {*source}

    def look():
        elsewhere.state._polled = elsewhere.state._known_at = time.monotonic()
        return found_of(elsewhere)

    found = found_while_it_moves(up, look)
    up.start()
    assert len(found) > 5
    assert [{*source} - each for each in found] == [set()] * len(found)


def test_a_store_that_was_away_is_looked_at_before_the_next_search(tmp_path, source, gallery):
    """It may have been put back from a backup; half a second of short answers is too much."""
    up = project(tmp_path, source, gallery)
    finish(up)
    assert found_of(up) == {*source}
    search = gallery._search

    def fail(*args):
        gallery._search = search
        raise StoreError("could not search: the server is away", retryable=True)

    gallery._search = fail
    up.state._polled = up.state._known_at = time.monotonic() + 60  # long before the next look
    with pytest.raises(StoreError, match="away"):
        found_of(up)
    some = sorted(source)[:70]
    old = gallery.vectors(some, OLD).vectors
    versions = np.array([state.version for state in gallery.get(some)])
    gallery.move(some, old, space=OLD, expected_versions=versions)
    assert found_of(up) == {*source}


def test_a_process_that_serves_follows_the_journal_that_was_put_in_place_of_its_own(
    tmp_path, source
):
    gallery = filled(source, MemoryGallery(OLD))
    serving = project(tmp_path, source, gallery)
    finish(serving)
    assert found_of(serving) == {*source}
    lose_journal(tmp_path)
    up = project(tmp_path, source, gallery)
    up.start()
    up.abort()  # all items are on the old side again, and the lost journal says cut_over
    assert found_of(up) == {*source}
    serving.state._polled = 0.0  # half a second later
    assert found_of(serving) == {*source}
    assert serving.phase is Phase.ABORTED


def test_a_proof_over_a_store_from_before_the_start_names_the_command(tmp_path, source):
    up = project(tmp_path, source, filled(source, MemoryGallery(OLD)))
    up.start()
    up.close()
    up = project(tmp_path, source, filled(source, MemoryGallery(OLD)))
    with pytest.raises(HeldError, match=r"cannot verify .* `hotfill start` puts it right"):
        up.verify()
    assert up.status().next_steps[0] == "start"
    finish(up)
    assert_right_again(up, source)


def test_a_proof_that_finds_items_for_start_lets_the_status_name_it_first(
    tmp_path, source, gallery
):
    up = project(tmp_path, source, gallery)
    up.start()
    gallery.upsert(["item-00007"], Projection(OLD)([source["item-00007"]]), space=OLD)
    assert not up.verify().passed
    assert up.status().next_steps[0] == "start"
    with pytest.raises(HeldError, match="`hotfill start` embeds these items"):
        up.cutover()
    finish(up)
    assert up.status().next_steps[0] != "start"
    assert_right_again(up, source)


def test_an_item_that_somebody_put_to_the_old_side_after_the_cutover_is_found(
    tmp_path, source, gallery
):
    up = project(tmp_path, source, gallery)
    finish(up)
    assert found_of(up) == {*source}
    late = ["item-00007"]
    gallery.upsert(late, Projection(OLD)([source[late[0]]]), space=OLD)
    up.state.look()  # as every poll does
    assert found_of(up) == {*source}
    assert up.status().next_steps == ("cutover", "rollback", "complete")
    up.cutover()
    assert_right_again(up, source)


@pytest.mark.parametrize("back", ["abort", "rollback"])
def test_items_on_the_new_side_after_the_way_back_are_found_and_go_back(
    tmp_path, source, gallery, back
):
    up = project(tmp_path, source, gallery)
    up.start() if back == "abort" else finish(up)
    getattr(up, back)()
    gallery.add_space(NEW)
    late = ["item-00007", "item-00008"]
    gallery.upsert(late, Projection(NEW)([source[item] for item in late]), space=NEW)
    up.state.look()
    assert found_of(up) == {*source}
    assert up.status().next_steps == (back,)
    getattr(up, back)()
    assert_right_again(up, source)
    assert gallery.spaces == (OLD,)


def test_a_journal_lost_after_all_is_done_is_replaced_by_one_that_says_so(
    tmp_path, source, gallery
):
    before = project(tmp_path, source, gallery)
    finish(before)
    before.complete()
    before.close()
    lose_journal(tmp_path)
    up = project(tmp_path, source, gallery)
    assert found_of(up) == {*source}
    assert up.status().next_steps[0] == "start"
    up.start()
    assert up.phase is Phase.COMPLETED
    assert_right_again(up, source)
    up.upsert(["item-00007"], [source["item-00007"]])
    assert gallery.spaces == (NEW,)


@pytest.mark.parametrize("step", ["abort", "rollback"])
def test_a_journal_put_back_to_a_way_back_that_is_gone_ends_where_the_store_is(
    tmp_path, source, gallery, step
):
    """The upgrade had gone on since that backup, to `complete`."""
    up = project(tmp_path, source, gallery)
    up.start()
    assert up.verify().passed
    if step == "rollback":
        up.cutover()
    up.journal.advance(Step(step))
    shutil.copytree(tmp_path / "upgrade", tmp_path / "backup")
    lose_journal(tmp_path)
    up = project(tmp_path, source, gallery)
    finish(up)
    up.complete()
    lose_journal(tmp_path)
    shutil.copytree(tmp_path / "backup", tmp_path / "upgrade")
    up = project(tmp_path, source, gallery)
    assert up.phase in GOING_BACK
    assert found_of(up) == {*source}
    assert up.status().next_steps[0] == step
    with pytest.raises(HeldError, match="no way back; all is on the new side"):
        getattr(up, step)()
    assert up.phase is Phase.COMPLETED
    assert_right_again(up, source)
    up.complete()


def test_items_of_a_later_upgrade_are_never_passed_over(tmp_path, source, gallery):
    up = project(tmp_path, source, gallery)
    finish(up)
    up.complete()
    gallery.add_space(THIRD)
    gallery.upsert(["item-00007"], Projection(THIRD)([source["item-00007"]]), space=THIRD)
    up.state.look()
    with pytest.raises(HeldError, match="serve by the configuration of the upgrade to third"):
        found_of(up)
    with pytest.raises(Exception, match="1 items are searched by third"):
        up.complete()
    assert gallery.count(THIRD) == 1


def test_items_that_another_upgrade_moves_between_two_looks_are_not_passed_over(
    tmp_path, source, gallery
):
    up = project(tmp_path, source, gallery)
    finish(up)
    up.complete()
    gallery.add_space(THIRD)
    up.state.look()  # nothing is there yet, and nobody looks again soon
    assert found_of(up) == {*source}
    up.state._look_again = up.state._read_again = float("inf")
    gallery.upsert(["item-00007"], Projection(THIRD)([source["item-00007"]]), space=THIRD)
    with pytest.raises(HeldError, match="serve by the configuration of the upgrade to third"):
        found_of(up)


def test_where_journal_and_store_agree_nothing_is_noted(tmp_path, source, gallery):
    up = project(tmp_path, source, gallery)
    for step in ("start", "verify", "cutover", "complete"):
        getattr(up, step)()
        assert found_of(up) == {*source}
        assert up.view.astray is None
    assert up.journal.last("astray") is None
