"""A real process is killed at each step of a refresh; the same command goes on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hotfill.stores.qdrant_edge import QdrantEdgeGallery
from hotfill.upgrade.phases import Phase
from tests.unit.upgrade.refreshing import (
    ITEMS,
    Steps,
    assert_ranked_by_origin,
    refreshing,
    run_until,
    waiting,
)
from tests.unit.upgrade.small import OLD, contents, filled

BEFORE = 800  # re-embedded before the process that is killed begins; a thousand are needed


def opened(folder):
    return QdrantEdgeGallery.open(folder / "store", exact=True)


def upgrade_of(folder, gallery):
    return refreshing(
        folder / "upgrade", gallery, contents(ITEMS), ranking="calibrated", batch_size=50
    )


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A gallery on disk shortly before its first refresh."""
    folder = tmp_path_factory.mktemp("refresh")
    with QdrantEdgeGallery.create(folder / "store", OLD, exact=True) as gallery:
        filled(contents(ITEMS), gallery)
        up = upgrade_of(folder, gallery)
        run_until(up, BEFORE)
        assert up.journal.last("refresh") is None
        up.close()
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("step", range(1, 31))
def test_a_kill_between_any_two_steps_of_a_refresh_mixes_no_two_fits(begun, tmp_path, step):
    folder = tmp_path / "killed"
    shutil.copytree(begun, folder)
    killed = subprocess.run(
        [sys.executable, "-m", "tests.acceptance.test_kill_refresh", str(folder), str(step)],
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    with opened(folder) as gallery:
        up = upgrade_of(folder, gallery)
        assert_ranked_by_origin(up)
        run_until(up, 400)
        assert {*waiting(gallery).values()} == {up.state.load_fit().up.fingerprint}
        assert_ranked_by_origin(up)
        assert up.start().phase is Phase.BACKFILLED
        assert len(gallery) == ITEMS
        assert not waiting(gallery)
        assert up.verify().passed
        up.close()


def main(folder, step):
    """Run the upgrade; die at a step of its first refresh."""
    with opened(folder) as gallery:
        up = upgrade_of(folder, gallery)
        patch = pytest.MonkeyPatch()
        Steps(step, lambda: os.kill(os.getpid(), signal.SIGKILL)).watch(up, patch)
        up.start()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
