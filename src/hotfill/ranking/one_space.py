"""One space: what an upgrade needs to keep imputed and true vectors in one index, fitted on pairs.

Reading order: `impute` (where an old vector stands), `finish` (the space it may end in),
`common_scale` (hits by origin), and here the fit of all of them, with three figures that say how
far to trust it.

rho, the switch. The mean over queries (real ones where there are any, else reference items) of the
Pearson correlation, over the items fitted on, of the query's true scores < w(q), w(y) > with its
scores of the predictions < w(q), unit(k(g)) > of a regression that has not seen the item. Below
`RHO_ENOUGH` the old model must have its say in all scores, by `old_query_weight(rho)`.

overfetch. How many times k hits of the plain search hold 99 % of the k best on the common scale,
tried on the pairs at shares 0.1, 0.5 and 0.9. In the same trial, `raw_kept` and `calibrated_kept`
tell which share of the new model's own ten each ranking finds: the common scale is worth its price
where it finds 0.005 more. On five pairs of models that chose as labels did.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, final

import numpy as np

from hotfill.errors import ConfigError, InputError, ShapeError
from hotfill.files import load_stamped, save_stamped
from hotfill.ranking.calibration import tail
from hotfill.ranking.common_scale import CommonScale, OldQueryScores, ReferenceItems
from hotfill.ranking.files import load_transform
from hotfill.ranking.finish import Finish, FinishForm, fit_finish
from hotfill.ranking.impute import (
    PLACING_QUERIES,
    Imputation,
    Placement,
    known_pairs,
    place_plain,
    place_whitened,
)
from hotfill.ranking.pairs import check_pairs, refuse_constant
from hotfill.ranking.regression import (
    PAIRS_MOST,
    Regression,
    Whitening,
    choose_kernel,
    choose_linear,
    fit_kernel_regression,
    fit_linear,
    fit_whitening,
)
from hotfill.ranking.scorer import compare
from hotfill.ranking.transform import Facts
from hotfill.types import ModelId
from hotfill.vectors import as_compared, check_vectors, has_free_length, unit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hotfill.types import Vectors

MapName: TypeAlias = Literal["kernel", "ridge"]
RankingName: TypeAlias = Literal["raw", "calibrated"]
FinishName: TypeAlias = Literal["plain", "agreement"]

IMPUTED_BY: Mapping[str, MapName] = MappingProxyType({"kernel_bridge": "kernel", "bridge": "ridge"})
"""By which map old vectors are imputed where a plan has one of these transforms."""

REFERENCES = 500
"""Pairs kept from all fits: the queries' background, and what the vectors are placed by."""

MIN_PAIRS = 100

RHO_ENOUGH, RHO_ENOUGH_BY_ITEMS = 0.63, 0.65
"""Below, the map loses what the old model knows of queries; the second without real queries."""

RHO_UNSURE = (0.55, 0.70)
"""Between these only judged queries can tell: the threshold lies in a narrow gap (0.60, 0.67)."""

RESIDUALS_FROM = 1_000
"""Moved items from which on residuals are more than noise."""

KNOWN_MOST = 10_000
"""Known pairs that residuals are taken of: each imputed vector is compared with all of them, some
5,000 vectors of 256 numbers a second and core; twice as many pairs take twice as long."""

_OVERFETCHES = (1, 2, 3, 4, 6, 8)
_KEPT, _WORTH_IT = 10, 0.005
_SHARES, _ENOUGH = (0.1, 0.5, 0.9), 0.99
_K = 2  # of some thousand pairs: as far out in the tail as ten of a larger gallery


