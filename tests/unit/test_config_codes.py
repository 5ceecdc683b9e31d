"""What a configuration file says of codes: the encoders of the models, the folder of the codes."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import hotfill
from hotfill import config
from hotfill.binary import BinaryEmbedder, CodeFormat, load_encoder, save_encoder
from hotfill.errors import ModelMismatchError, PlanError
from hotfill.lab.binary import fit_start
from hotfill.rehearsal.sampler import Sampler
from hotfill.stores.coded import CodedGallery
from hotfill.stores.qdrant_edge import QdrantEdgeGallery
from hotfill.types import ModelId
from hotfill.upgrade.canaries import GivenQuery
from hotfill.upgrade.guard import quality_curve
from hotfill.upgrade.stored_vectors import StoredVectors
from hotfill.upgrade.upgrade import Upgrade
from tests.unit.upgrade.small import stay_imputed

MODEL = ModelId("rows", "1", 32)
NAMES = [str(number) for number in range(400)]
TEXT = """
codes = "small"
[store]
path = "gallery"
exact = true
[source]
factory = "rows_model:source"
[old]
embedder = "rows_model:Rows"
[new]
encoder = "encoder.safetensors"
[upgrade]
batch_size = 40
verify_items = 20
"""
MODULE = """
import numpy as np
from hotfill.types import ModelId

class Rows:
    model_id = ModelId("rows", "1", 32)
    embedded = []

    def __call__(self, contents):
        self.embedded += contents
        return np.stack([np.random.default_rng([int(x), 5]).normal(size=32) for x in contents])

def source():
    raise AssertionError("no content is needed where codes are made of stored vectors")
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> config.Project:
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "rows_model", raising=False)
    (tmp_path / "rows_model.py").write_text(MODULE)
    (tmp_path / "upgrade.toml").write_text(TEXT)
    project = config.read(tmp_path / "upgrade.toml")
    embedder = project.embedder("old")
    assert embedder is not None
    rows = embedder(NAMES)
    save_encoder(fit_start(rows, MODEL, CodeFormat(32, 4)), tmp_path / "encoder.safetensors")
    with QdrantEdgeGallery.create(tmp_path / "gallery", MODEL, exact=True) as gallery:
        gallery.upsert(NAMES, rows, space=MODEL)
    return project


def test_codes_are_made_of_stored_vectors_and_nothing_is_embedded(
    project: config.Project, tmp_path: Path
) -> None:
    embedder = project.embedder("old")
    before = len(embedder.embedded)  # type: ignore[union-attr]
    with Upgrade.of(project) as up:
        assert isinstance(up.gallery, CodedGallery)
        up.start()
        assert up.verify().passed
        up.cutover()
        up.complete()
        assert up.gallery.spaces == (project.model("new"),)
    assert len(embedder.embedded) == before  # type: ignore[union-attr]
    assert len(list((tmp_path / "small").glob("*.codes"))) == 1


def test_queries_and_new_items_are_embedded_by_the_old_model_and_then_encoded(
    project: config.Project,
) -> None:
    embedder = project.embedder("new")
    assert isinstance(embedder, BinaryEmbedder)
    assert embedder.model_id == project.model("new")
    assert embedder(["7"]).shape == (1, 32)


def test_codes_are_searched_by_floats_that_were_not_rounded(project: config.Project) -> None:
    new = project.model("new")
    asking = project.query_embedder("new")
    assert asking is not None
    assert asking.model_id == new
    assert project.query_embedder("old") is None
    encoder = load_encoder(project.path.parent / "encoder.safetensors")
    own = project.embedder("old")
    assert own is not None
    np.testing.assert_allclose(asking(["7"]), encoder.queries(own(["7"])), atol=1e-6)


@pytest.mark.parametrize("guard", ["canary_items = 20", 'canary_queries = "asked.jsonl"'])
def test_canaries_of_codes_are_stored_vectors_or_queries_embedded_by_the_old_model(
    project: config.Project, guard: str
) -> None:
    with project.path.open("a") as file:
        file.write(f"[guard]\n{guard}\n[gate]\nold_overlap = 0.1\n")  # so the end is measured
    (project.path.parent / "asked.jsonl").write_text('{"content": "7"}\n{"content": "401"}\n')
    with hotfill.open(project.path) as up:
        up.start()
        curve = quality_curve(up.journal)
    first, last = curve[0], curve[-1]
    assert first["canaries"] == (2 if "asked" in guard else 20)
    # Codes of one model: nearly the same answers, before and after.
    assert first["old_overlap"] > 0.6
    assert last["old_overlap"] > 0.6


def test_a_sample_of_codes_is_made_of_stored_vectors_and_asked_by_floats(
    project: config.Project,
) -> None:
    own, encoder = (
        project.embedder("old"),
        load_encoder(project.path.parent / "encoder.safetensors"),
    )
    assert own is not None
    with Upgrade.of(project) as up:
        sampler = Sampler.of(up)
        plain = sampler.take(len(NAMES))
        asked = sampler.take(300, queries=[GivenQuery("7", ("3",)), GivenQuery("9")])
    rows = own(list(plain.item_ids))
    np.testing.assert_allclose(plain.old, rows / np.linalg.norm(rows, axis=1)[:, None], atol=1e-6)
    assert plain.queries_new is None
    assert asked.queries_new is not None
    np.testing.assert_allclose(asked.queries_new, encoder.queries(own(["7", "9"])), atol=1e-6)
    assert list(asked.qrels) == ["0"]


def test_codes_of_vectors_that_were_imputed_are_refused(project: config.Project) -> None:
    with Upgrade.of(project) as up:
        stay_imputed(up.gallery, NAMES[:30], MODEL)
        (blocker,) = up.plan().blockers
        assert blocker.startswith("30 items are found by vectors that were imputed for rows")
        assert "hotfill start --more" in blocker
        with pytest.raises(PlanError, match="30 items"):
            up.start()
        assert up.gallery.spaces == (MODEL,)


def test_an_encoder_of_another_model_is_refused(project: config.Project, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((200, 32)).astype(np.float32)
    other = fit_start(rows, ModelId("others", "1", 32), CodeFormat(32, 4))
    save_encoder(other, tmp_path / "encoder.safetensors")
    with Upgrade.of(project) as up, pytest.raises(ModelMismatchError, match="others"):
        up.plan()


def test_stored_vectors_are_the_contents_of_the_items_that_have_one(
    project: config.Project,
) -> None:
    with project.settings.store.open(project.path.parent) as gallery:
        contents = StoredVectors(gallery, MODEL)(["3", "nobody", "1"])
        assert list(contents) == ["3", "1"]
        expected = gallery.vectors(["1"], MODEL).vectors[0]
        np.testing.assert_array_equal(contents["1"], expected)
