"""What joins two models of an upgrade, fitted from paired vectors alone, without labels.

A share of the pairs is kept from the fit of the maps; on it the scores of all sides are calibrated.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.errors import ConfigError, InputError
from hotfill.ranking.bridge import Bridge, fit_bridge
from hotfill.ranking.calibration import Uncalibrated, tail
from hotfill.ranking.files import load_scorer, load_transform, save_scorer
from hotfill.ranking.kernel import KernelBridge, KernelMap, fit_kernel_bridge
from hotfill.ranking.linear import fit_ridge
from hotfill.ranking.networks import ForwardMap
from hotfill.ranking.one_space import OneSpace
from hotfill.ranking.pairs import check_pairs, neighbours_kept
from hotfill.ranking.scorer import OldSide, Scorer, compare
from hotfill.ranking.transform import BATCH_ROWS, StampedTransform, identity
from hotfill.vectors import as_compared, check_vectors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from hotfill.ranking.scorer import Prepared
    from hotfill.types import ModelId, Transform, Vectors

REFERENCES = 500
"""Reference items kept back from the pairs for the calibration."""

MIN_PAIRS = 100
"""Fewer pairs leave too few to fit by and to calibrate with."""

BRIDGES: Mapping[str, Callable[..., Bridge | KernelBridge]] = MappingProxyType(
    {"kernel_bridge": fit_kernel_bridge, "bridge": fit_bridge}
)
"""How new queries meet old vectors: what fits it, by the plan's word."""


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """The `up` map of old vectors to the new space, and the scorer of searches in both.

    They were fitted together, and their files are only worth something together.

    one_space: what `up` is part of where old vectors are imputed among new ones; else None.
    older: in a chain, the same for the older models, oldest first.
    over: where old vectors had been imputed themselves, the maps fitted on such vectors that serve
        them better than `up`, by what had made the vectors.
    measured: facts on the pairs that were measured apart, where nothing is imputed.
    """

    up: Transform
    scorer: Scorer
    one_space: OneSpace | None = None
    older: tuple[OneSpace, ...] = ()
    over: Mapping[str, OneSpace] = field(default_factory=dict)
    measured: Mapping[str, float | bool] = field(default_factory=dict)

    @property
    def one_spaces(self) -> tuple[OneSpace, ...]:
        """Of all old models whose vectors are imputed, oldest first."""
        return self.older if self.one_space is None else (*self.older, self.one_space)

    @property
    def ups(self) -> dict[ModelId, Transform]:
        """What carries old vectors into the new space, by old model."""
        if not self.one_spaces:
            return {self.scorer.sides[-1].model: self.up}
        return {one.old_model: one.imputation for one in self.one_spaces}

    @property
    def facts(self) -> dict[str, Any]:
        """What is known of the fit, for reports: what was measured, or of the imputation."""
        one = self.one_space
        if one is None:
            return {**self.measured}
        finished = {} if one.finish is None else {"finished": one.index_model.to_dict()}
        return {
            **finished,
            "rho": one.rho,
            "rho_by_items": one.by_items,
            "raw_kept": one.raw_kept,
            "calibrated_kept": one.calibrated_kept,
            "ranking": one.ranking,
        }

    def uncertainty(self, old_vectors: Vectors) -> NDArray[np.float32]:
        """Return how doubtful the old side's scores are, (n,); see `uncertainty`.

        Raises ConfigError where queries are embedded by both models: nothing is mapped.
        """
        return uncertainty(self._newest_map(), old_vectors)

    def agreement(self, old_vectors: Vectors, new_vectors: Vectors) -> float:
        """Compare rankings of held-out old vectors with the new model's own, 0 to 1."""
        there = self._newest_map()
        if isinstance(there, Bridge | KernelBridge):
            scores = there.query_features(new_vectors) @ there.gallery_features(old_vectors).T
        else:
            scores = compare(there(new_vectors), old_vectors, self.scorer.sides[-1].model)
        return neighbours_kept(new_vectors, scores)

    def prepare(
        self, queries: Vectors, old_queries: Mapping[ModelId, Vectors] | None = None
    ) -> Prepared:
        """Make queries of the new model ready to search all sides; see `Scorer.prepare`."""
        return self.scorer.prepare(queries, old_queries)

    def refreshed(
        self,
        old_vectors: Vectors,
        new_vectors: Vectors,
        *,
        stored_as: Callable[[Vectors], Vectors] | None = None,
        seed: int = 0,
    ) -> Fit:
        """Return the same fit with residuals of moved items; see `OneSpace.refreshed`.

        Raises ConfigError where nothing is imputed.
        """
        if self.one_space is None:
            raise ConfigError("only imputed vectors are refreshed, and this fit imputes none")
        one = self.one_space.refreshed(old_vectors, new_vectors, stored_as=stored_as, seed=seed)
        return replace(self, up=one.imputation, one_space=one)

    def save(self, folder: str | Path) -> None:
        """Write to a folder that exists."""
        there = self.scorer.sides[-1].transform
        if self.one_space is not None:
            self.one_space.save(folder)
            for number, one in enumerate(self.older):
                place = Path(folder) / f"{_OLDER}{number}"
                place.mkdir()
                one.save(place)
            for origin, one in self.over.items():
                place = Path(folder) / f"{_OVER}{origin}"
                place.mkdir()
                one.save(place)
        elif not (isinstance(there, KernelBridge) and there.kernel is self.up):  # else it is in it
            if not isinstance(self.up, StampedTransform):
                raise ConfigError(f"{type(self.up).__name__} cannot be kept in a file")
            self.up.save(Path(folder) / _UP)
        save_scorer(self.scorer, Path(folder) / _SCORER)

    @classmethod
    def load(cls, folder: str | Path) -> Fit:
        """Read what `save` wrote. Raises InputError when it is damaged, FileNotFoundError."""
        scorer = load_scorer(Path(folder) / _SCORER)
        if OneSpace.is_in(folder):
            one = OneSpace.load(folder)
            places = sorted(
                Path(folder).glob(f"{_OLDER}*"), key=lambda place: int(place.name[len(_OLDER) :])
            )
            over = {
                place.name[len(_OVER) :]: OneSpace.load(place)
                for place in sorted(Path(folder).glob(f"{_OVER}*"))
            }
            older = tuple(OneSpace.load(each) for each in places)
            return cls(one.imputation, scorer, one, older, over)
        there, up = scorer.sides[-1].transform, Path(folder) / _UP
        if isinstance(there, KernelBridge) and not up.exists():
            return cls(there.kernel, scorer)
        return cls(load_transform(up), scorer)

    def _newest_map(self) -> Transform:
        there = self.scorer.sides[-1].transform
        if there is None:
            raise ConfigError("queries are embedded by both models, so nothing is mapped")
        return there