@final
@dataclass(frozen=True, eq=False)
class OneSpace:
    """How old vectors stand in the index of the new ones, and how its hits are ranked. Frozen.

    imputation: old vectors to the index's space; its fingerprint is the origin of what it makes.
    finish: new vectors to the index's space; None where they stand there unchanged.
    whitening: of the new space.
    references: items kept from the fit, as the index has them: what a query's background needs.
    old_reference: their old vectors, float32 (r, d_old).
    known_old, known_residual: pairs fitted on, (m, d_old) as compared, and where a regression that
        has not seen them errs, (m, d_new): the beginning of every refresh.
    queries: (q, d), as the index is searched with them: what vectors are placed by.
    overfetch, raw_kept, calibrated_kept, rho: see the module. by_items: whether rho is by reference
        items, because no real queries were given.
    """

    imputation: Imputation
    finish: Finish | None
    whitening: Whitening
    references: ReferenceItems
    old_reference: Vectors
    known_old: Vectors
    known_residual: Vectors
    queries: Vectors
    overfetch: int
    raw_kept: float
    calibrated_kept: float
    rho: float
    by_items: bool

    @property
    def old_model(self) -> ModelId:
        """The space of the vectors taken."""
        return self.imputation.source

    @property
    def new_model(self) -> ModelId:
        """The model whose vectors the upgrade embeds."""
        return self.imputation.target if self.finish is None else self.finish.source

    @property
    def index_model(self) -> ModelId:
        """The space of the index: the new model, or the new model with its finish."""
        return self.imputation.target

    @property
    def origin(self) -> str:
        """The fingerprint that imputed vectors are stored with."""
        return self.imputation.fingerprint

    @property
    def level(self) -> float:
        """How far imputed vectors stand along the new vectors' mean."""
        return float(self.imputation.facts["level"])

    @property
    def reach(self) -> float:
        """How far they stand from it, in units of the whitened space."""
        return float(self.imputation.facts["reach"])

    @property
    def old_query_weight(self) -> float:
        """What the old model's own query should have of every score: 0 where rho is enough."""
        return 0.0 if self.rho >= rho_enough(self.by_items) else old_query_weight(self.rho)

    @property
    def ranking(self) -> RankingName:
        """Which ranking serves better: "raw" is one plain search, "calibrated" the common scale."""
        return "calibrated" if self.calibrated_kept > self.raw_kept + _WORTH_IT else "raw"

    @cached_property
    def scale(self) -> CommonScale:
        """The common scale of an index in which this is the only imputation."""
        return scale_of(self)

    def impute(self, old_vectors: Any) -> Vectors:
        """Return where old vectors (n, d_old) stand in the index, float32 (n, d).

        Not of unit length, see `impute`. Raises ShapeError, VectorError.
        """
        return self.imputation(old_vectors)

    def own(self, new_vectors: Any) -> Vectors:
        """Return new vectors (n, d) as the index has them: unchanged, or with the finish."""
        if self.finish is not None:
            return self.finish(new_vectors)
        given = check_vectors(new_vectors, self.new_model.dimension, what="new vectors")
        return as_compared(given, self.new_model)

    def searching(self, queries: Any) -> Vectors:
        """Return queries of the new model (q, d) as the index is searched with them."""
        if self.finish is not None:
            return self.finish.queries(queries)
        given = check_vectors(queries, self.new_model.dimension, what="queries")
        return as_compared(given, self.new_model)

    def old_query_scores(
        self, queries: Any, old_queries: Any, *, moved: float, weight: float | None = None
    ) -> OldQueryScores:
        """Give the old model's own queries their say in every score, where rho is low.

        queries (q, d_new), old_queries (q, d_old): row i of both is the same query.
        moved: the share of the gallery that has moved, 0 to 1.
        weight: the old model's share of an imputed item's score; None takes `old_query_weight`.
        Raises ConfigError with a finish (where models disagree it ends below the new model, so
        there is no such end), ShapeError, VectorError, InputError (a share outside 0 to 1).
        """
        if self.finish is not None:
            raise ConfigError('queries = "both" goes with finish = "plain" only')
        share = self.old_query_weight if weight is None else weight
        if not (0 <= share <= 1 and 0 <= moved <= 1):
            raise InputError(f"shares lie between 0 and 1, got weight {share}, moved {moved}")
        new, old = check_pairs(queries, old_queries, source=self.new_model, target=self.old_model)
        lines = tail().prepare(
            compare(old, self.old_reference, self.old_model), new @ self.references.own.T
        )
        return OldQueryScores(lines, share, moved)

    def refreshed(
        self,
        old_vectors: Any,
        new_vectors: Any,
        *,
        stored_as: Callable[[Vectors], Vectors] | None = None,
        seed: int = 0,
    ) -> OneSpace:
        """Return the same fit with residuals of moved items: vectors still imputed get better.

        old_vectors (n, d_old), new_vectors (n, d_new): a random sample of the moved items, row i of
        both is the same content, n >= 1,000; 10,000 together with the pairs fitted on are used.
        stored_as: as for `fit_one_space`.
        The regression stays. `origin` is another one, so that both can stand in one index.
        Raises InputError (too few), ShapeError, VectorError.
        """
        old, new = check_pairs(
            old_vectors,
            new_vectors,
            source=self.old_model,
            target=self.new_model,
            least=RESIDUALS_FROM,
        )
        old, new = old[:KNOWN_MOST], new[:KNOWN_MOST]
        residual = self.whitening(new) - self.imputation.regressed(old)
        base = slice(0, KNOWN_MOST - len(old))
        known = known_pairs(
            np.vstack([old, self.known_old[base]]),
            np.vstack([residual, self.known_residual[base]]),
            moved=len(old),
            seed=seed,
        )
        # Reference items are corrected and placed like the vectors that they stand for.
        unplaced = self.imputation.placed(_nowhere(self.new_model.dimension), known)
        predicted = unplaced.predicted(as_compared(self.old_reference, self.old_model))
        place = _place(self.finish, self.whitening, predicted, self.references.own, self.queries)
        facts = {**place.facts, "moved": len(old), "lambda": float(known.weight[0])}
        made = self.imputation.placed(replace(place, facts=facts), known)
        imputed = _stored(predicted @ place.turn + place.base, stored_as)
        return replace(
            self, imputation=made, references=ReferenceItems(self.references.own, imputed)
        )

    def save(self, folder: str | Path) -> None:
        """Write to a folder that exists; `one_space.safetensors` comes last."""
        place = Path(folder)
        self.imputation.save(place / _IMPUTATION)
        if self.finish is not None:
            self.finish.save(place / _FINISH)
        stamp = {
            "imputation": self.imputation.fingerprint,
            "finish": None if self.finish is None else self.finish.fingerprint,
            "overfetch": self.overfetch,
            "raw_kept": self.raw_kept,
            "calibrated_kept": self.calibrated_kept,
            "rho": self.rho,
            "by_items": self.by_items,
        }
        arrays = {
            "whitening/mean": self.whitening.mean,
            "whitening/matrix": self.whitening.matrix,
            "references/own": self.references.own,
            "references/imputed": self.references.imputed,
            **{name: getattr(self, name) for name in _ARRAYS},
        }
        save_stamped(place / _FILE, _KEY, stamp, arrays)

    @staticmethod
    def is_in(folder: str | Path) -> bool:
        """Tell whether `save` wrote to a folder."""
        return (Path(folder) / _FILE).exists()

    @classmethod
    def load(cls, folder: str | Path) -> OneSpace:
        """Read what `save` wrote.

        Raises InputError (damaged, of two versions), FileNotFoundError.
        """
        place = Path(folder)
        stamp, arrays = load_stamped(place / _FILE, _KEY, "one space")
        try:
            made = load_transform(place / _IMPUTATION)
            finish = None if stamp["finish"] is None else load_transform(place / _FINISH)
            for part, found in (("imputation", made), ("finish", finish)):
                if found is not None and found.fingerprint != stamp[part]:
                    raise InputError(
                        f"{place}: its {part} has fingerprint {found.fingerprint}, the fit was "
                        f"saved with {stamp[part]}; the folder mixes two versions"
                    )
            if not isinstance(made, Imputation) or not isinstance(finish, Finish | None):
                raise InputError(f"{place}: expected an imputation, got a {made.kind}")
            return cls(
                imputation=made,
                finish=finish,
                whitening=Whitening(arrays["whitening/mean"], arrays["whitening/matrix"]),
                references=ReferenceItems(arrays["references/own"], arrays["references/imputed"]),
                overfetch=int(stamp["overfetch"]),
                raw_kept=float(stamp["raw_kept"]),
                calibrated_kept=float(stamp["calibrated_kept"]),
                rho=float(stamp["rho"]),
                by_items=bool(stamp["by_items"]),
                **{name: arrays[name] for name in _ARRAYS},
            )
        except (KeyError, TypeError) as error:
            raise InputError(f"{place}: its stamp and its arrays do not fit: {error!r}") from error


