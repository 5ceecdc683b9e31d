"""Why the cutover may not happen yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotfill.upgrade.holds import Hold
from hotfill.upgrade.work.leftover import dead_items, left_over

if TYPE_CHECKING:
    from hotfill.stores.base import Gallery
    from hotfill.upgrade.journal.base import Fact, Journal
    from hotfill.upgrade.plan import Plan


def holds_of_cutover(gallery: Gallery, journal: Journal, plan: Plan, now: float) -> list[Hold]:
    """List all reasons: those in the journal, what is not redone, and a verification that lacks."""
    holds = list(journal.holds())
    if dead := len(dead_items(gallery, journal, plan, "embed")):
        holds.append(Hold("error", "dead_letters", now, measured=dead, required=0))
    if (left := left_over(gallery, journal, plan)) > 0:
        holds.append(Hold("error", "items_not_redone", now, measured=left, required=0))
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
