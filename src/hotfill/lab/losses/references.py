"""Reference: anchors that stand for classes in one space, and where they come from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from hotfill.errors import ConfigError, InputError, ShapeError
from hotfill.lab.losses.pairs import PairedBatch, Side

NO_ANCHOR = -1
"""Stands where a label has no anchor: a class that the old model never had."""


@dataclass(frozen=True, eq=False)
class Reference:
    """m anchors in one space, and which of them answers for each label.

    Old and new classes are never assumed to be numbered alike: `rows` is the explicit map.

    vectors: (m, dimension) float, of any length; with gradient only for a head being trained.
    valid: (m,) bool; an invalid anchor is never asked and never an alternative.
    rows: (labels,) int64, the anchor of each new label, or -1 for none.
    space: "old" or "new", the space the anchors live in.
    bias: (m,) float, of a linear head that has one.
    radius: (m,) float, how far (Euclidean) unit embeddings of the class lie from the anchor.
    min_cosine: (m,) float, the smallest cosine of an embedding of the class with its anchor.
    count: (m,) int64, how many embeddings stand behind each anchor.
    Raises ShapeError when the parts do not fit together.
    """

    vectors: Tensor
    valid: Tensor
    rows: Tensor
    space: Side
    bias: Tensor | None = None
    radius: Tensor | None = None
    min_cosine: Tensor | None = None
    count: Tensor | None = None

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2:
            raise ShapeError(f"anchors: expected (m, dimension), got {tuple(self.vectors.shape)}")
        for name in ("valid", "bias", "radius", "min_cosine", "count"):
            part = getattr(self, name)
            if part is not None and part.shape != (len(self.vectors),):
                raise ShapeError(
                    f"anchors: expected {name} of shape ({len(self.vectors)},), "
                    f"got {tuple(part.shape)}"
                )
        if self.rows.ndim != 1 or self.rows.dtype != torch.int64:
            raise ShapeError(
                f"anchors: expected rows as int64 (labels,), got {self.rows.dtype} "
                f"{tuple(self.rows.shape)}"
            )
        if self.rows.numel() and int(self.rows.max()) >= len(self.vectors):
            raise ShapeError(
                f"anchors: a label points to row {int(self.rows.max())}, "
                f"but there are only {len(self.vectors)} anchors"
            )

    @property
    def dimension(self) -> int:
        """Length of an anchor."""
        return self.vectors.shape[1]

    @property
    def labels(self) -> int:
        """How many labels are known, with or without an anchor."""
        return len(self.rows)

    def answering(self, pairs: PairedBatch) -> Tensor:
        """The anchor of each item: (n,) int64, -1 where it has no label or no valid anchor.

        Raises InputError, naming the items, for a label that is not below `labels`.
        """
        label = pairs.label
        if label is None:
            return torch.full((len(pairs),), NO_ANCHOR, device=pairs.new.device)
        outside = label >= self.labels
        if bool(outside.any()):
            wrong = outside.nonzero().flatten().tolist()
            shown = ", ".join(f"{pairs.name(row)} (label {int(label[row])})" for row in wrong[:5])
            raise InputError(
                f"labels: expected 0 to {self.labels - 1} or -1, but {len(wrong)} items are "
                f"outside the head: {shown}; build the head for all classes of the training set"
            )
        row = torch.where(label >= 0, self.rows[label.clamp(min=0)], NO_ANCHOR)
        return torch.where((row >= 0) & self.valid[row.clamp(min=0)], row, NO_ANCHOR)

    def detached(self) -> Reference:
        """The same anchors, through which no gradient flows."""
        return replace(self, vectors=self.vectors.detach())

    def map_tensors(self, change: Callable[[Tensor], Tensor]) -> Reference:
        """Apply `change` to every tensor, for example to move it to a device."""
        parts: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        tensors = {name: part for name, part in parts.items() if isinstance(part, Tensor)}
        return Reference(**parts | {name: change(part) for name, part in tensors.items()})


@dataclass(frozen=True, eq=False)
class ReferencePair:
    """The anchors of both spaces; either may be absent."""

    old: Reference | None = None
    new: Reference | None = None

    def of(self, side: Side) -> Reference:
        """The anchors of one space. Raises InputError when there are none."""
        found = self.old if side == "old" else self.new
        if found is None:
            raise InputError(
                f"this loss needs anchors in the {side} space, but the recipe has none"
            )
        return found


def groups(labels: Tensor, classes: int, rows: int) -> Iterator[tuple[int, Tensor]]:
    """Yield (class, its row numbers in ascending order) for every class that occurs.

    labels: (rows,) int64; -1 = no class, left out.
    Raises ShapeError for another shape, InputError for a label that is not below `classes`.
    """
    if labels.shape != (rows,) or labels.dtype != torch.int64:
        raise ShapeError(
            f"labels: expected int64 ({rows},), one per vector, got {labels.dtype} "
            f"{tuple(labels.shape)}"
        )
    if labels.numel() and int(labels.max()) >= classes:
        raise InputError(
            f"labels: expected 0 to {classes - 1} or -1, got {int(labels.max())}; count all "
            "classes of the new training set"
        )
    order = torch.argsort(labels, stable=True)
    found, counts = torch.unique_consecutive(labels[order], return_counts=True)
    parts = torch.split(order, counts.tolist())
    for label, part in zip(found.tolist(), parts, strict=True):
        if label >= 0:
            yield label, part


def without_outliers(distances: Tensor) -> Tensor:
    """The largest distance that is no outlier, as AdvBCT's metadata (read in code).

    distances: (n,) ascending, n >= 1. From four distances on, those outside
    [q1 - 1.5 IQR, q3 + 1.5 IQR] are dropped, with q1 and q3 at positions n/4 and 3n/4.
    """
    count = len(distances)
    if count >= 4:
        first, third = distances[count // 4], distances[3 * count // 4]
        slack = 1.5 * (third - first)
        kept = distances[(distances >= first - slack) & (distances <= third + slack)]
        distances = kept if len(kept) else distances
    return distances[-1]


def nearest_share(share: float) -> Callable[[Tensor], Tensor]:
    """The distance within which the nearest `share` of a class lies, 0 < share <= 1.

    MixBCT trusts the old embeddings of the nearest 0.9. Raises ConfigError.
    """
    if not 0 < share <= 1:
        raise ConfigError(f"expected a share above 0 and at most 1, got {share}")

    def radius(distances: Tensor) -> Tensor:
        return distances[math.ceil(share * len(distances)) - 1]

    return radius


def from_means(
    vectors: Tensor,
    labels: Tensor,
    classes: int,
    *,
    normalise: bool = False,
    radius: Callable[[Tensor], Tensor] = without_outliers,
) -> Reference:
    """The mean of the unit old embeddings of each class, with how far the class reaches.

    vectors: (n, old dimension) old embeddings of (part of) the new training set, of any length.
    labels: (n,) int64 below `classes`; -1 = not used. A class without vectors gets no anchor.
    normalise: bring the means to unit length too. The papers' codes differ; the plain mean is the
        default here, as in BCT and AdvBCT, and only Euclidean radii depend on it.
    radius: gives a class's radius from its ascending distances to the anchor.
    Raises ShapeError, InputError.
    """
    unit = normalize(vectors.detach())
    anchors = unit.new_zeros(classes, unit.shape[1])
    radii, lowest = unit.new_zeros(classes), unit.new_zeros(classes)
    counts = torch.zeros(classes, dtype=torch.int64, device=unit.device)
    for label, rows in groups(labels, classes, len(unit)):
        members = unit[rows]
        mean = members.mean(dim=0)
        anchor = normalize(mean, dim=0) if normalise else mean
        anchors[label] = anchor
        radii[label] = radius((members - anchor).norm(dim=1).sort().values)
        lowest[label] = (members @ normalize(anchor, dim=0)).min()
        counts[label] = len(rows)
    return Reference(
        anchors,
        counts > 0,
        torch.arange(classes, device=unit.device),
        space="old",
        radius=radii,
        min_cosine=lowest,
        count=counts,
    )


def from_head(weight: Tensor, *, rows: Tensor, bias: Tensor | None = None) -> Reference:
    """The frozen rows of an old head, as in BCT (Shen et al., CVPR 2020; read in code).

    weight: (old classes, old dimension), the scale it was trained with is kept.
    rows: (new classes,) int64, the old class of each new class, or -1 where the old model has
        none. Explicit, because the two numberings need not agree; rows of old classes that no new
        class maps to stay as wrong alternatives.
    bias: (old classes,), used by the `Dot` score only.
    """
    return Reference(
        weight.detach().clone(),
        torch.ones(len(weight), dtype=torch.bool, device=weight.device),
        rows,
        space="old",
        bias=None if bias is None else bias.detach().clone(),
    )


def synthesised(known: Reference, means: Reference) -> Reference:
    """Known anchors where there are any, class means of old embeddings elsewhere.

    This is how the first author of BCT describes the paper's synthesised head (issue 1 of
    openBCT): only new classes are synthesised, and concatenated to the real head. Use it with a
    cosine score: a mean of unit vectors is shorter than a trained row, so inner products of the
    two kinds cannot be compared.
    known: the old head, or class means of the old model's own training set. Its anchors that
    answer for no label stay as wrong alternatives. means: `from_means` over the new items. Both
    over the same labels, in the same space. What both have (radius, min_cosine, count) is kept.
    Raises ShapeError, InputError.
    """
    if known.labels != means.labels or known.dimension != means.dimension:
        raise ShapeError(
            f"expected both over the same labels and dimension, got {known.labels} labels of "
            f"dimension {known.dimension} and {means.labels} of {means.dimension}"
        )
    if known.bias is not None:
        raise InputError(
            "a head with a bias cannot be extended by means, which have none; "
            "build it with from_head(..., bias=None)"
        )
    has_row = (known.rows >= 0) & known.valid[known.rows.clamp(min=0)]
    missing = ~has_row & (means.rows >= 0) & means.valid[means.rows.clamp(min=0)]
    added = means.rows[missing]
    rows = torch.where(has_row, known.rows, NO_ANCHOR)
    rows[missing] = torch.arange(
        len(known.vectors), len(known.vectors) + len(added), device=rows.device
    )

    def together(part: str) -> Tensor | None:
        one, other = getattr(known, part), getattr(means, part)
        return None if one is None or other is None else torch.cat([one, other[added].to(one)])

    return Reference(
        torch.cat([known.vectors, means.vectors[added].to(known.vectors)]),
        torch.cat([known.valid, torch.ones_like(added, dtype=torch.bool)]),
        rows,
        space=known.space,
        radius=together("radius"),
        min_cosine=together("min_cosine"),
        count=together("count"),
    )


def with_alternatives(anchors: Reference, others: Reference) -> Reference:
    """Add the anchors of others that answer for no label, as wrong alternatives.

    A softmax over class means of the new items sees only the new classes; where the old model knew
    others, their anchors say what else an embedding must stay away from.
    anchors, others: over the same labels, in the same space. Radii, cosines, counts and biases are
    left out. Raises ShapeError.
    """
    if anchors.labels != others.labels or anchors.dimension != others.dimension:
        raise ShapeError(
            f"expected both over the same labels and dimension, got {anchors.labels} labels of "
            f"dimension {anchors.dimension} and {others.labels} of {others.dimension}"
        )
    stranger = others.valid.clone()
    stranger[others.rows[others.rows >= 0]] = False
    added = others.vectors[stranger].to(anchors.vectors)
    return Reference(
        torch.cat([anchors.vectors, added]),
        torch.cat([anchors.valid, torch.ones(len(added), dtype=torch.bool).to(anchors.valid)]),
        anchors.rows,
        space=anchors.space,
    )


def refined(
    old: Tensor,
    new: Tensor,
    labels: Tensor,
    classes: int,
    *,
    propagation: float = 0.9,
    temperature: float = 0.05,
    most: int = 512,
) -> Reference:
    """Class means after spreading old embeddings along the new model's similarities.

    For one class with old unit rows V and new unit rows S (UniBCT, equations 9 and 10, as cited in
    third-party code; the paper itself could not be read):

        A = softmax over each row of (S S^T / temperature), the diagonal left out
        anchor = mean of the rows of (1 - propagation) (I - propagation A)^-1 V

    Each row of A sums to 1, so central items gain weight and outliers lose it. (With the columns
    summing to 1, as in the code that is published, the anchor is exactly the plain mean.)

    old: (n, old dimension), new: (n, new dimension), the same items, of any length.
    labels: (n,) int64 below `classes`, -1 = not used.
    propagation: 0 to below 1; 0 gives plain means. temperature: > 0.
    most: items per class that are used, the first ones; bounds the (items, items) system.
    Raises ShapeError, InputError, ConfigError.
    """
    if not 0 <= propagation < 1 or not temperature > 0 or most < 1:
        raise ConfigError(
            "refined needs 0 <= propagation < 1, temperature > 0 and most >= 1; got "
            f"{propagation}, {temperature}, {most}"
        )
    if len(old) != len(new):
        raise ShapeError(
            f"old and new embeddings of the same items are needed: got {len(old)} and {len(new)}"
        )
    old, new = normalize(old.detach()), normalize(new.detach())
    anchors = old.new_zeros(classes, old.shape[1])
    counts = torch.zeros(classes, dtype=torch.int64, device=old.device)
    for label, rows in groups(labels, classes, len(old)):
        rows = rows[:most]
        anchors[label] = _spread(old[rows], new[rows], propagation, temperature).mean(dim=0)
        counts[label] = len(rows)
    return Reference(
        anchors,
        counts > 0,
        torch.arange(classes, device=old.device),
        space="old",
        count=counts,
    )


def _spread(old: Tensor, new: Tensor, propagation: float, temperature: float) -> Tensor:
    if len(old) == 1:
        return old
    scores = (new @ new.T / temperature).fill_diagonal_(-math.inf)
    system = torch.eye(len(old)).to(old) - propagation * scores.softmax(dim=1).to(old)
    spread: Tensor = (1 - propagation) * torch.linalg.solve(system, old)
    return spread


def perturbed(
    reference: Reference,
    *,
    strength: float = 0.1,
    neighbours: int = 5,
    temperature: float = 0.1,
) -> Reference:
    """Move each anchor a little away from those that crowd it.

    Our reading of the abstract of arXiv 2503.14824 (prototype perturbation, 2025), whose equations
    we could not obtain: "align to perturbed old prototypes so that crowded old classes can
    separate". We chose, for unit anchors p and the nearest valid ones k with weights
    w = softmax(cosine / temperature):

        p' = normalise(p + strength * normalise(sum over k of w_k (p - p_k)))

    because it is the steepest way from the weighted neighbours, and its size has one meaning
    (strength = tangent of the angle moved, at most) whatever the crowding.
    strength: >= 0; 0 gives unit anchors unmoved. neighbours: >= 1.
    Raises ConfigError.
    """
    if strength < 0 or neighbours < 1 or not temperature > 0:
        raise ConfigError(
            "perturbed needs strength >= 0, neighbours >= 1 and temperature > 0; got "
            f"{strength}, {neighbours}, {temperature}"
        )
    anchors = normalize(reference.vectors.detach())
    kept = reference.valid.nonzero().flatten()
    if len(kept) < 2:
        return replace(reference, vectors=anchors, radius=None, min_cosine=None)
    unit = anchors[kept]
    cosines = (unit @ unit.T).fill_diagonal_(-math.inf)
    near, where = cosines.topk(min(neighbours, len(kept) - 1), dim=1)
    weight = (near / temperature).softmax(dim=1)
    away = unit - torch.einsum("ck,ckd->cd", weight, unit[where])
    moved = anchors.clone()
    moved[kept] = normalize(unit + strength * normalize(away))
    # Radii and cosines were measured around the unmoved anchors.
    return replace(reference, vectors=moved, radius=None, min_cosine=None)


def simplex(classes: int, *, space: Side = "new") -> Reference:
    """K unit anchors in K - 1 dimensions, every two at cosine -1 / (K - 1).

    As CoReS and the stationary representations (read in code) fix their heads: the K - 1 unit
    vectors and one more row, ((1 - sqrt(K)) / (K - 1), ...), centred and brought to unit length.
    classes: K >= 2, an upper bound of the classes ever to come; all versions share the anchors.
    Raises ConfigError.
    """
    if classes < 2:
        raise ConfigError(f"a simplex needs at least 2 classes, got {classes}")
    dimension = classes - 1
    corners = torch.eye(classes, dimension, dtype=torch.float64)
    corners[-1] = (1 - classes**0.5) / dimension
    corners -= corners.mean(dim=0)
    corners /= corners.norm(dim=1, keepdim=True)
    rows = torch.arange(classes)
    return Reference(corners.float(), torch.ones(classes, dtype=torch.bool), rows, space=space)