# Within the folder of a fit.
_UP, _SCORER, _OLDER, _OVER = "up.safetensors", "scorer", "older-", "over-"


def fit_models(
    old_vectors: Any,
    new_vectors: Any,
    old_model: ModelId,
    new_model: ModelId,
    *,
    transform: str = "kernel_bridge",
    old_query_weight: float = 0.0,
    seed: int = 0,
) -> Fit:
    """Fit a bridge with per-query tail calibration for searches, and `up`.

    old_vectors (n, old dimension), new_vectors (n, new dimension): row i of both is the same item,
        n >= 100; 2,000 or more serve well. Quality must not be measured on these items afterwards.
    transform: one of `BRIDGES`. `up` goes with it: the kernel map within a kernel bridge, or ridge.
    old_query_weight: of an old item's score, what the old query says; see `OldSide`.
    seed: draws the reference items, 500 or a quarter of the pairs where there are fewer.
    Raises ShapeError, VectorError (NaN, zero, constant), InputError (too few pairs), ConfigError.
    """
    old, new = check_pairs(
        old_vectors, new_vectors, source=old_model, target=new_model, least=MIN_PAIRS
    )
    return fit_chain(
        new,
        {old_model: (np.arange(len(new)), old)},
        new_model=new_model,
        transform=transform,
        old_query_weight=old_query_weight,
        seed=seed,
    )


