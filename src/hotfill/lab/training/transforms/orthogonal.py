"""lambda-orthogonality: one unified space that the new model reaches by (almost) a rotation.

    L_B = | B(new) - old |^2        B = exp(P), P skew-symmetric; unequal dimensions: the longer cut
    L_F = | F(old) - B(new) |^2
    L_C = SupCon(F(old), B(new)) + SupCon(F(old), old)
    L_lambda = sigmoid(alpha (|W W^T - I|_F - lambda)) |W W^T - I|_F          B(x) = x W^T, relaxed
    L   = w1 L_F + w2 L_B + w3 L_C + L_lambda

Queries and re-embedded items are B(new), the stored old vectors are rewritten by F, or left as they
are: B(new) can search them too. Source: Ricci et al., NeurIPS 2025, arXiv 2509.16664 [read, section
6.1 of the method notes; not read there: w1 to w3, alpha, the shape of F and whether squared errors
are sums or means, for which project defaults stand]. [lambda = 12 and learning rate 1e-3 read]
"""

from __future__ import annotations

from typing import Any, final

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hotfill.errors import ConfigError, ShapeError
from hotfill.lab.losses.maps import Map
from hotfill.lab.training.transforms.contrast import supervised_contrast
from hotfill.lab.training.transforms.loop import Progress, seeded, train
from hotfill.lab.training.transforms.losses import mean_square
from hotfill.lab.training.transforms.networks import BlockNetwork, folded
from hotfill.lab.training.transforms.positives import Positives
from hotfill.lab.training.transforms.reverse import MIN_PAIRS
from hotfill.lab.training.transforms.settings import MapSettings
from hotfill.lab.training.transforms.spaces import as_compared, on_device
from hotfill.ranking import Affine, MlpMap
from hotfill.ranking.pairs import varied_pairs
from hotfill.ranking.transform import Facts
from hotfill.types import ModelId

LAMBDA, ALPHA = 12.0, 1.0
TEMPERATURE = 0.1


@final
class LambdaOrthogonal(Map):
    """B: strictly orthogonal as exp(P), or relaxed, a free square matrix held near rotations."""

    def __init__(self, dimension: int, *, relaxed: bool) -> None:
        super().__init__()
        self.relaxed = relaxed
        start = torch.eye(dimension) if relaxed else torch.zeros(dimension, dimension)
        self.free = nn.Parameter(start)

    @property
    def matrix(self) -> Tensor:
        """W, (d, d)."""
        if self.relaxed:
            return self.free
        turned: Tensor = torch.matrix_exp(self.free - self.free.T)
        return turned

    def forward(self, vectors: Tensor) -> Tensor:
        """Map (n, d) to (n, d)."""
        return vectors @ self.matrix.T


def orthogonality_loss(matrix: Tensor, *, threshold: float, sharpness: float) -> Tensor:
    """L_lambda: how far W is from orthogonal, counted only where that exceeds about the threshold.

    matrix: (d, d). threshold: lambda, >= 0. sharpness: alpha, > 0.
    """
    gram = matrix @ matrix.T - torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    # The norm has no slope at 0, where training starts.
    far = (gram.square().sum() + 1e-12).sqrt()
    return torch.sigmoid(sharpness * (far - threshold)) * far


def train_lambda_orthogonal(
    old_vectors: Any,
    new_vectors: Any,
    positives: Positives,
    *,
    old_model: ModelId,
    new_model: ModelId,
    unified_model: ModelId,
    relaxed: bool = True,
    threshold: float = LAMBDA,
    weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0),
    depth: int = 3,
    hidden: int | None = None,
    settings: MapSettings | None = None,
    progress: Progress | None = None,
) -> tuple[Affine, MlpMap]:
    """Train (B, F): new model to unified space, old model to unified space.

    old_vectors, new_vectors: (n, dimension), row i of both is the same item, n >= 20.
    positives: of the same items; `Neighbours` where there are no labels.
    unified_model: the space of both outputs, of the new model's dimension.
    relaxed: a free matrix under L_lambda, or strictly orthogonal. threshold: lambda.
    weights: of L_F, L_B, L_C and L_lambda. depth, hidden: of F's network.
    settings: None for the defaults with learning rate 1e-3.
    Raises ShapeError, VectorError, InputError, ConfigError, DivergedError.
    """
    old, new = varied_pairs(
        old_vectors, new_vectors, source=old_model, target=new_model, least=MIN_PAIRS
    )
    if positives.items != len(old):
        raise ShapeError(f"positives relate {positives.items} items, but {len(old)} pairs came")
    if unified_model.dimension != new_model.dimension:
        raise ConfigError(
            f"a rotation keeps the dimension: the unified space needs {new_model.dimension}, got "
            f"{unified_model.dimension}"
        )
    settings = settings or MapSettings(learning_rate=1e-3)
    old_rows, new_rows = on_device(old, settings.device), on_device(new, settings.device)
    shared = min(old_model.dimension, new_model.dimension)
    to_forward, to_backward, to_contrast, to_lambda = weights
    with seeded(settings):
        backward = LambdaOrthogonal(new_model.dimension, relaxed=relaxed)
        forward = BlockNetwork(
            old_model.dimension, unified_model.dimension, depth=depth, hidden=hidden
        )
        maps = nn.ModuleList([backward, forward]).to(settings.device)

        def loss_of(rows: NDArray[Any]) -> Tensor:
            old_true = old_rows[rows]
            turned = backward(new_rows[rows])
            mapped = as_compared(forward(old_true), unified_model)
            masks, _ = positives.masks(rows)
            masks = masks.to(settings.device).with_itself()
            contrast = supervised_contrast(mapped, turned, masks, temperature=TEMPERATURE)
            contrast = contrast + supervised_contrast(
                mapped[:, :shared], old_true[:, :shared], masks, temperature=TEMPERATURE
            )
            loss = (
                to_forward * mean_square(mapped, turned)
                + to_backward * mean_square(turned[:, :shared], old_true[:, :shared])
                + to_contrast * contrast
            )
            if relaxed:
                loss = loss + to_lambda * orthogonality_loss(
                    backward.matrix, threshold=threshold, sharpness=ALPHA
                )
            return loss

        loss = train(
            maps, lambda seed: positives.batches(settings.batch, seed), loss_of, settings, progress
        )
        matrix = backward.matrix.detach().cpu().numpy().T
    facts: Facts = {"method": "lambda-orthogonality", "pairs": len(old), "loss": loss}
    offset = torch.zeros(unified_model.dimension).numpy()
    return (
        Affine(new_model, unified_model, {"matrix": matrix, "offset": offset}, facts),
        MlpMap(old_model, unified_model, folded(forward.layers, "layers"), facts),
    )
