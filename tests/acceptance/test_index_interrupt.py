"""One Ctrl-C ends the building of an index, whatever engine builds it; the same command goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from hotfill.cli.exit_codes import ExitCode
from tests.acceptance.index_child import thresholds
from tests.acceptance.test_index_kill import STORES, check_the_end, made, write_project
from tests.unit.cli.project import ROOT, environment


@pytest.fixture(params=STORES)
def store(request, monkeypatch):
    """A store to which a few hundred items are many, here as in the child."""
    pytest.importorskip(STORES[request.param])
    for owner, name, value in thresholds(request.param):
        monkeypatch.setattr(owner, name, value)
    return request.param


@pytest.mark.skipif(sys.platform == "win32", reason="no process there gets SIGINT from another")
def test_one_interrupt_ends_an_index_build_and_the_next_start_makes_it(store, tmp_path):
    path = write_project(tmp_path, made(store, tmp_path))
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.acceptance.index_child", str(path), store, "0"],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with child:
        try:
            while not (tmp_path / "building").exists():
                assert child.poll() is None, child.communicate()[1]
                time.sleep(0.1)
            os.killpg(child.pid, signal.SIGINT)  # as a terminal does: to the whole session
            _, said = child.communicate()  # ends, or runs into the limit of the suite
        finally:
            child.kill()
    assert child.returncode == ExitCode.STOPPED, said
    assert "stopped cleanly" in said
    check_the_end(path)
