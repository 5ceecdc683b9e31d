"""One process at a time; a real second process holds the lock."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from contextlib import closing

import psycopg
import pytest

from hotfill.errors import JournalError, UpgradeBusyError
from hotfill.locks import holder
from hotfill.upgrade.journal.lock import running_lock
from hotfill.upgrade.journal.postgres import PostgresJournal
from hotfill.upgrade.journal.sqlite import SqliteJournal
from hotfill.upgrade.phases import Phase, Step
from tests.pgbouncer import PgBouncer, program
from tests.postgres import server
from tests.unit.upgrade.journal.journals import JOURNALS

CODE = """
import sys
from pathlib import Path
from hotfill.upgrade.journal.lock import running_lock
with running_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds the lock until it gets a line."""
    with subprocess.Popen(
        [sys.executable, "-c", CODE, str(tmp_path / "running")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_process_is_named(tmp_path, other):
    with (
        pytest.raises(UpgradeBusyError, match=f"process {other.pid} is running") as caught,
        running_lock(tmp_path / "running"),
    ):
        pass
    assert caught.value.pid == other.pid
    assert holder(tmp_path / "running") == other.pid


def test_the_lock_of_a_killed_process_is_free(tmp_path, other):
    other.kill()
    other.wait()
    assert holder(tmp_path / "running") is None
    with running_lock(tmp_path / "running"):
        assert holder(tmp_path / "running") == os.getpid()


def test_one_can_wait_for_the_other_to_end(tmp_path, other):
    entered = threading.Event()

    def wait():
        with running_lock(tmp_path / "running", wait_seconds=60):
            entered.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert not entered.wait(0.2)
    other.communicate("go\n")
    waiting.join(60)
    assert entered.is_set()


def test_the_lock_is_free_after_the_block_however_it_ends(tmp_path):
    path = tmp_path / "running"
    assert holder(path) is None
    with pytest.raises(KeyError), running_lock(path):
        raise KeyError
    assert holder(path) is None
    with running_lock(path):
        pass


def test_two_threads_of_one_process_exclude_each_other_too(tmp_path):
    path = tmp_path / "running"
    with running_lock(path), pytest.raises(UpgradeBusyError), running_lock(path):
        pass


# A leader that lost its lock ---------------------------------------------------------------------


def postgres(folder):
    return JOURNALS["postgres"](folder)


def end_idle_sessions_of_leaders():
    """Do what a firewall does to a connection that says nothing: the lock goes with it."""
    with psycopg.connect(server().dsn, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_locks WHERE locktype = 'advisory' "
            "AND pid <> pg_backend_pid()"
        )


@pytest.fixture
def two(tmp_path):
    """Two openings of one journal in PostgreSQL, as two machines have them."""
    with closing(postgres(tmp_path)) as first, closing(postgres(tmp_path)) as second:
        yield first, second


def test_a_leader_whose_lock_went_with_its_connection_takes_it_again(two):
    first, second = two
    with first.coordinating():
        end_idle_sessions_of_leaders()
        first.check_leading()
        first.advance(Step.START)
        with pytest.raises(UpgradeBusyError), second.coordinating():
            pass


def test_a_leader_that_another_has_replaced_stops_before_its_next_write(two):
    first, second = two
    with first.coordinating():
        end_idle_sessions_of_leaders()
        with second.coordinating():
            with pytest.raises(UpgradeBusyError, match="leads this upgrade now"):
                first.check_leading()
            with pytest.raises(UpgradeBusyError, match="leads this upgrade now"):
                first.advance(Step.START)
            assert second.advance(Step.START) is Phase.PREPARED
        # Nobody leads any more, but somebody has led since.
        with pytest.raises(UpgradeBusyError, match="leads this upgrade now"):
            first.check_leading()


def test_a_leader_whose_journal_was_deleted_stops(tmp_path):
    with closing(SqliteJournal(tmp_path / "journal.sqlite")) as journal, journal.coordinating():
        for path in tmp_path.glob("journal.sqlite*"):
            path.unlink()
        with pytest.raises(JournalError, match="deleted or replaced"):
            journal.check_leading()


# Behind a pooler ---------------------------------------------------------------------------------


@pytest.fixture
def pooled(tmp_path):
    """Opens one journal again and again, by clients that share a session of the server."""
    if program() is None:
        pytest.skip("pgbouncer is not installed")
    pooler = PgBouncer(server().dsn, sessions=3)
    name = f"pooled_{os.urandom(4).hex()}"
    opened = []

    def open_():
        opened.append(PostgresJournal(pooler.dsn, name))
        return opened[-1]

    yield open_
    for journal in opened:
        journal.close()
    pooler.close()


def test_behind_a_pooler_only_one_process_leads(pooled):
    first, second = pooled(), pooled()
    for _ in range(3):  # whichever session each is given
        with first.coordinating():
            for _ in range(10):
                assert second.phase is Phase.PLANNED
                with pytest.raises(UpgradeBusyError), second.coordinating():
                    pass
            first.check_leading()
        with second.coordinating():
            second.check_leading()


def test_behind_a_pooler_the_lock_of_a_killed_process_is_free_at_once(pooled):
    killed = multiprocessing.get_context("fork").Process(target=_lead_and_die, args=(pooled,))
    killed.start()
    killed.join(60)
    assert killed.exitcode == -signal.SIGKILL
    after = pooled()
    for _ in range(4):
        with after.coordinating(wait_seconds=30):
            after.check_leading()


def _lead_and_die(pooled):
    with pooled().coordinating():
        os.kill(os.getpid(), signal.SIGKILL)
