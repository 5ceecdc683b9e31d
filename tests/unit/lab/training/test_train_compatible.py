"""From files to a model: what `hotfill train` does."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from hotfill.cli.app import app
from hotfill.errors import ConfigError, InputError
from hotfill.lab.training import RECIPE_NAMES, ModelFile, OldVectors, read_arrays, train_compatible
from hotfill.lab.training.items import embed


@pytest.fixture
def data(items, tmp_path):
    path = tmp_path / "data.npz"
    pictures = (items(np.arange(60))[:, 0].numpy() * 255).round().astype(np.uint8)
    np.savez(
        path,
        images=pictures,
        labels=np.array([f"class-{label}" for label in items.labels]),
        item_ids=np.array(items.item_ids),
    )
    return path


@pytest.fixture
def old_model(data, settings, tmp_path):
    """An old model of three of the five classes."""
    with np.load(data) as arrays:
        known = np.isin(arrays["labels"], ["class-3", "class-1", "class-0"])
        np.savez(
            tmp_path / "old.npz", images=arrays["images"][known], labels=arrays["labels"][known]
        )
    trained = train_compatible(
        "independent", tmp_path / "old.npz", tmp_path / "old", dimension=6, settings=settings
    )
    return trained.model


@pytest.mark.parametrize("recipe", RECIPE_NAMES)
def test_every_recipe_trains_from_a_model_file(recipe, data, old_model, settings, tmp_path) -> None:
    trained = train_compatible(
        recipe, data, tmp_path / "new", old=old_model, dimension=8, settings=settings
    )
    assert trained.outcome.finished
    found = ModelFile.read(trained.model)
    dimension = 4 if recipe in ("cores", "hoc") else 8  # a simplex of five classes
    assert found.facts.dimension == dimension
    assert embed(found.model, read_arrays(data)).shape == (60, dimension)
    assert bool(found.up) == (recipe in ("bict", "dmu"))


def test_vectors_by_item_id_stand_for_the_old_model(data, old_vectors, settings, tmp_path) -> None:
    path = tmp_path / "vectors.safetensors"
    old_vectors.save(path)
    trained = train_compatible(
        "lce", data, tmp_path / "new", old=path, settings=replace(settings, epochs=30)
    )
    new = embed(ModelFile.read(trained.model).model, read_arrays(data))
    cosines = (new * old_vectors.vectors).sum(axis=1) / np.linalg.norm(old_vectors.vectors, axis=1)
    assert cosines.mean() > 0.5


def test_the_old_head_is_found_by_the_names_of_its_classes(
    data, old_model, settings, tmp_path, monkeypatch
) -> None:
    seen = []
    module = sys.modules[train_compatible.__module__]
    build = module.compatible_recipe

    def spy(name, ingredients, **options):
        seen.append(ingredients.old_head)
        return build(name, ingredients, **options)

    monkeypatch.setattr(module, "compatible_recipe", spy)
    train_compatible("bct", data, tmp_path / "new", old=old_model, settings=settings)
    old = ModelFile.read(old_model)
    assert old.facts.classes == ("class-0", "class-1", "class-3")
    assert seen[0].rows.tolist() == [0, 1, -1, 2, -1]
    torch.testing.assert_close(seen[0].vectors, old.head)


@pytest.mark.parametrize("recipe", ["bct", "bict"])
def test_a_training_in_pieces_gives_the_same_model(
    recipe, data, old_model, settings, tmp_path
) -> None:
    def train(folder, seconds):
        return train_compatible(
            recipe,
            data,
            tmp_path / folder,
            old=old_model,
            settings=replace(settings, learning_rate=1e-3),
            stop_after_seconds=seconds,
        )

    whole, pieces = train("whole", None), train("pieces", 0.0)
    while pieces.model is None:
        pieces = train("pieces", 0.0)
    first, second = ModelFile.read(whole.model), ModelFile.read(pieces.model)
    for name, tensor in first.model.state_dict().items():
        assert torch.equal(tensor, second.model.state_dict()[name]), name
    for name, tensor in first.up.items():
        assert torch.equal(tensor, second.up[name]), name


def test_options_reach_the_recipe_and_wrong_ones_are_refused(
    data, old_model, settings, tmp_path
) -> None:
    common = {"old": old_model, "settings": settings}
    with pytest.raises(ConfigError, match="wieght"):
        train_compatible("bct", data, tmp_path / "a", options={"wieght": 2.0}, **common)
    with pytest.raises(ConfigError, match="expected one of advbct, aml, bct"):
        train_compatible("tcb", data, tmp_path / "b", **common)
    assert train_compatible(
        "bct", data, tmp_path / "c", options={"weight": 2.0}, **common
    ).outcome.finished


def test_what_is_missing_is_named(data, settings, tmp_path) -> None:
    with pytest.raises(ConfigError, match="needs the old model"):
        train_compatible("ract", data, tmp_path / "a", settings=settings)
    (tmp_path / "nothing").write_bytes(b"nothing")
    with pytest.raises(InputError, match="neither"):
        train_compatible("ract", data, tmp_path / "b", old=tmp_path / "nothing", settings=settings)
    some = OldVectors(["item-0"], np.ones((1, 3), np.float32))
    some.save(tmp_path / "some.safetensors")
    with pytest.raises(InputError, match="59 are missing: item-1"):
        train_compatible(
            "ract", data, tmp_path / "c", old=tmp_path / "some.safetensors", settings=settings
        )


def test_the_command_takes_the_options_of_a_recipe(data, old_model, tmp_path) -> None:
    words = ["train", "bct", f"--data={data}", f"--old={old_model}", "--epochs=2", "--json"]

    def run(folder, *options):
        given = [word for option in options for word in ("--option", option)]
        return CliRunner().invoke(app, [*words, f"--out={tmp_path / folder}", *given])

    assert run("plain").exit_code == 0
    assert run("published", "old_head_only=true", "weight=2").exit_code == 0
    plain, published = (
        next(ModelFile.read(tmp_path / name / "model.safetensors").model.parameters())
        for name in ("plain", "published")
    )
    assert not torch.equal(plain, published)
    for wrong, said in (("weight", "expected NAME=VALUE"), ("wieght=2", "wieght")):
        refused = run("refused", wrong)
        assert refused.exit_code == 2
        assert said in refused.stdout + refused.stderr
