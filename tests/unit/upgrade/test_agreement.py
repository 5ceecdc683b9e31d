"""`finish = "agreement"`: an upgrade that ends in a space of its own, and serves there for good."""

from __future__ import annotations

import numpy as np
import pytest

from hotfill.errors import ConfigError
from hotfill.ranking import Fit
from hotfill.upgrade import plan as plans
from hotfill.upgrade.phases import Phase
from hotfill.upgrade.serving import Serving
from tests.unit.upgrade.small import (
    NEW,
    OLD,
    Projection,
    contents,
    filled,
    half_done,
    upgrade,
)

QUERIES = list(contents(8, seed=5).values())


def agreeing(folder, gallery=None, source=None, **changes):
    source = source or contents(300)
    gallery = gallery if gallery is not None else filled(source)
    given = {"finish": "agreement", "fit_items": 300, "fitting": None, "batch_size": 20}
    given |= {"old_embedder": Projection(OLD)}
    return upgrade(folder, source=source, gallery=gallery, **{**given, **changes})


def finish_of(up):
    return Fit.load(up.folder / "fit-1").one_space.finish


def assert_ends_at(up, finish):
    """Every vector is T(y), and a search ranks by <w(q), T(y)>."""
    ids = sorted(up.source)
    made = finish(Projection(NEW)([up.source[name] for name in ids]))
    np.testing.assert_allclose(up.gallery.vectors(ids, finish.target).vectors, made, atol=1e-5)
    scores = finish.queries(Projection(NEW)(QUERIES)) @ made.T
    for row, result in zip(scores, up.search(QUERIES, 10), strict=True):
        assert list(result.item_ids) == [ids[place] for place in np.argsort(-row)[:10]]
        np.testing.assert_allclose(
            [hit.score for hit in result.hits], np.sort(row)[::-1][:10], atol=1e-5
        )
    by_vectors = up.search_vectors(Projection(NEW)(QUERIES), NEW, 10)
    assert by_vectors == up.search(QUERIES, 10)


def test_it_ends_in_a_space_of_its_own_and_serves_there_after_complete(tmp_path):
    up = agreeing(tmp_path)
    assert up.start().phase is Phase.BACKFILLED
    finish = finish_of(up)
    assert finish.source == NEW
    assert up.gallery.spaces == (OLD, finish.target)
    assert "+agreement." in up.status().new_model
    assert_ends_at(up, finish)
    assert up.verify().passed
    up.cutover()
    up.complete()
    up.close()
    again = agreeing(tmp_path, up.gallery, up.source)
    assert again.current().models[0].model == str(finish.target)
    assert again.gallery.spaces == (finish.target,)
    assert again.query_model == finish.target
    assert_ends_at(again, finish)
    fresh = contents(5, seed=9)
    again.source |= {f"fresh-{name}": row for name, row in fresh.items()}
    again.upsert([f"fresh-{name}" for name in fresh], list(fresh.values()))
    assert_ends_at(again, finish)


def test_half_way_each_item_is_found_once_in_the_index_of_the_finish(tmp_path):
    up = agreeing(tmp_path)
    half_done(up)
    finish = finish_of(up)
    assert 0 < up.gallery.count(finish.target, origin=finish.target.fingerprint) < 300
    assert up.gallery.count(finish.target) == 300
    for result in up.search(QUERIES, 300):
        assert sorted(result.item_ids) == sorted(up.source)
    again = agreeing(tmp_path, up.gallery, up.source)
    assert again.start().phase is Phase.BACKFILLED
    assert_ends_at(again, finish)


def test_a_process_that_only_searches_follows_the_finish(tmp_path, monkeypatch):
    monkeypatch.setattr("hotfill.upgrade.state.POLL_SECONDS", 0.0)
    up = agreeing(tmp_path)
    other = agreeing(tmp_path, up.gallery, up.source)
    serving = Serving(other.state)
    assert serving.search(QUERIES, 5)[0].query_model == OLD
    up.start()
    found = serving.search(QUERIES, 5)
    assert found == up.search(QUERIES, 5)
    assert found[0].query_model == finish_of(up).target


@pytest.mark.parametrize("step", ["abort", "rollback"])
def test_there_is_a_way_back_from_it(tmp_path, step):
    up = agreeing(tmp_path)
    up.start()
    up.upsert(["fresh"], [QUERIES[0]])
    if step == "rollback":
        up.verify()
        up.cutover()
    getattr(up, step)()
    assert up.gallery.spaces == (OLD,)
    assert up.gallery.count(OLD, origin=OLD.fingerprint) == 301


def test_a_plain_upgrade_ends_exactly_at_the_new_model(tmp_path):
    up = agreeing(tmp_path, finish="plain")
    up.start()
    assert up.gallery.spaces == (OLD, NEW)


@pytest.mark.parametrize(
    "change", [{"strategy": "merge"}, {"up": "up.safetensors"}, {"queries": "both"}]
)
def test_it_belongs_to_prefill_with_the_map_that_it_fits(change):
    with pytest.raises(ConfigError, match='finish = "agreement" belongs to strategy = "prefill"'):
        plans.Plan(OLD, NEW, finish="agreement", **change)
