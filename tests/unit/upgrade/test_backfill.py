"""Batches are embedded and moved; what fails is narrowed down to the items at fault."""

from __future__ import annotations

import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotfill import retry as retrying
from hotfill.errors import EmbedError, ShapeError, StoreError
from hotfill.stores.memory import MemoryGallery
from hotfill.upgrade.backfill import Backfill, embed_work
from hotfill.upgrade.journal.base import Tally
from hotfill.upgrade.journal.sqlite import SqliteJournal
from tests.unit.upgrade.small import NEW, OLD, Contents, Projection, contents, filled


@pytest.fixture(scope="module", autouse=True)
def no_waiting():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrying, "RETRY_SECONDS", (0.0, 0.0))
        yield


@pytest.fixture
def journal(tmp_path):
    made = SqliteJournal(tmp_path / "journal.sqlite")
    yield made
    made.close()


def run(journal, source, embedder, *, gallery=None, batch_size=8, **options):
    """Backfill everything once; returns the gallery."""
    gallery = filled(source) if gallery is None else gallery
    gallery.add_space(NEW)
    ids = sorted(state for state in gallery.scan(OLD, limit=10**6).item_ids)
    journal.add_work("embed", [(ids, [0.0] * len(ids))], batch_size)
    Backfill(gallery, journal, owner="test", **options).run(embed_work(NEW, source, embedder))
    return gallery


class Faulty:
    """Fails for some contents in one of the ways that embedders fail."""

    model_id = NEW

    def __init__(self, source, broken, way):
        self.bad = {float(source[name][0]) for name in broken}
        self.way = way

    def __call__(self, rows):
        wrong = [i for i, row in enumerate(rows) if float(row[0]) in self.bad]
        if wrong and self.way == "named":
            raise EmbedError("cannot read", rows=wrong, retryable=False)
        if wrong and self.way == "first named":
            raise EmbedError("cannot read", rows=wrong[:1], retryable=False)
        if wrong and self.way == "unnamed":
            raise RuntimeError("cannot read something")
        vectors = Projection(NEW)(rows)
        vectors[wrong] = np.nan if self.way == "nan" else 0.0
        return vectors


@given(
    broken=st.sets(st.integers(0, 29), max_size=30),
    gone=st.sets(st.integers(0, 29), max_size=4),
    way=st.sampled_from(["named", "first named", "unnamed", "nan", "zero"]),
    batch_size=st.integers(1, 30),
    max_attempts=st.integers(1, 4),
)
@settings(deadline=None, max_examples=40)
def test_exactly_the_broken_items_become_dead_letters_and_all_others_are_moved(
    broken, gone, way, batch_size, max_attempts
):
    source = contents(30)
    ids = sorted(source)
    faulty = {ids[i] for i in broken}
    absent = {ids[i] for i in gone}
    known = Contents({name: row for name, row in source.items() if name not in absent})
    with TemporaryDirectory() as folder:
        journal = SqliteJournal(Path(folder) / "journal.sqlite")
        gallery = run(
            journal,
            known,
            Faulty(source, faulty, way),
            gallery=filled(source),
            batch_size=batch_size,
            max_attempts=max_attempts,
        )
        letters = {letter.item_id: letter.error for letter in journal.dead_letters()}
        tally = journal.tally("embed")
        journal.close()
    assert set(letters) == faulty | absent
    assert all(("no content" in letters[name]) == (name in absent) for name in letters)
    healthy = sorted(set(ids) - faulty - absent)
    assert list(gallery.scan(NEW).item_ids) == healthy
    np.testing.assert_allclose(
        gallery.vectors(healthy, NEW).vectors,
        Projection(NEW)([source[name] for name in healthy]) if healthy else np.empty((0, 6)),
        atol=1e-6,
    )
    assert tally == Tally(len(healthy), len(healthy), 0)


@pytest.mark.parametrize("fails", [1, 2, 3, 4])
def test_an_item_is_tried_as_often_as_the_plan_says(journal, fails):
    source = contents(1)
    calls = []

    def sometimes(rows):
        calls.append(1)
        if len(calls) <= fails:
            raise RuntimeError("not now")
        return Projection(NEW)(rows)

    sometimes.model_id = NEW
    gallery = run(journal, source, sometimes, max_attempts=3)
    assert gallery.count(NEW) == (1 if fails < 3 else 0)
    assert len(calls) == min(fails + 1, 3)


