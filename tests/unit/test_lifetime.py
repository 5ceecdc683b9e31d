"""Nothing that the tests start is left behind, however they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STARTER = """
import subprocess, sys
from tests.lifetime import end_with_parent
child = subprocess.Popen(["sleep", "600"], preexec_fn=end_with_parent)
print(child.pid, flush=True)
sys.stdin.read()
"""


def is_alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return state.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux does it")
def test_what_a_killed_process_of_the_tests_had_started_ends_too():
    with subprocess.Popen(
        [sys.executable, "-c", STARTER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    ) as starter:
        child = int(starter.stdout.readline())
        assert is_alive(child)
        os.kill(starter.pid, signal.SIGKILL)
        starter.wait(60)
        deadline = time.monotonic() + 60
        while is_alive(child):
            assert time.monotonic() < deadline, "it outlives who started it"
            time.sleep(0.02)
