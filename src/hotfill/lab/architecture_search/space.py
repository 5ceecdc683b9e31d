"""What may be chosen: an operation and a width for every block."""

from __future__ import annotations

from collections.abc import Mapping
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
class Space:
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
    def from_dict(cls, values: Mapping[str, Any]) -> Space:
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
) -> Space:
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
    return Space(
        f"paper-{tier:g}", side, 3, scaled(16), stem_stride, stages, scaled(1024), dimension
    )


def small_space(
    *, side: int, channels: int, dimension: int, stem: int = 8, name: str = "small"
) -> Space:
    """A space for pictures of 28 to 64 pixels and searches on a CPU: 6 blocks.

    stem: its channels; the stages have 2, 4 and 8 times as many, the last layer 16 times.
    With 8, 28 pixels and one channel: 0.1 to 0.35 MFLOPs. All four operations; half as many widths,
    since a small super-network is trained by few batches.
    """
    return Space(
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
