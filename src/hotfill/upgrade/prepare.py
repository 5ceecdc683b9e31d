"""Look at everything, touch nothing: a draft becomes a plan with figures and blockers."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from hotfill.errors import ConfigError, HotfillError, PlanError
from hotfill.formatting import milliseconds, size
from hotfill.ranking.one_space import RESIDUALS_FROM, doubts_of_rho, rho_enough
from hotfill.upgrade.caller import PatientCaller, embed_what_can_be, read_what_can_be
from hotfill.upgrade.canaries import draw_canaries, given_queries, keep_canaries
from hotfill.upgrade.guard import SHARE_OF_TIME, change_gate
from hotfill.upgrade.order import sample_ids
from hotfill.upgrade.pairs import (
    PairedVectors,
    chain_pairs,
    paired_vectors,
    sample_of_all_sides,
    stored_as,
    why_not_imputed,
)
from hotfill.upgrade.phases import Phase
from hotfill.upgrade.plan import BINDING, Plan
from hotfill.upgrade.refit import TENTHS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from hotfill.ranking import Fit
    from hotfill.stores.base import Gallery
    from hotfill.types import Embedder, ModelId, Source
    from hotfill.upgrade.journal.base import Journal
    from hotfill.upgrade.state import State


_SEARCHED, _HITS = 8, 10
_SAMPLE = 64  # items embedded to measure the time; the first few are left out as warm-up
_WARM_UP = 8
_MOST_DRAWN = 4  # times the items to fit on, where many of those drawn make no pair


def make_plan(
    gallery: Gallery,
    draft: Plan,
    source: Source,
    embedder: Embedder,
    free_bytes: int | None = None,
) -> Plan:
    """Fill in what can be found out: counts, bytes, expected time, blockers. Writes nothing.

    free_bytes: room where the store lives; None where that is not known.
    """
    old, new = draft.old_model, draft.new_model
    blockers = []
    items = 0
    if old == new:
        blockers.append(f"old and new model are the same: {old}; there is nothing to upgrade")
    if embedder.model_id != new:
        blockers.append(
            f"the embedder makes vectors of {embedder.model_id}, the plan says {new} "
            f"({new.differences(embedder.model_id)})"
        )
    if draft.strategy == "prefill" and not draft.up and (why := why_not_imputed(new)):
        blockers.append(f"{why}: {_MERGE_INSTEAD}")
    lacking = [model for model in draft.older_models if model not in gallery.spaces]
    if lacking:
        blockers.append(f"the upgrade to be superseded began at {lacking[0]}, the store lacks it")
    if old not in gallery.spaces:
        held = ", ".join(str(space) for space in gallery.spaces) or "no stamped vectors"
        blockers.append(f"the plan's old model is {old}, but the store holds {held}")
    else:
        blockers += _unknown_items(gallery, draft)
        blockers += gallery.rehearse_writes(new)
        items = sum(gallery.count(space) for space in gallery.spaces if space != new)
        # After a lost journal every item may have moved already; there is still a cutover to do.
        if items == 0 and (new not in gallery.spaces or gallery.count(new) == 0):
            blockers.append("the gallery is empty: there is nothing to upgrade")
    if blockers:
        return replace(draft, items=items, blockers=tuple(blockers))

    notes = _notes_of_imputing(gallery, draft, items)
    sampled = _Sampled()
    try:
        sampled = _time_sample(gallery, draft, source, embedder)
    except HotfillError as error:
        blockers.append(f"embedding a sample failed: {error}")
    if note := getattr(embedder, "note", ""):
        notes.append(note)
    # Fitting and verifying embed some items besides; measuring takes its share of the time.
    fitted = 0 if draft.strategy == "compatible" else min(draft.fit_items, items)
    fresh = (items + fitted + min(draft.verify_items, items)) * (1 - sampled.cached_share)
    seconds = sampled.seconds * fresh / draft.duty_cycle
    if draft.guarded:
        seconds /= 1 - SHARE_OF_TIME
        notes.append(f"of the time at most {SHARE_OF_TIME:.0%} is for measuring the canaries")
    if sampled.items:
        notes.append(_search_note(gallery, draft))
    bytes_to_write = items * gallery.vector_bytes(new)
    if free_bytes is not None and bytes_to_write > free_bytes:
        blockers.append(
            f"the new vectors need {size(bytes_to_write)}, {size(free_bytes)} are free where "
            "the store lives"
        )
    return replace(
        draft,
        items=items,
        bytes_to_write=bytes_to_write,
        seconds_expected=seconds,
        sampled_items=sampled.items,
        cached_share=sampled.cached_share,
        price_expected=None if sampled.price is None else sampled.price * fresh,
        blockers=tuple(blockers),
        notes=(*gallery.remarks(new), *notes),
    )


_MERGE_INSTEAD = 'write strategy = "merge" under [upgrade], which leaves old vectors where they are'


def _notes_of_imputing(gallery: Gallery, draft: Plan, items: int) -> list[str]:
    """Say what `prefill` writes before anything is embedded, and what the store makes of it."""
    if draft.strategy != "prefill":
        return []
    bytes_imputed = size(items * gallery.vector_bytes(draft.new_model))
    notes = [
        f"prefill first writes an imputed vector for each of {items:,} items ({bytes_imputed}, in "
        "the room of the new vectors); no model runs for it"
    ]
    rewritten = sum(
        items - items * tenths // TENTHS
        for tenths in range(1, TENTHS)
        if items * tenths // TENTHS >= RESIDUALS_FROM
    )
    if draft.refresh and not draft.up and rewritten:
        notes.append(
            f"as items move, imputed vectors that wait are made anew at each tenth: up to "
            f"{rewritten:,} vectors more are written; refresh = false leaves that out"
        )
    if not draft.up and stored_as(gallery, draft.new_model) is not None:
        notes.append(
            "this store keeps imputed vectors at one length, which bends them, so that searches "
            f"may find less while old items are left: if that matters, {_MERGE_INSTEAD}"
        )
    return notes


def _unknown_items(gallery: Gallery, draft: Plan) -> list[str]:
    """Say which items are searched by models that the plan does not know."""
    known = (*draft.old_models, draft.new_model)
    return [
        f"{count} items are still searched by {space}: finish or abort the upgrade from it, or "
        "supersede that by this one"
        for space in gallery.spaces
        if space not in known and (count := gallery.count(space))
    ]


@dataclass(frozen=True, slots=True)
class _Sampled:
    """What embedding a few items told. seconds, price: for one; price None where there is none."""

    items: int = 0
    seconds: float = 0.0
    cached_share: float = 0.0
    price: float | None = None


def _time_sample(gallery: Gallery, draft: Plan, source: Source, embedder: Embedder) -> _Sampled:
    """Read and embed a few items, such as an embedder's cache does not know: it keeps them.

    Where it knows them all, the first few are embedded past it, only to see how long that takes.
    Items that cannot be embedded are left out: the backfill will name them. Raises what the
    embedder raised when that is all of them.
    """
    held = [space for space in draft.old_models if gallery.count(space)]
    space = held[-1] if held else draft.new_model
    page = gallery.scan(space, limit=_SAMPLE + _WARM_UP)
    failures: list[Exception] = []
    cache = embedder if isinstance(embedder, Caching) else None
    shared = 0.0 if cache is None else cache.kept / max(gallery.count(space), 1)
    with closing(PatientCaller(draft.embed_timeout_seconds)) as call:
        first = read_what_can_be(source, page.item_ids[:_WARM_UP], call, failures)
        embed_what_can_be(embedder, first, call, failures)
        began = time.perf_counter()
        contents = read_what_can_be(
            source, page.item_ids[_WARM_UP:] or page.item_ids, call, failures
        )
        fresh = contents
        if cache is not None:
            fresh = {
                each: content for each, content in contents.items() if not cache.cached([content])
            }
            if not fresh and contents:
                embedder = cache.uncached
                fresh = dict(list(contents.items())[:_WARM_UP])
        embedded = embed_what_can_be(embedder, fresh, call, failures)
    if not embedded:
        if failures:
            raise failures[0]
        raise HotfillError("the source has no content for the first items of the gallery")
    seconds = (time.perf_counter() - began) / len(embedded)
    paid = embedder if cache is None else cache.uncached
    price = paid.price(list(contents.values())) if isinstance(paid, Priced) else None
    return _Sampled(
        len(embedded),
        seconds,
        min(shared, 1.0),
        None if price is None else price / len(contents),
    )


@runtime_checkable
class Caching(Protocol):
    """An embedder that keeps what it made."""

    @property
    def uncached(self) -> Embedder:
        """What makes the vectors."""
        ...

    @property
    def kept(self) -> int:
        """How many vectors are kept, of whatever contents."""
        ...

    def cached(self, contents: Iterable[Any], /) -> int:
        """Count the contents whose vectors are kept. Embeds nothing."""
        ...


@runtime_checkable
class Priced(Protocol):
    """An embedder that is paid for."""

    def price(self, contents: Sequence[Any], /) -> float | None:
        """Estimate what embedding contents costs; None where no price is known."""
        ...


def _search_note(gallery: Gallery, draft: Plan) -> str:
    """Say what a search costs now, measured, and what that means while the upgrade runs."""
    space = next(space for space in gallery.spaces if gallery.count(space))
    ids = gallery.scan(space, limit=_SEARCHED).item_ids
    queries = gallery.vectors(ids, space).vectors
    gallery.search({space: queries[:1]}, _HITS)
    began = time.monotonic()
    for row in range(len(queries)):
        gallery.search({space: queries[row : row + 1]}, _HITS)
    took = milliseconds((time.monotonic() - began) / len(queries))
    sides = {
        "merge": "about twice that while both sides are searched, with the ranking of the two",
        "prefill": "about that while the upgrade runs: there is one side",
        "compatible": "about twice that while both sides are searched",
    }[draft.strategy]
    return f"a search of the store takes {took} ms now, and {sides}"


# The first step of an upgrade: agree on its plan, fit what maps queries, choose the canaries -----
# Nothing is written to the store before all of that is done, so that an upgrade that cannot be
# prepared leaves no trace there.


def agree_on_plan(gallery: Gallery, journal: Journal, plan: Plan, by: str) -> None:
    """Write a fresh upgrade's plan down; compare a begun one's with what it began with.

    by: who gives the command; noted where the gate was changed. Raises PlanError.
    """
    known = journal.last("plan")
    # Until an upgrade is prepared nothing depends on its plan: what could not be, may be changed.
    if known is None or journal.phase is Phase.PLANNED:
        plan.check()
        if plan.old_model not in gallery.spaces:
            held = ", ".join(str(space) for space in gallery.spaces) or "nothing stamped"
            raise PlanError([f"the plan's old model is {plan.old_model}; the store: {held}"])
        check_no_unknown_items(gallery, plan)
        if plan.older_models and (plan.strategy != "prefill" or len(plan.older_models) > 1):
            _check_no_mapped_vectors(gallery, plan)
        journal.record("plan", **plan.decisions())
        return
    mine, began = plan.decisions(), Plan.from_dict(known.body).decisions()
    changed = sorted(key for key in BINDING if mine.get(key) != began.get(key))
    if changed:
        raise PlanError(
            [
                f"this upgrade began with another plan ({', '.join(changed)} differ); "
                "put the old values back, or abort it and begin again"
            ]
        )
    change_gate(journal, plan.gate, by)


def check_no_unknown_items(gallery: Gallery, plan: Plan) -> None:
    """Raise PlanError when items are searched by a model that the plan does not know."""
    for space in gallery.spaces:
        if space not in (*plan.old_models, plan.new_model) and (count := gallery.count(space)):
            raise PlanError(
                [
                    f"{count} items are searched by {space}, of which this upgrade knows nothing: "
                    "finish or abort the other upgrade first, or let this one supersede it"
                ]
            )


def _check_no_mapped_vectors(gallery: Gallery, plan: Plan) -> None:
    """Refuse vectors that a transform made: back on their side they would pass for a model's."""
    for space in plan.old_models:
        made = gallery.count(space, origin=space.fingerprint)
        if mapped := gallery.count(space) - made:
            raise PlanError(
                [
                    f"{mapped} items are searched by vectors that were imputed into {space}, not "
                    "embedded by it: "
                    + (
                        'write strategy = "prefill" for this upgrade, or finish or abort that one '
                        "first"
                        if len(plan.older_models) == 1
                        else "finish or abort that upgrade first"
                    )
                ]
            )


