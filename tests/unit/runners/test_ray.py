"""Workers on a real Ray cluster of this machine."""

from __future__ import annotations

import json
import os
import re
import signal
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from hotfill import config
from hotfill.cli.exit_codes import ExitCode
from hotfill.errors import ConfigError
from hotfill.runners.ray import run_on_ray
from hotfill.upgrade import control
from hotfill.upgrade.journal.postgres import PostgresJournal
from tests.acceptance.postgres_project import asked, make_project
from tests.acceptance.processes import PATIENCE_SECONDS, started, wait_for, worker
from tests.acceptance.test_workers import ITEMS, LEASE, check
from tests.postgres import server
from tests.unit.cli.project import call

pytest.importorskip("ray")

OWNERS = "SELECT DISTINCT owner FROM {schema}.batches WHERE owner <> 'coordinator'"


def helpers(project):
    """The process ids of the workers that have taken batches."""
    if not PostgresJournal.is_there(server().dsn, project.settings.journal.name):
        return set()
    return {int(owner.split("-")[-2]) for (owner,) in asked(project, OWNERS)}


@pytest.mark.slow  # to start a cluster, and then an actor again, takes many seconds of CPU
def test_two_actors_help_and_one_that_is_killed_is_started_again(tmp_path):
    notes = tmp_path / "loaded"
    notes.touch()
    path = make_project(
        tmp_path,
        ITEMS,
        new={
            "embedder": "tests.unit.runners.noted:new_model",
            "options": {"notes": str(notes), "seconds_per_call": 0.3},
        },
        upgrade={"batch_size": 8, "fit_items": 110},
    )
    project = config.read(path)

    def loaded():
        return {int(line) for line in notes.read_text().split()}

    with ExitStack() as stack:
        cluster = worker(stack, path, LEASE, "--ray", 2, "--ray-cpus", 0.5)
        wait_for(lambda: len(loaded()) == 2, cluster)
        both = loaded()
        leading = stack.enter_context(started(path, "--json"))
        wait_for(lambda: helpers(project) == both, leading)
        with closing(project.journal()) as journal:
            control.pause(journal, "the test")  # Ray may take its time
            known = {*both, leading.pid}
            os.kill(both.pop(), signal.SIGKILL)
            wait_for(lambda: loaded() - known, cluster)
            control.resume(journal)
        (again,) = loaded() - known
        wait_for(lambda: again in helpers(project), leading)
        told, stderr = cluster.communicate(timeout=PATIENCE_SECONDS)
        stdout, errors = leading.communicate(timeout=PATIENCE_SECONDS)
        assert (cluster.returncode, leading.returncode) == (0, 0), (stderr, errors)
    assert json.loads(told)["phase"] == json.loads(stdout)["phase"] == "backfilled"
    assert json.loads(told)["written"] > 0
    check(project)


@pytest.mark.slow
def test_a_worker_that_no_machine_has_room_for_and_what_it_raises_are_told_at_once(tmp_path):
    path = make_project(tmp_path, 20)
    done = call("worker", path, "--ray", 1, "--ray-gpus", 64, "--json")
    assert done.returncode == ExitCode.USAGE, done
    assert "has 1 CPUs and 64 GPUs" in json.loads(done.stdout)["error"]["message"]


def test_the_python_of_the_page_about_ray_runs(tmp_path, monkeypatch):
    page = (Path(__file__).parents[3] / "docs" / "howto" / "ray.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S)
    make_project(tmp_path, 20)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(block, "ray.md", "exec"), names)
    with names["open_worker"]() as made:
        assert made.lease_seconds == 60.0


def test_a_run_without_workers_is_refused():
    with pytest.raises(ConfigError, match=r"workers must be >= 1, got 0"):
        run_on_ray(lambda: None, 0)