_IMPUTATION, _FINISH = "imputation.safetensors", "finish.safetensors"
_FILE, _KEY = "one_space.safetensors", "hotfill.one_space"
_ARRAYS = ("old_reference", "known_old", "known_residual", "queries")


def scale_of(*spaces: OneSpace) -> CommonScale:
    """Return the common scale of an index with vectors of several imputations.

    In a chain there is one for each old model; during a refresh, the one before and the one after.
    Raises InputError where they lead to different spaces, or there is none.
    """
    models = {one.index_model for one in spaces}
    if len(models) != 1:
        raise InputError(
            f"expected fits into one space, got {', '.join(map(str, models)) or 'none'}"
        )
    return CommonScale(models.pop().fingerprint, {one.origin: one.references for one in spaces})


def rho_enough(by_items: bool) -> float:
    """Return the rho from which on one encoder is enough. by_items: see `OneSpace`."""
    return RHO_ENOUGH_BY_ITEMS if by_items else RHO_ENOUGH


def doubts_of_rho(rho: float, *, by_items: bool, judged: bool = False) -> tuple[str, ...]:
    """Say what a rho makes doubtful, a sentence each, and what to do.

    by_items: see `OneSpace`. judged: labels or judgements were looked at, so none are asked for.
    """
    enough = rho_enough(by_items)
    found = []
    if rho < enough:
        found.append(
            f"rho {rho:.2f} is below {enough:.2f}: the map loses what the old model knows of "
            "queries, so that searches may begin below the old model; let it embed queries, too, "
            'by `queries = "both"`'
        )
    if RHO_UNSURE[0] <= rho < RHO_UNSURE[1] and not judged:
        found.append(
            f"rho {rho:.2f} is between {RHO_UNSURE[0]:.2f} and {RHO_UNSURE[1]:.2f}, where only "
            "judged queries can tell: `hotfill sample --queries FILE` or `--label-key KEY`, then "
            "`hotfill rehearse --sample sample --use-labels`; for files, `--qrels` or `--labels`"
        )
    return tuple(found)


