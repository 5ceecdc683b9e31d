"""A sample of a gallery on disk, and a rehearsal from it."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from hotfill.cli.app import app
from hotfill.stores.qdrant_edge import QdrantEdgeGallery
from tests.unit.cli import models
from tests.unit.cli.conftest import Shell
from tests.unit.cli.models import contents
from tests.unit.cli.project import fill, write_config
from tests.unit.upgrade.small import stay_imputed

ITEMS = 700


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sampled")
    fill(folder, ITEMS)
    return Shell(write_config(folder, ITEMS))


def rehearse(*words, code=0):
    command = ["rehearse", *map(str, words), "--points", "3", "--orders", "random"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
    return result


def test_a_sample_is_taken_and_rehearsed_with(project, tmp_path):
    before = set(project.config.parent.iterdir())
    made = project.json("sample", "--out", tmp_path / "one", "--items", 600)
    assert (made["items"], made["queries"], made["labelled"]) == (600, 0, False)
    kept = project.config.parent / "upgrade.upgrade"
    assert set(project.config.parent.iterdir()) - before == {kept}
    assert [path.name for path in kept.iterdir()] == ["embedded.sqlite"]
    said = rehearse("--sample", tmp_path / "one", "--json", "-").stdout
    measured = json.loads(said)
    assert (measured["old_dimension"], measured["new_dimension"]) == (6, 8)
    assert measured["truth"] == "new model's top 10"
    whole = measured["budget"]["curves"]["random"][-1]
    assert (whole["items"], whole["price"]) == (ITEMS, None)
    # Measured when the sample was taken: it takes no time, but some.
    assert 0 < whole["hours"] < 1


@pytest.fixture
def fresh(tmp_path):
    """A project for which nothing was embedded yet."""
    fill(tmp_path, ITEMS)
    return Shell(write_config(tmp_path, ITEMS))


def test_what_was_embedded_for_a_rehearsal_is_not_embedded_again(fresh, monkeypatch):
    asked = []
    embed = models.Projection.__call__

    def counted(self, contents):
        if self.model_id == models.NEW:
            asked.extend(contents)
        return embed(self, contents)

    monkeypatch.setattr(models.Projection, "__call__", counted)
    for _ in range(2):
        fresh("rehearse", "--points", 3, "--orders", "random", "--items", 600)
        assert len(asked) == 600
    assert fresh.json("plan")["cached_share"] > 0
    asked.clear()
    fresh("start", "--yes")
    assert len(asked) < ITEMS, "of fitting, backfilling and planning together"
    fresh("verify")


def test_a_rehearsal_can_be_told_to_keep_nothing(fresh):
    before = set(fresh.config.parent.iterdir())
    fresh("rehearse", "--points", 3, "--orders", "random", "--items", 400, "--no-keep")
    assert set(fresh.config.parent.iterdir()) == before


def test_labels_and_queries_of_ones_own_make_it_a_judgement(project, tmp_path):
    said = project("sample", "--out", tmp_path / "labelled", "--label-key", "even").stdout
    assert f"next: hotfill rehearse --sample {tmp_path / 'labelled'} --use-labels" in said
    found = json.loads(rehearse("--sample", tmp_path / "labelled", "--json", "-").stdout)
    assert found["truth"] == "labels"
    rows = list(contents(ITEMS).items())
    lines = [json.dumps({"content": row.tolist(), "relevant": [name]}) for name, row in rows[::10]]
    (tmp_path / "queries.jsonl").write_text("\n".join(lines))
    words = ("--out", tmp_path / "judged", "--queries", tmp_path / "queries.jsonl")
    made = project.json("sample", *words)
    assert (made["queries"], made["judged_queries"]) == (len(lines), len(lines))
    found = json.loads(rehearse("--sample", tmp_path / "judged", "--json", "-").stdout)
    assert found["truth"] == "judgements"
    assert found["queries_given"] == len(lines)


def test_contents_of_items_that_ask_as_queries_do_are_called_so(fresh, tmp_path):
    asks = {"query_embedder": "tests.unit.cli.models:new_model"}
    write_config(fresh.config.parent, ITEMS, new=asks)
    made = fresh.json("sample", "--out", tmp_path / "out", "--items", 500)
    assert made["queries"] > 0
    told = " ".join(rehearse("--sample", tmp_path / "out").stdout.split())
    assert f"{made['queries']} contents of items, asked as queries, searched a gallery" in told
    assert "By contents of items, asked as queries, the scores of mapped vectors" in told
    assert "your queries" not in told


def test_what_stayed_imputed_is_left_out_and_said(fresh, tmp_path):
    folder = fresh.config.parent
    names = list(contents(ITEMS))
    with QdrantEdgeGallery.open(folder / "gallery", exact=True) as gallery:
        stay_imputed(gallery, names[:120], models.OLD)
    said = fresh("sample", "--out", tmp_path / "out", "--items", 500).stdout
    assert "120 items of the gallery are found by vectors that were imputed for old" in said
    done = json.loads(rehearse("--sample", tmp_path / "out", "--json", "-").stdout)
    assert done["imputed_items"] == 120
    told = " ".join(rehearse("--sample", tmp_path / "out").stdout.split())
    assert "for those items the upgrade makes a map of a map" in told


def test_bad_input_is_one_clear_line_and_writes_nothing(project, tmp_path):
    (tmp_path / "there").mkdir()
    result = project("sample", "--out", tmp_path / "there", code=2)
    assert "is there already" in result.stderr
    result = project("sample", "--out", tmp_path / "new", "--items", 20, code=2)
    assert "20 items are too few for a rehearsal" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there"]
    assert "expected --old FILE and --new FILE" in rehearse("--old", "a.npy", code=2).stderr
    result = rehearse("--sample", tmp_path / "there", "--old", "old.npy", code=2)
    assert "leave out --sample, or --old" in result.stderr
