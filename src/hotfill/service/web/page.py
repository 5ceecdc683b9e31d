"""From a snapshot to HTML: the page, and its sections for the live updates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from hotfill._version import __version__
from hotfill.service.web import charts, phase_text, quality
from hotfill.service.web.actions import actions, is_verified
from hotfill.service.web.templates import render
from hotfill.upgrade.phases import Phase

if TYPE_CHECKING:
    from hotfill.service.snapshot import UpgradeSnapshot
    from hotfill.service.web.quality import Rehearsed
    from hotfill.upgrade.plan import Plan

TITLES = (
    ("now", "Phase and next step"),
    ("holds", "Holds"),
    ("coverage", "Coverage"),
    ("latency", "Search latency"),
    ("rates", "Rates"),
    ("composition", "Hits by model"),
    ("quality", "Quality"),
    ("letters", "Dead letters"),
    ("journal", "Journal"),
)
"""The sections in their order, with what a screen reader calls them. Empty ones are not shown."""

_DOING = {
    "preparing": "preparing",
    "measuring": "measuring the canaries",
    "indexing": "building the index",
    "refreshing": "imputing anew",
}
"""What a running process does that moves no item."""


def page(
    seen: UpgradeSnapshot,
    plan: Plan,
    rehearsed: Rehearsed | None,
    *,
    may_operate: bool,
    has_tokens: bool,
) -> str:
    """Render the whole page."""
    return render(
        "page.html",
        old_model=plan.old_model,
        new_model=plan.new_model,
        sections=_safe(sections(seen, plan, rehearsed, may_operate=may_operate)),
        titles=TITLES,
        may_operate=may_operate,
        has_tokens=has_tokens,
        version=__version__,
    )


def sections(
    seen: UpgradeSnapshot, plan: Plan, rehearsed: Rehearsed | None = None, *, may_operate: bool
) -> dict[str, str]:
    """Render every section by its name, and `announcement` as plain text."""
    lasts = plan.verification_lasts_seconds
    status, run = seen.status, seen.run
    verified = is_verified(seen, seen.at, lasts)
    rates_now = seen.rates[-1] if seen.rates else None
    most_rate = max((getattr(each, w) for each in seen.rates for w in charts.WHAT), default=0.0)
    limits = _latency_limits(plan)
    values: dict[str, dict[str, Any]] = {
        "now": {
            "line": phase_text.line_of(status.phase),
            "phase": phase_text.name_of(status.phase),
            "sentence": phase_text.sentence(seen),
            "next": phase_text.next_sentence(seen, verified),
            "actions": actions(seen, seen.at, lasts),
            "may_operate": may_operate,
            "working": _working(seen),
            "part": seen.status.part,
            "warnings": phase_text.warnings(seen),
            "error": {"step": run.step, **run.error} if run and run.error else None,
        },
        "coverage": {
            "traffic": seen.traffic_share if 0 < seen.coverage < 1 else None,
            "coverage": seen.coverage,
            "bar": charts.coverage_bar(seen),
            "old_items": seen.old_items,
            "imputed_items": seen.imputed_items,
            "new_items": seen.new_items,
            "done": status.moved + status.skipped,
            "status": status,
            "left": phase_text.time_left(seen),
        },
        "quality": {
            "figures": quality.figures(seen),
            "at": float(seen.quality[-1].body["coverage"]) if seen.quality else 0.0,
            "canaries": charts.canary_plot(seen.quality),
            "rehearsed": rehearsed,
            "expected": quality.expected_now(rehearsed, seen) if rehearsed else 0.0,
            "curve": charts.rehearsed_plot(rehearsed, seen) if rehearsed else "",
        },
        "rates": {
            "now": rates_now,
            "plots": [
                (what, charts.rate_line(seen.rates, what, most_rate)) for what in charts.WHAT
            ],
            "most": most_rate,
            "batch_size": status.batch_size,
            "span": _span(seen),
        },
        "holds": {"holds": status.holds},
        "latency": {
            "latencies": seen.latencies,
            "lines": charts.latency_lines(
                seen.recent_latencies, [each for _, each in limits], seen.rates
            )
            if len(seen.recent_latencies) > 1
            else "",
            "recent": seen.recent_latencies[-1] if seen.recent_latencies else None,
            "limits": limits,
            "span": _span(seen),
            "cost": phase_text.cost_sentence(seen),
        },
        "composition": {
            "plot": charts.composition_plot(seen.compositions),
            "any": bool(seen.compositions),
        },
        "letters": {"letters": seen.dead_letters[::-1], "number": status.dead_letters},
        "journal": {"facts": [(fact.at, phase_text.fact_text(fact)) for fact in seen.facts[::-1]]},
    }
    rendered = {name: render(f"{name}.html", **values[name]).strip() for name, _ in TITLES}
    return {**rendered, "announcement": phase_text.announcement(seen)}


def _span(seen: UpgradeSnapshot) -> float:
    """How long the charts over time reach back, in seconds."""
    return seen.rates[-1].at - seen.rates[0].at if seen.rates else 0.0


def _working(seen: UpgradeSnapshot) -> str:
    """Say whether work goes on just now."""
    if seen.run is None or not seen.run.running:
        return ""
    if any(h.kind != "postponed" for h in seen.status.holds):
        return "held"
    status = seen.status
    imputes = status.phase is Phase.BACKFILLING and status.imputed < status.to_impute
    if imputes and not status.doing:
        return "imputing"
    return _DOING.get(status.doing, "at work")


def _latency_limits(plan: Plan) -> list[tuple[str, float]]:
    """List the percentiles that the plan limits, with the limits in seconds."""
    found = []
    for name, limit in plan.limits.items():
        percentile = name.removeprefix("search_").removesuffix("_milliseconds")
        if name == f"search_{percentile}_milliseconds":
            found.append((percentile, limit / 1000))
    return found


def _safe(rendered: dict[str, str]) -> dict[str, Any]:
    """Mark the sections as HTML; the announcement is text and stays so."""
    return {
        name: text if name == "announcement" else Markup(text) for name, text in rendered.items()
    }
