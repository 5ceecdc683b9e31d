"""The super-network, what is taken from it, and its batch statistics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from hotfill.errors import ConfigError, InputError
from hotfill.lab.architecture_search.network import Network, SuperNetwork, recalibrate
from hotfill.lab.architecture_search.space import Architecture, Block, small_space

SPACE = small_space(side=28, channels=1, dimension=8, stem=4)


@pytest.fixture(autouse=True)
def _repeatable():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(9, 1, 28, 28)


def test_what_is_taken_computes_what_the_super_network_does(images) -> None:
    shared = SuperNetwork(SPACE, warm_up_batches=0)
    rng = np.random.default_rng(0)
    for _ in range(6):
        architecture = SPACE.sample(rng)
        taken = shared.take(architecture).train()
        torch.testing.assert_close(taken(images), shared.through(images, architecture))


def test_what_is_taken_is_a_copy(images) -> None:
    shared = SuperNetwork(SPACE, warm_up_batches=0)
    architecture = SPACE.sample(np.random.default_rng(0))
    taken = shared.take(architecture)
    before = shared.through(images, architecture)
    with torch.no_grad():
        for parameter in taken.parameters():
            parameter.zero_()
    assert torch.equal(shared.through(images, architecture), before)


def test_only_the_drawn_path_gets_a_gradient(images) -> None:
    shared = SuperNetwork(SPACE, warm_up_batches=0)
    architecture = Architecture((Block("shuffle5", 0.8),) * SPACE.blocks)
    shared.through(images, architecture).square().sum().backward()
    for block in shared.blocks:
        for name, weights in block.main.items():
            assert (name == "shuffle5") == all(w.grad is not None for w in weights)
        pointwise = block.main["shuffle5"][0]
        used = pointwise.grad.abs().sum(dim=(1, 2, 3)) > 0
        middle = int(block.place.outputs // 2 * 0.8)
        assert used[:middle].any()
        assert not used[middle:].any()


def test_the_warm_up_averages_all_operations_at_the_largest_width(images) -> None:
    shared = SuperNetwork(SPACE, warm_up_batches=2)
    for _ in range(2):
        torch.testing.assert_close(shared(images), shared.through(images, None))
    shared.zero_grad()
    shared.through(images, None).square().sum().backward()
    assert all(parameter.grad is not None for parameter in shared.parameters())
    first, second = shared(images), shared(images)  # the warm-up is over: two paths
    assert not torch.equal(first, second)
    assert int(shared.batches) == 4


def test_an_averaged_block_is_the_mean_of_its_operations(images) -> None:
    block = SuperNetwork(SPACE, warm_up_batches=0).blocks[0]
    stemmed = torch.randn(5, 4, 14, 14)
    every = [block(stemmed, Block(name, SPACE.widest())) for name in SPACE.operations]
    torch.testing.assert_close(block(stemmed, None), sum(every) / 4)


def test_paths_are_drawn_from_torchs_random_numbers(images) -> None:
    shared = SuperNetwork(SPACE, warm_up_batches=0)
    found = []
    for _ in range(2):
        torch.manual_seed(5)
        found.append(shared(images))
    assert torch.equal(*found)


def test_a_super_network_does_not_embed() -> None:
    shared = SuperNetwork(SPACE, warm_up_batches=0).eval()
    with pytest.raises(ConfigError, match="not one model"):
        shared(torch.zeros(1, 1, 28, 28))


def test_architectures_of_another_space_cannot_be_taken() -> None:
    with pytest.raises(ConfigError, match="expected an operation"):
        SuperNetwork(SPACE, warm_up_batches=0).take(Architecture((Block("none", 0.4),) * 6))


def test_recalibration_gives_the_plain_mean_over_all_batches() -> None:
    norm = nn.BatchNorm2d(3, momentum=0.3)
    batches = [torch.randn(4, 3, 5, 5) + number for number in range(3)]
    assert recalibrate(norm, batches) == 3
    mean = torch.stack([batch.mean(dim=(0, 2, 3)) for batch in batches]).mean(dim=0)
    variance = torch.stack([batch.var(dim=(0, 2, 3)) for batch in batches]).mean(dim=0)
    torch.testing.assert_close(norm.running_mean, mean)
    torch.testing.assert_close(norm.running_var, variance)
    assert norm.momentum == 0.3


def test_recalibration_changes_statistics_only_and_keeps_the_mode(images) -> None:
    network = Network(SPACE, SPACE.sample(np.random.default_rng(1))).eval()
    weights = [parameter.clone() for parameter in network.parameters()]
    raw = network(images)
    recalibrate(network, [images])
    assert not any(module.training for module in network.modules())
    assert all(map(torch.equal, weights, network.parameters()))
    recalibrated = network(images)
    assert not torch.allclose(raw, recalibrated)
    recalibrate(network, [torch.zeros(4, 1, 28, 28)])
    recalibrate(network, [images])
    assert torch.equal(network(images), recalibrated)  # what was before plays no part


def test_recalibration_without_batches_is_refused() -> None:
    with pytest.raises(InputError, match="at least one batch"):
        recalibrate(nn.BatchNorm2d(2), [])
