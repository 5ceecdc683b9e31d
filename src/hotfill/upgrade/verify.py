"""Prove that the backfill is complete: ids, stamps, and a sample embedded or imputed again.

Counts alone prove nothing: one item lost and one doubled give the right count, and rows that came
in behind a store's back are in no count that it keeps. So every row of every side is read.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict, dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.upgrade.backfill import is_reembedded
from hotfill.upgrade.caller import PatientCaller, read_contents
from hotfill.upgrade.indexes import ENOUGH, lacks_index
from hotfill.upgrade.leftover import dead_items, ending_origins, left_over, still_dead
from hotfill.upgrade.order import pages_of, sample_ids
from hotfill.upgrade.phases import Hold

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from hotfill.stores.base import Gallery
    from hotfill.types import Embedder, ModelId, Source, Transform
    from hotfill.upgrade.journal.base import Fact, Journal, Stage
    from hotfill.upgrade.order import Told
    from hotfill.upgrade.pace import Progress
    from hotfill.upgrade.plan import Plan


_AGREES_FROM = 0.999  # cosine; float16 storage and other batch sizes stay above it
ITEMS_NOT_REEMBEDDED = "items_not_reembedded"
"""What a hold of the cutover is about while the rows tell of items for `start`."""

_NAMED = 20  # how many offending ids a report lists


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found. Lists name the first offenders, counts are complete.

    items: on the new side. missing: worked on, but gone without having been deleted through
    hotfill. elsewhere: not on the new side. foreign: on the new side by vectors that the new model
    did not make, nor, where items may stay imputed, the fit in force. accepted: dead letters that
    somebody accepted; they are in no other figure. sampled, disagreeing: embedded again, and among
    them those whose stored vector has a cosine below 0.999 to the fresh one. lowest_similarity: of
    the sample.
    indexed: share of the new side that an index covers; None where it needs none.
    imputed: items that stay by vectors that the fit in force imputed. remapped, misplaced: imputed
    again from their old vectors, and among them those that stand elsewhere, by a cosine below
    0.999.
    """

    items: int
    missing: int
    missing_ids: tuple[str, ...]
    elsewhere: int
    foreign: int
    dead_letters: int
    accepted: int
    sampled: int
    disagreeing: int
    disagreeing_ids: tuple[str, ...]
    lowest_similarity: float
    indexed: float | None = None
    imputed: int = 0
    imputed_ids: tuple[str, ...] = ()
    remapped: int = 0
    misplaced: int = 0
    misplaced_ids: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not (
            self.missing
            or self.elsewhere
            or self.foreign
            or self.dead_letters
            or self.disagreeing
            or self.misplaced
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "passed": self.passed}


def verify(
    gallery: Gallery,
    journal: Journal,
    plan: Plan,
    source: Source,
    embedder: Embedder,
    load_maps: Callable[[], Mapping[str, Transform]],
    progress: Progress,
) -> Verification:
    """Check every id and stamp, and embed `plan.verify_items` items again. Writes nothing.

    Where items may stay imputed, as many are imputed again, too.
    load_maps: reads the maps of the fit in force, by the origin of what they make. progress: told
    what is done, part by part.
    Live writes may go on: what changes while it is looked at is looked at again.
    """
    new = plan.new_model
    accepted = set(dead_items(gallery, journal, plan, "embed", accepted=True))
    endings = ending_origins(journal, plan)
    with progress.counting("reading the items", gallery.count(new)) as told:
        walked = _walk(gallery, new, endings, told)
    foreign = [item_id for item_id in walked.foreign if item_id not in accepted]
    with progress.counting("looking for missing items", len(gallery)) as told:
        missing = _missing(gallery, journal, plan, told)
    dead = still_dead(
        gallery,
        journal.dead_letters(),
        lambda state: not (state.space == new and state.origin in endings),
    )
    own = new.fingerprint
    with progress.counting("drawing a sample", walked.items) as told:
        sample = sample_ids(gallery, [new], plan.verify_items, plan.seed, made_by=own, told=told)
    remapped = {}
    if walked.imputed:
        with progress.counting("imputing a sample again"):
            remapped = _remapped(gallery, journal, plan, load_maps())
    misplaced = [item for item, value in remapped.items() if value < _AGREES_FROM]
    with progress.counting("embedding a sample again", len(sample)) as told:
        similarities = _similarities(gallery, plan, sample, source, embedder, told)
    disagreeing = [item for item, value in similarities.items() if value < _AGREES_FROM]
    return Verification(
        items=walked.items,
        missing=len(missing),
        missing_ids=tuple(missing[:_NAMED]),
        elsewhere=sum(
            item_id not in accepted
            for space in gallery.spaces
            if space != new
            for page in pages_of(gallery, space)
            for item_id in page.item_ids
        ),
        foreign=len(foreign),
        dead_letters=len(dead),
        accepted=len(accepted),
        sampled=len(similarities),
        disagreeing=len(disagreeing),
        disagreeing_ids=tuple(disagreeing[:_NAMED]),
        lowest_similarity=min(similarities.values(), default=1.0),
        indexed=gallery.indexed(new),
        imputed=walked.imputed,
        imputed_ids=tuple(walked.imputed_ids),
        remapped=len(remapped),
        misplaced=len(misplaced),
        misplaced_ids=tuple(misplaced[:_NAMED]),
    )


@dataclass(slots=True)
class _Walked:
    """What the rows of one side say. imputed_ids: the first few; foreign: all that are."""

    items: int = 0
    imputed: int = 0
    imputed_ids: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)


