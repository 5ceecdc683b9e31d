"""What an architecture is made of, layer by layer: for counting, building and sharing weights.

The blocks are those of single path one-shot (SPOS, `megvii-model/SinglePathOneShot`, read in
code), which CMP-NAS searches.
"""

from __future__ import annotations

from dataclasses import dataclass

from hotfill.errors import ConfigError
from hotfill.lab.architecture_search.space import Architecture, Block, Space

KERNELS = {"shuffle3": 3, "shuffle5": 5, "shuffle7": 7}


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution without bias, then batch normalisation, then perhaps ReLU.

    inputs, outputs: channels. kernel: odd, padded by kernel // 2. stride: 1 or 2.
    depthwise: each channel for itself; then inputs = outputs.
    """

    inputs: int
    outputs: int
    kernel: int = 1
    stride: int = 1
    depthwise: bool = False
    relu: bool = True


@dataclass(frozen=True, slots=True)
class BlockLayers:
    """A block: half of the channels go through `main`, the others through `projection`.

    projection: empty in a block that keeps the size; there the channels are split. In one that
    halves it, every channel goes both ways.
    """

    main: tuple[Layer, ...]
    projection: tuple[Layer, ...]


@dataclass(frozen=True, slots=True)
class NetworkLayers:
    """A network: stem, blocks, last 1x1 convolution; then mean over the picture and `linear`.

    linear: inputs and outputs of the linear layer without bias.
    """

    stem: Layer
    blocks: tuple[BlockLayers, ...]
    last: Layer
    linear: tuple[int, int]


def network_layers(space: Space, architecture: Architecture) -> NetworkLayers:
    """Lay out an architecture. Raises ConfigError when it is not one of the space."""
    space.check(architecture)
    blocks = tuple(
        block_layers(block, place)
        for block, place in zip(architecture.blocks, places(space), strict=True)
    )
    return NetworkLayers(
        Layer(space.channels, space.stem, 3, space.stem_stride),
        blocks,
        Layer(space.stages[-1].channels, space.last),
        (space.last, space.dimension),
    )


@dataclass(frozen=True, slots=True)
class Place:
    """Where a block stands. inputs, outputs: channels. stride: 2 where the size is halved."""

    inputs: int
    outputs: int
    stride: int


def places(space: Space) -> tuple[Place, ...]:
    """The place of every block."""
    found, inputs = [], space.stem
    for stage in space.stages:
        for number in range(stage.blocks):
            found.append(Place(inputs, stage.channels, 2 if number == 0 else 1))
            inputs = stage.channels
    return tuple(found)


def block_layers(block: Block, place: Place) -> BlockLayers:
    """Lay out one block at its place."""
    inputs = place.inputs if place.stride == 2 else place.inputs // 2
    middle = max(1, int(place.outputs // 2 * block.width))
    outputs = place.outputs - inputs
    main: tuple[Layer, ...]
    if block.operation == "xception":
        kernel = 3
        main = (
            Layer(inputs, inputs, kernel, place.stride, depthwise=True, relu=False),
            Layer(inputs, middle),
            Layer(middle, middle, kernel, depthwise=True, relu=False),
            Layer(middle, middle),
            Layer(middle, middle, kernel, depthwise=True, relu=False),
            Layer(middle, outputs),
        )
    elif block.operation in KERNELS:
        kernel = KERNELS[block.operation]
        main = (
            Layer(inputs, middle),
            Layer(middle, middle, kernel, place.stride, depthwise=True, relu=False),
            Layer(middle, outputs),
        )
    else:
        raise ConfigError(f"no layers are known for the operation {block.operation!r}")
    if place.stride == 1:
        return BlockLayers(main, ())
    return BlockLayers(
        main,
        (
            Layer(inputs, inputs, kernel, 2, depthwise=True, relu=False),
            Layer(inputs, inputs),
        ),
    )
