"""With `other_queries` the old model has a say of its own, while there are old items."""

from __future__ import annotations

import numpy as np
import pytest
import tomli_w

from hotfill import config
from hotfill.errors import ConfigError
from hotfill.ranking import Fit
from hotfill.ranking.scorer import OLD_QUERY_WEIGHT
from hotfill.upgrade.phases import Phase
from hotfill.upgrade.serving import Serving
from hotfill.upgrade.state import fit_folder
from tests.unit.upgrade.small import NEW, OLD, Projection, contents, half_done, upgrade

ITEMS = 300


class Counting:
    """An embedder that counts the contents it is given."""

    def __init__(self, model):
        self._embed = Projection(model)
        self.model_id = model
        self.contents = 0

    def __call__(self, rows):
        self.contents += len(rows)
        return self._embed(rows)


@pytest.fixture
def half_way(tmp_path):
    """An upgrade stopped about half-way, and a serving with an embedder of each model."""
    embedders = {model: Counting(model) for model in (OLD, NEW)}
    up = upgrade(
        tmp_path,
        n=ITEMS,
        fit_items=200,
        strategy="merge",
        queries="both",
        old_embedder=embedders[OLD],
        new_embedder=embedders[NEW],
        fitting=None,
    )
    half_done(up)
    assert up.journal.phase is Phase.BACKFILLING
    for embedder in embedders.values():
        embedder.contents = 0
    return up, Serving(up.state), embedders


def by_arithmetic(up, scorer, content):
    """Item to score, from all vectors: two calibrated views of old items, plain new ones."""
    side = scorer.sides[0]
    old, new = Projection(OLD)([content]), Projection(NEW)([content])
    background = new @ scorer.new_reference.T
    features = side.transform.query_features(new)
    views = (
        (1 - OLD_QUERY_WEIGHT, features, side.transform.gallery_features),
        (OLD_QUERY_WEIGHT, old, lambda vectors: vectors),
    )
    scores = {}
    for item_id in up.source:
        stored = up.gallery.vectors([item_id], NEW)
        if len(stored.item_ids):
            scores[item_id] = float(stored.vectors[0] @ new[0])
            continue
        vector = up.gallery.vectors([item_id], OLD).vectors
        scores[item_id] = 0.0
        for share, query, carried in views:
            line = side.calibration.prepare(query @ carried(side.reference).T, background)
            scores[item_id] += share * float(line(0, (carried(vector) @ query[0]))[0])
    return scores


def found_by(result):
    return {hit.item_id: hit.score for hit in result.hits}


def test_old_items_are_scored_by_both_models_and_new_ones_by_the_new(half_way):
    up, serving, _ = half_way
    content = contents(1, seed=5)["item-00000"]
    expected = by_arithmetic(up, Fit.load(fit_folder(up.folder, up.journal)).scorer, content)
    (result,) = serving.search([content], ITEMS)
    found = found_by(result)
    assert found.keys() == expected.keys()
    np.testing.assert_allclose(
        [found[item_id] for item_id in expected], list(expected.values()), atol=1e-4
    )
    assert list(result.item_ids) == sorted(found, key=found.get, reverse=True)


def test_vectors_of_both_models_find_what_the_content_finds(half_way):
    _, serving, _ = half_way
    content = contents(1, seed=5)["item-00000"]
    old, new = Projection(OLD)([content]), Projection(NEW)([content])
    (both,) = serving.search_vectors(new, NEW, 20, other_queries={OLD: old})
    assert both == serving.search([content], 20)[0]
    (alone,) = serving.search_vectors(new, NEW, 20)
    assert found_by(alone) != found_by(both)


def test_once_all_items_have_moved_the_old_model_is_not_asked(half_way, monkeypatch):
    for module in ("state", "serving"):
        monkeypatch.setattr(f"hotfill.upgrade.{module}.POLL_SECONDS", 0.0)
    up, serving, embedders = half_way
    serving.search(list(contents(2, seed=5).values()), 3)
    assert embedders[OLD].contents == 2
    up.start()
    embedders[OLD].contents = embedders[NEW].contents = 0
    serving.search(list(contents(2, seed=5).values()), 3)
    assert (embedders[OLD].contents, embedders[NEW].contents) == (0, 2)


def test_the_quality_of_canaries_is_measured_with_both_models(tmp_path):
    up = upgrade(
        tmp_path, n=ITEMS, fit_items=200, queries="both", canary_items=12, gate={"agreement": 0}
    )
    up.fitting = None
    up.start()
    kept = np.load(tmp_path / "canaries" / "old_queries.npy")
    assert kept.shape == (12, OLD.dimension)


@pytest.mark.parametrize("old", [{"model": OLD.to_dict()}, {"embedder": "old_model"}])
def test_the_file_must_name_an_embedder_of_the_old_model(tmp_path, old):
    models = "tests.unit.cli.models"
    if "embedder" in old:
        old = {"embedder": f"{models}:{old['embedder']}"}
    values = {
        "store": {"path": "gallery"},
        "source": {"factory": f"{models}:contents"},
        "old": old,
        "new": {"embedder": f"{models}:new_model"},
        "upgrade": {"queries": "both"},
    }
    path = tmp_path / "upgrade.toml"
    path.write_text(tomli_w.dumps(values), encoding="utf-8")
    project = config.read(path)
    if "embedder" in old:
        assert project.draft().queries == "both"
    else:
        with pytest.raises(ConfigError, match=r"\[old\] needs an embedder"):
            project.draft()
