"""What may be chosen, and what it costs."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hotfill.errors import ConfigError
from hotfill.lab.architecture_search.network import Network, module_flops
from hotfill.lab.architecture_search.space import (
    OPERATIONS,
    Architecture,
    Block,
    Budget,
    SearchSpace,
    Stage,
    flops,
    paper_space,
    small_space,
)

SMALL = small_space(side=28, channels=1, dimension=16)
IMAGENET = paper_space(side=224, dimension=1000, stem_stride=2)  # as published: 1,000 classes

# The architecture that single path one-shot published with 323 MFLOPs.
PUBLISHED = (2, 1, 0, 1, 2, 0, 2, 0, 2, 0, 2, 3, 0, 0, 0, 0, 3, 2, 3, 3)


def uniform(operation: str, width: float) -> Architecture:
    return Architecture((Block(operation, width),) * 20)


def test_the_paper_has_40_choices_for_each_of_20_blocks() -> None:
    assert IMAGENET.blocks == 20
    assert IMAGENET.size == 40**20


def test_the_published_reference_network_costs_323_million() -> None:
    reference = Architecture(tuple(Block(OPERATIONS[number], 1.0) for number in PUBLISHED))
    assert round(flops(IMAGENET, reference) / 1e6) == 323


@pytest.mark.parametrize(
    ("operation", "millions"),
    [
        ("shuffle3", (101.9, 295.8, 537.8)),
        ("shuffle5", (107.3, 313.7, 571.0)),
        ("shuffle7", (115.3, 340.4, 620.9)),
        ("xception", (106.0, 358.8, 841.8)),
    ],
)
def test_networks_of_one_operation_cost_what_the_specification_says(operation, millions) -> None:
    found = [flops(IMAGENET, uniform(operation, width)) / 1e6 for width in (0.2, 1.0, 2.0)]
    assert found == pytest.approx(millions, abs=0.06)


@pytest.mark.parametrize("side", [28, 33])
def test_the_counter_agrees_with_a_network_that_runs(side) -> None:
    space = small_space(side=side, channels=3, dimension=8)
    rng = np.random.default_rng(side)
    for _ in range(2):
        architecture = space.sample(rng)
        network = Network(space, architecture)
        assert flops(space, architecture) == module_flops(network, channels=3, side=side)
        assert network.training


@given(st.integers(0, 2**32))
def test_spaces_and_architectures_come_back_from_json(seed) -> None:
    architecture = SMALL.sample(np.random.default_rng(seed))
    text = json.dumps([SMALL.to_dict(), architecture.to_dict()])
    space, choice = json.loads(text)
    assert SearchSpace.from_dict(space) == SMALL
    assert Architecture.from_dict(choice) == architecture


def test_sampling_is_a_function_of_the_seed() -> None:
    first, again = (SMALL.sample(np.random.default_rng(7)) for _ in range(2))
    assert first == again
    assert first != SMALL.sample(np.random.default_rng(8))


@given(st.floats(0.0, 1.0), st.integers(0, 2**32))
def test_architectures_drawn_within_a_budget_keep_it(share, seed) -> None:
    least = flops(SMALL, Budget(SMALL, 10**9).cheapest)
    budget = Budget(SMALL, least + int(share * 200_000))
    drawn = budget.sample(np.random.default_rng(seed))
    SMALL.check(drawn)
    assert budget.allows(drawn)


def test_the_cheapest_architecture_is_the_cheapest() -> None:
    """Against every architecture of a tiny space."""
    space = SearchSpace("tiny", 9, 1, 2, 1, (Stage(2, 8),), 4, 3, widths=(0.5, 1.0))
    choices = space.choices()
    costs = [flops(space, Architecture((a, b))) for a in choices for b in choices]
    assert flops(space, Budget(space, 10**9).cheapest) == min(costs)


def test_an_impossible_budget_is_refused_and_the_least_possible_one_named() -> None:
    least = flops(SMALL, Budget(SMALL, 10**9).cheapest)
    Budget(SMALL, least)
    with pytest.raises(ConfigError, match=f"cheapest architecture .* costs {least:,}"):
        Budget(SMALL, least - 1)


@pytest.mark.parametrize("seed", range(5))
def test_a_budget_may_also_have_a_least(seed) -> None:
    most = 220_000
    budget = Budget(SMALL, most, int(0.85 * most))
    drawn = budget.sample(np.random.default_rng(seed))
    assert 0.85 * most <= flops(SMALL, drawn) <= most
    assert not budget.allows(budget.cheapest)
    assert Budget(SMALL, most).allows(budget.cheapest)


def test_a_least_that_nothing_or_hardly_anything_reaches_is_refused() -> None:
    space = SearchSpace("tiny", 9, 1, 2, 1, (Stage(2, 8),), 4, 3, widths=(0.5, 1.0))
    choices = space.choices()
    costs = sorted({flops(space, Architecture((a, b))) for a in choices for b in choices})
    Budget(space, 10**9, costs[-1])
    with pytest.raises(ConfigError, match=f"dearest architecture .* costs {costs[-1]:,}"):
        Budget(space, 10**9, costs[-1] + 1)
    with pytest.raises(ConfigError, match="the budget is"):
        Budget(space, costs[2], costs[2] + 1)
    gap = max(range(1, len(costs)), key=lambda n: costs[n] - costs[n - 1])
    narrow = Budget(space, costs[gap] - 1, costs[gap - 1] + 1)
    with pytest.raises(ConfigError, match="leave more room between the two"):
        narrow.sample(np.random.default_rng(0))


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        (Architecture((Block("shuffle9", 1.2),) * 6), "block 0: expected an operation"),
        (Architecture((Block("shuffle3", 0.3),) * 6), "block 0: expected a width"),
        (Architecture((Block("shuffle3", 1.2),) * 5), "has 6 blocks, the architecture has 5"),
    ],
)
def test_architectures_of_another_space_are_refused(architecture, message) -> None:
    with pytest.raises(ConfigError, match=message):
        flops(SMALL, architecture)


@pytest.mark.parametrize(
    "values",
    [{}, {"blocks": 3}, {"blocks": [["shuffle3"]]}, {"blocks": [["shuffle3", "wide"]]}, None],
)
def test_what_is_no_architecture_is_refused(values) -> None:
    with pytest.raises(ConfigError, match="architecture: expected"):
        Architecture.from_dict(values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"operations": ("shuffle3", "pool")}, "got pool"),
        ({"operations": ()}, "got none"),
        ({"widths": (0.0, 1.0)}, "widths > 0"),
        ({"stem_stride": 3}, "stem stride"),
        ({"stages": (Stage(2, 8),)}, "even channels that grow"),
        ({"stages": (Stage(2, 17),)}, "even channels that grow"),
    ],
)
def test_spaces_that_make_no_sense_are_refused(change, message) -> None:
    plain = {
        name: getattr(SMALL, name)
        for name in (
            *("name", "side", "channels", "stem", "stem_stride", "stages", "last", "dimension"),
            *("operations", "widths"),
        )
    }
    with pytest.raises(ConfigError, match=message):
        SearchSpace(**plain | change)


def test_counting_leaves_a_network_as_it_was() -> None:
    network = Network(SMALL, SMALL.sample(np.random.default_rng(0))).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    module_flops(network, channels=1, side=28)
    assert not network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())
