"""A process that writes is killed at any moment: nothing acknowledged is lost, nothing doubled."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from hotfill.testing.models import NEW, OLD
from tests.conformance.conftest import PERSISTENT, STORES, UNHURRIED
from tests.conformance.killed_child import BATCH, N_ITEMS, NAMES, SPACES, open_gallery, vector_of

ROOT = Path(__file__).parents[2]


def run_until_killed(store, folder, seed):
    """Start the child, kill it at a random moment of its work; give what it said."""
    random = np.random.default_rng(seed)
    with subprocess.Popen(
        [sys.executable, "-m", "tests.conformance.killed_child", store, folder, str(seed)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as child:
        lines = [child.stdout.readline() for _ in range(int(random.integers(2, 80)))]
        time.sleep(random.uniform(0, 0.02))
        child.send_signal(signal.SIGKILL)
        lines += child.stdout.readlines()
    assert child.returncode == -signal.SIGKILL, "the child failed before it was killed"
    return [line.split() for line in lines if line.endswith("\n")]


def apply(expected, action, where, what):
    """Do to the expected content (item to edition and side) what the child said it did."""
    where = int(where)
    if action == "move":
        for item in range(where, where + BATCH):
            if item in expected:
                expected[item] = (expected[item][0], what)
    elif action == "edit":
        expected[where] = (int(what), "new")
    else:
        expected.pop(where, None)


def check(gallery, before, after):
    """Each item is as before or as after the step in flight, on one side, with its vectors."""
    states = gallery.get(NAMES)
    sides = {}
    for item, state in enumerate(states):
        if state is None:
            allowed = [before.get(item), after.get(item)]
            assert None in allowed, f"item {item} is lost"
            continue
        side = "new" if state.space == NEW else "old"
        sides[item] = (state.metadata["edition"], side)
        assert sides[item] in (before.get(item), after.get(item))
    for space, model in SPACES.items():
        there = [i for i, (_, side) in sides.items() if side == space]
        vectors = np.array([vector_of(i, sides[i][0], space) for i in sides]).reshape(
            -1, model.dimension
        )
        query = vector_of(0, 0, space)[None]
        assert sorted(gallery.search({model: query}, 2 * N_ITEMS)[model].item_ids[0]) == sorted(
            NAMES[i] for i in there
        )
        assert gallery.count(model) == len(there)
        # Searched or kept, every item that ever was in the space still has its vector there.
        found = gallery.vectors([NAMES[i] for i in sides], model)
        rows = {NAMES[i]: row for i, row in zip(sides, vectors, strict=True)}
        np.testing.assert_allclose(
            found.vectors, np.array([rows[name] for name in found.item_ids]), atol=1e-6
        )
        assert {NAMES[i] for i in there} <= set(found.item_ids)
        if model == OLD:
            assert set(found.item_ids) == {NAMES[i] for i in sides}
    return sides


def campaign(name, tmp_path, kills):
    store = STORES[name](tmp_path)
    gallery = store.gallery(OLD, NEW)
    rows = np.array([vector_of(i, 0, "old") for i in range(N_ITEMS)])
    gallery.upsert(NAMES, rows, space=OLD, metadata=[{"edition": 0}] * N_ITEMS)
    gallery.close()
    content = dict.fromkeys(range(N_ITEMS), (0, "old"))
    folder = next(tmp_path.iterdir())
    for seed in range(kills):
        said = run_until_killed(name, folder, seed)
        for word, *step in said:
            if word == "done":
                apply(content, *step)
        after = dict(content)
        if said and said[-1][0] == "begin":
            apply(after, *said[-1][1:])
        with open_gallery(name, folder) as gallery:
            content = check(gallery, content, after)


@pytest.mark.parametrize("name", PERSISTENT)
def test_a_kill_loses_nothing_and_doubles_nothing(name, tmp_path):
    campaign(name, tmp_path, kills=2 if name in UNHURRIED else 4)


@pytest.mark.slow
@pytest.mark.parametrize("name", PERSISTENT)
def test_very_many_kills_lose_nothing_and_double_nothing(name, tmp_path):
    campaign(name, tmp_path, kills=8 if name in UNHURRIED else 60)
