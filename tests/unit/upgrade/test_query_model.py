"""A small model embeds the queries of a large one's gallery, in every phase of an upgrade."""

from __future__ import annotations

import numpy as np
import pytest
import tomli_w

from hotfill import config
from hotfill.errors import ConfigError, ModelMismatchError
from hotfill.stores.memory import MemoryGallery
from hotfill.types import ModelId
from hotfill.upgrade.phases import Phase
from hotfill.upgrade.plan import Plan
from hotfill.upgrade.serving import Serving
from hotfill.upgrade.state import State
from hotfill.upgrade.upgrade import Upgrade
from tests.unit.upgrade.small import NEW, OLD, Projection, Rough, contents, upgrade

ITEMS = 300


@pytest.fixture
def parts(tmp_path):
    small = {OLD: Rough(OLD, "small-old"), NEW: Rough(NEW, "small-new")}
    up = upgrade(
        tmp_path,
        n=ITEMS,
        fit_items=200,
        old_embedder=Projection(OLD),
        fitting=None,
        old_query_embedder=small[OLD],
        new_query_embedder=small[NEW],
    )
    return up, Serving(up.state), small


def by_arithmetic(up, model, query, k):
    ids = sorted(up.source)
    scores = Projection(model)([up.source[i] for i in ids]) @ query[0]
    return [ids[row] for row in np.argsort(-scores)[:k]]


def test_each_phase_asks_the_query_model_of_its_gallery_model(parts):
    up, serving, small = parts
    content = contents(1, seed=3)["item-00000"]
    (found,) = serving.search([content], 5)
    assert found.query_model == serving.query_model == small[OLD].model_id
    assert list(found.item_ids) == by_arithmetic(up, OLD, small[OLD]([content]), 5)
    up.start()
    assert serving.query_model == small[NEW].model_id
    up.verify()
    up.cutover()
    (found,) = serving.search([content], 5)
    assert (found.phase, found.query_model) == (Phase.CUT_OVER, small[NEW].model_id)
    assert list(found.item_ids) == by_arithmetic(up, NEW, small[NEW]([content]), 5)
    assert {hit.model for hit in found.hits} == {NEW}  # nothing of the small model is stored


def test_writes_are_embedded_by_the_gallery_model(parts):
    up, serving, _ = parts
    content = contents(1, seed=9)["item-00000"]
    serving.upsert(["fresh"], [content])
    stored = up.gallery.vectors(["fresh"], OLD).vectors
    np.testing.assert_allclose(stored, Projection(OLD)([content]), atol=1e-6)


def test_vectors_of_the_small_or_the_large_model_are_taken_and_no_others(parts):
    _, serving, small = parts
    content = contents(1, seed=3)["item-00000"]
    rough, exact = small[OLD]([content]), Projection(OLD)([content])
    assert serving.search_vectors(rough, small[OLD].model_id, 3)[0].item_ids
    assert serving.search_vectors(exact, OLD, 3)[0].item_ids
    with pytest.raises(ModelMismatchError, match="small-old"):
        serving.search_vectors(rough, ModelId("another", "1", OLD.dimension), 3)


def test_a_query_model_of_another_dimension_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="need 6 dimensions"):
        upgrade(tmp_path, new_query_embedder=Projection(ModelId("wide", "1", 9)))
    with pytest.raises(ConfigError, match="need 6 dimensions"):
        Plan(OLD, NEW, new_query_model=ModelId("wide", "1", 9))


def test_a_plan_keeps_its_query_models_in_its_file(tmp_path):
    plan = Plan(OLD, NEW, new_query_model=ModelId("small", "1", NEW.dimension))
    plan.write(tmp_path / "plan.toml")
    assert Plan.read(tmp_path / "plan.toml") == plan
    assert Plan.read(tmp_path / "plan.toml").old_query_model is None


def test_the_file_names_the_query_models(tmp_path):
    models = "tests.unit.cli.models"
    values = {
        "store": {"path": "gallery"},
        "source": {"factory": f"{models}:contents"},
        "old": {"embedder": f"{models}:old_model"},
        "new": {
            "embedder": f"{models}:new_model",
            "query_embedder": f"{models}:new_model",
            "query_options": {"name": "small"},
        },
        "guard": {"canary_items": 8},
    }
    path = tmp_path / "upgrade.toml"
    path.write_text(tomli_w.dumps(values), encoding="utf-8")
    project = config.read(path)
    small = project.query_embedder("new")
    assert project.draft().new_query_model == small.model_id
    assert project.query_embedder("old") is None
    with Upgrade.of(project) as up:  # the canaries ask as searches do
        state = State(project, MemoryGallery(project.model("old")), up.journal, project.draft())
        assert state.query_embedders() == {project.model("new"): small}


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"older_models": (OLD,)}, "give that `Upgrade` as previous="),
        ({"old_model": OLD}, "the old model is given as old="),
        ({"new_model": NEW}, "the new model is given as new="),
        ({"new_query_model": NEW}, r"new=hotfill\.Model\(embedder, query_embedder="),
    ],
)
def test_a_model_among_the_settings_is_refused_with_where_it_belongs(tmp_path, setting, said):
    with pytest.raises(ConfigError, match=said):
        Upgrade(MemoryGallery(OLD), old=OLD, new=Projection(NEW), folder=tmp_path, **setting)
