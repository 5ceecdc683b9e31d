"""Many processes embed; some die, some hang. Nothing is lost, nothing happens twice."""

from __future__ import annotations

import json
import signal
from contextlib import ExitStack, closing

import numpy as np
import pytest

from hotfill import config
from hotfill.upgrade.journal.postgres import PostgresJournal
from tests.acceptance.postgres_project import asked, make_project
from tests.acceptance.processes import PATIENCE_SECONDS, started, wait_for, worker
from tests.postgres import server
from tests.unit.cli.models import NEW, OLD, contents, new_model

ITEMS, BATCH, LEASE = 600, 8, 1.5

LEASED = "SELECT number FROM {schema}.batches WHERE owner LIKE %s AND state = 'leased'"
TAKEN_OVER = (
    "SELECT count(*) FROM {schema}.batches "
    "WHERE number = ANY (%s) AND state = 'done' AND owner NOT LIKE %s"
)


def batches_in_hand(project, process):
    """The numbers of the batches that a worker has leased."""
    return [number for (number,) in asked(project, LEASED, f"%-{process.pid}-%")]


def taken_from(project, process, number, leading):
    """Send a signal to a worker in the middle of its work; give the batches it had."""
    had = []

    def has_some():
        had[:] = batches_in_hand(project, process)
        return had

    wait_for(has_some, leading)
    process.send_signal(number)
    # What it finished between the question and the signal is not taken from it.
    left = batches_in_hand(project, process)
    assert left
    return left


@pytest.mark.parametrize("batch_size", [BATCH, "auto"])
def test_workers_that_are_killed_or_hang_lose_nothing_and_do_nothing_twice(tmp_path, batch_size):
    path = make_project(
        tmp_path, ITEMS, seconds_per_call=0.15, upgrade={"batch_size": batch_size, "fit_items": 110}
    )
    project = config.read(path)
    journal = project.settings.journal.name
    with ExitStack() as stack:
        killed, stopped, steady = (worker(stack, path, LEASE) for _ in range(3))
        leading = stack.enter_context(started(path, "--json"))
        wait_for(lambda: PostgresJournal.is_there(server().dsn, journal), leading)
        from_killed = taken_from(project, killed, signal.SIGKILL, leading)
        from_stopped = taken_from(project, stopped, signal.SIGSTOP, leading)
        stdout, stderr = leading.communicate(timeout=PATIENCE_SECONDS)
        assert leading.returncode == 0, stderr
        assert json.loads(stdout)["phase"] == "backfilled"
        for process, numbers in ((killed, from_killed), (stopped, from_stopped)):
            assert asked(project, TAKEN_OVER, numbers, f"%-{process.pid}-%") == [(len(numbers),)]
        told, stderr = steady.communicate(timeout=PATIENCE_SECONDS)
        assert steady.returncode == 0, stderr
        assert json.loads(told)["written"] > 0
        check(project)
        stopped.send_signal(signal.SIGCONT)  # it goes on with what is no longer its own
        told, stderr = stopped.communicate(timeout=PATIENCE_SECONDS)
        assert stopped.returncode == 0, stderr
        assert json.loads(told)["phase"] == "backfilled"
        check(project)


def check(project):
    """Every item is there once, as if embedded directly, and the journal counts it once."""
    source = contents(ITEMS)
    with project.gallery() as gallery, closing(project.journal()) as journal:
        assert (gallery.count(OLD), gallery.count(NEW, origin=NEW.fingerprint)) == (0, ITEMS)
        found = gallery.vectors(list(source), NEW)
        hits = gallery.search(
            {OLD: np.ones((1, OLD.dimension)), NEW: np.ones((1, NEW.dimension))}, 2 * ITEMS
        )
        tally = journal.tally("embed")
        assert journal.dead_letters() == ()
    assert list(found.item_ids) == list(source)
    np.testing.assert_allclose(found.vectors, new_model()(list(source.values())), atol=1e-5)
    assert hits[OLD].item_ids == ((),)
    assert sorted(hits[NEW].item_ids[0]) == sorted(source)
    assert (tally.total, tally.moved + tally.skipped) == (ITEMS, ITEMS)
