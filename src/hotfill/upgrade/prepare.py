"""Look at everything, touch nothing: a draft becomes a plan with figures and blockers."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from hotfill.errors import ConfigError, HotfillError, PlanError
from hotfill.formatting import duration, milliseconds, size
from hotfill.ranking.fit import MIN_PAIRS
from hotfill.ranking.one_space import RESIDUALS_FROM, doubts_of_rho, rho_enough
from hotfill.upgrade.caller import PatientCaller, embed_what_can_be, read_what_can_be
from hotfill.upgrade.canaries import draw_canaries, given_queries, keep_canaries
from hotfill.upgrade.criterion import check_criterion, is_asked, items_to_ask_by
from hotfill.upgrade.guard import SHARE_OF_TIME, change_gate
from hotfill.upgrade.maps_over import (
    MOST_DRAWN_OF_SOME,
    items_to_pair,
    pair_imputed,
    with_maps_over,
)
from hotfill.upgrade.order import pages_of
from hotfill.upgrade.own_vectors import count_imputed
from hotfill.upgrade.pairs import (
    PairedVectors,
    chain_pairs,
    given_map,
    given_pairs,
    sample_of_all_sides,
    stored_as,
    why_not_imputed,
)
from hotfill.upgrade.parts import NoContents
from hotfill.upgrade.phases import Phase
from hotfill.upgrade.plan import BINDING, Plan
from hotfill.upgrade.refit import TENTHS
from hotfill.upgrade.request_limits import note_of_limit
from hotfill.upgrade.stored_vectors import StoredVectors

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
_LOOKED_THROUGH = 100  # pages, for contents that a source knows
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
        blockers.append(f"{why}: {_merge_instead(draft)}")
    if isinstance(source, NoContents):
        blockers += _lacking_without_contents(draft)
    lacking = [model for model in draft.older_models if model not in gallery.spaces]
    if lacking:
        blockers.append(f"the upgrade to be superseded began at {lacking[0]}, the store lacks it")
    if old not in gallery.spaces:
        held = ", ".join(str(space) for space in gallery.spaces) or "no stamped vectors"
        blockers.append(f"the plan's old model is {old}, but the store holds {held}")
    else:
        blockers += _unknown_items(gallery, draft)
        blockers += gallery.rehearse_writes(new)
        if isinstance(source, StoredVectors):
            blockers += _imputed_to_encode(gallery, old)
        items = sum(gallery.count(space) for space in gallery.spaces if space != new)
        # After a lost journal every item may have moved already; there is still a cutover to do.
        if items == 0 and (new not in gallery.spaces or gallery.count(new) == 0):
            blockers.append("the gallery is empty: there is nothing to upgrade")
    if blockers:
        return replace(draft, items=items, blockers=tuple(blockers))

    notes = _notes_of_imputing(gallery, draft, items)
    sampled = _Sampled()
    # Fitting and verifying embed some items besides; measuring takes its share of the time.
    fits = _fits_on_items(draft) and not isinstance(source, NoContents)
    fitted = min(draft.fit_items, items) if fits else 0
    if fits and draft.strategy == "prefill":
        imputed = count_imputed(gallery, old)
        fitted += items_to_pair(draft, imputed)
    if not isinstance(source, NoContents):
        fitted += items_to_ask_by(draft, items)
    if fitted or draft.backfill != "none":
        try:
            sampled = _time_sample(gallery, draft, source, embedder)
        except HotfillError as error:
            blockers.append(f"embedding a sample failed: {error}")
    besides = fitted + min(draft.verify_items, items) * (draft.backfill != "none")
    to_embed, why_not = _items_to_embed(draft, items, besides, sampled)
    blockers += why_not
    if draft.backfill != "all" and not why_not:
        notes.append(_note_of_staying(gallery, draft, items, to_embed))
    if is_asked(draft) and isinstance(source, NoContents):
        notes.append(
            "without contents nobody can tell whether new queries find old vectors at least as "
            "well as old ones do: measure that on other contents, by `hotfill rehearse`; `start` "
            "wants judged canary queries, or --yes-below-old"
        )
    if note := note_of_limit(embedder):
        notes.append(note)
    fresh = (to_embed + besides) * (1 - sampled.cached_share)
    seconds = sampled.seconds * fresh / draft.duty_cycle
    if draft.guarded:
        seconds /= 1 - SHARE_OF_TIME
        notes.append(f"of the time at most {SHARE_OF_TIME:.0%} is for measuring the canaries")
    if sampled.items and (note := _search_note(gallery, draft)):
        notes.append(note)
    if note := _note_of_writing(gallery, draft, items, to_embed, seconds):
        notes.append(note)
    bytes_to_write = items * gallery.vector_bytes(new)
    if free_bytes is not None and bytes_to_write > free_bytes:
        blockers.append(
            f"the new vectors need {size(bytes_to_write)}, {size(free_bytes)} are free where "
            "the store lives"
        )
    return replace(
        draft,
        items=items,
        items_to_embed=to_embed if draft.backfill == "budget" else None,
        bytes_to_write=bytes_to_write,
        seconds_expected=seconds,
        sampled_items=sampled.items,
        cached_share=sampled.cached_share,
        price_expected=None if sampled.price is None else sampled.price * fresh,
        blockers=tuple(blockers),
        notes=(*gallery.remarks(new), *notes),
    )


def _merge_instead(draft: Plan) -> str:
    """Name the way that places no old vector; it embeds all items."""
    both = "" if draft.backfill == "all" else 'backfill = "all" and '
    return (
        f'write {both}strategy = "merge" under [upgrade], which leaves old vectors where they are'
    )


def items_for_more(gallery: Gallery, draft: Plan, source: Source, embedder: Embedder) -> int:
    """Tell how many items that stayed imputed a draft lets the new model embed now.

    Raises PlanError where it is none, and what the embedder raises where a sample of time or price
    is needed and cannot be embedded.
    """
    new = draft.new_model
    if draft.backfill == "none":
        raise PlanError(
            ['backfill = "none" embeds nothing: write "all", or "budget" and how much, to go on']
        )
    items = count_imputed(gallery, new)
    sampled = _Sampled()
    if draft.is_measured:
        sampled = _time_sample(gallery, draft, source, embedder)
    to_embed, why_not = _items_to_embed(draft, items, 0, sampled)
    if why_not:
        raise PlanError(why_not)
    return to_embed


def _fits_on_items(draft: Plan) -> bool:
    """Tell whether items are embedded to fit a map on."""
    return draft.strategy != "compatible" and not draft.pairs


def _lacking_without_contents(draft: Plan) -> list[str]:
    """Say what an upgrade without any contents needs in their place."""
    found = []
    if _fits_on_items(draft) and not draft.up:
        found.append(
            "a map is fitted on vectors of the same contents by both models, and there is no "
            "[source]: give such vectors of other contents by pairs = FILE, or a trained map by "
            "up = FILE, or train the new model to be compatible"
        )
    if draft.guarded:
        found.append("canaries are measured by contents, and there is no [source]: no [guard] then")
    return found


def _items_to_embed(
    draft: Plan, items: int, besides: int, sampled: _Sampled
) -> tuple[int, list[str]]:
    """Tell how many items are to be embedded, and why that cannot be told.

    besides: items that are embedded to fit and to verify, which a budget of time or money pays too.
    """
    if draft.backfill != "budget":
        return (items if draft.backfill == "all" else 0), []
    if draft.budget_items is not None:
        return min(draft.budget_items, items), []
    if draft.budget_share is not None:
        return max(1, round(draft.budget_share * items)), []
    budget, each, what = draft.budget_seconds, sampled.seconds / draft.duty_cycle, "seconds"
    if draft.budget_cost is not None:
        if sampled.price is None:
            return 0, ["budget_cost needs an embedder with a price: write budget_items instead"]
        budget, each, what = draft.budget_cost, sampled.price, "cost"
    assert budget is not None
    paid = each * (1 - sampled.cached_share)
    if not sampled.items:
        return 0, []  # that a sample failed is said already
    affordable = items if paid <= 0 else min(int(budget / paid) - besides, items)
    if affordable < 1:
        return 0, [
            f"budget_{what} = {budget:g} pays for {int(budget / paid):,} items, and {besides:,} "
            "are embedded to fit and to verify: raise it, or lower fit_items and verify_items"
        ]
    return affordable, []


def _note_of_staying(gallery: Gallery, draft: Plan, items: int, to_embed: int) -> str:
    """Say what the upgrade ends with, and what `complete` removes."""
    room = size(items * gallery.vector_bytes(draft.old_model))
    made = "as the old model made them" if draft.strategy == "compatible" else "as imputed"
    change = ', with backfill = "all" or "budget",' if draft.backfill == "none" else ""
    return (
        f"{to_embed:,} of {items:,} items are embedded; the vectors of {items - to_embed:,} stay "
        f"for good {made}, and `hotfill start --more`{change} goes on after `complete`, which "
        f"removes the old vectors ({room})"
    )


def _notes_of_imputing(gallery: Gallery, draft: Plan, items: int) -> list[str]:
    """Say what `prefill` writes before anything is embedded, and what the store makes of it."""
    if not draft.imputes:
        return []
    bytes_imputed = size(items * gallery.vector_bytes(draft.new_model))
    notes = [
        f"at first an imputed vector is written for each of {items:,} items ({bytes_imputed}, in "
        "the room of the new vectors); no model runs for it"
    ]
    if rewritten := _written_anew(draft, items):
        notes.append(
            f"as items move, imputed vectors that wait are made anew at each tenth: up to "
            f"{rewritten:,} vectors more are written, fewer where that takes over "
            f"{draft.refresh_share:.0%} of the embedding still ahead (refresh_share); refresh = "
            "false leaves it out"
        )
    if not draft.up and stored_as(gallery, draft.new_model) is not None:
        notes.append(
            "this store keeps imputed vectors at one length, which bends them, so that searches "
            f"may find less while old items are left: if that matters, {_merge_instead(draft)}"
        )
    return notes


def _written_anew(draft: Plan, items: int) -> int:
    """Count the imputed vectors that are made anew as items move, at most."""
    if not (draft.imputes and draft.refresh) or draft.up or draft.backfill != "all":
        return 0
    return sum(
        items - items * tenths // TENTHS
        for tenths in range(1, TENTHS)
        if items * tenths // TENTHS >= RESIDUALS_FROM
    )


_LARGE = 20_000  # items; with fewer the store is done in a minute


def _note_of_writing(
    gallery: Gallery, draft: Plan, items: int, to_embed: int, embedding: float
) -> str:
    """Say how long the store itself takes, where that is known. embedding: seconds of the model.

    Empty for a small gallery.
    """
    cost = gallery.capabilities.cost
    if cost is None or items < _LARGE:
        return ""
    impute, embed, index = (
        cost.seconds(each, draft.new_model) for each in (cost.imputed, cost.embedded, cost.indexed)
    )
    imputing = items * impute if draft.imputes else 0.0
    moving = to_embed * embed
    # What would take longer is left out.
    anew = _written_anew(draft, items) * (impute + index)
    anew = min(anew, draft.refresh_share * max(embedding, moving))
    indexing = items * index if draft.optimise else 0.0
    parts = {
        "to impute": imputing,
        "to impute anew": anew,
        "to write what is embedded, at the same time": moving,
        "for the index": indexing,
    }
    said = ", ".join(f"{duration(each)} {what}" for what, each in parts.items() if each >= 1)
    return (
        f"the store itself takes about {said}, by what it took on two slow cores (docs, "
        "operations/scale)"
    )


def _imputed_to_encode(gallery: Gallery, old: ModelId) -> list[str]:
    """Say which items have no vector of the old model to make codes of."""
    imputed = count_imputed(gallery, old)
    if not imputed:
        return []
    return [
        f"{imputed:,} items are found by vectors that were imputed for {old}, and codes of these "
        "would pass for codes of its own: embed them by `hotfill start --more` in the upgrade "
        "before, or give [new] an embedder that reads contents"
    ]


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
    there = [space for space in draft.old_models if space in gallery.spaces]
    held = [space for space in there if gallery.count(space)]
    space = held[-1] if held else draft.new_model
    failures: list[Exception] = []
    cache = embedder if isinstance(embedder, Caching) else None
    shared = 0.0 if cache is None else cache.kept / max(gallery.count(space), 1)
    with closing(PatientCaller(draft.embed_timeout_seconds)) as call:
        item_ids: Sequence[str] = gallery.scan(space, limit=_SAMPLE + _WARM_UP).item_ids
        if draft.backfill != "all":
            item_ids = _known_ids(gallery, space, source, call, failures)
        first = read_what_can_be(source, item_ids[:_WARM_UP], call, failures)
        embed_what_can_be(embedder, first, call, failures)
        began = time.perf_counter()
        contents = read_what_can_be(source, item_ids[_WARM_UP:] or item_ids, call, failures)
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


def _known_ids(
    gallery: Gallery,
    space: ModelId,
    source: Source,
    call: PatientCaller,
    failures: list[Exception],
) -> list[str]:
    """Find items for the sample that a source knows, where it need not know all."""
    known: list[str] = []
    for page in islice(pages_of(gallery, space, _SAMPLE + _WARM_UP), _LOOKED_THROUGH):
        known += read_what_can_be(source, page.item_ids, call, failures)
        if len(known) >= _SAMPLE + _WARM_UP:
            break
    return known[: _SAMPLE + _WARM_UP]


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
    """Say what a search costs now, measured, and what that means while the upgrade runs.

    Empty where no side has items to search by, as when others move or delete them just now.
    """
    for space in gallery.spaces:
        ids = gallery.scan(space, limit=_SEARCHED).item_ids
        if len(queries := gallery.vectors(ids, space).vectors):
            break
    else:
        return ""
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
        if plan.backfill == "budget":
            journal.record("budget", items=_budget(gallery, plan))
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


def _budget(gallery: Gallery, plan: Plan) -> int:
    """Tell how many items the budget of a plan pays for. Raises PlanError."""
    if plan.items_to_embed is not None:
        return plan.items_to_embed
    if plan.budget_items is not None:
        return plan.budget_items
    if plan.budget_share is None:
        raise PlanError(["how many items a budget of time or money pays for is not known: plan it"])
    return max(1, round(plan.budget_share * len(gallery)))


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
    if not plan.older_models:
        state.find_imputed_before()
    fitted_on, pairs, make_fit = (_pairs_of_chain if plan.older_models else _pairs)(state)
    if state.stop.is_set():
        return False
    if plan.canary_queries:
        state.real_queries = given_queries(plan, state.embedder_of_queries(), state.progress)
    with state.progress.counting("fitting the map between the models"):
        fit = make_fit()
    _check_rho(fit, plan)
    check_criterion(state)
    if state.stop.is_set():
        return False
    fit, chosen = with_maps_over(state, fit)
    state.finish_by(fit)
    if plan.guarded:
        _choose_canaries(state, fitted_on)
    state.keep_fit(fit, pairs=pairs, chosen=chosen)
    with state.progress.counting("making room in the store"):
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
    if (given := given_pairs(plan)) is not None:
        return [], len(given[0]), lambda: state.fitting.fit(*given)
    size = 0 if plan.strategy == "compatible" else plan.fit_items
    source, _ = state.backfilling
    if isinstance(source, NoContents) and size:
        return _pairs_of_given_map(state)
    most = (_MOST_DRAWN if plan.backfill == "all" else MOST_DRAWN_OF_SOME) * size
    tried: dict[str, None] = {}
    paired: set[str] = set()
    found: list[PairedVectors] = []
    pairs, wanted = 0, size
    # All sides: after a lost journal some items have moved, and keep an old vector.
    spaces, made_by, old_embedder = gallery.spaces, None, None
    if size and state.imputed_before:
        paired = pair_imputed(state)
        own = gallery.count(plan.old_model, origin=plan.old_model.fingerprint)
        old_embedder = state.embedder("old") if own < size else None
        if old_embedder is None:
            # Nothing is fitted on what another map has made.
            spaces, made_by = (plan.old_model,), plan.old_model.fingerprint
    while True:
        drawn = state.drawn(spaces, wanted + len(paired), made_by=made_by)
        if paired:
            # The maps of imputed vectors are tried on these: others are better to fit on.
            np.random.default_rng(plan.seed).shuffle(drawn)
            drawn = sorted(drawn, key=paired.__contains__)[:wanted]
        more = state.paired(
            [item_id for item_id in drawn if item_id not in tried],
            old_embedder=old_embedder,
            enough=None if not tried else size - pairs,
        )
        tried |= dict.fromkeys(drawn)
        found.append(more)
        pairs += len(more.item_ids)
        none_yet = not pairs and plan.backfill == "all"
        if pairs >= size or len(drawn) < wanted or wanted >= most or none_yet:
            break
        wanted *= 2
    lacking = pairs < MIN_PAIRS <= size and not state.stop.is_set()
    if made_by is not None and lacking:
        raise PlanError(
            [
                f"a map is fitted on vectors that {plan.old_model} made itself, and {pairs:,} "
                f"items with contents have one, where {MIN_PAIRS} are needed; others are imputed: "
                "embed some of them by `hotfill start --more` in the upgrade before, give [old] an "
                "embedder, or give vectors of other contents by pairs = FILE"
            ]
        )
    if plan.backfill != "all" and lacking:
        raise PlanError(
            [
                f"of {len(tried):,} items drawn, the source knows {pairs:,} that make a pair, and "
                f"{MIN_PAIRS} are needed to fit a map: give vectors of other contents by "
                "pairs = FILE, or a trained map by up = FILE"
            ]
        )
    old = np.concatenate([each.old for each in found])
    new = np.concatenate([each.new for each in found])
    return list(tried), pairs, lambda: state.fitting.fit(old, new)


def _pairs_of_given_map(state: State) -> tuple[list[str], int, Callable[[], Fit]]:
    """Pair stored vectors with what a trained map makes of them, where there are no contents.

    By these both sides are searched together in the minutes of imputing; nothing is measured.
    """
    plan, up = state.plan, given_map(state.plan)
    if up is None:
        raise PlanError(_lacking_without_contents(plan))
    drawn = state.drawn([plan.old_model], plan.fit_items)
    old = state.gallery.vectors(drawn, plan.old_model).vectors
    old = old[np.isfinite(old).all(axis=1) & old.any(axis=1)]
    return drawn, len(old), lambda: state.fitting.fit(old, up(old))


def _pairs_of_chain(state: State) -> tuple[list[str], int, Callable[[], Fit]]:
    fit_chain = state.fitting.fit_chain
    if fit_chain is None:
        raise ConfigError("this fitting knows one old side only, and the plan has several")
    sample = sample_of_all_sides(state.gallery, state.plan, state.progress)
    source, embedder = state.backfilling
    with state.progress.counting("embedding a sample", len(sample)) as told:
        pairs = chain_pairs(
            state.own_vectors,
            state.plan,
            sample,
            source,
            embedder,
            _old_embedders(state),
            state.stop,
            told,
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
        state.progress,
    )
    keep_canaries(state.folder, state.journal, canaries)
