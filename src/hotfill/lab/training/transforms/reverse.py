"""The reverse query transform psi: one encoding of a query serves both sides of a merge.

    L_RQT = | psi(phi_new(x)) - phi_old(x) |^2, mean over coordinates

Source: Seo et al., WACV 2025 [direction and purpose read in a third party's account, form from
memory; section 2.3 of the method notes].
"""

from __future__ import annotations

from typing import Any

from hotfill.lab.training.transforms.loop import Progress, seeded, train
from hotfill.lab.training.transforms.losses import mean_square
from hotfill.lab.training.transforms.networks import BlockNetwork, folded
from hotfill.lab.training.transforms.sampling import shuffled
from hotfill.lab.training.transforms.settings import MapSettings
from hotfill.lab.training.transforms.spaces import as_compared, on_device
from hotfill.ranking import MlpMap
from hotfill.ranking.pairs import varied_pairs
from hotfill.ranking.transform import Facts
from hotfill.types import ModelId

MIN_PAIRS = 20


def train_reverse_query_transform(
    old_vectors: Any,
    new_vectors: Any,
    *,
    old_model: ModelId,
    new_model: ModelId,
    depth: int = 3,
    hidden: int | None = None,
    settings: MapSettings | None = None,
    progress: Progress | None = None,
) -> MlpMap:
    """Train psi from pairs; it goes into `hotfill.ranking.Side` as the transform of the old side.

    old_vectors, new_vectors: (n, dimension), row i of both is the same item, n >= 20. No labels.
    depth, hidden: blocks of the network and their width, 4 max(dimensions) where None.
    It does not repair unequal scales: add a calibration, or use `train_metric_compatible`.
    Raises ShapeError, VectorError (NaN, zero, constant), InputError (too few pairs), DivergedError.
    """
    old, new = varied_pairs(
        old_vectors, new_vectors, source=old_model, target=new_model, least=MIN_PAIRS
    )
    settings = settings or MapSettings()
    old_rows, new_rows = on_device(old, settings.device), on_device(new, settings.device)
    with seeded(settings):
        psi = BlockNetwork(new_model.dimension, old_model.dimension, depth=depth, hidden=hidden)
        psi.to(settings.device)
        loss = train(
            psi,
            lambda seed: shuffled(len(old), settings.batch, seed),
            lambda rows: mean_square(as_compared(psi(new_rows[rows]), old_model), old_rows[rows]),
            settings,
            progress,
        )
    facts: Facts = {"method": "reverse query transform", "pairs": len(old), "loss": loss}
    return MlpMap(new_model, old_model, folded(psi.layers, "layers"), facts)
