"""The papers' benchmark runs every step of its ladder, in small, and goes on after a stop."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.cifar100_paper.data import first_half
from benchmarks.cifar100_paper.ladder import STEPS, climb
from benchmarks.cifar100_paper.resnet import ResNet, Shape
from benchmarks.cifar100_paper.run import TINY, aims_of, figures_of, made_up


def test_old_classes_are_the_first_half_in_the_order_of_texts() -> None:
    """Section 4.2: labels 0 to 5 and 10 to 53."""
    assert first_half().tolist() == [*range(6), *range(10, 54)]


def test_the_network_is_resnet_50_with_a_narrow_last_block() -> None:
    model = ResNet(100, Shape())
    convolutions = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(convolutions) == 49 + 5  # 1 + 3 x 16, and the shortcuts of 4 stages + the last
    assert model.classifier.weight.shape == (100, 128)
    assert model.classifier.bias is None
    # Published: 25,557,032 for 1,000 classes; the last block and the classifier are narrower.
    last = 512 * 2048 + 2 * 2048
    narrow = 512 * 128 + 2 * 128 + 2048 * 128 + 2 * 128
    expected = 25_557_032 - (2048 * 1000 + 1000) - last + narrow + 100 * 128
    assert sum(p.numel() for p in model.parameters()) == expected


def test_embeddings_are_not_negative() -> None:
    torch.manual_seed(0)
    model = ResNet(4, TINY.recipe.shape).eval()
    embeddings, logits = model(torch.randn(3, 3, 32, 32))
    assert embeddings.shape == (3, 16)
    assert logits.shape == (3, 4)
    assert (embeddings >= 0).all()


def test_every_step_of_the_ladder_is_measured(tmp_path) -> None:
    curves, complete = climb(
        TINY, made_up(), seed=0, device="cpu", work=tmp_path, deadline=math.inf
    )
    assert complete
    assert list(curves) == [f"{way}; {method}" for way, method in STEPS]
    naive = curves["raw l2; RM-naive"]["random"]
    assert (naive["map"][0], naive["map"][-1]) == (naive["old"], naive["new"])
    assert set(curves["raw l2; FastFill"]) == {"random", "sigma", "class mean"}
    figures = figures_of(curves)
    aims = aims_of(figures)
    assert aims["old model, mAP"]["value"] == round(naive["old"], 4)
    assert aims["new model, CMC-1"]["value"] == round(naive["hit_rate@1"][-1], 4)
    assert {"dips of joint + rho", "FastFill: sigma order above random"} <= set(aims)


def test_a_ladder_that_ran_out_of_time_goes_on_where_it_stopped(tmp_path) -> None:
    plan = replace(TINY, steps=STEPS[:2])
    calls, complete = 0, False
    while not complete:  # no time left at all: one epoch, or one step, per call
        curves, complete = climb(
            plan, made_up(), seed=0, device="cpu", work=tmp_path / "cut", deadline=time.monotonic()
        )
        calls += 1
    assert calls == 4  # one epoch of old; one of each; one of new and a step; a step
    whole, _ = climb(
        plan, made_up(), seed=0, device="cpu", work=tmp_path / "whole", deadline=math.inf
    )
    assert curves == whole


def test_a_checkpoint_of_another_training_is_refused(tmp_path) -> None:
    plan = replace(TINY, steps=())
    climb(plan, made_up(), seed=0, device="cpu", work=tmp_path, deadline=math.inf)
    (tmp_path / "vectors.npz").unlink()
    with pytest.raises(SystemExit, match="another training"):
        climb(plan, made_up(), seed=1, device="cpu", work=tmp_path, deadline=math.inf)


def test_made_up_pictures_differ_by_class() -> None:
    data = made_up()
    means = np.stack([data.train.images[data.train.labels == c].mean(axis=0) for c in range(10)])
    assert len(np.unique(means.reshape(10, -1), axis=0)) == 10