def prepare(state: State) -> bool:
    """Fit, choose canaries, and make room in the store. False when asked to stop."""
    plan, gallery, journal = state.plan, state.gallery, state.journal
    journal.record("started")
    fitted_on, pairs, make_fit = (_pairs_of_chain if plan.older_models else _pairs)(state)
    if state.stop.is_set():
        return False
    if plan.canary_queries:
        state.real_queries = given_queries(plan, state.embedder_of_queries())
    fit = make_fit()
    _check_rho(fit, plan)
    state.finish_by(fit)
    if plan.guarded:
        _choose_canaries(state, fitted_on)
    state.keep_fit(fit, pairs=pairs)
    gallery.add_space(state.plan.new_model)
    return True


def _check_rho(fit: Fit, plan: Plan) -> None:
    """Refuse what may begin below the old model, unless somebody takes that."""
    facts = fit.facts
    if "rho" not in facts or plan.queries == "both" or plan.allow_below_old:
        return
    rho, by_items = float(facts["rho"]), bool(facts["rho_by_items"])
    if rho < rho_enough(by_items):
        raise PlanError(
            [
                *doubts_of_rho(rho, by_items=by_items),
                "nothing was written to the store; to begin all the same: "
                "`hotfill start --yes-below-old`, or allow_below_old = true under [upgrade]",
            ]
        )


