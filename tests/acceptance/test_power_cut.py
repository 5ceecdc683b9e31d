"""A power cut loses work, never truth: after every sync of a run the same command ends it well."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from contextlib import redirect_stdout, suppress
from pathlib import Path

import numpy as np
import pytest

from hotfill.config import open_upgrade as opened
from hotfill.errors import HotfillError
from hotfill.stores.coded import CodedGallery
from hotfill.stores.index_files import IndexFilesGallery
from hotfill.stores.qdrant_edge import QdrantEdgeGallery
from hotfill.types import ModelId
from hotfill.upgrade.phases import Phase
from tests.acceptance.truth.power import Disk, copy_tree, recorder
from tests.acceptance.truth.world import World
from tests.conformance.lossless_codec import LosslessCodec

pytestmark = pytest.mark.skipif(recorder() is None, reason="records syncs by a C library")

_SLOW = [pytest.mark.slow, pytest.mark.timeout(1800)]
MOMENTS = 6  # of each step, drawn; besides its first and last sync


class _PatientWorld(World):
    """No call hangs here; on a busy machine one may take seconds."""

    def _configure(self):
        return self._config("upgrade", self.factories, upgrade={"embed_timeout_seconds": 120.0})


@pytest.mark.parametrize(
    "store",
    [
        "index-files",
        "qdrant-edge",
        *(pytest.param(s, marks=_SLOW) for s in ("chroma", "qdrant")),
    ],
)
def test_whatever_had_reached_the_disk_the_same_command_leads_on(store, tmp_path):
    random = np.random.default_rng(3)
    world = _PatientWorld(store, tmp_path, random)
    for step, phase in (
        ("start", Phase.BACKFILLED),
        ("cutover", Phase.CUT_OVER),
        ("rollback", Phase.ROLLED_BACK),
    ):
        session = world.session(step, least=0, **world.recorded())
        session.finish()
        assert session.ended is None, session.ended
        assert world.phase is phase
        syncs = world.disk.syncs
        drawn = random.integers(0, syncs + 1, MOMENTS)
        whole = tmp_path / f"after-{step}"
        copy_tree(world.site, whole)
        for moment in sorted({0, syncs, *(int(each) for each in drawn)}):
            world.disk.cut_power(moment)
            said = f"{store}, {step}, after sync {moment} of {syncs}"
            _assert_right_or_refused(world, said)
            _lead(world, step)
            assert world.phase is phase, said
            _assert_right(world, said)
        shutil.rmtree(world.site)
        whole.rename(world.site)


def _assert_right_or_refused(world, said) -> None:
    with suppress(HotfillError):  # then somebody is told, and nobody gets half of the gallery
        _assert_right(world, said)


def _assert_right(world, said) -> None:
    with redirect_stdout(io.StringIO()), opened(world.path) as up:
        found = up.search(np.ones(8, np.float32), 10_000).item_ids
        assert len(found) == len(set(found)), said
        assert not world.oracle.untouched - set(found), said


def _lead(world, step) -> None:
    with redirect_stdout(io.StringIO()), opened(world.path) as up:
        _write_again(world, up)
        if step == "cutover":
            assert up.verify().passed
        getattr(up, step)()


def _write_again(world, up) -> None:
    """What the cut took, as an application does whose own database was elsewhere and is whole."""
    written = [item for item in world.oracle.item_ids if item not in world.oracle.untouched]
    contents = world.shop(written)
    up.delete([item for item in written if item not in contents])
    up.upsert(list(contents), list(contents.values()))


# What an item is to go back by -------------------------------------------------------------------

_OLD, _NEW = ModelId("old", "1", 6), ModelId("new", "1", 5)


class _Codes(CodedGallery):
    """The old model's vectors as codes in a file, all else in the embedded store."""

    @classmethod
    def create(cls, root, model):
        QdrantEdgeGallery.create(root, _NEW).close()
        made = cls.open(root)
        made.add_space(model)
        return made

    @classmethod
    def open(cls, root):
        return cls(QdrantEdgeGallery.open(root), Path(root) / "codes", [LosslessCodec(_OLD)])


_OPENED = {
    "qdrant-edge": QdrantEdgeGallery,
    "index-files": IndexFilesGallery,
    "qdrant-edge, codes": _Codes,
}
_GOES_BACK = """
import os, sys
import numpy as np
from tests.acceptance.test_power_cut import _NEW, _OLD, _OPENED, _rows
gallery = _OPENED[sys.argv[1]].open(sys.argv[2])
names = [f"i{n}" for n in range(40)]
versions = np.array([state.version for state in gallery.get(names)])
old = gallery.vectors(names, _OLD).vectors
gallery.move(names[:20], old[:20], space=_OLD, expected_versions=versions[:20])
gallery.upsert(names[20:25], _rows(5, _NEW), space=_NEW)
gallery.delete(names[25:30])
gallery.upsert([f"n{n}" for n in range(10)], _rows(10, _OLD), space=_OLD)
os._exit(0)
"""


def _rows(n, model):
    vectors = np.random.default_rng(model.dimension).normal(size=(n, model.dimension))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("store", _OPENED)
def test_after_a_power_cut_every_item_has_what_it_is_to_go_back_by(store, tmp_path):
    root, names = tmp_path / "gallery", [f"i{n}" for n in range(40)]
    with _OPENED[store].create(root, _OLD) as gallery:
        versions = gallery.upsert(names, _rows(40, _OLD), space=_OLD)
        gallery.add_space(_NEW)
        gallery.move(names, _rows(40, _NEW), space=_NEW, expected_versions=versions)
    place = tmp_path / "record"
    place.mkdir()
    disk = Disk(root, place)
    subprocess.run(
        [sys.executable, "-c", _GOES_BACK, store, str(root)],
        env={**os.environ, **disk.environment, "LD_PRELOAD": str(recorder())},
        check=True,
    )
    for moment in range(disk.syncs + 1):
        disk.cut_power(moment)
        with _OPENED[store].open(root) as gallery:
            there = [
                state.item_id
                for state, version in zip(gallery.get(names), versions, strict=True)
                if state is not None and state.version == version
            ]
            assert len(there) >= 30
            assert {*gallery.vectors(there, _OLD).item_ids} == {*there}, moment
