"""One process runs the upgrade, others look at it and steer it."""

from __future__ import annotations

import json
import signal
import time

import numpy as np
import pytest

from hotfill.stores.qdrant_edge import QdrantEdgeGallery
from tests.acceptance.processes import PATIENCE_SECONDS, moved, started, wait_for
from tests.unit.cli.models import NEW, OLD, contents, new_model
from tests.unit.cli.project import call, fill, write_config

ITEMS = 480


@pytest.fixture
def path(tmp_path):
    fill(tmp_path, ITEMS)
    return write_config(tmp_path, ITEMS, seconds_per_call=0.1)


def told(*words, code=0):
    """Call a command in a process of its own and give its JSON object."""
    done = call(*words, "--json")
    assert done.returncode == code, done
    return json.loads(done.stdout)


def counts(path):
    with QdrantEdgeGallery.open(path.parent / "gallery") as gallery:
        made = {
            space.name: gallery.count(space, origin=space.fingerprint) for space in gallery.spaces
        }
        left = len(gallery) - sum(made.values())
        return {**made, "imputed": left} if left else made


def assert_reembedded(path):
    source = contents(ITEMS)
    with QdrantEdgeGallery.open(path.parent / "gallery") as gallery:
        assert (gallery.count(OLD), gallery.count(NEW, origin=NEW.fingerprint)) == (0, ITEMS)
        found = gallery.vectors(list(source), NEW)
    assert list(found.item_ids) == list(source)
    np.testing.assert_allclose(found.vectors, new_model()(list(source.values())), atol=1e-5)


def test_others_see_pause_and_resume_an_upgrade_but_cannot_run_it_too(path):
    write_config(path.parent, ITEMS, seconds_per_call=0.2)
    with started(path, "--json") as process:
        wait_for(lambda: moved(path) > 0, process)

        assert told("pause", path, "--by", "anna")["holds"][0]["about"] == "anna"
        time.sleep(1.0)  # the batches in hand
        held = moved(path)

        status = told("status", path)
        assert (status["phase"], status["running"]) == ("backfilling", True)
        assert status["pid"] == process.pid
        assert (status["moved"], status["eta_seconds"]) == (held, None)

        error = told("start", path, code=6)["error"]
        assert (error["kind"], error["pid"]) == ("UpgradeBusyError", process.pid)
        error = told("search", path, "--like", "item-00001", code=6)["error"]
        assert (error["kind"], error["pid"]) == ("UpgradeBusyError", process.pid)
        current = told("current", path)
        assert current["recorded_by"] == "journal"
        assert [each["items"] for each in current["models"]] == [0, ITEMS]
        assert current["models"][1]["embedded"] == held
        assert moved(path) == held

        assert told("resume", path)["was_paused"]
        watched = told("watch", path)  # ends when the process does
        assert (watched["phase"], watched["running"]) == ("backfilled", False)
        stdout, stderr = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0
    assert json.loads(stdout)["phase"] == "backfilled"
    assert "held: paused (anna)" in stderr
    assert_reembedded(path)


def test_an_abort_from_elsewhere_makes_the_running_process_let_go(path):
    write_config(path.parent, ITEMS, seconds_per_call=0.3)
    with started(path, "--json") as process:
        wait_for(lambda: moved(path) > 0, process)
        assert told("abort", path, "--yes")["phase"] == "aborted"
        stdout, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 10
    assert json.loads(stdout)["phase"] in ("aborting", "aborted")
    assert counts(path) == {"old": ITEMS}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_after_the_batches_in_hand_and_the_same_command_goes_on(path, number):
    with started(path) as process:
        wait_for(lambda: moved(path) > 0, process)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 10
    assert "stopped cleanly; run the same command to go on" in stderr
    assert "Traceback" not in stderr
    assert f"next: hotfill start {path}" in stdout
    done = moved(path)
    # The journal knows every move.
    assert counts(path) == {"old": 0, "new": done, "imputed": ITEMS - done}

    write_config(path.parent, ITEMS)  # the embedder is quick now
    assert told("start", path)["phase"] == "backfilled"
    assert moved(path) == ITEMS  # and none was embedded twice
    assert_reembedded(path)


def test_without_its_journal_a_half_done_upgrade_begins_again_and_knows_what_is_done(path):
    with started(path) as process:
        wait_for(lambda: moved(path) > 0, process)
        process.kill()
    before = counts(path)["new"]
    for file in (path.parent / "upgrade.upgrade").glob("journal.sqlite*"):
        file.unlink()
    write_config(path.parent, ITEMS)
    assert told("start", path)["moved"] == ITEMS - before
    assert_reembedded(path)
