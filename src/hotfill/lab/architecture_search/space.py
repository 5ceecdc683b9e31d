"""What may be chosen: an operation and a width for every block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from hotfill.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np


OPERATIONS = ("shuffle3", "shuffle5", "shuffle7", "xception")
"""Shuffle blocks with depthwise kernels of 3, 5 and 7, and three depthwise 3x3 in a row."""

WIDTHS = (0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0)
"""Multipliers of a block's middle channels, which are half of its stage's channels."""


@dataclass(frozen=True, slots=True)
class Block:
    """One choice: an operation of OPERATIONS, a width of the space's widths."""

    operation: str
    width: float


@dataclass(frozen=True, slots=True)
class Architecture:
    """One choice for every block of a space, first block first."""

    blocks: tuple[Block, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {"blocks": [[block.operation, block.width] for block in self.blocks]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Architecture:
        """Build from plain values. Raises ConfigError when they are something else."""
        try:
            return cls(tuple(Block(str(name), float(width)) for name, width in values["blocks"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(
                "architecture: expected {'blocks': [[operation, width], ...]}, "
                f"got {values!r} ({error})"
            ) from error


@dataclass(frozen=True, slots=True)
class Stage:
    """Some blocks of one size. The first halves height and width.

    blocks: how many, >= 1. channels: what comes out of each, even.
    """

    blocks: int
    channels: int


@final
@dataclass(frozen=True, slots=True)
class SearchSpace:
    """All architectures that a search may find.

    name: in files. side: of the pictures, in pixels. channels: of the pictures.
    stem: channels of the first 3x3 convolution, even. stem_stride: 1 or 2.
    stages: after the stem. last: channels of the 1x1 convolution before pooling.
    dimension: of the embeddings; must be the gallery model's.
    operations, widths: what every block may choose from.
    Raises ConfigError.
    """

    name: str
    side: int
    channels: int
    stem: int
    stem_stride: int
    stages: tuple[Stage, ...]
    last: int
    dimension: int
    operations: tuple[str, ...] = OPERATIONS
    widths: tuple[float, ...] = WIDTHS

    def __post_init__(self) -> None:
        unknown = [name for name in self.operations if name not in OPERATIONS]
        if unknown or not self.operations:
            raise ConfigError(
                f"space {self.name!r}: expected operations among {', '.join(OPERATIONS)}, "
                f"got {', '.join(unknown) or 'none'}"
            )
        if not self.widths or min(self.widths) <= 0:
            raise ConfigError(f"space {self.name!r}: expected widths > 0, got {self.widths}")
        numbers = (self.side, self.channels, self.last, self.dimension)
        if min(numbers) < 1 or self.stem_stride not in (1, 2) or not self.stages:
            raise ConfigError(
                f"space {self.name!r}: expected side, channels, last and dimension >= 1, a stem "
                f"stride of 1 or 2 and at least one stage; got {self}"
            )
        before = self.stem
        for stage in self.stages:
            # The first block of a stage keeps what comes in and adds the rest.
            if stage.blocks < 1 or stage.channels % 2 or before % 2 or stage.channels <= before:
                raise ConfigError(
                    f"space {self.name!r}: expected even channels that grow from stage to stage, "
                    f"got {before} and then {stage}"
                )
            before = stage.channels

    @property
    def blocks(self) -> int:
        """How many choices an architecture makes."""
        return sum(stage.blocks for stage in self.stages)

    @property
    def size(self) -> int:
        """How many architectures there are."""
        return int((len(self.operations) * len(self.widths)) ** self.blocks)

    def choices(self) -> tuple[Block, ...]:
        """Everything that one block may choose."""
        return tuple(Block(name, width) for name in self.operations for width in self.widths)

    def check(self, architecture: Architecture) -> None:
        """Raise ConfigError unless the architecture is one of this space."""
        if len(architecture.blocks) != self.blocks:
            raise ConfigError(
                f"space {self.name!r} has {self.blocks} blocks, "
                f"the architecture has {len(architecture.blocks)}"
            )
        for number, block in enumerate(architecture.blocks):
            if block.operation not in self.operations:
                raise ConfigError(
                    f"block {number}: expected an operation of {', '.join(self.operations)}, "
                    f"got {block.operation!r}"
                )
            if block.width not in self.widths:
                raise ConfigError(
                    f"block {number}: expected a width of {self.widths}, got {block.width}"
                )

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Draw every block's operation and width uniformly."""
        choices = self.choices()
        return Architecture(
            tuple(choices[number] for number in rng.integers(len(choices), size=self.blocks))
        )

    def widest(self) -> float:
        """The largest width."""
        return max(self.widths)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        plain = {
            name: getattr(self, name)
            for name in ("name", "side", "channels", "stem", "stem_stride", "last", "dimension")
        }
        return {
            **plain,
            "stages": [[stage.blocks, stage.channels] for stage in self.stages],
            "operations": list(self.operations),
            "widths": list(self.widths),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SearchSpace:
        """Build from plain values. Raises ConfigError."""
        try:
            parts = dict(values)
            parts["stages"] = tuple(Stage(*stage) for stage in values["stages"])
            parts["operations"] = tuple(values["operations"])
            parts["widths"] = tuple(values["widths"])
            return cls(**parts)
        except (KeyError, TypeError) as error:
            raise ConfigError(f"space: expected what Space.to_dict gives ({error})") from error


def paper_space(
    *, side: int = 112, dimension: int = 128, tier: float = 1.0, stem_stride: int = 1
) -> SearchSpace:
    """The space of the paper: 20 blocks x 4 operations x 10 widths.

    side: 112 in the paper, with a stem of stride 1 (inferred from its FLOPs: the published figures
        fit no other stem); single path one-shot has 224 and stride 2.
    tier: of all channels: 1 for 330 MFLOPs, 0.75 for 230, 0.5 for 100.
    """

    def scaled(channels: int) -> int:
        return 2 * round(channels * tier / 2)

    stages = tuple(
        Stage(blocks, scaled(channels))
        for blocks, channels in ((4, 64), (4, 160), (8, 320), (4, 640))
    )
    return SearchSpace(
        f"paper-{tier:g}", side, 3, scaled(16), stem_stride, stages, scaled(1024), dimension
    )


def small_space(
    *, side: int, channels: int, dimension: int, stem: int = 8, name: str = "small"
) -> SearchSpace:
    """A space for pictures of 28 to 64 pixels and searches on a CPU: 6 blocks.

    stem: its channels; the stages have 2, 4 and 8 times as many, the last layer 16 times.
    With 8, 28 pixels and one channel: 0.1 to 0.35 MFLOPs. All four operations; half as many widths,
    since a small super-network is trained by few batches.
    """
    return SearchSpace(
        name,
        side,
        channels,
        stem=stem,
        stem_stride=2,
        stages=(Stage(2, 2 * stem), Stage(2, 4 * stem), Stage(2, 8 * stem)),
        last=16 * stem,
        dimension=dimension,
        widths=WIDTHS[1::2],
    )


# What an architecture is made of, layer by layer: for counting, building and sharing weights. The
# blocks are those of single path one-shot (SPOS, `megvii-model/SinglePathOneShot`, read in code),
# which CMP-NAS searches.

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


def network_layers(space: SearchSpace, architecture: Architecture) -> NetworkLayers:
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
class BlockPlace:
    """Where a block stands. inputs, outputs: channels. stride: 2 where the size is halved."""

    inputs: int
    outputs: int
    stride: int


def places(space: SearchSpace) -> tuple[BlockPlace, ...]:
    """The place of every block."""
    found, inputs = [], space.stem
    for stage in space.stages:
        for number in range(stage.blocks):
            found.append(BlockPlace(inputs, stage.channels, 2 if number == 0 else 1))
            inputs = stage.channels
    return tuple(found)


def block_layers(block: Block, place: BlockPlace) -> BlockLayers:
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


# What an architecture costs: multiplications with additions for one picture.
# Only convolutions and the linear layer are counted, as the literature does (its FLOPs are our
# multiply-adds). Checked against the published 323 M of single path one-shot's network.


def flops(space: SearchSpace, architecture: Architecture) -> int:
    """Multiply-adds of one picture. Raises ConfigError when it is not one of the space."""
    layers = network_layers(space, architecture)
    total, side = _count([layers.stem], space.side)
    for block in layers.blocks:
        cost, side = _count_block(block, side)
        total += cost
    cost, _ = _count([layers.last], side)
    return total + cost + layers.linear[0] * layers.linear[1]


def block_flops(space: SearchSpace) -> list[dict[Block, int]]:
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


_DRAWS = 2000  # before a budget is called too narrow


@final
class Budget:
    """How many multiply-adds an architecture of a space may cost.

    flops_at_least: keeps a search near what may be spent, as SPOS's does (290 to 360 of 330 M):
        shared weights tell small networks from larger ones badly. spendable: what the dearest
        architecture within the budget can cost, at most.
    Raises ConfigError when no architecture is so cheap, or none so dear; it names what the cheapest
    or the dearest one costs.
    """

    def __init__(self, space: SearchSpace, flops_at_most: int, flops_at_least: int = 0) -> None:
        self.space, self.flops_at_most = space, flops_at_most
        self.flops_at_least = flops_at_least
        self._table = block_flops(space)
        self.cheapest = Architecture(
            tuple(min(costs, key=lambda b: costs[b]) for costs in self._table)
        )
        self._least = [min(costs.values()) for costs in self._table]
        least = flops(space, self.cheapest)
        if flops_at_most < least:
            raise ConfigError(
                f"a budget of {flops_at_most:,} FLOPs is impossible: the cheapest architecture of "
                f"space {space.name!r} costs {least:,}; raise the budget, or take a space with "
                "fewer channels or smaller pictures"
            )
        self._fixed = least - sum(self._least)
        most = self._fixed + sum(max(costs.values()) for costs in self._table)
        self.spendable = min(most, flops_at_most)
        if flops_at_least > self.spendable:
            raise ConfigError(
                f"at least {flops_at_least:,} FLOPs are impossible: the budget is "
                f"{flops_at_most:,}, and the dearest architecture of space {space.name!r} costs "
                f"{most:,}"
            )

    def allows(self, architecture: Architecture) -> bool:
        """Tell whether an architecture costs neither too much nor too little."""
        return self.flops_at_least <= flops(self.space, architecture) <= self.flops_at_most

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Draw an architecture within the budget.

        The blocks choose in random order, each uniformly among what leaves enough for the cheapest
        choice of those after it, and not more than their dearest ones can spend. Where the budget
        binds nothing this is the uniform draw; where it is tight, drawing and rejecting would
        hardly ever end. What falls between two costs is drawn again; raises ConfigError where that
        does not end either.
        """
        for _ in range(_DRAWS):
            drawn = self._draw(rng)
            if self.allows(drawn):
                return drawn
        raise ConfigError(
            f"hardly any architecture costs {self.flops_at_least:,} to {self.flops_at_most:,} "
            f"FLOPs: none of {_DRAWS} drawn did; leave more room between the two"
        )

    def _draw(self, rng: np.random.Generator) -> Architecture:
        least = self._fixed + sum(self._least)
        left, wanted = self.flops_at_most - least, self.flops_at_least - least
        chosen: dict[int, int] = {}
        choices = self.space.choices()
        extras = [
            [costs[block] - least for block in choices]
            for costs, least in zip(self._table, self._least, strict=True)
        ]
        others = sum(map(max, extras))  # what the blocks that have not chosen can spend
        for place in rng.permutation(len(self._table)):
            extra = extras[place]
            others -= max(extra)
            cheap = [number for number, cost in enumerate(extra) if cost <= left]
            possible = [number for number in cheap if extra[number] + others >= wanted] or cheap
            chosen[int(place)] = possible[int(rng.integers(len(possible)))]
            left -= extra[chosen[int(place)]]
            wanted -= extra[chosen[int(place)]]
        return Architecture(tuple(choices[chosen[place]] for place in range(len(self._table))))
