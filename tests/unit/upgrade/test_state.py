"""What the two halves of an upgrade share."""

from __future__ import annotations

import pytest

from hotfill.errors import JournalError
from hotfill.upgrade.state import SearchTimes, fit_folder
from tests.unit.upgrade.small import upgrade


def test_the_recent_latency_forgets_after_a_minute():
    now = [0.0]
    times = SearchTimes(clock=lambda: now[0])
    assert times.recent_milliseconds(99) == 0
    times.searched(2.0)
    assert times.recent_milliseconds(99) == 2000
    now[0] = 61.0
    assert times.recent_milliseconds(99) == 0


@pytest.mark.parametrize("name", ["../elsewhere", "/fit-1", "fit-0", "fit-1/..", 5])
def test_a_fit_that_the_journal_calls_otherwise_is_neither_read_nor_removed(tmp_path, name):
    """A journal is a file that somebody may have edited, and older fits are removed by name."""
    kept = tmp_path / "elsewhere" / "kept"
    kept.parent.mkdir()
    kept.touch()
    with upgrade(tmp_path / "folder") as up:
        up.start()
        fit = up.state.load_fit()
        up.journal.record("fit", number=2, folder=name, pairs=1)
        with pytest.raises(JournalError, match="a fit is called fit-1"):
            fit_folder(up.state.folder, up.journal)
        up.journal.record("fit", number=3, folder=name, pairs=1, replaces=name)
        up.journal.record("fit", number=4, folder="fit-1", pairs=1, replaces=name)
        with pytest.raises(JournalError, match="a fit is called fit-1"):
            up.state.keep_refreshed(fit, pairs=1, tenths=2, weight=1.0)
    assert kept.exists()
