"""The benchmark of compatible training runs, in small, and goes on after a stop."""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.compatible_training.data import flip_and_shift, omniglot
from benchmarks.compatible_training.plans import OMNIGLOT, RESNET18
from benchmarks.compatible_training.run import aims, run_plan, table
from benchmarks.compatible_training.splits import KINDS, split


@pytest.mark.parametrize("kind", KINDS)
def test_splits_are_those_of_the_literature(kind) -> None:
    labels = np.repeat(np.arange(10), 20)
    found = split(kind, labels, seed=1)
    assert found.old.mean() == pytest.approx(0.3)
    shared = set(labels[found.old]) & set(labels[found.new])
    both = (found.old & found.new).sum()
    assert both == (0 if kind.startswith("open") else found.old.sum())
    assert (
        len(shared)
        == {
            "extended-data": 10,
            "extended-class": 3,
            "open-data": 10,
            "open-class": 0,
            "extended-backbone": 3,
        }[kind]
    )
    assert found.larger == (kind == "extended-backbone")
    assert (split(kind, labels, seed=2).old != found.old).any()


def test_flips_and_shifts_keep_pictures_whole() -> None:
    import torch

    images = torch.rand(9, 3, 32, 32)
    moved = flip_and_shift(images, torch.Generator().manual_seed(0))
    assert moved.shape == images.shape
    centre, one = images[:, :, 16, 16], moved.flatten(2)
    # Each picture's middle is still somewhere in it.
    assert all((one[i, 0] == centre[i, 0]).any() for i in range(9))


def tiny(plan, **changes):
    settings = replace(
        plan.settings, epochs=1, batch=16, device="cpu", checkpoint_seconds=0.0, learning_rate=1e-3
    )
    return replace(plan, settings=settings, old_epochs=1, **changes)


def test_every_recipe_is_measured(tmp_path) -> None:
    kinds = ("open-class", "extended-backbone")
    plan = tiny(OMNIGLOT, dimension=8, splits=kinds)
    task = omniglot(classes=4, test_classes=3)
    rows, finished = run_plan(plan, task, [0], None, tmp_path, math.inf)
    assert finished
    assert [(row["split"], row["recipe"]) for row in rows] == [
        (kind, name) for kind in kinds for name in plan.recipes
    ]
    for row in rows:
        assert row["hot_refresh"][0] == row["new/old"]["map"]
        assert row["hot_refresh"][-1] == row["new/new"]["map"]
        assert row["gallery_upgraded"] == (row["recipe"] in ("bict", "dmu"))
        if row["recipe"] == "independent":
            assert row["p_up"] == 50.0
    figures = table(rows)
    assert set(figures) == set(kinds)
    named = aims("omniglot", figures)
    assert all(set(aim) == {"value", "aim", "met"} for aim in named.values())
    assert not any(tmp_path.iterdir())


def test_the_configuration_for_a_gpu_runs_on_a_cpu(tmp_path) -> None:
    plan = tiny(RESNET18, splits=("extended-class",), recipes=("bct",), dimension=8)
    plan = replace(plan, settings=replace(plan.settings, precision="float32"))  # quicker on a CPU
    task = omniglot(classes=3, test_classes=2)
    halved = {
        name: replace(pictures, images=pictures.images[:, ::2, ::2])
        for name, pictures in (
            ("train", task.train),
            ("queries", task.queries),
            ("gallery", task.gallery),
        )
    }
    rows, finished = run_plan(plan, replace(task, **halved), [0], None, tmp_path, math.inf)
    assert finished
    assert rows[0]["recipe"] == "bct"


def test_a_benchmark_that_ran_out_of_time_goes_on(tmp_path) -> None:
    plan = tiny(OMNIGLOT, splits=("extended-class",), recipes=("independent", "bict"), dimension=8)
    task = omniglot(classes=4, test_classes=3)
    results, work = tmp_path / "results.json", tmp_path / "work"
    calls, finished = 0, False
    while not finished:  # no time at all: one step of training per call
        rows, finished = run_plan(plan, task, [0], results, work, time.monotonic())
        calls += 1
    assert calls > 10
    whole, _ = run_plan(plan, task, [0], None, tmp_path / "other", math.inf)
    for row, other in zip(rows, whole, strict=True):
        assert {**row, "seconds": 0} == {**other, "seconds": 0}
    assert json.loads(results.read_text())["rows"] == rows
    with pytest.raises(SystemExit, match="another plan"):
        run_plan(replace(plan, dimension=9), task, [0], results, work, math.inf)
