"""Real processes that run commands, and waiting for what they do."""

from __future__ import annotations

import subprocess
import time
from contextlib import contextmanager

from hotfill import config
from tests.lifetime import end_with_parent
from tests.unit.cli.project import command, environment

PATIENCE_SECONDS = 120.0  # a shared machine may be slow; nothing waits this long on its own


@contextmanager
def started(path, *words):
    """`hotfill start` in a process of its own, ended with the block whatever happens."""
    with subprocess.Popen(
        command("start", path, *words),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        preexec_fn=end_with_parent,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def worker(stack, path, lease_seconds, *words):
    """`hotfill worker` in a process of its own, killed at the end whatever happens."""
    process = stack.enter_context(
        subprocess.Popen(
            command("worker", path, "--json", "--lease-seconds", lease_seconds, *words),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            preexec_fn=end_with_parent,
        )
    )
    stack.callback(process.kill)
    return process


def wait_for(condition, process):
    """Ask every few milliseconds until a condition holds; the process must live meanwhile."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.005)


def moved(path) -> int:
    """How many items were re-embedded so far, by the journal."""
    project = config.read(path)
    if not (project.folder / "journal.sqlite").exists():
        return 0
    journal = project.look()
    try:
        return journal.tally("embed").moved
    finally:
        journal.close()
