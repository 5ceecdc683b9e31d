"""One process at a time, and the one that has it is named."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from hotfill import locks
from hotfill.errors import StoreBusyError
from hotfill.locks import FairLock, FolderLock, ProcessLock, holder, locked, process_exists

HOLDING = """
import sys, time
from pathlib import Path
from hotfill.locks import ProcessLock
lock = ProcessLock(Path(sys.argv[1]))
print("held" if lock.acquire() else "taken", flush=True)
time.sleep(600)
"""


@pytest.fixture
def other(tmp_path):
    """A process that holds the lock of a folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(tmp_path / "lock")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_the_process_that_holds_a_folder_is_named(tmp_path, other):
    with pytest.raises(StoreBusyError, match=f"is open in process {other.pid}") as caught:
        FolderLock(tmp_path)
    assert caught.value.pid == other.pid
    assert caught.value.retryable
    assert holder(tmp_path / "lock") == other.pid


def test_a_killed_process_leaves_nothing_to_clean_up(tmp_path, other):
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert holder(tmp_path / "lock") is None
    FolderLock(tmp_path).release()


def test_waiting_ends_when_the_lock_is_let_go(tmp_path, other):
    lock = ProcessLock(tmp_path / "lock")
    assert not lock.acquire(wait_seconds=0.2)
    threading.Timer(0.2, other.kill).start()
    assert lock.acquire(wait_seconds=60)
    assert holder(tmp_path / "lock") == os.getpid()
    lock.release()
    lock.release()
    assert holder(tmp_path / "lock") is None


def test_two_holders_in_one_process_exclude_each_other_and_any_thread_may_release(tmp_path):
    first = FolderLock(tmp_path)
    with pytest.raises(StoreBusyError, match=f"process {os.getpid()}"):
        FolderLock(tmp_path)
    thread = threading.Thread(target=first.release)
    thread.start()
    thread.join()
    FolderLock(tmp_path).release()


def test_a_block_that_fails_lets_the_folder_go(tmp_path):
    with pytest.raises(KeyError), locked(tmp_path):
        raise KeyError
    with locked(tmp_path) as lock:
        pass
    with pytest.raises(StoreBusyError):
        FolderLock(tmp_path)
    lock.release()


def test_asking_who_holds_a_lock_makes_no_file(tmp_path):
    assert holder(tmp_path / "lock") is None
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("on_windows", [False, True])
def test_a_process_is_known_to_live_without_being_disturbed(monkeypatch, on_windows):
    if on_windows:
        pytest.importorskip("psutil")
        monkeypatch.setattr(locks, "_ON_WINDOWS", True)
        monkeypatch.setattr(locks, "os", None)  # its `kill` would send Ctrl-C there
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        assert process_exists(other.pid)
        other.communicate(b"\n")
    assert not process_exists(other.pid)
    assert process_exists(os.getpid())
    assert process_exists(1)  # of another user, or ours


def test_a_fair_lock_goes_to_who_waits_before_who_had_it_last():
    lock, turns, waiting = FairLock(), [], threading.Event()

    def busy():
        for _ in range(200):
            with lock, lock:  # as often as one likes
                turns.append("busy")
                waiting.wait(10)

    def wait():
        with lock:
            turns.append("waited")

    threads = [threading.Thread(target=busy), threading.Thread(target=wait)]
    threads[0].start()
    while not turns:
        time.sleep(0.001)
    threads[1].start()
    time.sleep(0.05)  # it waits now
    waiting.set()
    for thread in threads:
        thread.join(10)
    assert turns[:3] == ["busy", "waited", "busy"]
    assert len(turns) == 201
