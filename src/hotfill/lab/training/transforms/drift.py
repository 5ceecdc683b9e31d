"""Drift-Adapter's residual MLP with a diagonal scale, trained by the squared error.

Source: Vejendla 2025; section 5 of the method notes. Its published recall could not be reproduced
by others: always compare it with plain old-model search.
"""

from __future__ import annotations

from typing import Any

from hotfill.lab.training.transforms.loop import Progress, seeded, train
from hotfill.lab.training.transforms.losses import mean_square
from hotfill.lab.training.transforms.networks import DriftNetwork
from hotfill.lab.training.transforms.reverse import MIN_PAIRS
from hotfill.lab.training.transforms.sampling import shuffled
from hotfill.lab.training.transforms.settings import MapSettings
from hotfill.lab.training.transforms.spaces import as_compared, on_device
from hotfill.ranking import ResidualMlp
from hotfill.ranking.pairs import varied_pairs
from hotfill.ranking.transform import Facts
from hotfill.types import ModelId


def train_residual_mlp(
    source_vectors: Any,
    target_vectors: Any,
    *,
    source: ModelId,
    target: ModelId,
    hidden: int = 256,
    settings: MapSettings | None = None,
    progress: Progress | None = None,
) -> ResidualMlp:
    """Train the map from pairs, in either direction and between any dimensions.

    source_vectors, target_vectors: (n, dimension), row i of both is the same item, n >= 20.
    hidden: width of the bent part, 256 in the paper. No labels.
    Raises ShapeError, VectorError (NaN, zero, constant), InputError (too few pairs), DivergedError.
    """
    first, second = varied_pairs(
        source_vectors, target_vectors, source=source, target=target, least=MIN_PAIRS
    )
    settings = settings or MapSettings()
    given, true = on_device(first, settings.device), on_device(second, settings.device)
    with seeded(settings):
        network = DriftNetwork(source.dimension, target.dimension, hidden=hidden)
        network.to(settings.device)
        loss = train(
            network,
            lambda seed: shuffled(len(first), settings.batch, seed),
            lambda rows: mean_square(as_compared(network(given[rows]), target), true[rows]),
            settings,
            progress,
        )
    arrays = {
        "straight": network.straight.weight.T,
        "offset": network.outer.bias,
        "inner": network.inner.weight.T,
        "inner_offset": network.inner.bias,
        "outer": network.outer.weight.T,
        "scale": network.scale,
    }
    facts: Facts = {"method": "residual MLP", "pairs": len(first), "loss": loss}
    plain = {name: tensor.detach().cpu().numpy() for name, tensor in arrays.items()}
    return ResidualMlp(source, target, plain, facts)
