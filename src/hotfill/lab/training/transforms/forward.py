"""FCT and FastFill: a map of stored old vectors to the new space, before backfilling begins.

Sources: Ramanujan et al., CVPR 2022 (FCT); Jaeckle et al., ICLR 2023 (FastFill); losses and shapes
read in their public code, see sections 3 and 4 of the method notes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from hotfill.errors import InputError, ShapeError
from hotfill.lab.training.transforms.classifier import Classifier
from hotfill.lab.training.transforms.loop import Progress, seeded, train
from hotfill.lab.training.transforms.losses import (
    fastfill_loss,
    mean_square,
    smoothed_cross_entropy,
)
from hotfill.lab.training.transforms.networks import ForwardNetwork, folded
from hotfill.lab.training.transforms.reverse import MIN_PAIRS
from hotfill.lab.training.transforms.sampling import shuffled
from hotfill.lab.training.transforms.settings import MapSettings
from hotfill.lab.training.transforms.spaces import on_device
from hotfill.ranking import ForwardMap
from hotfill.ranking.pairs import varied_pairs
from hotfill.ranking.transform import Facts
from hotfill.types import ModelId, Vectors
from hotfill.vectors import has_free_length

EPOCHS = 80  # FCT's recipe
HIDDEN = 2048
SMOOTHING = 0.1
UNCERTAINTY_WEIGHT = 0.5


def train_forward(
    old_vectors: Any,
    new_vectors: Any,
    *,
    old_model: ModelId,
    new_model: ModelId,
    side_dimension: int | None = None,
    hidden: int = HIDDEN,
    settings: MapSettings | None = None,
    progress: Progress | None = None,
) -> ForwardMap:
    """Train FCT's h by the mean squared error.

    old_vectors, new_vectors: (n, dimension), row i of both is the same item, n >= 20. No labels.
    side_dimension: with side-information, the length of its part; then `old_model` is
        `transforms.joint_model(...)` and old_vectors come from `transforms.join(...)`.
    hidden: width of the mixer, 2048 in the paper's code. settings: None for FCT's 80 epochs.
    Raises ShapeError, VectorError (NaN, zero, constant), InputError (too few pairs), DivergedError.
    """
    old, new, network_of = _prepared(
        old_vectors, new_vectors, old_model, new_model, side_dimension, hidden
    )
    settings = settings or MapSettings(epochs=EPOCHS)
    old_rows, new_rows = on_device(old, settings.device), on_device(new, settings.device)
    with seeded(settings):
        h = network_of(False).to(settings.device)
        loss = train(
            h,
            lambda seed: shuffled(len(old), settings.batch, seed),
            lambda rows: mean_square(h(old_rows[rows]), new_rows[rows]),
            settings,
            progress,
        )
    return _exported(h, old_model, new_model, {"method": "FCT", "pairs": len(old), "loss": loss})


def train_fastfill(
    old_vectors: Any,
    new_vectors: Any,
    labels: Any,
    classifier: Classifier,
    *,
    old_model: ModelId,
    new_model: ModelId,
    side_dimension: int | None = None,
    hidden: int = HIDDEN,
    smoothing: float = SMOOTHING,
    similarity_weight: float | None = None,
    uncertainty_weight: float = UNCERTAINTY_WEIGHT,
    settings: MapSettings | None = None,
    progress: Progress | None = None,
) -> ForwardMap:
    """Train FastFill's h with its log-variance head; `transforms.uncertainty` gives its order.

    old_vectors, new_vectors, side_dimension, hidden, settings: as in `train_forward`.
    labels: int (n,), rows of the classifier. classifier: the new model's own, on vectors as given
        here (of unit length where the new space compares them so); `fit_classifier` makes one
        where the model comes without. It stays as it is.
    smoothing: of the labels; as the classifier was trained. The public recipe has 0.1 for both: a
        classifier trained without pulls mapped vectors off the scale of the new model's.
    similarity_weight: of the mean squared error, relative to the other, > 0. None for 1, as in
        the public recipe, where length has a meaning, and for the dimension where vectors are of
        unit length: a mean over coordinates is then 1 / dimension of what it is on plain features,
        and the cross-entropy alone would rule [measured here on toys].
    uncertainty_weight: mu of the loss, > 0.
    Raises ShapeError, VectorError, InputError (too few pairs, labels the classifier lacks),
    DivergedError.
    """
    old, new, network_of = _prepared(
        old_vectors, new_vectors, old_model, new_model, side_dimension, hidden
    )
    if similarity_weight is None:
        similarity_weight = 1.0 if has_free_length(new_model) else float(new_model.dimension)
    if not (uncertainty_weight > 0 and similarity_weight > 0 and 0 <= smoothing < 1):
        raise InputError(
            "expected weights > 0 and a smoothing from 0 to below 1; got similarity "
            f"{similarity_weight}, uncertainty {uncertainty_weight}, smoothing {smoothing}"
        )
    settings = settings or MapSettings(epochs=EPOCHS)
    classes = classifier.check(labels, len(old), new_model).to(settings.device)
    old_rows, new_rows = on_device(old, settings.device), on_device(new, settings.device)
    logits = classifier.on(settings.device)
    with seeded(settings):
        h = network_of(True).to(settings.device)

        def loss_of(rows: NDArray[Any]) -> Tensor:
            mapped = h(old_rows[rows])
            return fastfill_loss(
                similarity_weight * (mapped - new_rows[rows]).square().mean(dim=1),
                smoothed_cross_entropy(logits(mapped), classes[rows], smoothing=smoothing),
                h.log_variance(mapped),
                uncertainty_weight=uncertainty_weight,
            )

        batches = lambda seed: shuffled(len(old), settings.batch, seed)  # noqa: E731
        loss = train(h, batches, loss_of, settings, progress)
    facts: Facts = {
        "method": "FastFill",
        "pairs": len(old),
        "classes": len(classifier.weight),
        "loss": loss,
    }
    return _exported(h, old_model, new_model, facts)


def _prepared(
    old_vectors: Any,
    new_vectors: Any,
    old_model: ModelId,
    new_model: ModelId,
    side_dimension: int | None,
    hidden: int,
) -> tuple[Vectors, Vectors, Callable[[bool], ForwardNetwork]]:
    old, new = varied_pairs(
        old_vectors, new_vectors, source=old_model, target=new_model, least=MIN_PAIRS
    )
    width = old_model.dimension - (side_dimension or 0)
    if side_dimension is not None and not (side_dimension >= 1 and width >= 1):
        raise ShapeError(
            f"side-information of {side_dimension} numbers leaves none or all of the "
            f"{old_model.dimension} of {old_model}; join both and give the joint model"
        )
    return (
        old,
        new,
        lambda sigma: ForwardNetwork(
            width, new_model.dimension, side=side_dimension, hidden=hidden, sigma=sigma
        ),
    )


def _exported(
    h: ForwardNetwork, old_model: ModelId, new_model: ModelId, facts: Facts
) -> ForwardMap:
    arrays = {**folded(h.old, "old"), **folded(h.side, "side"), **folded(h.mixer, "mixer")}
    if h.sigma is not None:
        arrays |= folded(h.sigma, "sigma")
    return ForwardMap(old_model, new_model, arrays, facts)
