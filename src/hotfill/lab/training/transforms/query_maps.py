"""Maps of queries: new queries that search old vectors.

The reverse query transform psi: one encoding of a query serves both sides of a merge.

    L_RQT = | psi(phi_new(x)) - phi_old(x) |^2, mean over coordinates

Source: Seo et al., WACV 2025 [direction and purpose read in a third party's account, form from
memory; section 2.3 of the method notes].
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray
from torch import Tensor, nn

from hotfill.errors import ConfigError, ShapeError
from hotfill.lab.training.transforms.loop import (
    MapSettings,
    Progress,
    compared,
    distances,
    on_device,
    refuse_unequal_scales,
    seeded,
    shuffled,
    train,
)
from hotfill.lab.training.transforms.losses import CONTRASTS, Contrast, contrast_loss, mean_square
from hotfill.lab.training.transforms.networks import BlockNetwork, DriftNetwork, folded
from hotfill.lab.training.transforms.positives import Positives
from hotfill.ranking import MlpMap, ResidualMlp
from hotfill.ranking.pairs import varied_pairs
from hotfill.ranking.transform import Facts
from hotfill.types import ModelId
from hotfill.vectors import has_free_length

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
            lambda rows: mean_square(compared(psi(new_rows[rows]), old_model), old_rows[rows]),
            settings,
            progress,
        )
    facts: Facts = {"method": "reverse query transform", "pairs": len(old), "loss": loss}
    return MlpMap(new_model, old_model, folded(psi.layers, "layers"), facts)


# Drift-Adapter's residual MLP with a diagonal scale, trained by the squared error.
# Source: Vejendla 2025; section 5 of the method notes. Its published recall could not be reproduced
# by others: always compare it with plain old-model search.


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
            lambda rows: mean_square(compared(network(given[rows]), target), true[rows]),
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


# Metric-compatible training: psi, and if wanted rho, so that the two sides' distances agree.
#     L = L_RQT + weight * contrast        (see `reverse` and `contrast`)
# psi carries new queries to the old space. rho, the learnable new embedding, sits on top of the new
# model: what it gives is stored and searched on the new side instead of the new model's own
# vectors. Without rho the new side's distances are fixed and only psi can move.
# Source: Seo et al., WACV 2025; sections 2.4 to 2.6 of the method notes say what was read there and
# what is from memory or a project default.

UNIT_TEMPERATURE = 0.1  # distances of unit vectors are at most 2: at 1 the softmax is almost flat
FREE_TEMPERATURE = 1.0


def train_metric_compatible(
    old_vectors: Any,
    new_vectors: Any,
    positives: Positives,
    *,
    old_model: ModelId,
    new_model: ModelId,
    learned_model: ModelId | None = None,
    chained: bool = False,
    contrast: Contrast = "joint",
    temperature: float | None = None,
    weight: float = 1.0,
    hardest: int | None = None,
    depth: int = 3,
    hidden: int | None = None,
    settings: MapSettings | None = None,
    progress: Progress | None = None,
) -> tuple[MlpMap, MlpMap | None]:
    """Train (psi, rho) from pairs and a relation among them; rho is None unless asked for.

    old_vectors, new_vectors: (n, dimension), row i of both is the same item, n >= 20.
    positives: of the same n items: `SameLabel`, `Related` or `Neighbours`.
    learned_model: the space of rho's vectors, any dimension; None trains psi alone. Give it a
        revision of its own: its vectors must never meet the new model's.
    chained: let psi read rho's vectors instead of the new model's, so that an embedder that ends
        in rho is all that serving sees. Without it psi's source is the new model, and a scorer is
        given psi's output as `old_queries` [the paper's form, as far as it is known].
    contrast: "joint" is the method; "independent", "old", "new" are its ablations. "new" moves
        nothing but rho.
    temperature: None for 0.1 on unit vectors, 1.0 on others.
    weight: of the contrast. hardest: keep each anchor's farthest positive and this many nearest
        negatives on each side; None keeps all.
    depth, hidden: of both networks; width 4 max(dimensions) where None.
    Raises ShapeError, VectorError, InputError, ConfigError (spaces compared in different ways, an
    ablation without what it trains), DivergedError.
    """
    old, new = varied_pairs(
        old_vectors, new_vectors, source=old_model, target=new_model, least=MIN_PAIRS
    )
    if positives.items != len(old):
        raise ShapeError(f"positives relate {positives.items} items, but {len(old)} pairs came")
    new_side = learned_model or new_model
    refuse_unequal_scales(old_model, new_side)
    _refuse_nothing_to_train(contrast, learned_model, chained)
    if temperature is None:
        temperature = FREE_TEMPERATURE if has_free_length(old_model) else UNIT_TEMPERATURE
    settings = settings or MapSettings()
    old_rows, new_rows = on_device(old, settings.device), on_device(new, settings.device)
    source = new_side if chained else new_model

    with seeded(settings):
        psi = BlockNetwork(source.dimension, old_model.dimension, depth=depth, hidden=hidden)
        rho = None
        if learned_model is not None:
            rho = BlockNetwork(
                new_model.dimension, learned_model.dimension, depth=depth, hidden=hidden
            )
        maps = nn.ModuleList([psi] if rho is None else [psi, rho]).to(settings.device)

        def loss_of(rows: NDArray[Any]) -> Tensor:
            old_true, given = old_rows[rows], new_rows[rows]
            learned = given if rho is None else compared(rho(given), new_side)
            carried = compared(psi(learned if chained else given), old_model)
            old_distances = distances(carried, old_true)
            new_distances = distances(learned, learned)
            old_masks, new_masks = (side.to(settings.device) for side in positives.masks(rows))
            if hardest is not None:
                old_masks = old_masks.hardest(old_distances.detach(), hardest)
                new_masks = new_masks.hardest(new_distances.detach(), hardest)
            part = contrast_loss(
                old_distances,
                new_distances,
                old_masks,
                new_masks,
                temperature=temperature,
                kind=contrast,
            )
            return mean_square(carried, old_true) + weight * part

        loss = train(
            maps, lambda seed: positives.batches(settings.batch, seed), loss_of, settings, progress
        )
    facts: Facts = {
        "method": f"metric-compatible, {contrast}",
        "positives": type(positives).__name__,
        "pairs": len(old),
        "temperature": temperature,
        "weight": weight,
        "loss": loss,
    }
    trained_psi = MlpMap(source, old_model, folded(psi.layers, "layers"), facts)
    if rho is None:
        return trained_psi, None
    return trained_psi, MlpMap(new_model, new_side, folded(rho.layers, "layers"), facts)


def _refuse_nothing_to_train(contrast: str, learned_model: ModelId | None, chained: bool) -> None:
    if contrast not in CONTRASTS:
        raise ConfigError(f"contrast: expected one of {', '.join(CONTRASTS)}; got {contrast!r}")
    if learned_model is None and contrast == "new":
        raise ConfigError("the contrast 'new' moves rho only: give a learned_model")
    if learned_model is None and chained:
        raise ConfigError("chained lets psi read rho's vectors: give a learned_model")
