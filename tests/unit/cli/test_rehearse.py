"""`hotfill rehearse`: is this upgrade worth it, and how? From files to a report."""

from __future__ import annotations

import inspect
import json

import numpy as np
import pytest
from sklearn.datasets import load_digits
from typer.testing import CliRunner

from hotfill.cli.app import app
from hotfill.cli.rehearse import rehearse
from hotfill.lab.training.transforms import MapSettings, label_free
from hotfill.lab.training.transforms.label_free import LABEL_FREE
from hotfill.rehearsal.gallery_sample import read_qrels, read_query_log
from hotfill.rehearsal.maps import MAPS


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Old: half of each picture of a digit. New: the whole picture."""
    folder = tmp_path_factory.mktemp("embeddings")
    pictures, labels = load_digits(return_X_y=True)
    np.save(folder / "old.npy", (pictures[:, :32] + 1).astype(np.float32))
    np.save(folder / "new.npy", (pictures + 1).astype(np.float16))
    np.save(folder / "labels.npy", labels)
    return folder


def run(folder, *more):
    given = ["rehearse", "--old", str(folder / "old.npy"), "--new", str(folder / "new.npy")]
    return CliRunner().invoke(app, [*given, "--fit", "300", "--points", "3", *map(str, more)])


def test_the_json_says_what_was_measured_and_what_to_do(files):
    done = run(files, "--labels", files / "labels.npy", "--strategies", "merge", "--json", "-")
    assert done.exit_code == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["new"]["map"] > said["old"]["map"]
    assert {curve["strategy"] for curve in said["curves"]} == {"merge"}
    for curve in said["curves"]:
        assert [point["share"] for point in curve["points"]] == [0.0, 0.5, 1.0]
        assert curve["points"][-1]["map"] == pytest.approx(said["new"]["map"])
    assert said["recommendation"]["worth_it"] is True
    assert said["recommendation"]["labels_used"] is False


def test_people_get_a_table_and_a_paragraph_and_files(files, tmp_path):
    done = run(files, "--report", tmp_path / "report", "--json", tmp_path / "all.json")
    assert done.exit_code == 0, done.stderr
    assert "recommended" in done.output
    assert json.loads((tmp_path / "all.json").read_text())["recommendation"]["why"]
    names = {path.name for path in (tmp_path / "report").iterdir()}
    pictures = {f"{what}.{kind}" for what in ("curves", "budget") for kind in ("png", "svg")}
    assert names == {"index.html", "rehearsal.json", *pictures}


def test_a_worse_new_model_is_not_worth_it_when_labels_may_be_seen(files):
    done = CliRunner().invoke(
        app,
        [
            *("rehearse", "--old", str(files / "new.npy"), "--new", str(files / "old.npy")),
            *("--labels", str(files / "labels.npy"), "--use-labels", "--json", "-"),
            *("--fit", "300", "--points", "3", "--strategies", "merge"),
        ],
    )
    assert json.loads(done.stdout)["recommendation"]["worth_it"] is False


def test_the_help_names_every_transform():
    options = str(inspect.signature(rehearse).parameters["transforms"].annotation)
    assert all(name in options for name in [*MAPS, *LABEL_FREE])


@pytest.mark.parametrize("name", list(LABEL_FREE))
def test_a_trained_map_is_measured_like_any_other(files, name, monkeypatch):
    monkeypatch.setattr(label_free, "SETTINGS", MapSettings(epochs=2, batch=64))
    monkeypatch.setattr(label_free, "HIDDEN_MOST", 16)
    done = run(files, "--transforms", name, "--strategies", "merge,prefill", "--json", "-")
    assert done.exit_code == 0, done.stderr
    curves = json.loads(done.stdout)["curves"]
    assert {curve["transform"] for curve in curves} == {name}
    strategies = {"down": "merge", "up": "prefill"}
    assert {curve["strategy"] for curve in curves} == {strategies[way] for way in LABEL_FREE[name]}


def test_a_query_log_gives_the_order_by_popularity(files, tmp_path):
    log = tmp_path / "returned.txt"
    log.write_text("3\n3\n\n17\n")
    done = run(
        files, "--strategies", "naive_merge", "--orders", "popularity", "--query-log", log,
        "--json", "-",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert {curve["order"] for curve in json.loads(done.stdout)["curves"]} == {"popularity"}
    assert read_query_log(log, 20)[[3, 17, 4]].tolist() == [2, 1, 0]
    log.write_text("3\n1797\n")
    done = run(files, "--orders", "popularity", "--query-log", log)
    assert done.exit_code == 2
    assert "line 2" in done.stderr
    assert "0 .. 1796" in done.stderr


def test_the_way_recommended_stands_there_as_configuration(files):
    done = run(files, "--strategies", "merge", "--transforms", " bridge ", "--queries", "new")
    assert '[upgrade]\nstrategy = "merge"\ntransform = "bridge"\norder = ' in done.output


def test_a_budget_costs_what_is_said_of_the_gallery(files):
    said = ["--gallery-items", 36_000, "--items-per-second", 10, "--price-per-1000", 2]
    done = run(files, "--strategies", "prefill", "--orders", "random", *said)
    assert done.exit_code == 0, done.stderr
    assert "Do I have to embed again?" in done.output
    assert "18,000 items, 30 min 0 s, a price of 36.00" in done.output
    assert "Does everything have to be embedded again?" in done.output


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--price-per-1000", "2"], "--gallery-items N"),
        (["--gallery-items", "0"], "at least one item"),
        (["--gallery-items", "9", "--items-per-second", "0"], "more than 0"),
        (["--gallery-items", "9", "--price-per-1000", "-1"], "price_per_item"),
        (["--labels", "missing.npy"], "missing.npy: cannot be read"),
        (["--strategies", "marge"], "marge"),
        (["--transforms", "kernal"], "kernel_bridge"),
        (["--queries", "own"], "expected some of new, both"),
        (["--query-log", "missing.txt", "--orders", "popularity"], "missing.txt: cannot be read"),
        (["--points", "1"], "at least 2"),
        (["--json", "no/such/rehearsal.json"], "the folder no/such is not there"),
        (["--json", "."], "expected a file, found a folder"),
        (["--report", __file__], "expected a folder, found a file"),
    ],
)
def test_bad_input_is_one_clear_line_and_code_2_before_anything_is_measured(
    files, more, words, monkeypatch
):
    monkeypatch.setattr("hotfill.rehearsal.comparison.measure_ends", None)
    done = run(files, *more)
    assert done.exit_code == 2
    assert words in done.stderr
    assert done.stdout == ""


def test_rows_that_do_not_match_are_refused(files, tmp_path):
    np.save(tmp_path / "short.npy", np.ones((5, 8), np.float32))
    done = CliRunner().invoke(
        app, ["rehearse", "--old", str(files / "old.npy"), "--new", str(tmp_path / "short.npy")]
    )
    assert done.exit_code == 2
    assert "1797" in done.stderr


def test_judgements_are_read_in_both_common_forms(tmp_path):
    (tmp_path / "trec.txt").write_text("0 0 17 1\n0 0 3 2\n")
    (tmp_path / "beir.tsv").write_text("query-id\tcorpus-id\tscore\n0\t17\t1\n0\t3\t2\n")
    expected = {"0": {"17": 1.0, "3": 2.0}}
    assert read_qrels(tmp_path / "trec.txt") == expected
    assert read_qrels(tmp_path / "beir.tsv") == expected
