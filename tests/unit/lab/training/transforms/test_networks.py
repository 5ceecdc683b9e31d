"""Networks have the published numbers of parameters, and leave torch without changing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hotfill.lab.training.transforms.gallery_maps import LambdaOrthogonal
from hotfill.lab.training.transforms.networks import (
    BlockNetwork,
    DriftNetwork,
    ForwardNetwork,
    folded,
)
from hotfill.ranking import ForwardMap, MlpMap
from hotfill.types import ModelId

OLD = ModelId("old", "1", 5, metric="l2", normalised=False)
NEW = ModelId("new", "1", 7, metric="l2", normalised=False)


def parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("network", "count"),
    [
        (lambda: ForwardNetwork(128, 128), 5_712_000),
        (lambda: ForwardNetwork(128, 128, side=128), 5_712_000),
        (lambda: ForwardNetwork(128, 128, sigma=True), 5_712_129),
        (lambda: ForwardNetwork(384, 768, side=384, sigma=True), 15_026_689),
    ],
    ids=["FCT", "FCT with side-information", "FastFill", "FastFill 384 to 768"],
)
def test_forward_networks_have_as_many_parameters_as_published(network, count) -> None:
    assert parameters(network()) == count


def used(network: torch.nn.Module, width: int) -> torch.nn.Module:
    """Give batch normalisation statistics and weights that are not those it starts with."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            torch.nn.init.normal_(module.weight)
            torch.nn.init.normal_(module.bias)
    for _ in range(20):
        network(3 * torch.randn(16, width) + 1)
    return network.eval()


def test_a_folded_network_gives_what_torch_gives() -> None:
    network = used(BlockNetwork(5, 7, depth=4, hidden=11), 5)
    rows = torch.randn(9, 5)
    made = MlpMap(OLD, NEW, folded(network.layers, "layers"))
    with torch.no_grad():
        np.testing.assert_allclose(made(rows.numpy()), network(rows).numpy(), rtol=1e-4, atol=1e-4)


def test_a_folded_forward_network_gives_what_torch_gives() -> None:
    network = used(ForwardNetwork(5, 7, hidden=6, sigma=True), 5)
    parts = {"old": network.old, "side": network.side, "mixer": network.mixer}
    arrays = folded(network.sigma, "sigma")
    for name, stack in parts.items():
        arrays |= folded(stack, name)
    made = ForwardMap(OLD, NEW, arrays)
    rows = torch.randn(9, 5)
    with torch.no_grad():
        mapped = network(rows)
        np.testing.assert_allclose(made(rows.numpy()), mapped.numpy(), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(
            -made.confidence(rows.numpy()), network.log_variance(mapped), rtol=1e-4, atol=1e-4
        )


def test_the_straight_part_is_the_identity_only_between_equal_dimensions() -> None:
    equal, unequal = DriftNetwork(4, 4), DriftNetwork(4, 6)
    assert not equal.straight.weight.requires_grad
    assert torch.equal(equal.straight.weight, torch.eye(4))
    assert unequal.straight.weight.requires_grad


def test_the_strict_map_is_a_rotation_wherever_its_weights_are() -> None:
    strict = LambdaOrthogonal(5, relaxed=False)
    with torch.no_grad():
        strict.free.copy_(torch.randn(5, 5, generator=torch.Generator().manual_seed(0)))
        found = strict.matrix @ strict.matrix.T
    np.testing.assert_allclose(found.numpy(), np.eye(5), atol=1e-5)
