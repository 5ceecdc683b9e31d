"""A third model takes over a killed upgrade and is killed itself, again and again, by commands."""

from __future__ import annotations

import signal

import numpy as np
import tomli_w

import hotfill
from hotfill.stores.qdrant_edge import QdrantEdgeGallery
from tests.acceptance.processes import moved, started, wait_for
from tests.unit.cli.models import (
    NEW,
    OLD,
    THIRD,
    WIDTH,
    contents,
    new_model,
    old_model,
    third_model,
)
from tests.unit.cli.project import call, fill, write_config

ITEMS, KILLS, BATCH = 500, 3, 8
MODELS = {OLD: old_model, NEW: new_model, THIRD: third_model}
QUERIES = np.random.default_rng(5).normal(size=(2, WIDTH)).astype(np.float32)


def kill_after(path, batches):
    goal = moved(path) + BATCH * batches
    with started(path) as process:
        wait_for(lambda: moved(path) >= goal, process)
        process.send_signal(signal.SIGKILL)
        process.wait()


def third_config(folder, previous, **upgrade):
    values = {
        "supersedes": previous.name,
        "store": {"path": "gallery", "exact": True},
        "source": {"factory": "tests.unit.cli.models:contents", "options": {"items": ITEMS}},
        "old": {"embedder": "tests.unit.cli.models:new_model"},
        "new": {
            "embedder": "tests.unit.cli.models:third_model",
            "options": {"seconds_per_call": 0.02},
        },
        "upgrade": {"batch_size": BATCH, "fit_items": 200, "verify_items": 20, **upgrade},
    }
    path = folder / "third.toml"
    path.write_text(tomli_w.dumps(values), encoding="utf-8")
    return path


def check_searches(path, source, embedded):
    """Every item once, on its side, by the vector of that side's model."""
    with hotfill.open(path) as up:
        gallery = up.gallery
        states = gallery.get(list(source))
        sides = {state.item_id: state.space for state in states}
        for found in up.search(list(QUERIES), ITEMS):
            assert sorted(found.item_ids) == sorted(source), "an item is lost or doubled"
            assert {hit.item_id: hit.model for hit in found.hits} == sides
            scores = [hit.score for hit in found.hits]
            assert scores == sorted(scores, reverse=True)
        for space in gallery.spaces:
            there = [item_id for item_id, side in sides.items() if side == space]
            if there:
                stored = gallery.vectors(there, space)
                direct = [embedded[space][item_id] for item_id in there]
                np.testing.assert_allclose(stored.vectors, direct, atol=1e-5)
    return list(sides.values())


def test_a_chain_survives_kills_on_both_upgrades_and_ends_at_the_third_model(tmp_path):
    source = contents(ITEMS)
    rows = list(source.values())
    embedded = {
        model: dict(zip(source, make()(rows), strict=True)) for model, make in MODELS.items()
    }
    fill(tmp_path, ITEMS)
    merge = {"strategy": "merge"}
    options = {**merge, "batch_size": BATCH, "fit_items": 200, "verify_items": 20}
    previous = write_config(tmp_path, ITEMS, seconds_per_call=0.02, upgrade=options)
    kill_after(previous, 25)
    assert set(check_searches(previous, source, embedded)) == {OLD, NEW}

    path = third_config(tmp_path, previous, **merge)
    assert set(check_searches(path, source, embedded)) == {OLD, NEW}  # as before, before it begins
    reached = []
    for number in range(KILLS):
        kill_after(path, 3 + 2 * number)
        sides = check_searches(path, source, embedded)
        reached.append(sides.count(THIRD))
        if number == 0:
            assert {OLD, NEW, THIRD} == set(sides)
    assert reached == sorted(reached)
    assert 0 < reached[0] < reached[-1] < ITEMS
    refused = call("start", previous)
    assert refused.returncode == 3, refused
    assert "of which this upgrade knows nothing" in refused.stderr

    for name in ("start", "verify", "cutover"):
        done = call(name, path)
        assert done.returncode == 0, done
    assert set(check_searches(path, source, embedded)) == {THIRD}
    done = call("complete", path, "--yes")
    assert done.returncode == 0, done
    with QdrantEdgeGallery.open(tmp_path / "gallery") as gallery:
        assert gallery.spaces == (THIRD,)
        found = gallery.vectors(list(source), THIRD)
        assert gallery.count(THIRD, origin=THIRD.fingerprint) == len(found.item_ids) == ITEMS
    np.testing.assert_allclose(found.vectors, list(embedded[THIRD].values()), atol=1e-5)
