"""`hotfill binarize`: float vectors to codes and back to hits, file to file."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from hotfill.binary import Binarisation, load_encoder
from hotfill.cli.app import app
from hotfill.config import read


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(40, 24))
    vectors = centres[rng.integers(40, size=1200)] + 0.5 * rng.normal(size=(1200, 24))
    np.save("vectors.npy", vectors.astype(np.float32))

    def call(*words):
        return CliRunner().invoke(app, ["binarize", *words])

    return call


def test_fit_apply_evaluate_and_search_follow_one_another(run):
    pytest.importorskip("torch")
    fitted = run("fit", "vectors.npy", "encoder.st", "--name", "m", "--bits", "4", "--json")
    assert fitted.exit_code == 0, fitted.stderr
    assert json.loads(fitted.stdout)["space"]["dimension"] == 24
    applied = run("apply", "encoder.st", "vectors.npy", "codes.bin", "--json")
    assert json.loads(applied.stdout)["items"] == 1200
    measured = json.loads(
        run("evaluate", "encoder.st", "vectors.npy", "vectors.npy", "--json").stdout
    )
    assert 0.7 < measured["symmetric"] <= measured["reranked"] <= 1.0
    found = run("search", "encoder.st", "codes.bin", "vectors.npy", "-k", "1", "--json")
    hits = json.loads(found.stdout)["hits"]
    own = np.mean([row[0]["item"] == query for query, row in enumerate(hits)])
    assert own > 0.95


def test_codes_are_written_as_vectors_for_other_tools(run):
    run("fit", "vectors.npy", "encoder.st", "--name", "m", "--bits", "2")
    run("apply", "encoder.st", "vectors.npy", "codes.bin")
    written = run("values", "codes.bin", "values.npy", "--json")
    assert json.loads(written.stdout) == {"items": 1200, "values": "values.npy"}
    values = np.load("values.npy", mmap_mode="r")
    expected = Binarisation(load_encoder("encoder.st"))(np.load("vectors.npy"))
    assert values.dtype == np.float16
    assert np.array_equal(values, expected)


def test_an_encoder_is_fitted_on_the_vectors_of_a_gallery(run, shell):
    fitted = run("fit", str(shell.config), "encoder.st", "--bits", "4", "--json")
    assert fitted.exit_code == 0, fitted.stderr
    assert load_encoder("encoder.st").source == read(shell.config).model("old")
    named = run("fit", str(shell.config), "encoder.st", "--bits", "4", "--name", "m")
    assert "--name is not wanted" in named.stderr
    nameless = run("fit", "vectors.npy", "encoder.st", "--bits", "4")
    assert "--name is needed" in nameless.stderr


def test_people_get_lines(run):
    pytest.importorskip("torch")
    run("fit", "vectors.npy", "encoder.st", "--name", "m", "--bytes", "6")
    assert "codes in" in run("apply", "encoder.st", "vectors.npy", "codes.bin").stdout
    assert run("search", "encoder.st", "codes.bin", "vectors.npy").stdout.startswith("0  ")


def test_bad_input_is_one_clear_line_and_code_2(run):
    neither = run("fit", "vectors.npy", "encoder.st", "--name", "m")
    assert neither.exit_code == 2
    assert "either the bytes per item or the bits" in neither.stderr
    missing = run("fit", "nothing.npy", "encoder.st", "--name", "m", "--bits", "2")
    assert missing.exit_code == 2
    assert "nothing.npy: cannot be read" in missing.stderr
