"""Pairs: items' vectors of the old model and of the new one."""

from __future__ import annotations

import threading
import zipfile
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.errors import ConfigError
from hotfill.ranking.files import load_transform
from hotfill.ranking.fit import MIN_PAIRS, Fit, fit_chain, fit_compatible, fit_models
from hotfill.ranking.one_space import IMPUTED_BY, fit_one_space
from hotfill.ranking.scorer import OLD_QUERY_WEIGHT
from hotfill.upgrade.caller import (
    CALL_SECONDS,
    GivenUpError,
    PatientCaller,
    embed_what_can_be,
    read_what_can_be,
)
from hotfill.upgrade.order import sample_ids
from hotfill.vectors import has_free_length

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from hotfill.ranking.one_space import OneSpace
    from hotfill.stores.base import Gallery
    from hotfill.types import Embedder, ModelId, Source, Transform, Vectors
    from hotfill.upgrade.order import Told
    from hotfill.upgrade.own_vectors import OwnVectors
    from hotfill.upgrade.pace import Progress
    from hotfill.upgrade.plan import Plan


_ALL_OF_MANY = 20  # failures without one success: then not the items are at fault


@dataclass(frozen=True, slots=True, eq=False)
class PairedVectors:
    """Row i of both is the item item_ids[i]: old (n, d_old), new (n, d_new), float32."""

    item_ids: tuple[str, ...]
    old: Vectors
    new: Vectors


def paired_vectors(
    gallery: Gallery,
    item_ids: Sequence[str],
    old_model: ModelId,
    source: Source,
    embedder: Embedder,
    batch_size: int,
    *,
    old_embedder: Embedder | None = None,
    stop: threading.Event | None = None,
    on_batch: Callable[[int], None] = lambda done: None,
    call_seconds: float = CALL_SECONDS,
    enough: int | None = None,
) -> PairedVectors:
    """Read items' old vectors and embed their contents by the new model.

    Items without an old vector or content, or that cannot be embedded, are left out: the backfill
    will deal with them.
    old_embedder: makes the old vectors anew instead, for items that are to be queries.
    stop: set it to end with the pairs made so far.
    on_batch: told how many items are done; with `enough`, how many pairs are made.
    call_seconds: how long the source or an embedder may take for one batch.
    enough: end after the batch that makes this many pairs.
    Raises what the source or an embedder raised when no item is at fault, or when all of many are;
    CallTimeoutError when one hangs.
    """
    old: dict[str, Any] = {}
    new: dict[str, Any] = {}
    failures: list[Exception] = []
    stop = stop or threading.Event()
    with closing(PatientCaller(call_seconds, stop)) as call, suppress(GivenUpError):
        for begin in range(0, len(item_ids), batch_size):
            if stop.is_set():
                break
            some = item_ids[begin : begin + batch_size]
            contents = read_what_can_be(source, some, call, failures)
            if old_embedder is None:
                there = _stored(gallery, list(contents), old_model)
            else:
                there = embed_what_can_be(old_embedder, contents, call, failures)
            if there:
                known = {item_id: contents[item_id] for item_id in there}
                made = embed_what_can_be(embedder, known, call, failures)
                old |= there
                new |= {item_id: made[item_id] for item_id in known if item_id in made}
            if not new and len(failures) >= _ALL_OF_MANY:
                raise failures[0]
            on_batch(min(begin + batch_size, len(item_ids)) if enough is None else len(new))
            if enough is not None and len(new) >= enough:
                break
    return PairedVectors(
        tuple(new),
        _table([old[item_id] for item_id in new], old_model),
        _table(list(new.values()), embedder.model_id),
    )


def _stored(gallery: Gallery, item_ids: Sequence[str], model: ModelId) -> Mapping[str, Any]:
    found = gallery.vectors(item_ids, model)
    return dict(zip(found.item_ids, found.vectors, strict=True))


def _table(rows: Sequence[Any], model: ModelId) -> Vectors:
    return np.array(rows, np.float32).reshape(-1, model.dimension)


@dataclass(frozen=True, slots=True, eq=False)
class ChainPairs:
    """Items with vectors of the new model, and of old ones where there are any.

    new: float32 (n, d_new). old: per old model, oldest first, which rows of `new` have a vector of
    it, int64 (m,), and these vectors, float32 (m, d_old).
    """

    new: Vectors
    old: Mapping[ModelId, tuple[NDArray[np.int64], Vectors]]


