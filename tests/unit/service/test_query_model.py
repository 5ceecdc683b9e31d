"""A small model embeds the queries that the service answers from the large model's vectors."""

from __future__ import annotations

import shutil

import pytest

from hotfill import config
from tests.unit.cli.project import write_config
from tests.unit.service.conftest import serving


@pytest.fixture
def path(filled, tmp_path):
    shutil.copytree(filled, tmp_path, dirs_exist_ok=True)
    small = {
        "query_embedder": "tests.unit.cli.models:new_model",
        "query_options": {"name": "small"},
    }
    return write_config(tmp_path, new=small)


def test_queries_are_of_the_small_model_once_the_upgrade_has_begun(path):
    project = config.read(path)
    small, large = project.query_embedder("new"), project.model("new")
    content = "1 2 3 4 5 6 7 8"
    with serving(path) as client:
        before = client.ok("GET", "/models")
        assert before["query"] == before["old"]
        client.do("start")
        during = client.ok("GET", "/models")
        assert during["query"] == small.model_id.fingerprint
        assert during["models"][during["query"]]["name"] == "small"
        found = client.search(content=content, k=5)
        assert found["query_model"] == small.model_id.fingerprint
        vector = small([content])[0].tolist()
        for model in (small.model_id, large):
            same = client.search(vectors={model.fingerprint: vector}, k=5)
            assert [hit["item_id"] for hit in same["hits"]] == [
                hit["item_id"] for hit in found["hits"]
            ]
