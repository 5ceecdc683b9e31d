"""The guard: measures the canaries while the upgrade runs, and holds it when a gate is not met.

It measures before the first batch, then whenever another two hundredths of the items are done, and
after a while without that. After a measurement it rests for nine times as long as that took, over
restarts too, so that at most a tenth of the time goes into it. Only a gate is worth more: with one
the end is always measured. It measures between two batches, in the process that leads; a hold is
written to the journal, so that all workers obey it. It never ends a hold: people do
(`control.accept_gate`, or another gate in the plan). People may switch it off and on at any time.
"""

from __future__ import annotations

import threading
import time
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.metrics.figures import ann_recall, negative_flips
from hotfill.stores.memory import MemoryGallery
from hotfill.upgrade.backfill import is_reembedded
from hotfill.upgrade.canaries import without
from hotfill.upgrade.pace import Progress
from hotfill.upgrade.plan import judged_again, violations

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hotfill.ranking import Fit
    from hotfill.stores.base import Gallery
    from hotfill.types import ModelId, Vectors
    from hotfill.upgrade.backfill import Work
    from hotfill.upgrade.canaries import Canaries
    from hotfill.upgrade.journal.base import Journal
    from hotfill.upgrade.one_index import OneIndex
    from hotfill.upgrade.plan import Plan


# How good the half-upgraded gallery is for the canaries, measured; decisions are elsewhere -------
# What each figure can tell, and what it cannot:
# - `agreement` tells how well the mixture imitates the new model. A bad new model that is imitated
#   well agrees. Chance alone gives about 0.5, because half of the items compared are new already.
# - `flips` tells how many canaries lost their answer, and needs judgements.
# - `old_overlap` needs none, and only tells how much the answers changed, not whether to the
#   better: a better model changes them too. A model that is nonsense changes nearly all of them.
# - `new_share` compared with `coverage` tells whether one side is favoured.

LEAST_WATCHED = 50
"""Fewer items that have moved tell nothing about the agreement."""


@dataclass(frozen=True, slots=True)
class Quality:
    """One measurement. Shares are from 0 to 1; None where there is nothing to measure by.

    coverage: share of the items that are re-embedded. canaries: how many were searched.
    agreement: of the mixed ranking's first k with the new model's own, over `watched` items that
        have moved, one half of them seen by their old vectors, the other by their new ones.
    flips: share of the `judged` canaries that had a relevant item among the old model's first k
        and have none now.
    old_overlap: share of the old model's first k that is still among the first k.
    first_kept: share of canaries whose old first hit is still among the first k.
    new_share: share of the hits whose vectors the new model made.
    seconds: what measuring took.
    """

    coverage: float
    canaries: int
    agreement: float | None
    watched: int
    flips: float | None
    judged: int
    old_overlap: float | None
    first_kept: float | None
    new_share: float | None
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def measure(
    gallery: Gallery,
    fit: Fit,
    canaries: Canaries,
    plan: Plan,
    index: OneIndex | None = None,
    imputing: Work | None = None,
) -> Quality:
    """Search the canaries as everybody does, and compare. Reads the gallery only.

    index: how one index is ranked, where its plain order is not the ranking. imputing: how old
    vectors are carried into it; None where they are not.
    """
    new_model, k = plan.new_model, plan.canary_k
    asked = _Asked(fit, plan, canaries, index) if len(canaries) else None
    found, from_new = _searched(gallery, asked, canaries, new_model, k)
    before = _still_there(gallery, canaries.before)
    relevant = _still_there(gallery, canaries.relevant)
    judged = [row for row, items in enumerate(relevant) if items and canaries.before[row]]
    compared = [row for row, items in enumerate(before) if items]
    agrees, watched = _agreement(gallery, asked, canaries, new_model, k, imputing)
    total = len(gallery)
    hits = sum(len(row) for row in found)
    return Quality(
        coverage=gallery.count(new_model, origin=new_model.fingerprint) / total if total else 0.0,
        canaries=len(canaries),
        agreement=agrees,
        watched=watched,
        flips=flip_rate(
            [before[row] for row in judged],
            [found[row] for row in judged],
            [relevant[row] for row in judged],
            k,
        ),
        judged=len(judged),
        old_overlap=overlap([found[row] for row in compared], [before[row] for row in compared], k),
        first_kept=overlap(
            [found[row] for row in compared], [before[row][:1] for row in compared], k
        ),
        new_share=from_new / hits if hits else None,
    )


