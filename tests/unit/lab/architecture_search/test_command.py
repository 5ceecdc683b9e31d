"""The commands, over files."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from demo.omniglot import drawings
from hotfill.cli.app import app
from hotfill.errors import ConfigError, InputError, ModelMismatchError
from hotfill.lab.architecture_search.query_embedder import from_options
from hotfill.lab.architecture_search.search import QueryModelFile
from hotfill.lab.architecture_search.search_files import _split_classes, search_files
from hotfill.lab.training import (
    ArrayItems,
    TrainingSettings,
    model_file,
    read_arrays,
    train_compatible,
)
from hotfill.lab.training.items import embed
from hotfill.stores.memory import MemoryGallery
from hotfill.types import ModelId
from hotfill.upgrade.parts import Model
from hotfill.upgrade.upgrade import Upgrade


def command(*words, code=0):
    result = CliRunner().invoke(app, ["architecture-search", *map(str, words), "--json"])
    assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A training set of five characters, and a gallery model of two epochs."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("files")
    some = drawings.load("background").first(5)
    np.savez(folder / "data.npz", images=some.images, labels=some.labels.astype(str))
    trained = train_compatible(
        "independent",
        folder / "data.npz",
        folder / "large",
        dimension=8,
        settings=TrainingSettings(epochs=2, batch=32),
    )
    return folder, trained.model


def run(files, *words, code=0, flops=200_000):
    folder, model = files
    return command(
        *("run", "--data", folder / "data.npz", "--gallery-model", model, "--flops", flops),
        *("--out", folder / "search", "--generations", 1, "--population", 2, "--epochs", 1),
        *("--warm-up-epochs", 0, *words),
        code=code,
    )


def test_a_search_is_run_shown_and_exported(files) -> None:
    folder, _ = files
    found = run(files)
    assert found["flops"] <= 200_000
    assert found["candidates"] == 2
    assert found["keeps_the_rule"] == (found["query_to_gallery"] > found["query_to_query"])
    assert found["ways"][found["way"]] == max(found["ways"].values())
    assert set(found["ways"]) == {"finalist", "bct", "csd", "d3still", "together"}
    assert found["query_to_gallery"] == found["ways"][found["way"]]
    assert found["bytes"] == (folder / "search" / "query.onnx").stat().st_size
    assert run(files) == found  # the same command again: everything is there

    shown = command("show", folder / "search", "--best", 1, "--picture", folder / "search.svg")
    assert len(shown["best"]) == 1
    assert shown["candidates"] == 2
    assert (folder / "search.svg").exists()

    exported = command("export", folder / "search", "--onnx", folder / "query.onnx")
    assert exported["bytes"] == (folder / "query.onnx").stat().st_size
    assert exported["largest_difference"] < 1e-4
    assert exported["gallery_model"]["dimension"] == 8


def test_what_cannot_be_searched_is_refused_with_exit_code_2(files, tmp_path) -> None:
    folder, _ = files
    assert "impossible" in run(files, code=2, flops=10)["error"]["message"]
    for words, message in (
        (("--space", "huge"), "expected 'small', or 'paper'"),
        (("--reward", "r9"), "reward: expected one of"),
        (("--way", "kd"), "ways of training: expected some of bct"),
    ):
        assert message in run(files, *words, "--out", tmp_path, code=2)["error"]["message"]
    assert "expected the history" in command("show", tmp_path, code=2)["error"]["message"]
    missing = command("export", tmp_path, "--onnx", tmp_path / "x.onnx", code=2)
    assert "expected a checkpoint" in missing["error"]["message"]
    wrong = command("export", folder / "large", "--onnx", tmp_path / "x.onnx", code=2)
    assert "query_model.safetensors" in wrong["error"]["message"]


def test_data_that_has_nothing_to_do_with_the_gallery_model_is_refused(files, tmp_path) -> None:
    _, model = files
    images = np.zeros((40, 28, 28), np.uint8)
    np.savez(tmp_path / "other.npz", images=images, labels=np.repeat(["x", "y"], 20))
    with pytest.raises(InputError, match="no class of the training set"):
        search_files(tmp_path / "other.npz", model, tmp_path / "out", flops=200_000)
    np.savez(tmp_path / "few.npz", images=images[:8], labels=np.repeat(["0", "1"], 4))
    with pytest.raises(InputError, match="8 items"):
        search_files(tmp_path / "few.npz", model, tmp_path / "out", flops=200_000)
    assert not (tmp_path / "out").exists()


def test_rewards_of_unseen_classes_are_of_classes_that_no_candidate_trains_on(files) -> None:
    folder, _ = files
    items = read_arrays(folder / "data.npz")
    train, queries, gallery = _split_classes(items, seed=0)
    held = set(queries.labels)
    assert held == set(gallery.labels)
    assert len(held) == round(0.2 * len(items.classes))
    assert set(train.labels) == set(items.labels) - held
    together = [*train.item_ids, *queries.item_ids, *gallery.item_ids]
    assert sorted(together) == sorted(items.item_ids)
    assert np.array_equal(queries(np.arange(1)), items(np.array([int(queries.item_ids[0])])))
    alone = ArrayItems(np.zeros((4, 28, 28)), np.zeros(4, np.int64), ["a", "b", "c", "d"])
    with pytest.raises(InputError, match="at least 3 classes of 2 items"):
        _split_classes(alone, seed=0)


def test_a_gallery_model_without_a_classifier_is_refused(files, tmp_path) -> None:
    folder, model = files
    trained = train_compatible(
        "l2",
        folder / "data.npz",
        tmp_path / "no_head",
        old=model,
        settings=TrainingSettings(epochs=1, batch=64),
    )
    with pytest.raises(InputError, match="has no classifier"):
        search_files(folder / "data.npz", trained.model, tmp_path / "out", flops=200_000)


def test_the_papers_space_wants_colour(files, tmp_path) -> None:
    folder, model = files
    with pytest.raises(ConfigError, match="for colour pictures"):
        search_files(folder / "data.npz", model, tmp_path / "out", flops=10**9, space="paper")


def test_the_found_model_embeds_queries_for_the_gallery_model(files) -> None:
    folder, model = files
    run(files)
    queries = from_options(path=str(folder / "search" / "query_model.safetensors"))
    large = model_file.from_options(path=str(model))
    assert queries.gallery_model == large.model_id
    assert queries.model_id != large.model_id
    pictures = read_arrays(folder / "data.npz")
    some = list(drawings.load("background").first(5).images[:7])
    network = QueryModelFile.read(folder / "search" / "query_model.safetensors").network
    expected = embed(network, pictures)[:7]
    np.testing.assert_allclose(queries(some), expected, atol=1e-6)


def small_model(files, folder, recipe, **changes):
    """A smaller network, trained against the large model."""
    data, large = files[0] / "data.npz", files[1]
    settings = TrainingSettings(epochs=1, batch=32)
    return train_compatible(recipe, data, folder, old=large, settings=settings, **changes).model


def test_a_model_trained_against_the_large_one_embeds_queries_for_it(files, tmp_path) -> None:
    path = small_model(files, tmp_path, "csd")
    queries = from_options(path=str(path))
    assert queries.gallery_model == model_file.from_options(path=str(files[1])).model_id
    assert queries.model_id != queries.gallery_model
    some = list(drawings.load("background").first(5).images[:7])
    expected = model_file.from_options(path=str(path))(some)
    np.testing.assert_array_equal(queries(some), expected)


def test_a_model_that_cannot_ask_the_gallery_is_refused(files, tmp_path) -> None:
    alone = small_model(files, tmp_path / "alone", "independent")
    with pytest.raises(InputError, match="gives one that stands alone: train it with --old"):
        from_options(path=str(alone))
    wider = small_model(files, tmp_path / "wider", "bct", dimension=12)
    with pytest.raises(InputError, match=r"12 dimensions.*train it with --dimension 8"):
        from_options(path=str(wider))


def test_queries_for_the_gallery_of_another_model_are_refused(files) -> None:
    folder, _ = files
    run(files)
    queries = from_options(path=str(folder / "search" / "query_model.safetensors"))
    other = ModelId("other", "1", 8)
    old, new = Model(model_id=other, query_embedder=queries), ModelId("new", "1", 8)
    up = Upgrade(MemoryGallery(other), old=old, new=new, folder=folder)
    with up, pytest.raises(ModelMismatchError, match="the gallery of the query model"):
        up.search("content", 1)
