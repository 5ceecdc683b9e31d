"""A worker whose embedder hangs does not hold the upgrade up, and can be ended."""

from __future__ import annotations

import signal
import subprocess
import time
import tomllib
from contextlib import ExitStack, closing

import pytest
import tomli_w

from hotfill import config
from hotfill.upgrade.phases import Phase
from tests.acceptance.postgres_project import make_project
from tests.acceptance.processes import PATIENCE_SECONDS, started, wait_for, worker
from tests.unit.cli.models import NEW
from tests.unit.cli.project import command, environment, fill, write_config

ITEMS = 200
HANGS = "tests.acceptance.hanging:hanging_model"
UPGRADE = {"batch_size": 8, "fit_items": 110}


@pytest.fixture
def hanging(tmp_path):
    """Where an embedder says that it hangs."""
    return tmp_path / "hangs"


def test_the_batches_of_a_hung_worker_are_done_by_others_and_status_names_it(tmp_path, hanging):
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    settings = {**UPGRADE, "embed_timeout_seconds": 3.0}
    path = make_project(one, ITEMS, seconds_per_call=0.1, upgrade=settings)
    values = tomllib.loads(path.read_text())
    values["new"] = {"embedder": HANGS, "options": {"at": 2, "sign": str(hanging)}}
    hung_path = other / "upgrade.toml"
    hung_path.write_text(tomli_w.dumps(values))
    project = config.read(path)
    with ExitStack() as stack:
        hung = worker(stack, hung_path, 60.0)
        leading = stack.enter_context(started(path, "--json"))
        wait_for(hanging.exists, leading)
        with closing(project.look()) as journal:
            assert any(f"-{hung.pid}-" in each.owner for each in journal.workers())
        _, said = leading.communicate(timeout=PATIENCE_SECONDS)
        assert leading.returncode == 0, said
        assert hung.wait(PATIENCE_SECONDS) == 8  # its lease of a minute had not run out
        assert "embed_timeout_seconds" in hung.stderr.read()
    with closing(project.look()) as journal, project.gallery() as gallery:
        assert journal.phase is Phase.BACKFILLED
        assert gallery.count(NEW, origin=NEW.fingerprint) == ITEMS


def test_a_process_whose_embedder_hangs_ends_soon_after_sigterm(tmp_path, hanging):
    fill(tmp_path, ITEMS)
    path = write_config(
        tmp_path,
        ITEMS,
        new={"embedder": HANGS, "options": {"at": 20, "sign": str(hanging)}},
        upgrade=UPGRADE,
    )
    with subprocess.Popen(
        command("start", path), stderr=subprocess.PIPE, text=True, env=environment()
    ) as leading:
        wait_for(hanging.exists, leading)
        leading.send_signal(signal.SIGTERM)
        told = time.monotonic()
        leading.communicate(timeout=PATIENCE_SECONDS)
        took = time.monotonic() - told
    assert leading.returncode == 10
    # Ten seconds are promised; the machine of a test may be slow, and the call takes for ever.
    assert took < 60
