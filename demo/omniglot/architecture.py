"""What the two encoders are made of: the one description that training and inference share."""

from dataclasses import dataclass

from demo.omniglot.drawings import SIDE


@dataclass(frozen=True)
class Convolution:
    """A square convolution with bias and ReLU, padded by kernel // 2.

    channels: outputs. kernel, stride: pixels. pool: then keep the maximum of each 2x2 square (a
    last odd row or column is dropped).
    """

    channels: int
    kernel: int = 3
    stride: int = 1
    pool: bool = False


@dataclass(frozen=True)
class Architecture:
    """Convolutions, then one linear layer to `dimension` numbers, then unit length."""

    name: str
    convolutions: tuple[Convolution, ...]
    dimension: int

    @property
    def features(self) -> int:
        """How many numbers the linear layer reads."""
        side = SIDE
        for convolution in self.convolutions:
            side = -(-side // convolution.stride)
            side = side // 2 if convolution.pool else side
        return side * side * self.convolutions[-1].channels


OLD = Architecture(
    name="omniglot-old",
    convolutions=(
        Convolution(12, kernel=5, stride=2),
        Convolution(24, pool=True),
        Convolution(32, pool=True),
    ),
    dimension=64,
)

NEW = Architecture(
    name="omniglot-new",
    convolutions=(
        Convolution(24, kernel=5, stride=2),
        Convolution(48, pool=True),
        Convolution(96),
        Convolution(96, pool=True),
        Convolution(192),
    ),
    dimension=128,
)
