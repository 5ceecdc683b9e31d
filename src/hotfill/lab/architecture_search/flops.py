"""What an architecture costs: multiplications with additions for one picture.

Only convolutions and the linear layer are counted, as the literature does (its FLOPs are our
multiply-adds). Checked against the published 323 M of single path one-shot's network.
"""

from __future__ import annotations

from collections.abc import Sequence

from hotfill.lab.architecture_search.layers import (
    BlockLayers,
    Layer,
    block_layers,
    network_layers,
    places,
)
from hotfill.lab.architecture_search.space import Architecture, Block, Space


def flops(space: Space, architecture: Architecture) -> int:
    """Multiply-adds of one picture. Raises ConfigError when it is not one of the space."""
    layers = network_layers(space, architecture)
    total, side = _count([layers.stem], space.side)
    for block in layers.blocks:
        cost, side = _count_block(block, side)
        total += cost
    cost, _ = _count([layers.last], side)
    return total + cost + layers.linear[0] * layers.linear[1]


def block_flops(space: Space) -> list[dict[Block, int]]:
    """What each choice costs at each block. The blocks of one architecture simply add up."""
    side = _halved(space.side) if space.stem_stride == 2 else space.side
    table = []
    for place in places(space):
        costs = {
            block: _count_block(block_layers(block, place), side)[0] for block in space.choices()
        }
        table.append(costs)
        side = _halved(side) if place.stride == 2 else side
    return table


def _count_block(block: BlockLayers, side: int) -> tuple[int, int]:
    main, after = _count(block.main, side)
    return main + _count(block.projection, side)[0], after


def _count(layers: Sequence[Layer], side: int) -> tuple[int, int]:
    """Multiply-adds, and the side afterwards."""
    total = 0
    for layer in layers:
        side = _halved(side) if layer.stride == 2 else side
        inputs = 1 if layer.depthwise else layer.inputs
        total += inputs * layer.outputs * layer.kernel**2 * side**2
    return total, side


def _halved(side: int) -> int:
    return -(-side // 2)