def _pairs(state: State) -> tuple[list[str], int, Callable[[], Fit]]:
    """Sample items and their pairs: ids, how many pairs, and what fits them.

    Some items make no pair: their stored vector is of zeros, say. Others are drawn in their stead.
    """
    plan, gallery = state.plan, state.gallery
    size = 0 if plan.strategy == "compatible" else plan.fit_items
    source, embedder = state.backfilling
    tried: dict[str, None] = {}
    found: list[PairedVectors] = []
    pairs, wanted = 0, size
    while True:
        # All sides: after a lost journal some items have moved, and keep an old vector.
        drawn = sample_ids(gallery, gallery.spaces, wanted, plan.seed)
        more = paired_vectors(
            gallery,
            [item_id for item_id in drawn if item_id not in tried],
            plan.old_model,
            source,
            embedder,
            plan.batch_size,
            stop=state.stop,
            call_seconds=plan.embed_timeout_seconds,
            enough=None if not tried else size - pairs,
        )
        tried |= dict.fromkeys(drawn)
        found.append(more)
        pairs += len(more.item_ids)
        if pairs >= size or len(drawn) < wanted or wanted >= _MOST_DRAWN * size or not pairs:
            break
        wanted *= 2
    old = np.concatenate([each.old for each in found])
    new = np.concatenate([each.new for each in found])
    return list(tried), pairs, lambda: state.fitting.fit(old, new)


