"""The loop learns, stops and goes on, and stops at NaN with a name."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from hotfill.errors import InputError
from hotfill.lab.losses import Cosine, Head, Part, Recipe, recipes, terms
from hotfill.lab.losses.references import from_means
from hotfill.lab.training import (
    ArrayItems,
    DivergedError,
    Ingredients,
    OldVectors,
    TrainingSettings,
    compatible_recipe,
    fit,
    read_arrays,
)
from hotfill.lab.training.checkpoint import Checkpoint
from hotfill.lab.training.fit import CHECKPOINT, LOG
from hotfill.lab.training.items import embed


def lines(folder):
    return [json.loads(line) for line in (folder / LOG).read_text().splitlines()]


def weights(*modules: nn.Module) -> list[torch.Tensor]:
    return [tensor.clone() for module in modules for tensor in module.state_dict().values()]


def same(first, second) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_training_separates_the_classes(items, model, head, settings, tmp_path) -> None:
    outcome = fit(model, recipes.independent(head), items, settings, folder=tmp_path)
    assert outcome.finished
    vectors = embed(model, items)
    anchors = nn.functional.normalize(head.vectors.detach()).numpy()
    assert np.mean((vectors @ anchors.T).argmax(axis=1) == items.labels) > 0.9
    losses = [line["loss"] for line in lines(tmp_path) if line["event"] == "epoch"]
    assert len(losses) == settings.epochs
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", ["unibct", "advbct", "mixbct"])
@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_a_stopped_training_ends_exactly_where_an_unbroken_one_does(
    name, optimiser, items, model, head, old_vectors, settings, tmp_path
) -> None:
    """unibct refreshes its anchors, advbct has learnt parts, mixbct draws at random."""
    settings = replace(settings, optimiser=optimiser, learning_rate=1e-3)
    labels, old = torch.from_numpy(items.labels), torch.from_numpy(old_vectors.vectors)

    def parts():
        torch.manual_seed(3)
        mine = copy.deepcopy(model)
        return mine, compatible_recipe(name, Ingredients(copy.deepcopy(head), labels, old))

    def noisy(images, generator):
        return images + 0.1 * torch.rand(images.shape, generator=generator)

    common = {"old_vectors": old_vectors, "augment": noisy}
    whole = parts()
    fit(*whole, items, settings, folder=tmp_path / "whole", **common)
    calls = 0
    while True:
        broken = parts()  # as after a crash: nothing but the files is left
        torch.manual_seed(calls)
        outcome = fit(
            *broken, items, settings, folder=tmp_path / "broken", stop_after_seconds=0.0, **common
        )
        calls += 1
        if outcome.finished:
            break
    assert calls > 1
    assert same(weights(*whole), weights(*broken))


KILLED_TRAINING = """
import os, sys
from pathlib import Path
import torch
from hotfill.lab.losses import Cosine, Head, recipes
from hotfill.lab.training import TrainingSettings, fit, read_arrays

torch.set_num_threads(1)
steps = 0

def kill(contents, generator):
    global steps
    steps += 1
    if steps == 8:
        os._exit(9)  # as kill -9: no clean-up of any kind
    return contents

torch.manual_seed(0)
head, model = Head.random(5, 4, Cosine(10.0)), torch.nn.Sequential(
    torch.nn.Flatten(), torch.nn.Linear(64, 4))
fit(model, recipes.independent(head), read_arrays(Path(sys.argv[1])),
    TrainingSettings(epochs=4, batch=16, checkpoint_seconds=0.0),
    folder=Path(sys.argv[2]), augment=kill)
