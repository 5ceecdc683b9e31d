"""`hotfill start` is killed many times: nothing is lost, doubled or found wrongly."""

from __future__ import annotations

import signal
import time

import numpy as np
import pytest

import hotfill
from hotfill.ranking import Fit
from hotfill.stores.qdrant_edge import QdrantEdgeGallery
from tests.acceptance.processes import moved, started, wait_for
from tests.unit.cli.models import NEW, OLD, WIDTH, contents, new_model, old_model
from tests.unit.cli.project import call, fill, write_config

ITEMS, BATCH = 2000, 8
QUERIES = np.random.default_rng(5).normal(size=(3, WIDTH)).astype(np.float32)
EARLY = 4  # kills while the process still starts or prepares; the others fall into the backfill


def kill_somewhere(path, random, early):
    """Start the upgrade and kill it: at any time, or after some more batches and a moment."""
    before = moved(path)
    with started(path) as process:
        if early:
            time.sleep(random.uniform(0.2, 1.2))
        else:
            goal = before + BATCH * int(random.integers(1, 18))
            wait_for(lambda: moved(path) >= goal, process)
            time.sleep(random.uniform(0, 0.05))
        assert process.poll() is None, process.communicate()
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert process.returncode == -signal.SIGKILL


def check_searches(path, source, embedded):
    """Each search lists every item once, on its side, by that side's exact score."""
    ids = np.array(list(source))
    with hotfill.open(path) as up:
        gallery, view = up.gallery, up.view
        states = {state.item_id: state for state in gallery.get(list(source))}
        sides = {item_id: state.space for item_id, state in states.items()}
        assert sum(gallery.count(space) for space in gallery.spaces) == ITEMS
        model = view.query_model
        if model == NEW:
            vectors = {NEW: new_model()(QUERIES)}
            if view.scorer is not None:
                prepared = view.scorer.prepare(vectors[NEW]).vectors
                vectors = {space: each.rows for space, each in prepared.items()}
        else:
            vectors = {OLD: old_model()(QUERIES)}
        exact = {
            space: {
                item_id: unit(vectors[space]) @ embedded[space][row]
                for row, item_id in enumerate(ids)
            }
            for space in vectors
        }
        imputed = {}
        if NEW in vectors and {state.origin for state in states.values()} - {OLD.fingerprint}:
            fits = [Fit.load(place).up for place in up.folder.glob("fit-*")]
            imputed = {fit.fingerprint: fit(embedded[OLD]) @ vectors[NEW].T for fit in fits}
        row_of = {item_id: row for row, item_id in enumerate(source)}

        def expected(hit, number):
            made_by = states[hit.item_id].origin
            if hit.model == NEW and made_by != NEW.fingerprint:
                return imputed[made_by][row_of[hit.item_id]][number]
            return exact[hit.model][hit.item_id][number]

        for number, found in enumerate(up.search(list(QUERIES), ITEMS)):
            assert found.query_model == model
            assert sorted(found.item_ids) == sorted(source), "an item is lost or doubled"
            assert {hit.item_id: hit.model for hit in found.hits} == sides
            np.testing.assert_allclose(
                [hit.raw_score for hit in found.hits],
                [expected(hit, number) for hit in found.hits],
                atol=1e-5,
            )
            scores = [hit.score for hit in found.hits]
            assert scores == sorted(scores, reverse=True)
    return sum(state.origin == NEW.fingerprint for state in states.values())


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("batch_size", "kills", "seconds_per_call"), [(BATCH, 20, 0.02), ("auto", 10, 0.1)]
)
def test_kills_lose_nothing_double_nothing_and_every_search_is_right(
    tmp_path, batch_size, kills, seconds_per_call
):
    random = np.random.default_rng(20)
    source = contents(ITEMS)
    rows = list(source.values())
    embedded = {OLD: old_model()(rows), NEW: new_model()(rows)}
    fill(tmp_path, ITEMS)
    options = {"batch_size": batch_size, "fit_items": 150, "verify_items": 50}
    path = write_config(tmp_path, ITEMS, seconds_per_call=seconds_per_call, upgrade=options)

    reached = []
    for number in range(kills):
        kill_somewhere(path, random, early=number < EARLY)
        reached.append(check_searches(path, source, embedded))
    assert reached == sorted(reached), "an item went back"
    assert 0 < reached[EARLY] < reached[-1] < ITEMS, "the kills missed the backfill"

    for name in ("start", "verify", "cutover"):
        done = call(name, path)
        assert done.returncode == 0, done
        assert check_searches(path, source, embedded) == ITEMS
    done = call("complete", path, "--yes")
    assert done.returncode == 0, done
    with QdrantEdgeGallery.open(tmp_path / "gallery") as gallery:
        assert gallery.spaces == (NEW,)
        found = gallery.vectors(list(source), NEW)
        assert gallery.count(NEW, origin=NEW.fingerprint) == len(found.item_ids) == ITEMS
    np.testing.assert_allclose(found.vectors, embedded[NEW], atol=1e-5)
