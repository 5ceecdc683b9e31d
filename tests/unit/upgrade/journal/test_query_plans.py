"""What is asked again and again costs the same at a hundred batches and at a hundred thousand."""

from __future__ import annotations

import pytest

from hotfill.upgrade.journal.sqlite import SqliteJournal

OFTEN = {
    "lease": lambda journal: journal.lease("embed", "me", 60.0),
    "lease several": lambda journal: journal.lease("embed", "me", 60.0, None, 40),
    "prolong": lambda journal: journal.prolong("me", 60.0),
    "release_leases": lambda journal: journal.release_leases("me"),
    "tally": lambda journal: journal.tally("embed"),
    "workers": lambda journal: journal.workers(),
    "worked_ids": lambda journal: next(journal.worked_ids("embed"), None),
}


@pytest.mark.parametrize("name", OFTEN)
def test_nothing_reads_through_all_batches_or_sorts_them(tmp_path, name):
    journal = SqliteJournal(tmp_path / "journal.sqlite")
    ids = [f"{number:04}" for number in range(400)]
    journal.add_work("embed", [(ids, [0.0] * len(ids))], 4)
    said = []
    with journal._file.reading() as db:
        db.set_trace_callback(said.append)
    OFTEN[name](journal)
    db.set_trace_callback(None)
    asked = [text for text in said if text.split()[0] in ("SELECT", "UPDATE") and "batches" in text]
    assert asked
    for text in asked:
        plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {text}")]
        for step in plan:
            # Who has batches in hand is a short list, and may be sorted.
            assert "TEMP B-TREE" not in step or name == "workers", (text, plan)
            assert not step.startswith("SCAN batches") or "batches_leased" in step, (text, plan)
    journal.close()
