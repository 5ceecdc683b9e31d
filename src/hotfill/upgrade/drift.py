"""Whether what comes in still looks like the pairs that the map was fitted on.

A map is good where its pairs are, and its hits are calibrated by items like them. So the latest
written items are compared with pairs that were kept from the fit; where the pairs came from a file,
the gallery's items are, too.

Two samples are compared by the maximum mean discrepancy (Gretton et al., A kernel two-sample test,
JMLR 2012) of their directions, with the kernel exp(-(1 - cos) / s), s the median of 1 - cos over
the pooled rows. Its p-value comes from permuting which row is of which sample: whatever the vectors
are like, samples of one distribution give an alarm no more often than `FALSE_ALARMS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import nlargest
from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.upgrade.order import pages_of
from hotfill.upgrade.own_vectors import OwnItems
from hotfill.vectors import unit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hotfill.ranking import Fit
    from hotfill.stores.base import Gallery
    from hotfill.types import ModelId, Vectors
    from hotfill.upgrade.journal.base import Journal
    from hotfill.upgrade.plan import Plan

FALSE_ALARMS = 0.01
"""How often a look gives an alarm although nothing has changed, at most."""

LEAST = 25
"""Fewer vectors tell nothing."""

_MOST = 500  # vectors of a sample
_PERMUTATIONS = 1999


@dataclass(frozen=True, slots=True)
class ComparedWithPairs:
    """One comparison with the pairs. what: of which vectors, in words. p: see `p_of_same`."""

    what: str
    items: int
    pairs: int
    p: float


def p_of_same(first: Any, second: Any, *, seed: int = 0) -> float:
    """Tell how likely samples differ as much as these if they come from one distribution.

    first (n, d), second (m, d): rows without zeros. Returns p in (0, 1], at least 1 / 2,000.
    """
    rows = unit(np.concatenate([first, second], dtype=np.float32))
    apart = np.maximum(1 - rows @ rows.T, 0)
    middle = float(np.median(apart[np.triu_indices(len(rows), 1)]))
    kernel = np.exp(-apart / max(middle, 1e-6)).astype(np.float32)
    signs = np.full(len(rows), -1 / len(second), np.float32)
    signs[: len(first)] = 1 / len(first)
    rng = np.random.default_rng(seed)
    drawn = np.stack([signs, *(rng.permutation(signs) for _ in range(_PERMUTATIONS))], axis=1)
    discrepancies = np.einsum("ij,ij->j", drawn, kernel @ drawn)
    # Equal ones count, and rounding makes equal ones differ.
    reached = discrepancies >= discrepancies[0] * (1 - 1e-5)
    return float(np.count_nonzero(reached) / (_PERMUTATIONS + 1))


def compare_with_pairs(
    gallery: Gallery, journal: Journal, plan: Plan, fit: Fit
) -> tuple[ComparedWithPairs, ...]:
    """Compare what there is to compare, most alarming first; empty where there is too little.

    Reads the ids of all items on the new side. fit: in force.
    """
    one, begun = fit.one_space, journal.last("began")
    if one is None or begun is None or plan.new_model not in gallery.spaces:
        return ()
    written = _latest(gallery, plan.new_model, int(begun.body["version"]))
    samples = [
        (
            "the items written last, by the new model",
            gallery.vectors(written, plan.new_model).vectors,
            one.references.own,
        )
    ]
    if plan.old_model in gallery.spaces:
        old = gallery.vectors(written, plan.old_model).vectors
        samples.append(("the items written last, by the old model", old, one.old_reference))
        if plan.pairs:
            drawn = OwnItems(gallery, plan.old_model, journal.origins_noted).draw(_MOST, plan.seed)
            old = gallery.vectors(drawn, plan.old_model).vectors
            samples.append(("the items of the gallery", old, one.old_reference))
    found = [
        ComparedWithPairs(what, len(rows), len(pairs), p_of_same(rows, pairs, seed=plan.seed))
        for what, rows, pairs in ((what, _usable(rows), pairs) for what, rows, pairs in samples)
        if min(len(rows), len(pairs)) >= LEAST
    ]
    return tuple(sorted(found, key=lambda each: each.p))


def alarms(compared: Sequence[ComparedWithPairs]) -> list[ComparedWithPairs]:
    """Return those that differ by more than chance; all together at the rate of `FALSE_ALARMS`."""
    return [each for each in compared if each.p <= FALSE_ALARMS / len(compared)]


def latest_version(gallery: Gallery) -> int:
    """Return the highest content version in a gallery: what is written later has a higher one."""
    versions = (
        int(page.versions.max(initial=0))
        for space in gallery.spaces
        for page in pages_of(gallery, space)
    )
    return max(versions, default=0)


def _latest(gallery: Gallery, model: ModelId, since: int) -> list[str]:
    """Name the items written last whose vector the model made."""

    def written() -> Iterator[tuple[int, str]]:
        for page in pages_of(gallery, model):
            for item_id, version, origin in zip(
                page.item_ids, page.versions.tolist(), page.origins, strict=True
            ):
                if version > since and origin == model.fingerprint:
                    yield version, item_id

    return [item_id for _, item_id in nlargest(_MOST, written())]


def _usable(rows: Vectors) -> Vectors:
    return rows[np.isfinite(rows).all(axis=1) & rows.any(axis=1)]
