"""Acceptance tests 1 and 5 of the method specification, on a small toy that trains in seconds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.mixed_toy.methods import WAYS, Bench, contrast, naive, slerped
from benchmarks.mixed_toy.run import SMALL, conclude
from benchmarks.mixed_toy.table import expected
from benchmarks.mixed_toy.toys import Toy, synthetic


@pytest.fixture(scope="module")
def toy() -> Toy:
    return synthetic(0, points=40)


def test_the_ends_of_the_naive_merge_are_the_two_systems_exactly(toy) -> None:
    curve = naive(Bench(toy, WAYS["normalised"], 0))["random"]
    assert curve["map"][0] == curve["old"]
    assert curve["map"][-1] == curve["new"]


def test_identical_models_give_a_flat_curve(toy) -> None:
    same = replace(toy, old=toy.new)
    curve = naive(Bench(same, WAYS["normalised"], 0))["random"]
    assert curve["map"] == pytest.approx([curve["old"]] * 11)
    assert curve["gain_map"] is None


def test_joint_training_with_rho_reaches_the_aim_without_a_dip(toy) -> None:
    bench = Bench(toy, WAYS["normalised"], 0, SMALL)
    untrained = naive(bench)["random"]
    curve = contrast(bench, "joint", rho=True)["random"]
    assert curve["gain_map"] >= 0.9 > untrained["gain_map"]
    assert curve["dips"] == 0
    assert curve["end"] >= 0


def test_where_scales_differ_the_naive_merge_fails_and_joint_training_rises(toy) -> None:
    bench = Bench(toy, WAYS["raw l2, old x0.5"], 0, SMALL)
    untrained = naive(bench)["random"]
    assert untrained["gain_map"] < 0
    assert untrained["dips"] >= 5
    curve = contrast(bench, "joint", rho=True)["random"]
    assert np.all(np.diff(curve["map"]) >= 0)
    assert curve["gain_map"] >= 0.9


def test_spherical_interpolation_goes_along_the_circle() -> None:
    first, second = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    for share in (0.0, 0.25, 1.0):
        angle = share * np.pi / 2
        expected_row = [[np.cos(angle), np.sin(angle)]]
        np.testing.assert_allclose(slerped(first, second, share), expected_row, atol=1e-5)


def test_the_noted_figures_are_found_by_their_place() -> None:
    assert expected("synthetic; raw l2, old x0.5", "RM-naive; random") == -0.68
    assert expected("synthetic; raw l2", "RM + z-score; random") is None
    assert expected("synthetic; raw l2, old x0.5", "RM + z-score; random") == 0.49
    assert expected("digits; normalised", "FCT h; random") == 0.94
    assert expected("synthetic; raw l2, old x2", "RM-naive; random") is None


def test_conclusions_are_means_over_seeds() -> None:
    cells = [
        {
            "toy": "digits",
            "way": "normalised",
            "method": "RQT",
            "seed": seed,
            "curves": {"random": {"gain_map": gain, "dips": 0, "floor": 0.0, "end": 0.0}},
        }
        for seed, gain in enumerate((0.3, 0.5))
    ]
    found = conclude(cells)
    cell = found["figures"]["digits; normalised"]["RQT; random"]
    assert (cell["gain_map"], cell["spread"], cell["seeds"]) == (0.4, 0.2, 2)
    aim = found["aims"]["digits; normalised: RQT; random, Gain(mAP) as noted"]
    assert aim == {"value": 0.4, "aim": 0.36, "met": True}
