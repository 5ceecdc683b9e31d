"""Maps between spaces."""

from __future__ import annotations

import pytest
import torch

from hotfill.errors import ConfigError, ShapeError
from hotfill.lab.losses.maps import Orthogonal, Pad, ResidualBranch, Slice, resize


def test_resizing_keeps_the_first_coordinates_or_appends_zeros() -> None:
    rows = torch.randn(3, 4)
    assert torch.equal(Slice(4, 2)(rows), rows[:, :2])
    assert torch.equal(Pad(4, 6)(rows)[:, :4], rows)
    assert not Pad(4, 6)(rows)[:, 4:].any()
    assert isinstance(resize(4, 2), Slice)
    assert isinstance(resize(2, 4), Pad)


def test_a_fitted_rotation_finds_the_rotation() -> None:
    turn = torch.linalg.qr(torch.randn(5, 5)).Q
    source = torch.randn(50, 5)
    fitted = Orthogonal.fitted(source, source @ turn)
    torch.testing.assert_close(fitted(source), source @ turn, atol=1e-5, rtol=1e-4)


def test_a_fitted_rotation_beats_any_other() -> None:
    source, target = torch.randn(50, 5), torch.randn(50, 5)
    best = (Orthogonal.fitted(source, target)(source) - target).norm()
    for _ in range(20):
        assert best <= (Orthogonal(5, 5)(source) - target).norm() + 1e-4


@pytest.mark.parametrize(("source", "target"), [(5, 5), (5, 3), (3, 5)])
def test_training_keeps_a_map_orthogonal(source, target) -> None:
    map_ = Orthogonal(source, target)
    optimiser = torch.optim.SGD(map_.parameters(), lr=0.5)
    for _ in range(5):
        optimiser.zero_grad()
        (map_(torch.randn(8, source)) - torch.randn(8, target)).square().mean().backward()
        optimiser.step()
    weight = map_.linear.weight
    small = weight @ weight.T if target <= source else weight.T @ weight
    torch.testing.assert_close(small, torch.eye(min(source, target)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("target", [3, 4, 6])
def test_a_residual_map_starts_by_changing_nothing(target) -> None:
    rows = torch.randn(7, 4)
    torch.testing.assert_close(ResidualBranch(4, target)(rows), resize(4, target)(rows))


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(ConfigError, match="use Pad"):
        Slice(2, 3)
    with pytest.raises(ConfigError, match="use Slice"):
        Pad(3, 2)
    with pytest.raises(ShapeError, match="paired"):
        Orthogonal.fitted(torch.ones(3, 2), torch.ones(4, 2))
