"""A whole search, in seconds, and what it refuses."""

from __future__ import annotations

import shutil
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch

from hotfill.errors import ConfigError, InputError, ModelMismatchError, ShapeError
from hotfill.lab.architecture_search.evolution import History
from hotfill.lab.architecture_search.gallery_model import GalleryModel, GalleryVectors, Validation
from hotfill.lab.architecture_search.search import (
    HISTORY,
    WAYS,
    QueryModelFile,
    SearchPlan,
    retrain,
    search,
)
from hotfill.lab.architecture_search.space import flops
from hotfill.lab.training import ArrayItems, TrainingSettings, build_backbone


def searched(world, folder, **more):
    """The search of the world, with the large model's vectors of what is trained on."""
    return search(
        world.plan,
        world.gallery_model,
        world.train,
        world.validation(),
        folder=folder,
        vectors=world.trained_on,
        **more,
    )


@pytest.fixture(scope="module")
def found(world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("search")
    return folder, searched(world, folder)


def test_a_tiny_search_finds_a_query_model_within_the_budget(world, found) -> None:
    folder, result = found
    assert len(result.history.candidates) == 6
    (finalist,) = result.finalists
    assert flops(world.plan.space, finalist.network.architecture) <= 100_000
    assert finalist.candidate == result.history.best()[0]
    chance = 4 / 32  # relevant items of 32: about the precision of a random ranking
    assert finalist.measured.query_to_gallery > 2 * chance
    assert result.history == History.read(folder / HISTORY)


def test_the_saved_query_model_embeds_as_the_found_one_and_knows_its_gallery(world, found) -> None:
    _, result = found
    file = QueryModelFile.read(result.path)
    assert file.gallery_model == world.gallery_model.model_id
    images = world.queries(np.arange(5))
    with torch.inference_mode():
        assert torch.equal(file.network(images), result.trained[0].network.eval()(images))


def test_the_best_is_trained_in_every_way_and_what_searches_best_is_kept(world, found) -> None:
    _, result = found
    assert {each.way for each in result.trained} == {"finalist", *WAYS}
    measured = [world.validation().measure(each.network) for each in result.trained]
    assert measured == [each.measured for each in result.trained]
    quality = [each.query_to_gallery for each in measured]
    assert quality == sorted(quality, reverse=True)
    architecture = result.finalists[0].network.architecture
    assert all(each.network.architecture == architecture for each in result.trained)
    outputs = [each.network(world.queries(np.arange(3))) for each in result.trained]
    assert not any(torch.equal(one, two) for one, two in combinations(outputs, 2))


def test_without_the_large_models_vectors_nothing_is_distilled(world, found, tmp_path) -> None:
    folder, _ = found
    copied = shutil.copytree(folder, tmp_path / "copied")
    for made in copied.glob("way-*"):
        shutil.rmtree(made)
    plan = replace(world.plan, distillation=replace(world.plan.retraining, epochs=1))
    again = search(plan, world.gallery_model, world.train, world.validation(), folder=copied)
    assert {each.way for each in again.trained} == {"finalist", "bct"}


def test_an_unknown_way_of_training_is_refused(world) -> None:
    with pytest.raises(ConfigError, match="expected some of bct, csd, d3still, together, got kd"):
        replace(world.plan, ways=("bct", "kd"))


def test_the_same_call_again_trains_and_measures_nothing_anew(world, found) -> None:
    folder, result = found
    measured = []
    again = searched(world, folder, on_candidate=measured.append)
    assert not measured
    assert again.history == result.history
    assert again.finalists[0].measured == result.finalists[0].measured


def test_an_independent_model_of_the_same_architecture_is_a_stranger_to_the_gallery(
    world, found, tmp_path
) -> None:
    """Without the gallery model's head there is nothing that brings the two spaces together."""
    _, result = found
    stranger = GalleryModel(
        world.gallery_model.model_id,
        replace(
            world.gallery_model.head,
            vectors=torch.randn(8, 16, generator=torch.Generator().manual_seed(4)),
        ),
        world.gallery_model.score,
    )
    network = retrain(
        world.plan.space,
        result.finalists[0].candidate.architecture,
        stranger,
        world.train,
        world.plan.retraining,
        folder=tmp_path,
    )
    apart = world.validation().measure(network)
    together = result.finalists[0].measured
    assert apart.query_to_gallery < 0.75 * together.query_to_gallery
    assert not apart.keeps_the_rule


def test_gallery_vectors_of_another_model_are_refused(world) -> None:
    other = replace(world.gallery_model.model_id, revision="2")
    with pytest.raises(ModelMismatchError, match="revision '2' != '1'"):
        Validation(world.queries, world.gallery, world.vectors, other)


def test_gallery_items_without_a_vector_are_named(world) -> None:
    some = GalleryVectors(
        world.gallery_model.model_id, world.gallery.item_ids[1:], world.vectors.vectors[1:]
    )
    with pytest.raises(InputError, match=f"1 are missing, the first '{world.gallery.item_ids[0]}'"):
        Validation(world.queries, world.gallery, some, world.gallery_model.model_id)


def test_queries_without_any_relevant_item_are_refused(world) -> None:
    strangers = ArrayItems(
        np.zeros((3, 28, 28)), np.full(3, 99), ["a", "b", "c"], [str(c) for c in range(100)]
    )
    with pytest.raises(InputError, match="no query has a relevant"):
        Validation(strangers, world.gallery, world.vectors, world.gallery_model.model_id)


def test_an_impossible_budget_is_refused_before_anything_is_written(world, tmp_path) -> None:
    plan = replace(world.plan, flops=100)
    with pytest.raises(ConfigError, match="impossible: the cheapest"):
        search(plan, world.gallery_model, world.train, world.validation(), folder=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_embeddings_of_another_dimension_are_refused(world, tmp_path) -> None:
    plan = replace(world.plan, space=replace(world.plan.space, dimension=12))
    with pytest.raises(ConfigError, match="dimension 12, the gallery of large@1"):
        search(plan, world.gallery_model, world.train, world.validation(), folder=tmp_path / "new")
    with pytest.raises(ShapeError, match="gives 12 numbers"):
        world.validation().measure(build_backbone("small", channels=1, dimension=12))


def test_classes_beyond_the_gallery_models_head_are_refused(world, tmp_path) -> None:
    more = ArrayItems(np.zeros((9, 28, 28)), np.arange(9), [f"item {n}" for n in range(9)])
    with pytest.raises(ConfigError, match="9 classes, the gallery model's head answers for 8"):
        search(world.plan, world.gallery_model, more, world.validation(), folder=tmp_path)


def test_a_folder_of_another_search_is_refused(world, found) -> None:
    folder, _ = found
    plan = replace(world.plan, flops=50_000)
    with pytest.raises(InputError, match="flops_at_most 100000 there, 50000 now"):
        search(plan, world.gallery_model, world.train, world.validation(), folder=folder)


def test_a_warm_up_as_long_as_the_training_is_refused(world) -> None:
    with pytest.raises(ConfigError, match="warm-up shorter"):
        SearchPlan(world.plan.space, 100_000, super_training=TrainingSettings(epochs=10))


def test_a_search_spends_four_fifths_of_what_it_can_unless_told_otherwise(world) -> None:
    plan = replace(world.plan, flops=10**9)
    dearest = plan.budget().spendable
    assert dearest < 10**9
    assert plan.budget().flops_at_least == int(0.8 * dearest)
    small = replace(plan, flops=100_000)
    assert small.budget().flops_at_least == 80_000
    assert replace(small, flops_at_least=0).budget().flops_at_least == 0
    for budget in (small.budget(), plan.budget()):
        drawn = budget.sample(np.random.default_rng(0))
        assert budget.flops_at_least <= flops(plan.space, drawn) <= budget.flops_at_most


def test_a_head_of_another_dimension_is_refused(world) -> None:
    with pytest.raises(ShapeError, match="expected a head of dimension 5, got 16"):
        GalleryModel(
            replace(world.gallery_model.model_id, dimension=5),
            world.gallery_model.head,
            world.gallery_model.score,
        )