"""


def test_a_killed_training_goes_on(items, tmp_path) -> None:
    """A process that ends at once, in the middle of a step, leaves a checkpoint to go on with."""
    data = tmp_path / "data.npz"
    pictures = (items(np.arange(60))[:, 0].numpy() * 255).round().astype(np.uint8)
    np.savez(data, images=pictures, labels=items.labels)
    killed = [sys.executable, "-c", KILLED_TRAINING, str(data), str(tmp_path / "killed")]
    assert subprocess.run(killed, check=False).returncode == 9

    def train(folder):
        steps = []
        torch.manual_seed(0)
        head = Head.random(5, 4, Cosine(10.0))
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
        settings = TrainingSettings(epochs=4, batch=16)

        def count(contents, generator):
            steps.append(1)
            return contents

        arrays = read_arrays(data)
        fit(model, recipes.independent(head), arrays, settings, folder=folder, augment=count)
        return len(steps), weights(model, head)

    unbroken, again = train(tmp_path / "unbroken"), train(tmp_path / "killed")
    assert (unbroken[0], again[0]) == (12, 5)  # seven of twelve were saved
    assert same(unbroken[1], again[1])


def test_training_leaves_the_callers_random_numbers_alone(
    items, model, head, settings, tmp_path
) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fit(model, recipes.independent(head), items, settings, folder=tmp_path)
    assert torch.equal(torch.rand(3), expected)


class Poison(nn.Module):
    """Multiplies by a number that is not finite from one call on."""

    def __init__(self, calls: int, factor: float) -> None:
        super().__init__()
        self.calls, self.factor = calls, factor

    def forward(self, tensor):
        self.calls -= 1
        return tensor * self.factor if self.calls < 0 else tensor


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_names_its_term_and_keeps_the_last_checkpoint(
    factor, items, model, head, old_vectors, settings, tmp_path
) -> None:
    anchors = from_means(torch.from_numpy(old_vectors.vectors), torch.from_numpy(items.labels), 5)
    recipe = Recipe(
        "poisoned",
        [
            Part("classification", terms.AnchorSoftmax("new", head.score)),
            Part("imitation", terms.Regression(), 1.0, "down"),
        ],
        head=head,
        anchors=anchors,
    )
    recipe.maps["down"] = Poison(5, factor)
    settings = replace(settings, checkpoint_seconds=0.0)
    with pytest.raises(DivergedError, match="imitation in step 5") as caught:
        fit(model, recipe, items, settings, folder=tmp_path, old_vectors=old_vectors)
    assert caught.value.terms == ("imitation",)
    assert caught.value.checkpoint == tmp_path / CHECKPOINT
    kept = Checkpoint.read(tmp_path / CHECKPOINT)
    assert kept.facts["step"] == 5
    assert all(torch.isfinite(tensor).all() for tensor in kept.tensors.values())
    assert lines(tmp_path)[-1]["event"] == "diverged"


def test_a_gradient_that_is_not_finite_names_its_term(
    items, model, head, old_vectors, settings, tmp_path
) -> None:
    class Steep(torch.autograd.Function):
        @staticmethod
        def forward(ctx, tensor):
            return tensor.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient * float("nan")

    class Cliff(nn.Module):
        def forward(self, tensor):
            return Steep.apply(tensor)

    recipe = recipes.contrastive(head)
    recipe.maps["down"] = Cliff()
    before = weights(model, head)[:1]
    with pytest.raises(DivergedError, match="contrast in step 0") as caught:
        fit(model, recipe, items, settings, folder=tmp_path, old_vectors=old_vectors)
    assert caught.value.checkpoint is None
    assert same(weights(model, head)[:1], before)


def test_embeddings_that_are_not_finite_name_the_backbone(
    items, model, head, settings, tmp_path
) -> None:
    poisoned = nn.Sequential(model, Poison(2, float("nan")))
    with pytest.raises(DivergedError, match="backbone in step 2"):
        fit(poisoned, recipes.independent(head), items, settings, folder=tmp_path)


def test_missing_old_vectors_are_named(items, model, head, old_vectors, settings, tmp_path) -> None:
    some = OldVectors(old_vectors.item_ids[:58], old_vectors.vectors[:58])
    with pytest.raises(InputError, match="2 are missing: item-58, item-59"):
        fit(model, recipes.ract(head), items, settings, folder=tmp_path, old_vectors=some)
    with pytest.raises(InputError, match="pass old_vectors"):
        fit(model, recipes.ract(head), items, settings, folder=tmp_path)


def test_a_label_outside_the_head_is_named_before_the_first_step(
    items, model, settings, tmp_path
) -> None:
    small = Head.random(4, 6, Cosine(10.0))
    with pytest.raises(InputError, match=r"item-4 \(label 4\)"):
        fit(model, recipes.independent(small), items, settings, folder=tmp_path)
    assert not (tmp_path / CHECKPOINT).exists()


def test_dimensions_that_differ_ask_for_a_map(items, model, head, settings, tmp_path) -> None:
    wide = OldVectors(items.item_ids, np.random.default_rng(0).random((60, 9), dtype=np.float32))
    with pytest.raises(InputError, match="give the recipe a map"):
        fit(model, recipes.ract(head), items, settings, folder=tmp_path, old_vectors=wide)


def test_labels_that_are_all_unknown_are_refused_where_labels_are_needed(
    items, model, head, old_vectors, settings, tmp_path
) -> None:
    unknown = ArrayItems(items(np.arange(60)).numpy()[:, 0], np.full(60, -1), items.item_ids)
    with pytest.raises(InputError, match="needs labels"):
        fit(model, recipes.independent(head), unknown, settings, folder=tmp_path / "a")
    outcome = fit(
        model, recipes.l2(), unknown, settings, folder=tmp_path / "b", old_vectors=old_vectors
    )
    assert outcome.finished


def test_a_folder_of_another_training_is_refused(items, model, head, settings, tmp_path) -> None:
    fit(model, recipes.independent(head), items, settings, folder=tmp_path)
    other = replace(settings, learning_rate=0.5)
    with pytest.raises(InputError, match=r"learning_rate 0\.01 there, 0\.5 now"):
        fit(model, recipes.independent(head), items, other, folder=tmp_path)


def test_a_damaged_checkpoint_is_refused(items, model, head, settings, tmp_path) -> None:
    fit(model, recipes.independent(head), items, settings, folder=tmp_path)
    os.truncate(tmp_path / CHECKPOINT, 100)
    with pytest.raises(InputError, match="expected a checkpoint"):
        fit(model, recipes.independent(head), items, settings, folder=tmp_path)


def test_a_finished_training_is_only_loaded(items, model, head, settings, tmp_path) -> None:
    fit(model, recipes.independent(head), items, settings, folder=tmp_path)
    fresh = copy.deepcopy(model)
    nn.init.zeros_(fresh[1].weight)
    outcome = fit(fresh, recipes.independent(head), items, settings, folder=tmp_path)
    assert outcome.finished
    assert same(weights(fresh), weights(model))


def test_frozen_parts_stay_as_they_are(items, model, head, settings, tmp_path) -> None:
    model[1].weight.requires_grad_(False)
    before = model[1].weight.clone()
    fit(model, recipes.independent(head), items, settings, folder=tmp_path)
    assert torch.equal(model[1].weight, before)


def test_bfloat16_trains_too(items, model, head, old_vectors, settings, tmp_path) -> None:
    settings = replace(settings, precision="bfloat16", clip=1.0)
    outcome = fit(
        model, recipes.ract(head), items, settings, folder=tmp_path, old_vectors=old_vectors
    )
    assert outcome.finished
    assert all(np.isfinite(loss) for loss in outcome.losses.values())
