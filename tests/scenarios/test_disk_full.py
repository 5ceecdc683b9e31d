"""The disk runs full: a clear error, nothing lost, and after making room the same command goes on.

A small disk is a file system in memory, which only root may mount. Without it the journal's file is
kept small by a limit of the operating system in a process of its own.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from hotfill import retry as retrying
from hotfill.errors import JournalError, StoreFullError
from hotfill.stores.folder import MIN_FREE_BYTES
from hotfill.stores.qdrant_edge import QdrantEdgeGallery
from hotfill.upgrade.journal.sqlite import SqliteJournal
from hotfill.upgrade.phases import Phase
from tests.unit.upgrade.small import (
    NEW,
    OLD,
    Projection,
    assert_reembedded,
    contents,
    filled,
    upgrade,
)

ROOT = Path(__file__).parents[2]
MEGABYTE = 2**20


@pytest.fixture
def small_disk(tmp_path):
    """Mounts file systems of a given size in memory; unmounts them afterwards."""
    mounted = []

    def mount(size):
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            pytest.skip(f"needs the right to mount a small disk: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    if shutil.which("mount") is None:
        pytest.skip("needs the command mount")
    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(retrying, "RETRY_SECONDS", (0.0,))


def moved(gallery):
    """How many items are on the new side; models embed before there is one, too."""
    return gallery.count(NEW, origin=NEW.fingerprint) if NEW in gallery.spaces else 0


def fill_up(folder, leave=0):
    """Take the room of a disk by a file, but for some bytes, whoever else writes meanwhile."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as file, suppress(OSError):  # the last write finds no room
        while shutil.disk_usage(folder).free > leave:
            file.write(bytes(4096))
    return path


def test_a_journal_without_room_says_so_loses_nothing_and_goes_on_with_room(small_disk, tmp_path):
    # Imputing and embedding both keep batches there, and a log of what is not yet in its file.
    disk = small_disk(4 * MEGABYTE)
    journal = SqliteJournal(disk / "journal.sqlite")
    up = upgrade(tmp_path, n=300, journal=journal)
    embedder, filler = Projection(NEW), []

    def fill_up_half_way(rows):
        if not filler and moved(up.gallery) > 100:
            filler.append(fill_up(disk))
        return embedder(rows)

    fill_up_half_way.model_id = NEW
    up.new_embedder = fill_up_half_way
    with pytest.raises(StoreFullError, match=r"no space left for the journal .*free some and run"):
        up.start()
    assert len(up.gallery) == 300
    assert 100 < moved(up.gallery) < 300
    with pytest.raises(StoreFullError):  # the same again while nothing was resolved
        up.start()

    filler[0].unlink()
    assert up.start().phase is Phase.BACKFILLED
    assert_reembedded(up.gallery, up.source)
    assert up.verify().passed
    assert up.cutover().phase is Phase.CUT_OVER
    assert up.complete().phase is Phase.COMPLETED


def test_after_a_commit_that_found_no_room_later_writes_are_committed(small_disk):
    disk = small_disk(2 * MEGABYTE)
    journal = SqliteJournal(disk / "journal.sqlite")
    filler = fill_up(disk)

    def write_until_full():
        for number in range(10_000):
            journal.mark_deleted([f"{number}-{'x' * 200}"])

    with pytest.raises(StoreFullError):
        write_until_full()
    filler.unlink()
    journal.mark_deleted(["later"])
    journal.advance("start")
    other = SqliteJournal(disk / "journal.sqlite")
    assert other.deleted(["later"]) == {"later"}
    assert other.phase is Phase.PREPARED
    other.close()
    journal.close()


def test_no_room_to_begin_is_told_before_anything_is_moved(small_disk, tmp_path):
    disk = small_disk(MEGABYTE)
    filler = fill_up(disk)
    with pytest.raises((StoreFullError, JournalError), match=str(disk)):
        SqliteJournal(disk / "journal.sqlite")
    filler.unlink()
    SqliteJournal(disk / "journal.sqlite").close()


def qdrant_edge(folder):
    return QdrantEdgeGallery.create(folder, OLD, exact=True)


def index_files(folder):
    pytest.importorskip("faiss")
    from hotfill.stores.index_files import IndexFilesGallery

    return IndexFilesGallery.create(folder, OLD)


def lancedb(folder):
    pytest.importorskip("lancedb")
    from hotfill.stores.lancedb import LanceDBGallery

    return LanceDBGallery.create(folder, OLD, exact=True)


def chroma(folder):
    pytest.importorskip("chromadb")
    from hotfill.stores.chroma import ChromaGallery

    return ChromaGallery.create(str(folder), OLD, exact=True)


@pytest.mark.parametrize(
    "make",
    [
        qdrant_edge,
        index_files,
        *(pytest.param(make, marks=pytest.mark.slow) for make in (lancedb, chroma)),
    ],
)
def test_a_store_without_room_refuses_in_time_and_goes_on_with_room(small_disk, tmp_path, make):
    disk = small_disk(MIN_FREE_BYTES + 64 * MEGABYTE)
    source = contents(300)
    gallery = filled(source, make(disk / "store"))
    up = upgrade(tmp_path, gallery=gallery, source=source)
    embedder, filler = Projection(NEW), []

    def fill_up_half_way(rows):
        if not filler and moved(up.gallery) > 100:
            filler.append(fill_up(disk, leave=MIN_FREE_BYTES // 2))
        return embedder(rows)

    fill_up_half_way.model_id = NEW
    up.new_embedder = fill_up_half_way
    with pytest.raises(StoreFullError, match="are left; nothing was written: make room") as caught:
        up.start()
    assert str(disk / "store") in str(caught.value)
    assert len(gallery) == 300
    assert 100 < moved(gallery) < 300
    assert ["StoreFullError" in hold.about for hold in up.status().holds] == [True]
    ids = gallery.search({OLD: np.eye(1, 4), NEW: np.eye(1, 6)}, 300)
    assert sorted(ids[OLD].item_ids[0] + ids[NEW].item_ids[0]) == sorted(source)
    with pytest.raises(StoreFullError):
        gallery.upsert(["more"], np.ones((1, 4), np.float32), space=OLD)

    filler[0].unlink()
    assert up.start().phase is Phase.BACKFILLED
    assert up.status().holds == ()
    assert_reembedded(gallery, source)
    assert up.verify().passed
    gallery.close()


CHILD = """
import resource, signal, sys
from pathlib import Path
from hotfill.upgrade.journal.sqlite import SqliteJournal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
journal = SqliteJournal(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
try:
    for number in range(10_000):
        journal.mark_deleted([f"{number}-" + "x" * 200])
        print(number, flush=True)
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="no limit on the size of files")
def test_a_journal_that_may_not_grow_says_so_and_keeps_what_it_acknowledged(tmp_path):
    path = tmp_path / "journal.sqlite"
    SqliteJournal(path).close()
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    *acknowledged, last = done.stdout.splitlines()
    assert len(acknowledged) > 10
    assert last.startswith(("StoreFullError", "JournalError")), last
    assert str(path) in last
    journal = SqliteJournal(path)
    names = [f"{number}-{'x' * 200}" for number in acknowledged]
    assert journal.deleted(names) == frozenset(names)
    journal.close()