@dataclass(frozen=True, slots=True)
class Fitting:
    """How a plan's fit comes to be, and comes back.

    fit: from paired vectors, row i of both being the same item: old (n, d_old), new (n, d_new).
    load: from the folder that `Fit.save` wrote.
    fit_chain: for several old sides; None where chains are not fitted.
    """

    fit: Callable[[Vectors, Vectors], Fit]
    load: Callable[[Path], Fit]
    fit_chain: Callable[[ChainPairs], Fit] | None = None


def fitting_for(plan: Plan, gallery: Gallery, queries: Vectors | None = None) -> Fitting:
    """Choose how to fit for a plan's strategy, and for what the store makes of its vectors.

    queries: real ones of the new model, (q, d_new), by which rho is found; else items stand in.
    """
    old, new = plan.old_model, plan.embedded_model
    if plan.strategy == "compatible":
        return Fitting(lambda first, second: fit_compatible(old, new), Fit.load)

    def imputing(first: Vectors, second: Vectors, model: ModelId) -> OneSpace:
        return fit_one_space(
            first,
            second,
            model,
            new,
            map=IMPUTED_BY[plan.transform],
            queries=queries,
            finish=plan.finish,
            stored_as=stored_as(gallery, new),
            seed=plan.seed,
        )

    def fit_pairs(first: Vectors, second: Vectors) -> Fit:
        if plan.finish == "agreement":
            one = imputing(first, second, old)
            # Both sides are searched in the minutes of imputing and on the way back only.
            found = fit_models(
                first, one.own(second), old, one.index_model, transform=plan.transform
            )
            return replace(found, up=one.imputation, one_space=one)
        found = fit_models(
            first,
            second,
            old,
            new,
            transform=plan.transform,
            old_query_weight=_old_query_weight(plan),
        )
        given = given_map(plan)
        if given is not None:
            return replace(found, up=given)
        if plan.strategy != "prefill":
            if plan.queries == "both" or why_not_imputed(new):
                return found
            # Only to learn whether the new model's queries are enough for the old side.
            one = imputing(first, second, old)
            return replace(found, measured={"rho": one.rho, "rho_by_items": one.by_items})
        one = imputing(first, second, old)
        return replace(found, up=one.imputation, one_space=one)

    def fit_sides(pairs: ChainPairs) -> Fit:
        found = fit_chain(pairs.new, pairs.old, new_model=new, transform=plan.transform)
        if plan.strategy != "prefill":
            return found
        *older, newest = (
            imputing(vectors, pairs.new[rows], model)
            for model, (rows, vectors) in pairs.old.items()
        )
        return replace(found, up=newest.imputation, one_space=newest, older=tuple(older))

    return Fitting(fit_pairs, Fit.load, fit_sides)


def _old_query_weight(plan: Plan) -> float:
    if plan.queries != "both":
        return 0.0
    return OLD_QUERY_WEIGHT if plan.old_query_weight is None else plan.old_query_weight


def stored_as(gallery: Gallery, model: ModelId) -> Callable[[Vectors], Vectors] | None:
    """Tell what a store makes of imputed vectors of a model; None where they stay as placed."""
    if model.metric == "dot" or gallery.keeps_length(model):
        return None
    return partial(gallery.kept_as, space=model)


def why_not_imputed(model: ModelId) -> str:
    """Say why old vectors cannot be placed among a model's own; empty where they can."""
    if has_free_length(model):
        return f"the length of vectors of {model} has a meaning, and old vectors are placed by it"
    if model.metric == "l2":
        return f"{model} is compared by the distance, and old vectors are placed by inner products"
    return ""


def given_map(plan: Plan) -> Transform | None:
    """Read the trained `up` map that a plan names; None where it names none.

    Raises ConfigError (no such file), ModelMismatchError (made for other models), InputError.
    """
    if not plan.up:
        return None
    try:
        return load_transform(plan.up, source=plan.old_model, target=plan.new_model)
    except FileNotFoundError as error:
        raise ConfigError(f"up: {error}") from error


