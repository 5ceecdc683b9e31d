"""Small random distortions of drawings, so that 20 drawings per character go further."""

import torch
from torch import Tensor, nn

TURN_RADIANS = 0.25
SHEAR = 0.25
LOG_SCALE = 0.2  # each axis for itself, by a factor of up to e^0.2
SHIFT = 0.14  # of half the picture: 2 pixels

# Ink where the distorted picture is at least this dark. Lower than a half, because a stroke of one
# pixel that falls between two becomes two of 0.5.
INK = 0.4


def distort(images: Tensor, generator: torch.Generator) -> Tensor:
    """Turn, shear, scale and shift each picture by its own random amount.

    images: (n, 1, 28, 28) float, 0 or 1. Returns the same shape, again 0 or 1.
    """
    count = len(images)

    def between(bound: float) -> Tensor:
        return (torch.rand(count, generator=generator) * 2 - 1) * bound

    turn, shear = between(TURN_RADIANS), between(SHEAR)
    wide, tall = torch.exp(between(LOG_SCALE)), torch.exp(between(LOG_SCALE))
    cosine, sine = torch.cos(turn), torch.sin(turn)
    rows = [
        torch.stack([wide * cosine, wide * (shear * cosine - sine), between(SHIFT)], dim=1),
        torch.stack([tall * sine, tall * (shear * sine + cosine), between(SHIFT)], dim=1),
    ]
    grid = nn.functional.affine_grid(
        torch.stack(rows, dim=1), list(images.shape), align_corners=False
    )
    distorted = nn.functional.grid_sample(images, grid, align_corners=False)
    return (distorted >= INK).to(images.dtype)
