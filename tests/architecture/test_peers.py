"""The comparison with the neighbours: its page is made from its results, its yardstick is right."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import numpy as np
import pytest

from benchmarks.peers import table
from benchmarks.peers.claims import CLAIMS, TOOLS
from benchmarks.peers.drivers.step import Driver, compared
from benchmarks.peers.environments import PACKAGES
from benchmarks.peers.lookup import Model, noted
from benchmarks.peers.run import driver_of, lines_of_the_user
from benchmarks.peers.yardstick import Yardstick
from tests.architecture.test_benchmarks import REPOSITORY
from tests.docs.pages import DOCS

ITEMS, QUERIES, DIMENSIONS = 40, 6, {"old": 4, "new": 6}


@pytest.fixture
def world(tmp_path):
    rng = np.random.default_rng(0)
    for side, dimension in DIMENSIONS.items():
        rows = rng.normal(size=(ITEMS + QUERIES, dimension)).astype(np.float32)
        np.save(tmp_path / f"{side}.npy", rows / np.linalg.norm(rows, axis=1, keepdims=True))
    texts = {
        "gallery": [f"item {row}" for row in range(ITEMS)],
        "queries": [f"query {row}" for row in range(QUERIES)],
        "probes": [],
        "relevant_to_probes": [],
        "order": [*range(ITEMS)],
    }
    (tmp_path / "texts.json").write_text(json.dumps(texts))
    np.savez(tmp_path / "labels.npz", gallery=np.arange(ITEMS) % 5, queries=np.arange(QUERIES) % 5)
    return tmp_path


@pytest.mark.parametrize("name", table.BLOCKS)
def test_the_page_is_made_from_the_results(name):
    page = (DOCS / "comparison.md").read_text(encoding="utf-8")
    shown = re.search(rf"<!-- {name}: begin -->\n(.*)\n<!-- {name}: end -->", page, re.S)
    assert shown
    assert shown[1] == table.BLOCKS[name](table.read())


def test_the_results_are_of_the_versions_that_are_installed():
    report = table.read()
    assert tuple(report["figures"]) == TOOLS == ("hotfill", *PACKAGES)
    for tool, package in PACKAGES.items():
        assert report["figures"][tool]["versions"][tool] == package.partition("==")[2]
    assert all(len(said) == len(TOOLS) for said in CLAIMS.values())


def test_what_a_user_writes_is_counted_between_the_marks(tmp_path):
    driver = tmp_path / "driver.py"
    driver.write_text(
        "import ours\n# user: begin\nmigrate()\n\n# why\ndone()\n    # user: end\nours.end()\n"
        "# user: begin\nsearch()\n# user: end\n"
    )
    assert lines_of_the_user(driver) == 3
    assert all(lines_of_the_user(driver_of(tool)) > 10 for tool in TOOLS)


def test_no_neighbour_is_imported_by_hotfill_or_by_another_s_driver():
    for path in [
        *(REPOSITORY / "src").rglob("*.py"),
        *(REPOSITORY / "benchmarks/peers").rglob("*.py"),
    ]:
        for tool in PACKAGES:
            if path != driver_of(tool):
                assert not re.search(rf"^\s*(?:from|import) {tool}\b", path.read_text(), re.M), path


def test_a_model_that_looks_up_notes_items_and_kills_at_the_number_asked_for(world):
    log = world / "log.bin"
    code = (
        "import sys\nfrom benchmarks.peers.lookup import Model\nmodel = Model(sys.argv[1], 'new')\n"
        "model(['item 1', 'query 0', 'item 2'])\nmodel(['item 2'])\nmodel(['item 3', 'item 4'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(world)],
        cwd=REPOSITORY,
        env={"PEERS_LOG": str(log), "PEERS_DIE_AT": "4", "PYTHONPATH": str(REPOSITORY)},
    )
    assert done.returncode == -9
    assert noted(log) == [1, 2, 2, 3, 4]
    assert np.array_equal(Model(world, "new")(["item 3"])[0], np.load(world / "new.npy")[3])


def test_the_yardstick_agrees_with_counting_by_hand(world):
    yardstick = Yardstick(world, QUERIES)
    found = [[row, row + 1, row + 2] for row in range(QUERIES)]  # the first has the query's label
    found[0] = [1, 2, 0]
    figures = yardstick.figures(found)
    assert figures["hit_rate@1"] == round((QUERIES - 1) / QUERIES, 4)
    # Eight relevant items each: the precision at the one found, by the number that could be found.
    assert figures["map@10"] == round((1 / 3 + (QUERIES - 1)) / 8 / QUERIES, 4)
    vectors = np.load(world / "old.npy").astype(np.float64)
    for query, exact in enumerate(yardstick.exact["old"]):
        scores = [float(vectors[ITEMS + query] @ vectors[item]) for item in range(ITEMS)]
        assert exact == sorted(range(ITEMS), key=lambda item: -scores[item])[:10]
    assert yardstick.figures(yardstick.exact["new"])["over_new"]["map@10"] == [0, 0, 0]


def test_lost_doubled_and_foreign_vectors_are_counted(world):
    driver = Driver(world, world, "")
    vectors = np.load(world / "new.npy")
    held = [(item, vectors[item] * 2) for item in range(3, ITEMS)]  # a length of its own is fine
    held += [(5, vectors[5]), (0, vectors[1]), (1, np.ones(4, np.float32))]
    driver.held = lambda: held
    assert compared(driver) == {"lost": 1, "duplicated": 1, "not_of_the_new_model": 2}