def overlap(
    found: Sequence[Sequence[str]], wanted: Sequence[Sequence[str]], k: int
) -> float | None:
    """Mean share of what was wanted that is among the first k found; None without queries."""
    return float(np.mean(ann_recall(found, wanted, k))) if wanted else None


def flip_rate(
    before: Sequence[Sequence[str]],
    after: Sequence[Sequence[str]],
    relevant: Sequence[Sequence[str]],
    k: int,
) -> float | None:
    """Share of queries with a relevant item among the first k before, and none after."""
    if not relevant:
        return None
    right = [
        np.array(
            [bool(set(row[:k]) & set(wanted)) for row, wanted in zip(lists, relevant, strict=True)]
        )
        for lists in (before, after)
    ]
    return float(np.mean(negative_flips(*right)))


@dataclass(frozen=True, slots=True)
class _Asked:
    """The canaries' queries, to search a gallery as the upgrade serves it."""

    fit: Fit
    plan: Plan
    canaries: Canaries
    index: OneIndex | None

    def search(self, gallery: Gallery, k: int) -> list[tuple[str, ...]]:
        """Find the k best for each canary; see `Serving`."""
        queries, old_queries = self.canaries.queries, self.canaries.old_queries
        new_model = self.plan.new_model
        if self.index is not None and gallery.count(new_model) == len(gallery):
            own = gallery.count(new_model, origin=new_model.fingerprint)
            moved = own / max(len(gallery), 1)
            ranked = self.index.search(gallery, queries, k, old_queries=old_queries, moved=moved)
        else:
            asked_too = {} if old_queries is None else {self.plan.old_model: old_queries}
            prepared = self.fit.prepare(queries, asked_too)
            depth = prepared.depth(k, gallery.capabilities.most_hits)
            found = gallery.search(prepared.vectors, depth)
            ranked = prepared.rank(found, k, read=gallery.vectors)
        return [each.item_ids for each in ranked]


def _searched(
    gallery: Gallery, asked: _Asked | None, canaries: Canaries, new_model: ModelId, k: int
) -> tuple[list[tuple[str, ...]], int]:
    """Return what each canary finds, and how many of all those hits have moved."""
    if asked is None:
        return [], 0
    lists = [
        without(found, own, k)
        for found, own in zip(asked.search(gallery, k + 1), canaries.item_ids, strict=True)
    ]
    names = sorted({item_id for found in lists for item_id in found})
    moved = {
        state.item_id
        for state in gallery.get(names)
        if state is not None and is_reembedded(state, new_model)
    }
    return lists, sum(item_id in moved for found in lists for item_id in found)