def test_an_outage_stops_the_run_and_blames_nobody(journal):
    def down(rows):
        raise EmbedError("the endpoint is down")

    down.model_id = NEW
    source = contents(20)
    gallery = filled(source)
    with pytest.raises(EmbedError, match="endpoint is down"):
        run(journal, source, down, gallery=gallery)
    assert journal.dead_letters() == ()
    assert gallery.count(OLD) == 20
    journal.release_leases()
    Backfill(gallery, journal, owner="test").run(embed_work(NEW, source, Projection(NEW)))
    assert gallery.count(NEW) == 20


def test_a_store_that_refuses_for_a_moment_is_asked_again(journal):
    source = contents(20)
    gallery = Reluctant(filled(source), refusals=2)
    run(journal, source, Projection(NEW), gallery=gallery)
    assert gallery.count(NEW) == 20


class Reluctant:
    """A gallery whose moves fail a few times."""

    def __init__(self, gallery, refusals):
        self.gallery, self.refusals = gallery, refusals

    def __getattr__(self, name):
        return getattr(self.gallery, name)

    def move(self, *args, **kwargs):
        if self.refusals:
            self.refusals -= 1
            raise StoreError("not now", retryable=True)
        return self.gallery.move(*args, **kwargs)


def test_fewer_vectors_than_items_stop_the_run(journal):
    def short(rows):
        return Projection(NEW)(rows)[1:]

    short.model_id = NEW
    source = contents(20)
    with pytest.raises(ShapeError, match=r"one row per item \(8\), got 7"):
        run(journal, source, short)
    assert journal.dead_letters() == ()


def test_an_item_deleted_between_its_batch_and_its_content_is_no_dead_letter(journal):
    source = contents(20)
    gallery = filled(source)

    class Deleting(Contents):
        def __call__(self, item_ids):
            if "item-00003" in item_ids:  # the application deletes it here and there just now
                self.pop("item-00003", None)
                gallery.delete(["item-00003"])
            return super().__call__(item_ids)

    run(journal, Deleting(source), Projection(NEW), gallery=gallery)
    assert journal.dead_letters() == ()
    assert gallery.count(NEW) == 19


def test_an_item_written_between_its_batch_and_its_content_is_no_dead_letter(journal):
    source = contents(20)
    gallery = filled(source)

    class Late(Contents):
        def __call__(self, item_ids):
            found = super().__call__(item_ids)
            if "item-00003" in found:
                del found["item-00003"]
                row = np.ones((1, 6), np.float32)
                gallery.upsert(["item-00003"], row, space=NEW)
            return found

    run(journal, Late(source), Projection(NEW), gallery=gallery)
    assert journal.dead_letters() == ()
    found = gallery.vectors(["item-00003"], NEW).vectors[0]
    np.testing.assert_allclose(found / found[0], np.ones(6), atol=1e-6)
    assert gallery.count(NEW) == 20


def test_a_source_is_never_asked_for_nothing(journal):
    asked = []

    class Asked(Contents):
        def __call__(self, item_ids):
            asked.append(len(item_ids))
            return super().__call__(item_ids)

    source = contents(16)
    gallery = filled(source)
    gallery.add_space(NEW)
    gallery.upsert(sorted(source)[:8], Projection(NEW)(list(source.values())[:8]), space=NEW)
    journal.add_work("embed", [(sorted(source), [0.0] * 16)], 8)
    Backfill(gallery, journal, owner="x").run(embed_work(NEW, Asked(source), Projection(NEW)))
    assert asked == [8]
    assert journal.tally("embed") == Tally(16, 8, 8)


def test_what_embeds_reads_and_writes_leaves_no_thread_behind(journal):
    def fail(rows):
        raise ShapeError("wrong")

    fail.model_id = NEW
    with pytest.raises(ShapeError):
        run(journal, contents(50), fail)
    assert not [each for each in threading.enumerate() if each.name == "hotfill-prefetch"]


def test_an_empty_side_is_done_at_once(journal):
    gallery = run(journal, Contents(), Projection(NEW), gallery=MemoryGallery(OLD))
    assert gallery.count(NEW) == 0