def _pairs_of_chain(state: State) -> tuple[list[str], int, Callable[[], Fit]]:
    fit_chain = state.fitting.fit_chain
    if fit_chain is None:
        raise ConfigError("this fitting knows one old side only, and the plan has several")
    sample = sample_of_all_sides(state.gallery, state.plan)
    source, embedder = state.backfilling
    pairs = chain_pairs(
        state.own_vectors, state.plan, sample, source, embedder, _old_embedders(state), state.stop
    )
    return sample, len(pairs.new), lambda: fit_chain(pairs)


def _old_embedders(state: State) -> dict[ModelId, Embedder]:
    """Find the embedders of the old models: our own, and those of the upgrades before this one.

    Items that were written since those began have no vector of the oldest model.
    """
    found = {}
    if (own := state.embedder("old")) is not None:
        found[state.plan.old_model] = own
    before = state.parts.previous
    while before is not None:
        if (theirs := before.embedder("old")) is not None:
            found.setdefault(theirs.model_id, theirs)
        before = before.previous
    return found


def _choose_canaries(state: State, fitted_on: Sequence[str]) -> None:
    source, embedder = state.backfilling
    canaries = draw_canaries(
        state.gallery,
        state.plan,
        source,
        embedder,
        state.embedder("old"),
        state.search_before,
        fitted_on,
        state.query_embedders(),
    )
    keep_canaries(state.folder, state.journal, canaries)
