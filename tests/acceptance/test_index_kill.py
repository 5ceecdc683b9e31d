"""Killed, or ended by Ctrl-C, while indexes are built: the same command ends with both right."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import tomllib

import pytest
import tomli_w

import hotfill
from hotfill.cli.exit_codes import ExitCode
from hotfill.upgrade.indexes import ENOUGH, lacks_index
from tests.acceptance.index_child import ITEMS, thresholds
from tests.unit.cli.models import NEW, OLD, contents, old_model
from tests.unit.cli.project import ROOT, environment, write_config

KILLS = 20
STORES = {
    "index-files": "faiss",
    "lancedb": "lancedb",
    "qdrant-edge": "qdrant_edge",
    "postgres": "psycopg",
}
"""Those that build indexes by themselves, with the package that each needs."""


@pytest.fixture(params=STORES)
def store(request, monkeypatch):
    """A store to which a few hundred items are many, here as in the child."""
    pytest.importorskip(STORES[request.param])
    for owner, name, value in thresholds(request.param):
        monkeypatch.setattr(owner, name, value)
    return request.param


def made(store, folder):
    """Make a filled and indexed gallery; return its sections of the configuration."""
    if store == "postgres":
        from hotfill.stores.postgres import PostgresGallery
        from tests.postgres import fresh_schema, server

        schema, dsn = fresh_schema(), server().dsn
        gallery = PostgresGallery.create(dsn, OLD, schema=schema)
        sections = {
            "store": {"kind": store, "dsn": dsn, "table": f"{schema}.items"},
            "journal": {"kind": "postgres", "name": f"{schema}_journal"},
        }
    else:
        sections = {"store": {"kind": store, "path": "gallery"}}
        if store == "index-files":
            from hotfill.stores.index_files import IndexFilesGallery

            sections["store"]["index"] = "hnsw"
            gallery = IndexFilesGallery.create(folder / "gallery", OLD, index="hnsw")
        elif store == "lancedb":
            from hotfill.stores.lancedb import LanceDBGallery

            gallery = LanceDBGallery.create(folder / "gallery", OLD)
        else:
            from hotfill.stores.qdrant_edge import QdrantEdgeGallery

            gallery = QdrantEdgeGallery.create(folder / "gallery", OLD)
    source = contents(ITEMS)
    with gallery:
        gallery.upsert(list(source), old_model()(list(source.values())), space=OLD)
        gallery.optimise()
        assert gallery.indexed(OLD) == 1
    return sections


def write_project(folder, sections):
    """Write a configuration file with the sections that `made` returned; return its path."""
    path = write_config(folder, items=ITEMS, upgrade={"batch_size": 8})
    values = {**tomllib.loads(path.read_text(encoding="utf-8")), **sections}
    path.write_text(tomli_w.dumps(values), encoding="utf-8")
    return path


def killed(path, store, step):
    """Run the child; tell whether it came to the step at which it is killed."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.acceptance.index_child", str(path), store, str(step)],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0


def check_the_end(path):
    """The same command again, and then every step."""
    with hotfill.open(path) as up:
        up.start()
        assert up.gallery.count(NEW, origin=NEW.fingerprint) == ITEMS
        assert not lacks_index(up.gallery, up.journal, NEW)
        assert up.gallery.indexed(NEW) >= ENOUGH
        assert up.verify().passed
        up.cutover()


def kill_at(store, folder, steps):
    """Kill a fresh upgrade at each of the steps. Returns at how many it was killed."""
    count = 0
    for step in steps:
        here = folder / f"step-{step}"
        here.mkdir()
        path = write_project(here, made(store, here))
        count += killed(path, store, step)
        check_the_end(path)
    return count


@pytest.mark.slow
def test_twenty_kills_around_the_building_of_indexes_do_not_lose_one(store, tmp_path):
    assert kill_at(store, tmp_path, range(1, KILLS + 1)) == KILLS


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
