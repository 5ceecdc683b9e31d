"""A batch was leased, and the answer that said so never came."""

from __future__ import annotations

from hotfill.upgrade.backfill import Backfill, embed_work
from hotfill.upgrade.journal.sqlite import SqliteJournal
from tests.unit.upgrade.small import NEW, OLD, Projection, contents, filled


class LosesAnswers:
    """A journal behind a network that is cut after the journal has written."""

    def __init__(self, inner, lost):
        self._inner, self._lost = inner, lost

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def lease(self, *words):
        while self._lost:
            self._lost -= 1
            self._inner.lease(*words)
        return self._inner.lease(*words)


def test_a_batch_whose_lease_was_lost_is_done_by_its_owner_without_waiting_for_the_lease(tmp_path):
    source = contents(40)
    gallery = filled(source)
    gallery.add_space(NEW)
    journal = SqliteJournal(tmp_path / "journal.sqlite")
    ids = sorted(source)
    journal.add_work("embed", [(ids, [0.0] * len(ids))], 8)
    Backfill(gallery, LosesAnswers(journal, 2), owner="test").run(
        embed_work(NEW, source, Projection(NEW))
    )
    assert (gallery.count(OLD), gallery.count(NEW)) == (0, 40)
    assert journal.tally("embed").moved == 40
    journal.close()