def _walk(gallery: Gallery, space: ModelId, endings: Collection[str], told: Told) -> _Walked:
    """Count the items of a side by origin. endings: origins that may stay; others are foreign."""
    found = _Walked()
    for page in pages_of(gallery, space):
        found.items += len(page.item_ids)
        odd = []
        for item_id, origin in zip(page.item_ids, page.origins, strict=True):
            if origin not in endings:
                odd.append(item_id)
            elif origin != space.fingerprint:
                found.imputed += 1
                if len(found.imputed_ids) < _NAMED:
                    found.imputed_ids.append(item_id)
        found.foreign += [
            state.item_id
            for state in gallery.get(odd)
            if state is not None and state.origin not in endings
        ]
        told(found.items)
    return found


def _missing(gallery: Gallery, journal: Journal, plan: Plan, told: Told) -> list[str]:
    # Without a backfill of all items, those that were imputed are all that there were.
    stages: list[Stage] = ["embed"] if plan.backfill == "all" else ["prefill", "embed"]
    missing: dict[str, None] = {}
    looked_at = 0
    for item_ids in chain.from_iterable(journal.worked_ids(stage) for stage in stages):
        states = gallery.get(item_ids)
        gone = [item for item, state in zip(item_ids, states, strict=True) if state is None]
        if gone:
            deleted = journal.deleted(gone)
            missing |= dict.fromkeys(item for item in gone if item not in deleted)
        looked_at += len(item_ids)
        told(looked_at)
    return list(missing)


def _remapped(
    gallery: Gallery, journal: Journal, plan: Plan, maps: Mapping[str, Transform]
) -> dict[str, float]:
    """Cosines between stored imputed vectors and those that the fit in force makes again.

    Items without a usable old vector are left out, and those that changed since they were read.
    """
    found: dict[str, float] = {}
    space = plan.new_model
    old_model = plan.old_model  # items stay imputed from one
    if old_model not in gallery.spaces:
        return found
    for origin in sorted(ending_origins(journal, plan) - {space.fingerprint}):
        drawn = sample_ids(gallery, [space], plan.verify_items, plan.seed, made_by=origin)
        for begin in range(0, len(drawn), plan.at_once):
            old = gallery.vectors(drawn[begin : begin + plan.at_once], old_model)
            usable = np.flatnonzero(np.isfinite(old.vectors).all(axis=1) & old.vectors.any(axis=1))
            if not len(usable):
                continue
            again = gallery.kept_as(maps[origin](old.vectors[usable]), space)
            made = {old.item_ids[row]: again[place] for place, row in enumerate(usable)}
            stored = gallery.vectors(list(made), space)
            states = gallery.get(stored.item_ids)
            found |= {
                item: _cosine(vector, made[item])
                for item, vector, state in zip(stored.item_ids, stored.vectors, states, strict=True)
                if state is not None and (state.space, state.origin) == (space, origin)
            }
    return found


def _similarities(
    gallery: Gallery,
    plan: Plan,
    item_ids: list[str],
    source: Source,
    embedder: Embedder,
    told: Told,
) -> dict[str, float]:
    """Cosines between stored and fresh vectors; items edited since they were read are left out."""
    found: dict[str, float] = {}
    space = plan.new_model
    with closing(PatientCaller(plan.embed_timeout_seconds)) as call:
        for begin in range(0, len(item_ids), plan.at_once):
            told(begin)
            some = item_ids[begin : begin + plan.at_once]
            before = {
                state.item_id: state.version
                for state in gallery.get(some)
                # Written or moved since; it is not the model's own vector that would disagree.
                if state is not None and is_reembedded(state, space)
            }
            contents = call("the source", read_contents, source, list(before)) if before else {}
            at_hand = [item for item in before if item in contents]
            if not at_hand:
                continue
            rows = [contents[item] for item in at_hand]
            # Unusable vectors do not stop the proof: they disagree.
            fresh = dict(zip(at_hand, call("the embedder", embedder, rows), strict=True))
            stored = gallery.vectors(at_hand, space)
            found |= {
                item: _cosine(vector, fresh[item])
                for item, version, vector in zip(
                    stored.item_ids, stored.versions, stored.vectors, strict=True
                )
                if version == before.get(item)
            }
    told(len(item_ids))
    return found


def _cosine(a: Any, b: Any) -> float:
    value = float(np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b)))
    return value if np.isfinite(value) else -1.0  # NaN would compare as no disagreement


# Why the cutover may not happen yet --------------------------------------------------------------


def holds_of_cutover(gallery: Gallery, journal: Journal, plan: Plan, now: float) -> list[Hold]:
    """List all reasons: those in the journal, what is not done, and a missing verification."""
    holds = list(journal.holds())
    if dead := len(dead_items(gallery, journal, plan, "embed")):
        holds.append(Hold("error", "dead_letters", now, measured=dead, required=0))
    if (left := left_over(gallery, journal, plan)) > 0:
        holds.append(Hold("error", ITEMS_NOT_REEMBEDDED, now, measured=left, required=0))
    if plan.optimise and lacks_index(gallery, journal, plan.new_model):
        share = gallery.indexed(plan.new_model)
        holds.append(Hold("error", "indexed_share", now, measured=share, required=ENOUGH))
    stale = _stale(journal.last("verified"), plan.verification_lasts_seconds, now)
    return [*holds, stale] if stale else holds


def _stale(verified: Fact | None, lasts: float, now: float) -> Hold | None:
    if verified is None:
        return Hold("stale_verification", "never verified: run verify", now)
    if not verified.body["passed"]:
        return Hold("stale_verification", "the last verification failed", now)
    if (age := now - verified.at) > lasts:
        return Hold("stale_verification", "age_seconds", now, measured=age, required=lasts)
    return None
