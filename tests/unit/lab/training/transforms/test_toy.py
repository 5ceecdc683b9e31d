"""The toy benchmark around its methods: the noted figures, the means over seeds."""

from __future__ import annotations

import numpy as np

from benchmarks.mixed_toy.methods import slerped
from benchmarks.mixed_toy.noted import expected
from benchmarks.mixed_toy.run import conclude


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
