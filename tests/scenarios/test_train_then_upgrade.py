"""A model is trained to be compatible, rehearsed, and then takes over a gallery."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tomli_w

from hotfill import ranking
from hotfill.lab.training import TrainingSettings, train_compatible
from hotfill.lab.training.model_file import from_options
from hotfill.metrics import average_precision, rank_scores, same_label
from hotfill.stores.qdrant_edge import QdrantEdgeGallery
from tests.scenarios.digits_source import pictures
from tests.unit.cli.project import call

EMBEDDER = "hotfill.lab.training.model_file:from_options"
SETTINGS = TrainingSettings(epochs=30, batch=64, seed=0)
IMAGES, LABELS = pictures()
TRAINED_ON = np.arange(len(IMAGES)) % 3 == 0
QUERIES = np.arange(len(IMAGES)) % 3 == 1
GALLERY = np.flatnonzero(np.arange(len(IMAGES)) % 3 == 2)


def run(*words):
    """Run a command to its end and return the object it prints."""
    done = call(*words, "--json", timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def embedder(path):
    return from_options(path=str(path))


def quality(queries, gallery):
    relevance = same_label(LABELS[QUERIES], LABELS[GALLERY])
    return float(average_precision(rank_scores(queries @ gallery.T, relevance)).mean())


@pytest.fixture(scope="module")
def old_model(tmp_path_factory):
    """A model that has seen the digits 0 to 4."""
    folder = tmp_path_factory.mktemp("old")
    rows = TRAINED_ON & (LABELS < 5)
    np.savez(folder / "data.npz", images=IMAGES[rows], labels=LABELS[rows])
    return train_compatible(
        "independent", folder / "data.npz", folder, dimension=16, settings=SETTINGS
    ).model


@pytest.fixture(scope="module")
def trained(old_model, tmp_path_factory):
    """Trains a new model on all ten digits by a recipe; gives its folder."""

    def train(recipe):
        folder = tmp_path_factory.mktemp(recipe)
        np.savez(folder / "data.npz", images=IMAGES[TRAINED_ON], labels=LABELS[TRAINED_ON])
        return train_compatible(
            recipe, folder / "data.npz", folder, old=old_model, settings=SETTINGS
        ).model.parent

    return train


def rehearsed(folder, old, new, *words):
    """What `hotfill rehearse` says of two models, by the labels."""
    for name, model, rows in (
        ("old", old, GALLERY),
        ("new", new, GALLERY),
        ("queries_old", old, QUERIES),
        ("queries_new", new, QUERIES),
    ):
        np.save(folder / f"{name}.npy", model(list(IMAGES[rows])))
    np.save(folder / "labels.npy", LABELS[GALLERY])
    np.save(folder / "query_labels.npy", LABELS[QUERIES])
    options = [
        f"--{name.replace('_', '-')}={folder / name}.npy"
        for name in ("old", "new", "queries_old", "queries_new", "labels", "query_labels")
    ]
    done = call("rehearse", *options, "--fit=190", "--points=3", "--json=-", *words, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def filled_project(folder, old_model, new_model, upgrade):
    """A gallery on disk, filled by the old model, and its configuration file."""
    old = embedder(old_model)
    with QdrantEdgeGallery.create(folder / "gallery", old.model_id, exact=True) as gallery:
        ids = [str(row) for row in GALLERY]
        gallery.upsert(ids, old(list(IMAGES[GALLERY])), space=old.model_id)
    values = {
        "store": {"path": "gallery", "exact": True},
        "source": {"factory": "tests.scenarios.digits_source:Pictures"},
        "old": {"embedder": EMBEDDER, "options": {"path": str(old_model)}},
        "new": {"embedder": EMBEDDER, "options": {"path": str(new_model)}},
        "upgrade": {"fit_items": 400, "verify_items": 50, **upgrade},
    }
    path = folder / "upgrade.toml"
    path.write_text(tomli_w.dumps(values), encoding="utf-8")
    return path


def finished(path, new):
    """Start, verify, cut over, complete; then the store holds what the new model makes."""
    assert run("start", path)["phase"] == "backfilled"
    assert run("verify", path)["passed"]
    assert run("cutover", path)["phase"] == "cut_over"
    assert run("complete", path, "--yes")["phase"] == "completed"
    with QdrantEdgeGallery.open(path.parent / "gallery", exact=True) as gallery:
        assert gallery.spaces == (new.model_id,)
        found = gallery.vectors([str(row) for row in GALLERY], new.model_id)
    np.testing.assert_allclose(found.vectors, new(list(IMAGES[GALLERY])), atol=1e-5)


def test_a_backward_compatible_model_is_rehearsed_and_takes_over(old_model, trained, tmp_path):
    folder = trained("bct")
    old, new = embedder(old_model), embedder(folder / "model.safetensors")
    by_old, queries = old(list(IMAGES[GALLERY])), new(list(IMAGES[QUERIES]))
    assert quality(queries, by_old) > quality(old(list(IMAGES[QUERIES])), by_old)

    said = rehearsed(tmp_path, old, new, "--strategies=compatible", "--orders=random")
    (curve,) = said["curves"]
    assert curve["strategy"] == "compatible"
    assert curve["floor"] > 0  # never below the old model, from the first query on
    assert said["recommendation"]["strategy"] == "compatible"
    assert curve["points"][0]["map"] > said["old"]["map"]
    assert curve["points"][-1]["map"] == pytest.approx(said["new"]["map"], abs=1e-3)

    path = filled_project(
        tmp_path, old_model, folder / "model.safetensors", {"strategy": "compatible"}
    )
    finished(path, new)


def test_the_forward_map_of_bict_prefills_the_gallery(old_model, trained, tmp_path):
    folder = trained("bict")
    old, new = embedder(old_model), embedder(folder / "model.safetensors")
    path = filled_project(
        tmp_path,
        old_model,
        folder / "model.safetensors",
        {"strategy": "prefill", "up": str(folder / "up.safetensors"), "max_attempts": 1},
    )
    finished(path, new)
    up = ranking.load_transform(folder / "up.safetensors", source=old.model_id, target=new.model_id)
    queries, by_old = new(list(IMAGES[QUERIES])), old(list(IMAGES[GALLERY]))
    assert quality(queries, up(by_old)) > quality(old(list(IMAGES[QUERIES])), by_old)