def fit_chain(
    new_vectors: Vectors,
    old: Mapping[ModelId, tuple[NDArray[np.int64], Vectors]],
    *,
    new_model: ModelId,
    transform: str = "kernel_bridge",
    old_query_weight: float = 0.0,
    seed: int = 0,
) -> Fit:
    """Fit one old side for each of several models, all on the new model's scale.

    Every old side is searched with its own vector and has its own calibration, so that three sides
    or more become one list. Queries are embedded once, by the new model.

    new_vectors: float32 (n, new dimension).
    old: per old model, oldest first, which rows of `new_vectors` have a vector of it, int64 (m,),
        and these vectors, float32 (m, old dimension). The reference items of the calibration have
        vectors of all models, and no map is fitted on them.
    The rest as in `fit_models`; `up` starts from the newest of the old models.
    Raises InputError when a side has fewer than 100 pairs, or when fewer than 100 items have
    vectors of all models; else as `fit_models`.
    """
    if transform not in BRIDGES:
        raise ConfigError(f"transform: expected one of {', '.join(BRIDGES)}; got {transform!r}")
    references = _references(old, len(new_vectors), seed)
    rng = np.random.default_rng((seed, 1))
    sides = []
    for model, (rows, vectors) in old.items():
        order = np.argsort(rows)
        ordered, table = rows[order], vectors[order]
        kept = np.searchsorted(ordered, references)
        fitted = rng.permutation(np.setdiff1d(np.arange(len(ordered)), kept))
        bridge = BRIDGES[transform](
            new_vectors[ordered[fitted]], table[fitted], new_model=new_model, old_model=model
        )
        sides.append(OldSide(model, bridge, tail(), table[kept], old_query_weight))
    scorer = Scorer(new_model, new_vectors[references], sides)
    newest, (rows, vectors) = list(old.items())[-1]
    if isinstance(bridge, KernelBridge):
        return Fit(bridge.kernel, scorer)
    return Fit(fit_ridge(vectors, new_vectors[rows], source=newest, target=new_model), scorer)


def _references(
    old: Mapping[ModelId, tuple[NDArray[np.int64], Vectors]], count: int, seed: int
) -> NDArray[np.int64]:
    """Draw rows that have vectors of all models."""
    common = np.arange(count)
    for model, (rows, _) in old.items():
        if len(rows) < MIN_PAIRS:
            raise InputError(
                f"only {len(rows)} sampled items have a vector of {model}, and {MIN_PAIRS} are "
                f"needed to search its side: {_REMEDY}"
            )
        common = np.intersect1d(common, rows)
    if len(common) < MIN_PAIRS:
        raise InputError(
            f"only {len(common)} sampled items have vectors of all old models, and {MIN_PAIRS} are "
            f"needed to compare their scores: {_REMEDY}"
        )
    drawn = np.random.default_rng(seed).permutation(common)
    return np.sort(drawn[: min(REFERENCES, len(common) // 4)])


_REMEDY = (
    "give [old] an embedder, here or in the upgrade that this one supersedes, so that it can make "
    "more; let the unfinished upgrade go on for a while; or abort it"
)


def fit_compatible(old_model: ModelId, new_model: ModelId) -> Fit:
    """Take the models at their word: new queries search old vectors without any map.

    Raises ShapeError where dimensions or metrics differ.
    """
    there, back = identity(old_model, new_model), identity(new_model, old_model)
    reference = np.empty((0, old_model.dimension), np.float32)
    side = OldSide(old_model, back, Uncalibrated(), reference)
    return Fit(there, Scorer(new_model, reference, [side]))


def uncertainty(transform: Transform, old_vectors: Any) -> NDArray[np.float32]:
    """Return how doubtful a transform is about each item: backfill the highest first.

    A regression that cannot tell where an item lies in the new space predicts something near the
    mean. The length of its prediction, measured from the mean in the whitened new space, is
    therefore a confidence, for nothing: no labels, no second model, no new vector. [observed here]
    A forward map of FastFill has a head trained for the purpose, whose log variance is taken.

    transform: a bridge, a kernel bridge, a kernel map, or a forward map with a sigma head.
    old_vectors: (n, old dimension); of a forward map with side-information, joined rows.
    Returns float32 (n,), without a unit: only the order means something, and only among values of
    one transform.
    Raises ConfigError (a transform that has no such measure), ShapeError, VectorError.
    """
    if not isinstance(transform, Bridge | ForwardMap | KernelBridge | KernelMap):
        raise ConfigError(
            f"{type(transform).__name__} has no measure of doubt; "
            "fit a bridge, a kernel bridge or a kernel map"
        )
    upward = isinstance(transform, ForwardMap | KernelMap)
    old_model = transform.source if upward else transform.target
    given = check_vectors(old_vectors, old_model.dimension, what=f"vectors of {old_model.name}")
    doubts = np.empty(len(given), dtype=np.float32)
    for start in range(0, len(given), BATCH_ROWS):
        stretch = slice(start, start + BATCH_ROWS)
        doubts[stretch] = -transform.confidence(as_compared(given[stretch], old_model))
    return doubts
