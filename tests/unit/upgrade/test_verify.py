"""A verification finds every way in which a backfill can be incomplete, and nothing else."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotfill.upgrade.pace import Progress
from hotfill.upgrade.verify import verify
from tests.unit.upgrade.small import NEW, OLD, Projection, contents, upgrade


@pytest.fixture
def done(tmp_path):
    """A finished backfill of 40 items, all of which are looked at again."""
    up = upgrade(tmp_path, n=40, verify_items=1000)
    up.start()
    return up


def report_of(up, embedder=None):
    return verify(
        up.gallery,
        up.journal,
        up.plan_in_force,
        up.source,
        embedder or Projection(NEW),
        lambda: up.state.maps_of(up.state.load_fit()),
        Progress(),
    )


def replace_vector(up, item_id, vector, origin=None):
    state = up.gallery.get([item_id])[0]
    moved = up.gallery.move(
        [item_id],
        np.array([vector], np.float32),
        space=NEW,
        expected_versions=np.array([state.version]),
        origin=origin,
    )
    assert moved.all()


def test_a_complete_backfill_passes_with_all_its_figures(done):
    report = report_of(done)
    assert report.passed
    assert (report.items, report.sampled, report.lowest_similarity) == (
        40,
        40,
        pytest.approx(1.0, abs=1e-5),
    )
    assert report.to_dict()["passed"] is True


@given(
    lost=st.sets(st.integers(0, 39), max_size=30),
    deleted=st.sets(st.integers(0, 39), max_size=5),
    wrong=st.sets(st.integers(0, 39), max_size=30),
    late=st.integers(0, 3),
)
@settings(deadline=None, max_examples=25)
def test_exactly_what_is_wrong_is_counted_and_the_first_offenders_named(lost, deleted, wrong, late):
    with TemporaryDirectory() as folder:
        up = upgrade(Path(folder), n=40, verify_items=1000)
        up.start()
        names = sorted(up.source)
        lost, wrong = lost - deleted, wrong - deleted - lost
        for i in wrong:
            replace_vector(up, names[i], np.roll(Projection(NEW)([up.source[names[i]]])[0], 1))
        up.journal.mark_deleted([names[i] for i in deleted])
        up.gallery.delete([names[i] for i in (*lost, *deleted)])
        rows = contents(late, seed=3)
        for name, row in rows.items():
            up.gallery.upsert([f"late-{name}"], Projection(OLD)([row]), space=OLD)
        report = report_of(up)
        up.journal.close()
    assert (report.missing, report.disagreeing, report.elsewhere) == (len(lost), len(wrong), late)
    assert report.items == 40 - len(lost) - len(deleted)
    assert set(report.missing_ids) <= {names[i] for i in lost}
    assert set(report.disagreeing_ids) <= {names[i] for i in wrong}
    assert len(report.missing_ids) == min(20, len(lost))
    assert report.passed == (not lost and not wrong and not late)


def test_vectors_that_a_transform_made_are_foreign(done):
    row = Projection(NEW)([done.source["item-00003"]])[0]
    done.gallery.upsert(["item-00003"], Projection(OLD)([done.source["item-00003"]]), space=OLD)
    replace_vector(done, "item-00003", row, origin="some-transform")
    report = report_of(done)
    assert (report.foreign, report.disagreeing, report.passed) == (1, 0, False)


def test_a_prefilled_item_that_cannot_be_embedded_is_reported_and_not_embedded_again(tmp_path):
    source = contents(20)
    broken = {float(source["item-00007"][0])}
    up = upgrade(tmp_path, source=source, new_embedder=Projection(NEW, broken), strategy="prefill")
    up.start()
    report = report_of(up, Projection(NEW, broken))
    assert (report.foreign, report.dead_letters, report.disagreeing) == (1, 1, 0)
    assert not report.passed


def test_another_model_than_the_one_that_embedded_is_found_out(done):
    class Impostor:
        model_id = NEW

        def __call__(self, rows):
            vectors = Projection(NEW)(rows)
            return vectors + np.float32(0.1)

    report = report_of(done, Impostor())
    assert not report.passed
    assert report.disagreeing > 0
    assert report.lowest_similarity < 0.999


def test_an_embedder_that_gives_no_number_disagrees(done):
    def broken(rows):
        return np.full((len(rows), 6), np.nan, np.float32)

    report = report_of(done, broken)
    assert (report.disagreeing, report.lowest_similarity, report.passed) == (40, -1.0, False)


def test_an_item_edited_while_it_is_looked_at_does_not_disagree(done):
    class Meanwhile:
        model_id = NEW

        def __call__(self, rows):
            fresh = contents(1, seed=5)["item-00000"]
            done.gallery.upsert(["item-00003"], Projection(NEW)([fresh]), space=NEW)
            return Projection(NEW)(rows)

    report = report_of(done, Meanwhile())
    assert report.passed
    assert report.sampled == 39  # it was edited by every batch, also by its own


def test_items_without_content_cannot_be_sampled_but_are_counted(done):
    del done.source["item-00003"]
    report = report_of(done)
    assert (report.items, report.sampled, report.passed) == (40, 39, True)


def test_a_sample_is_embedded_in_batches_no_larger_than_the_plans(done):
    sizes = []

    class Sized:
        model_id = NEW

        def __call__(self, rows):
            sizes.append(len(rows))
            return Projection(NEW)(rows)

    report_of(done, Sized())
    assert sum(sizes) == 40
    assert max(sizes) <= done.plan_in_force.batch_size


def test_looking_writes_nothing(done):
    before = (list(done.journal.facts()), done.gallery.get(sorted(done.source)))
    report_of(done)
    assert (list(done.journal.facts()), done.gallery.get(sorted(done.source))) == before


def test_an_empty_gallery_passes(tmp_path):
    up = upgrade(tmp_path, n=3)
    up.start()
    up.journal.mark_deleted(sorted(up.source))
    up.gallery.delete(sorted(up.source))
    report = report_of(up)
    assert (report.passed, report.items, report.sampled, report.lowest_similarity) == (
        True,
        0,
        0,
        1.0,
    )