def given_pairs(plan: Plan) -> tuple[Vectors, Vectors] | None:
    """Read the file of pairs that a plan names: old (n, d_old), new (n, d_new); None without one.

    Raises ConfigError (no such file, something else, other dimensions, fewer than 100 pairs).
    """
    if not plan.pairs:
        return None
    wanted = {"old": plan.old_model, "new": plan.embedded_model}
    form = "expected a .npz file with float arrays `old` and `new`, as numpy.savez writes it"
    try:
        with np.load(plan.pairs, allow_pickle=False) as file:
            found = {name: np.asarray(file[name]) for name in wanted}
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise ConfigError(f"pairs: {plan.pairs}: {form}; {error}") from error
    rows = len(found["old"]) if found["old"].ndim else 0
    for name, model in wanted.items():
        shape, kind = found[name].shape, found[name].dtype.kind
        if kind != "f" or shape != (rows, model.dimension) or rows < MIN_PAIRS:
            raise ConfigError(
                f"pairs: {plan.pairs}: expected {name} as floats of shape "
                f"({max(rows, MIN_PAIRS)}{'' if rows >= MIN_PAIRS else ' or more'}, "
                f"{model.dimension}), vectors of {model}; got {found[name].dtype} of shape {shape}"
            )
    return found["old"].astype(np.float32), found["new"].astype(np.float32)


# Pairs for a chain: a sample's vectors of the new model and of every old one ---------------------
# The new model embeds each sampled item once. Old vectors are read where the store has them,
# searched or kept: an item that an unfinished upgrade moved has vectors of both its models.

ENOUGH = 500
"""With fewer vectors of an old model its embedder makes more, where there is one."""


def sample_of_all_sides(gallery: Gallery, plan: Plan, progress: Progress) -> list[str]:
    """Draw `plan.fit_items` items of each side, so that a small side is not left out.

    progress: told how far it is with each.
    """
    drawn: dict[str, None] = {}
    for space in gallery.spaces:
        with progress.counting("drawing a sample", gallery.count(space)) as told:
            ids = sample_ids(gallery, [space], plan.fit_items, plan.seed, told=told)
        drawn |= dict.fromkeys(ids)
    return list(drawn)


def chain_pairs(
    own: OwnVectors,
    plan: Plan,
    item_ids: Sequence[str],
    source: Source,
    new_embedder: Embedder,
    old_embedders: Mapping[ModelId, Embedder],
    stop: threading.Event,
    told: Told = lambda done: None,
) -> ChainPairs:
    """Embed items by the new model, and read what the store has of them in every old space.

    old_embedders: of old models that are at hand; they make what the store lacks up to `ENOUGH`.
    told: how many items the new model has embedded.
    Items that have no content or cannot be embedded are left out. Raises what embedders raise when
    no item is at fault.
    """
    made: dict[str, Any] = {}
    call = PatientCaller(plan.embed_timeout_seconds, stop)

    def embedded(embedder: Embedder, some: Sequence[str]) -> Mapping[str, Any]:
        contents = read_what_can_be(source, some, call, [])
        return embed_what_can_be(embedder, contents, call, [])

    with suppress(GivenUpError):
        for begin in range(0, len(item_ids), plan.at_once):
            if stop.is_set():
                break
            some = item_ids[begin : begin + plan.at_once]
            made |= embedded(new_embedder, some)
            told(begin + len(some))
    row_of = {item_id: row for row, item_id in enumerate(made)}
    new = np.array(list(made.values()), np.float32).reshape(-1, plan.new_model.dimension)
    old: dict[ModelId, tuple[Any, Vectors]] = {}
    for model in plan.old_models:
        found = own.read(list(made), model)
        vectors = dict(zip(found.item_ids, found.vectors, strict=True))
        if (old_embedder := old_embedders.get(model)) is not None:
            lacking = [item_id for item_id in made if item_id not in vectors]
            for begin in range(0, min(len(lacking), ENOUGH - len(vectors)), plan.at_once):
                with suppress(GivenUpError):
                    some = lacking[begin : begin + plan.at_once]
                    vectors |= embedded(old_embedder, some)
        rows = np.array([row_of[item_id] for item_id in vectors], dtype=np.int64)
        table = np.array(list(vectors.values()), np.float32).reshape(-1, model.dimension)
        old[model] = (rows, table)
    call.close()
    return ChainPairs(new, old)
