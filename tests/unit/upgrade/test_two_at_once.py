"""Two processes, one upgrade: what the second one sees, and what it may do."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest

from hotfill.errors import PhaseError
from hotfill.upgrade import control
from hotfill.upgrade.journal.sqlite import SqliteJournal
from hotfill.upgrade.phases import Phase, Step
from tests.unit.upgrade.small import NEW, OLD, Projection, upgrade


def test_a_step_taken_elsewhere_in_between_is_met_and_not_written_over(tmp_path):
    up = upgrade(tmp_path, hooks={"before_cutover": lambda status: control.abort(elsewhere)})
    elsewhere = SqliteJournal(tmp_path / "journal.sqlite")
    up.start()
    up.verify()
    with pytest.raises(PhaseError, match="cannot cutover while aborting; possible now: abort"):
        up.cutover()
    assert up.abort().phase is Phase.ABORTED
    assert up.gallery.count(OLD) == 100


def test_of_two_journals_that_advance_at_once_only_one_finds_the_way_free(tmp_path):
    journals = [SqliteJournal(tmp_path / "journal.sqlite") for _ in range(2)]
    for phase in (Phase.PREPARED, Phase.BACKFILLING, Phase.BACKFILLED):
        journals[0].enter(phase)
    ready, refused = threading.Barrier(2), []

    def take(journal, step):
        ready.wait()
        try:
            journal.advance(step)
        except PhaseError:
            refused.append(step)

    threads = [
        threading.Thread(target=take, args=pair)
        for pair in zip(journals, (Step.CUTOVER, Step.ABORT), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (loser,) = refused
    reached = Phase.ABORTING if loser is Step.CUTOVER else Phase.CUT_OVER
    assert {journal.phase for journal in journals} == {reached}


def test_an_upgrade_that_is_still_preparing_is_seen_at_work_and_then_at_rest(tmp_path):
    seen = []

    def embed(rows):
        seen.append(up.status())
        return Projection(NEW)(rows)

    up = upgrade(tmp_path)
    up.new_embedder = _Calling(embed)
    up.start()
    first = seen[0]
    assert (first.phase, first.running, first.visible) == (Phase.PLANNED, True, 0)
    assert not up.status().running


class _Calling:
    model_id = NEW

    def __init__(self, function):
        self.function = function

    def __call__(self, rows):
        return np.asarray(self.function(rows))


def test_a_journal_may_be_made_by_several_processes_at_once(tmp_path):
    code = (
        "import sys; from pathlib import Path; "
        "from hotfill.upgrade.journal.sqlite import SqliteJournal; "
        "print(flush=True); sys.stdin.readline(); SqliteJournal(Path(sys.argv[1])).close()"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "journal.sqlite")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for child in children:
        child.stdout.readline()
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    assert [(child.communicate()[1], child.returncode) for child in children] == [("", 0)] * 4