def old_query_weight(rho: float) -> float:
    """Return the old model's share of every score, by rho: clip(1.2 (0.75 - rho^2), 0, 1)."""
    return float(np.clip(1.2 * (0.75 - rho**2), 0.0, 1.0))


def fit_one_space(
    old_vectors: Any,
    new_vectors: Any,
    old_model: ModelId,
    new_model: ModelId,
    *,
    queries: Any = None,
    map: MapName = "kernel",  # noqa: A002 - the plan's word
    finish: FinishName = "plain",
    finish_form: FinishForm = "linear",
    stored_as: Callable[[Vectors], Vectors] | None = None,
    seed: int = 0,
) -> OneSpace:
    """Fit from pairs: no labels, no training loop.

    old_vectors (n, d_old), new_vectors (n, d_new): row i of both is the same item, n >= 100; 2,000
        or more serve well. Quality must not be measured on these items afterwards.
    queries: real queries embedded by the new model, (q, d_new), for rho; reference items stand in
        for them.
    map: "kernel", or "ridge": d_old x d_new multiplications an item instead of 2,000 (d_old +
        d_new), nearly as good on pre-trained models, far worse on small networks.
    finish: "plain" ends at the new model, "agreement" at `finish.Finish`, in `finish_form`.
    stored_as: what the index makes of vectors before it keeps them: the codes of a binary gallery,
        as the values that searches compare. Codes have one length, which bends imputed vectors, so
        only the common scale of such an index is right; `overfetch` is found for it.
    Raises ShapeError (also: a new space where length has a meaning), VectorError (NaN, zero,
    constant), InputError (too few pairs; rho undefined because a query scores all items alike),
    ConfigError (another map or finish).
    """
    if map not in ("kernel", "ridge"):
        raise ConfigError(f'map: expected "kernel" or "ridge", got {map!r}')
    if finish not in ("plain", "agreement"):
        raise ConfigError(f'finish: expected "plain" or "agreement", got {finish!r}')
    if has_free_length(new_model):
        raise ShapeError(
            f"length has a meaning in {new_model}, so no old vector can be placed by it: use "
            'strategy = "merge", or stamp the model as normalised and let its embedder make '
            "vectors of unit length"
        )
    old, new = check_pairs(
        old_vectors, new_vectors, source=old_model, target=new_model, least=MIN_PAIRS
    )
    refuse_constant(old, old_model)
    refuse_constant(new, new_model)
    drawn = np.random.default_rng(seed).permutation(len(old))
    kept, rest = np.split(drawn, [min(REFERENCES, len(old) // 4)])
    whitening = fit_whitening(new[rest])
    old_fit, new_fit = old[rest], new[rest]
    settings, fit = _fitter(map, old_fit, whitening(new_fit[:PAIRS_MOST]))
    if map == "kernel":
        old_fit, new_fit = old_fit[:PAIRS_MOST], new_fit[:PAIRS_MOST]
    targets = whitening(new_fit)
    crossed = _crossed(fit, old_fit, targets)
    ending = None
    if finish == "agreement":
        ending = fit_finish(new_fit, crossed, whitening, new_model, form=finish_form)
    asked = new[kept]
    if queries is not None:
        asked = as_compared(check_vectors(queries, new_model.dimension, what="queries"), new_model)
    own = new[kept] if ending is None else ending(new[kept])
    searching = (asked if ending is None else ending.queries(asked))[:REFERENCES]
    regression = fit(old_fit, targets)
    predicted = unit(regression(old[kept]))
    placing = (new[kept] if ending is None else ending.queries(new[kept]))[:PLACING_QUERIES]
    place = _place(ending, whitening, predicted, own, placing)
    target = new_model if ending is None else ending.target
    arrays = {f"regression.{name}": array for name, array in regression.arrays.items()}
    facts: Facts = {**settings, "pairs": len(new_fit), **place.facts}
    base = Imputation(old_model, target, {**arrays, "base": place.base, "turn": place.turn}, facts)
    references = ReferenceItems(
        _stored(own, stored_as), _stored(predicted @ place.turn + place.base, stored_as)
    )
    some = slice(0, PAIRS_MOST)
    imputed = _stored(unit(crossed[some]) @ place.turn + place.base, stored_as)
    true = _stored(new_fit[some] if ending is None else ending(new_fit[some]), stored_as)
    return OneSpace(
        imputation=base,
        finish=ending,
        whitening=whitening,
        references=references,
        old_reference=old[kept],
        known_old=old_fit[some],
        known_residual=(targets - crossed)[some],
        queries=placing,
        **_trial(references, searching, true, imputed, seed),
        rho=correlation(unit(whitening(asked[:REFERENCES])), unit(targets), unit(crossed)),
        by_items=queries is None,
    )


def correlation(queries: Vectors, true: Vectors, predicted: Vectors) -> float:
    """Return rho: the mean correlation of queries' scores of true and of predicted items.

    queries (q, d), true and predicted (n, d): unit rows of the whitened space.
    Raises InputError when every query scores all items alike.
    """
    first = (queries @ true.T).astype(np.float64)
    second = (queries @ predicted.T).astype(np.float64)
    first -= first.mean(axis=1, keepdims=True)
    second -= second.mean(axis=1, keepdims=True)
    spread = np.sqrt(np.square(first).sum(axis=1) * np.square(second).sum(axis=1))
    told = spread > 1e-12
    if not told.any():
        raise InputError(
            "every query scores all items alike, so old and new scores cannot be compared; are "
            "the vectors of one of the models constant?"
        )
    return float(np.mean((first * second).sum(axis=1)[told] / spread[told]))


def _fitter(
    map_name: MapName, old: Vectors, targets: Vectors
) -> tuple[dict[str, str | float], Callable[[Vectors, Vectors], Regression]]:
    """Choose the settings once; what comes back fits with them."""
    if map_name == "kernel":
        sharpness, penalty, agreed = choose_kernel(old, targets)
        return (
            {"method": "kernel", "sharpness": sharpness, "penalty": penalty, "agreement": agreed},
            lambda rows, wanted: fit_kernel_regression(
                rows, wanted, sharpness=sharpness, penalty=penalty
            ),
        )
    penalty, agreed = choose_linear(old[: len(targets)], targets)
    return (
        {"method": "ridge", "penalty": penalty, "agreement": agreed},
        lambda rows, wanted: fit_linear(rows, wanted, penalty),
    )


def _crossed(
    fit: Callable[[Vectors, Vectors], Regression], old: Vectors, targets: Vectors
) -> Vectors:
    """Predict each pair by a regression fitted on the other half."""
    found = np.empty_like(targets)
    half = len(old) // 2
    for here, there in ((slice(0, half), slice(half, None)), (slice(half, None), slice(0, half))):
        found[here] = fit(old[there], targets[there])(old[here])
    return found


def _place(
    finish: Finish | None,
    whitening: Whitening,
    predicted: Vectors,
    own: Vectors,
    queries: Vectors,
) -> Placement:
    if finish is None:
        return place_plain(whitening, predicted, own, queries)
    return place_whitened(predicted, own, queries)


def _stored(vectors: np.ndarray, stored_as: Callable[[Vectors], Vectors] | None) -> Vectors:
    found = vectors if stored_as is None else stored_as(vectors)
    return np.asarray(found, dtype=np.float32)


def _nowhere(dimension: int) -> Placement:
    return Placement(np.zeros(dimension, np.float32), np.eye(dimension, dtype=np.float32), {})


def _trial(
    references: ReferenceItems, queries: Vectors, own: Vectors, imputed: Vectors, seed: int
) -> dict[str, Any]:
    """Try both rankings on the pairs, some of them moved: see `OneSpace`."""
    line = CommonScale("own", {"imputed": references}).prepare(queries).lines["imputed"]
    own_scores, raw_imputed = queries @ own.T, queries @ imputed.T
    on_scale = np.stack([line(query, scores) for query, scores in enumerate(raw_imputed)])
    wanted = _best(own_scores, _KEPT)
    places = np.random.default_rng(seed).permutation(len(own)) / len(own)
    needed, raw_kept, calibrated_kept = 1, 0.0, 0.0
    for share in _SHARES:
        moved = places < share
        raw = np.where(moved, own_scores, raw_imputed)
        calibrated = np.where(moved, own_scores, on_scale)
        raw_kept += _overlap(wanted, _best(raw, _KEPT)) / len(_SHARES)
        calibrated_kept += _overlap(wanted, _best(calibrated, _KEPT)) / len(_SHARES)
        order = np.argsort(np.argsort(-raw, axis=1), axis=1)
        ranks = np.take_along_axis(order, _best(calibrated, _K), axis=1)
        fitting = [times for times in _OVERFETCHES if np.mean(ranks < times * _K) >= _ENOUGH]
        needed = max(needed, fitting[0] if fitting else _OVERFETCHES[-1])
    return {"overfetch": needed, "raw_kept": raw_kept, "calibrated_kept": calibrated_kept}


def _best(scores: np.ndarray, k: int) -> np.ndarray:
    return np.argpartition(-scores, k - 1, axis=1)[:, :k]


def _overlap(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.mean((first[:, :, None] == second[:, None, :]).any(axis=2)))
