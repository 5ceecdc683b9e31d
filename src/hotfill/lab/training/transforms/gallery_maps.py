"""Maps of stored vectors to the new space, trained before backfilling begins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hotfill.errors import ConfigError, InputError, ShapeError
from hotfill.lab.losses.maps import SpaceMap
from hotfill.lab.training.transforms.loop import (
    MapSettings,
    Progress,
    compared,
    on_device,
    seeded,
    shuffled,
    train,
)
from hotfill.lab.training.transforms.losses import (
    fastfill_loss,
    mean_square,
    smoothed_cross_entropy,
    supervised_contrast,
)
from hotfill.lab.training.transforms.networks import BlockNetwork, ForwardNetwork, folded
from hotfill.lab.training.transforms.positives import Positives
from hotfill.lab.training.transforms.query_maps import MIN_PAIRS
from hotfill.ranking import Affine, ForwardMap, MlpMap
from hotfill.ranking.pairs import varied_pairs
from hotfill.ranking.transform import Facts
from hotfill.types import ModelId, Vectors
from hotfill.vectors import as_compared, check_vectors, has_free_length


@final
@dataclass(frozen=True, eq=False)
class Classifier:
    """Logits = vectors weight^T + offset. weight: float32 (classes, d), offset: (classes,)."""

    weight: NDArray[np.float32]
    offset: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.weight.ndim != 2 or self.offset.shape != (len(self.weight),):
            raise ShapeError(
                "a classifier has weights (classes, dimension) and an offset (classes,), got "
                f"{self.weight.shape} and {self.offset.shape}"
            )

    def check(self, labels: Any, items: int, model: ModelId) -> Tensor:
        """Return labels as int64 (items,). Raises ShapeError, InputError."""
        given = np.asarray(labels)
        if given.shape != (items,) or given.dtype.kind not in "iu":
            raise ShapeError(
                f"labels: expected integers ({items},), got {given.dtype} {given.shape}"
            )
        if self.weight.shape[1] != model.dimension:
            raise ShapeError(
                f"the classifier reads {self.weight.shape[1]} numbers, {model} gives "
                f"{model.dimension}"
            )
        if given.min() < 0 or given.max() >= len(self.weight):
            raise InputError(
                f"labels must be rows of the classifier, 0 .. {len(self.weight) - 1}; got "
                f"{given.min()} .. {given.max()}"
            )
        return torch.from_numpy(given.astype(np.int64))

    def on(self, device: str) -> Callable[[Tensor], Tensor]:
        """The frozen logits as a function of (n, d) tensors on a device."""
        weight = torch.from_numpy(self.weight.astype(np.float32)).to(device)
        offset = torch.from_numpy(self.offset.astype(np.float32)).to(device)
        return lambda vectors: nn.functional.linear(vectors, weight, offset)


def fit_classifier(
    new_vectors: Any, labels: Any, *, new_model: ModelId, settings: MapSettings | None = None
) -> Classifier:
    """Train a linear classifier on the frozen new vectors, for models that come without one.

    new_vectors: (n, d). labels: int (n,), from 0. [project extension]
    Raises ShapeError, VectorError, InputError, DivergedError.
    """
    vectors = check_vectors(new_vectors, new_model.dimension, what=f"vectors of {new_model.name}")
    given = np.asarray(labels)
    if given.shape != (len(vectors),) or given.dtype.kind not in "iu" or not len(given):
        raise ShapeError(f"labels: expected integers ({len(vectors)},), got {given.shape}")
    if given.min() < 0:
        raise InputError(f"labels must be 0 or above, got {given.min()}")
    settings = settings or MapSettings(learning_rate=1e-2, weight_decay=1e-5)
    rows_of = on_device(as_compared(vectors, new_model), settings.device)
    classes = torch.from_numpy(given.astype(np.int64)).to(settings.device)
    with seeded(settings):
        layer = nn.Linear(new_model.dimension, int(given.max()) + 1).to(settings.device)
        train(
            layer,
            lambda seed: shuffled(len(vectors), settings.batch, seed),
            lambda rows: nn.functional.cross_entropy(layer(rows_of[rows]), classes[rows]),
            settings,
        )
    return Classifier(layer.weight.detach().cpu().numpy(), layer.bias.detach().cpu().numpy())


# FCT and FastFill: a map of stored old vectors to the new space, before backfilling begins.
# Sources: Ramanujan et al., CVPR 2022 (FCT); Jaeckle et al., ICLR 2023 (FastFill); losses and
# shapes read in their public code, see sections 3 and 4 of the method notes.

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
    similarity_weight: of the mean squared error, relative to the cross-entropy, > 0. None for 1, as
        in the public recipe, where length has a meaning, and for the dimension where vectors are of
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


# lambda-orthogonality: one unified space that the new model reaches by (almost) a rotation.
#     L_B = | B(new) - old |^2        B = exp(P), P skew-symmetric; unequal dimensions: the longer
#     cut L_F = | F(old) - B(new) |^2
#     L_C = SupCon(F(old), B(new)) + SupCon(F(old), old)
#     L_lambda = sigmoid(alpha (|W W^T - I|_F - lambda)) |W W^T - I|_F          B(x) = x W^T,
#     relaxed L   = w1 L_F + w2 L_B + w3 L_C + L_lambda
# Queries and re-embedded items are B(new), the stored old vectors are rewritten by F, or left as
# they are: B(new) can search them too. Source: Ricci et al., NeurIPS 2025, arXiv 2509.16664 [read,
# section 6.1 of the method notes; not read there: w1 to w3, alpha, the shape of F and whether
# squared errors are sums or means, for which project defaults stand]. [lambda = 12 and learning
# rate 1e-3 read]

LAMBDA, ALPHA = 12.0, 1.0
TEMPERATURE = 0.1


@final
class LambdaOrthogonal(SpaceMap):
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
            mapped = compared(forward(old_true), unified_model)
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