def _still_there(gallery: Gallery, lists: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    """Leave out items that were deleted since: nobody can find them."""
    asked = sorted({item_id for row in lists for item_id in row})
    states = gallery.get(asked)
    there = {item_id for item_id, state in zip(asked, states, strict=True) if state is not None}
    return [tuple(item_id for item_id in row if item_id in there) for row in lists]


def _agreement(
    gallery: Gallery,
    asked: _Asked | None,
    canaries: Canaries,
    new_model: ModelId,
    k: int,
    imputing: Work | None,
) -> tuple[float | None, int]:
    """Rank watched items that have moved as if half of them had not, and compare."""
    moved = moved_vectors(gallery, canaries.watched, new_model)
    if asked is None or len(moved) < max(LEAST_WATCHED, 5 * k):
        return None, len(moved)
    mixed, truth = MemoryGallery(), MemoryGallery(new_model)
    truth.upsert(list(moved), np.stack([new for _, _, new in moved.values()]), space=new_model)
    for space in gallery.spaces:
        mixed.add_space(space)
    sides: dict[ModelId, dict[str, Vectors]] = {}
    for number, (item_id, (old_model, old, new)) in enumerate(moved.items()):
        model, vector = (old_model, old) if number % 2 else (new_model, new)
        sides.setdefault(model, {})[item_id] = vector
    for space, rows in sides.items():
        mixed.upsert(list(rows), np.stack(list(rows.values())), space=space)
    if imputing is not None:
        _impute(mixed, imputing, gallery, list(moved)[1::2])
    own = canaries.item_ids
    exact = truth.search({new_model: canaries.queries}, k + 1)[new_model].item_ids
    ranked = asked.search(mixed, k + 1)
    return (
        overlap(
            [without(row, name, k) for row, name in zip(ranked, own, strict=True)],
            [without(row, name, k) for row, name in zip(exact, own, strict=True)],
            k,
        ),
        len(moved),
    )


def _impute(mixed: MemoryGallery, imputing: Work, gallery: Gallery, item_ids: list[str]) -> None:
    """Let items be found by what their old vectors become, as before they moved."""
    read = imputing.load(item_ids)
    by_origin: dict[str, list[str]] = {}
    for item_id, content in read.items():
        by_origin.setdefault(imputing.origin_for(content), []).append(item_id)
    for origin, names in by_origin.items():
        mixed.move(
            names,
            gallery.kept_as(imputing.make([read[name] for name in names]), imputing.target),
            space=imputing.target,
            expected_versions=np.array([each.version for each in mixed.get(names) if each]),
            origin=origin,
        )


def moved_vectors(
    gallery: Gallery, item_ids: Sequence[str], new_model: ModelId
) -> Mapping[str, tuple[ModelId, Vectors, Vectors]]:
    """Read both vectors of items that the new model has embedded: their old space, old, new.

    The old vector is that of the newest old space in which an item has one of the same content.
    """
    there = [
        state.item_id
        for state in gallery.get(item_ids)
        if state is not None and is_reembedded(state, new_model)
    ]
    new = gallery.vectors(there, new_model)
    version_of = dict(zip(new.item_ids, new.versions.tolist(), strict=True))
    new_of = dict(zip(new.item_ids, new.vectors, strict=True))
    moved: dict[str, tuple[ModelId, Vectors, Vectors]] = {}
    for space in gallery.spaces:  # oldest first, so that the newest is what stays
        if space == new_model:
            continue
        old = gallery.vectors(there, space)
        for item_id, version, vector in zip(
            old.item_ids, old.versions.tolist(), old.vectors, strict=True
        ):
            if version_of.get(item_id) == version:
                moved[item_id] = (space, vector, new_of[item_id])
    return moved


# What the journal says of the gate: what is required, was waived, and was measured -------------
# The gate may be set otherwise while the upgrade runs; the latest counts.


def accepted_metrics(journal: Journal) -> frozenset[str]:
    """Tell which metrics of the gate somebody waived, since it was last set otherwise."""
    changed = journal.last("gate")
    since = changed.number if changed is not None else 0
    return frozenset(
        name
        for fact in journal.facts("gate_accepted")
        if fact.number > since
        for name in fact.body["metrics"]
    )


def change_gate(journal: Journal, gate: Mapping[str, float], by: str) -> bool:
    """Put another gate in force, if it is another; its holds are judged again by what was measured.

    by: who changed it. Tells whether it was changed. Pauses and other holds stay.
    """
    if dict(gate) == gate_in_force(journal):
        return False
    staying = judged_again(journal.holds(), gate)
    journal.record("gate", required=dict(gate), by=by)
    journal.release("gate")
    for hold in staying:
        journal.hold(hold)
    return True


def gate_in_force(journal: Journal) -> dict[str, float]:
    """Read what the upgrade requires now: as it began, or as it was changed since."""
    if (changed := journal.last("gate")) is not None:
        return dict(changed.body["required"])
    begun = journal.last("plan")
    return dict(begun.body.get("gate", {})) if begun is not None else {}


def quality_curve(journal: Journal) -> list[dict[str, Any]]:
    """Read all measurements so far, oldest first: the fields of `Quality`, and `at`, in seconds."""
    return [{"at": fact.at, **fact.body} for fact in journal.facts("quality")]


def is_guarding(journal: Journal) -> bool:
    """Tell whether the guard measures; it does unless somebody has switched it off."""
    switched = journal.last("guard")
    return switched is None or bool(switched.body["on"])


EVERY_SHARE = 0.02
"""Measured again when so much more is done."""

SHARE_OF_TIME = 0.1
"""At most so much of an upgrade's time goes into measuring."""

_LEAST_REST = 9  # times as long as measuring took: then at most a tenth of the time goes into it


@dataclass(slots=True)
class Guard:
    """Measures one upgrade.

    load_fit, load_index: read the fit in force, which may change, and how one index is ranked.
    imputing: how a fit carries old vectors into it; None where it does not.
    progress: of the process; says whether it measures just now.
    """

    gallery: Gallery
    journal: Journal
    plan: Plan
    canaries: Canaries
    load_fit: Callable[[], Fit]
    load_index: Callable[[], OneIndex | None] = lambda: None
    imputing: Callable[[Fit], Work] | None = None
    progress: Progress = field(default_factory=Progress)
    _done: int = 0
    _step: int = 0
    _measured_at: float = 0.0
    _took: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self) -> None:
        """Measure before anything moves, unless the gate holds already or a run before just did."""
        self._step = max(int(len(self.gallery) * EVERY_SHARE), 1)
        last = self.journal.last("quality")
        if last is not None:
            self._took = float(last.body["seconds"])
            self._measured_at = time.monotonic() - max(time.time() - last.at, 0.0)
        if not is_guarding(self.journal):
            return
        held = any(hold.kind == "gate" for hold in self.journal.holds())
        if last is not None and not self._has_rested():
            self._judge(last.body)
        elif not held:
            self._measure()

    def after_batch(self, items: int) -> None:
        """Measure when it is time again; costs nothing otherwise."""
        with self._lock:
            self._done += items
            is_due = self._done >= self._step or self._rest() > self.plan.guard_seconds
            if is_due and (self._has_rested() or self._is_last()) and is_guarding(self.journal):
                self._measure()

    def _is_last(self) -> bool:
        """Whether all is done, so that a gate is judged by what the cutover will bring."""
        return bool(self.plan.gate) and self.journal.tally("embed").left == 0

    def _rest(self) -> float:
        return time.monotonic() - self._measured_at

    def _has_rested(self) -> bool:
        return self._rest() > _LEAST_REST * self._took

    def _measure(self) -> None:
        began = time.monotonic()
        with self.progress.at("measuring"):
            fit = self.load_fit()
            imputing = None if self.imputing is None else self.imputing(fit)
            index = self.load_index()
            found = measure(self.gallery, fit, self.canaries, self.plan, index, imputing)
        self._done, self._measured_at = 0, time.monotonic()
        self._took = self._measured_at - began
        measured = replace(found, seconds=self._took).to_dict()
        self.journal.record("quality", **measured)
        self._judge(measured)

    def _judge(self, measured: Mapping[str, Any]) -> None:
        accepted = accepted_metrics(self.journal)
        for hold in violations(measured, self.plan.gate, accepted, time.time()):
            self.journal.hold(hold)
