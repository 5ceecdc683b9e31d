"""The dashboard says what is going on, and offers what can be done about it."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files

import numpy as np
import pytest

from hotfill.service.measures import Composition, Latency, RecentLatency
from hotfill.service.snapshot import Rates, UpgradeSnapshot
from hotfill.service.step_runner import Run
from hotfill.service.web import charts, phase_text
from hotfill.service.web.actions import actions
from hotfill.service.web.page import TITLES, sections
from hotfill.service.web.quality import Rehearsed
from hotfill.stores.records import Building
from hotfill.upgrade.journal.base import DeadLetter, Fact, WorkerLeases
from hotfill.upgrade.pace import StepPart
from hotfill.upgrade.phases import Hold, Phase, next_steps
from hotfill.upgrade.plan import Plan
from hotfill.upgrade.status import Status
from tests.unit.cli.models import NEW, OLD

NOW = 1_700_000_000.0
LASTS = 3600.0
PAUSED = Hold("paused", "anna", NOW - 60)
GATED = Hold("gate", "agreement", NOW - 5, measured=0.61, required=0.8)
THROTTLED = Hold("throttled", "search_p99_milliseconds", NOW - 5, measured=212.0, required=150.0)


def seen(phase, *, run=None, holds=(), dead=0, verified=None, **changes):
    steps = next_steps(phase)
    gate = changes.pop("gate", {})
    doing = changes.pop("doing", "")
    of_status = changes.pop("of_status", {})
    if any(hold.kind == "paused" for hold in holds):
        steps = ("resume", *(step for step in steps if step not in ("start", "pause")))
    plain = Status(
        phase=phase,
        holds=tuple(holds),
        old_model=str(OLD),
        new_model=str(NEW),
        strategy="merge",
        items=1000,
        moved=400,
        skipped=12,
        embedded=400,
        written=400,
        visible=412,
        dead_letters=dead,
        rate_per_second=10.0,
        elapsed_seconds=50.0,
        working_seconds=40.0,
        eta_seconds=59.0,
        running=run is not None,
        pid=None,
        next_steps=steps,
        gate=gate,
        doing=doing,
    )
    status = replace(plain, **of_status)
    values = {
        "number": 1,
        "at": NOW,
        "status": status,
        "old_items": 588,
        "imputed_items": 0,
        "new_items": 412,
        "rates": (),
        "run": run,
        "latencies": (),
        "recent_latencies": (),
        "compositions": (),
        "traffic_share": None,
        "quality": (),
        "facts": (),
        "dead_letters": (),
        "verified": verified,
    }
    return UpgradeSnapshot(**{**values, **changes})


def measured(coverage, **figures):
    none = dict.fromkeys(("agreement", "old_overlap", "first_kept", "flips"))
    return Fact(5, NOW, "quality", {"coverage": coverage, **none, **figures})


def running(step):
    return Run(step=step, by="anna", began_at=NOW - 10)


def verified(passed=True, age=10.0):
    return Fact(9, NOW - age, "verified", {"passed": passed, "items": 1000})


def offered(snapshot):
    """The steps offered; the best one with a star."""
    found = actions(snapshot, NOW, LASTS)
    return [each.step + "*" * each.main for each in found]


@pytest.mark.parametrize(
    ("snapshot", "expected"),
    [
        (seen(Phase.PLANNED), ["start*"]),
        (seen(Phase.PLANNED, run=running("start")), []),
        (seen(Phase.BACKFILLING, run=running("start")), ["pause", "abort"]),
        (seen(Phase.BACKFILLING), ["start*", "abort"]),
        (seen(Phase.BACKFILLING, run=running("start"), holds=[PAUSED]), ["resume*", "abort"]),
        (
            seen(Phase.BACKFILLING, run=running("start"), holds=[GATED]),
            ["pause", "abort", "resume"],
        ),
        (seen(Phase.BACKFILLED), ["verify*", "cutover", "abort"]),
        (seen(Phase.BACKFILLED, run=running("verify")), []),
        (seen(Phase.BACKFILLED, verified=verified()), ["cutover*", "verify", "abort"]),
        (seen(Phase.BACKFILLED, verified=verified(False)), ["verify*", "cutover", "abort"]),
        (seen(Phase.BACKFILLED, verified=verified(age=LASTS)), ["verify*", "cutover", "abort"]),
        (seen(Phase.BACKFILLED, dead=2), ["start*", "verify", "cutover", "abort"]),
        (seen(Phase.CUT_OVER), ["rollback", "complete"]),
        (seen(Phase.CUT_OVER, run=running("rollback")), []),
        (seen(Phase.ABORTING), ["abort*"]),
        (seen(Phase.ROLLING_BACK), ["rollback*"]),
        (seen(Phase.COMPLETED), []),
        (seen(Phase.COMPLETED, embeds_more=True), []),
        (seen(Phase.COMPLETED, imputed_items=7), []),
        (seen(Phase.COMPLETED, imputed_items=7, embeds_more=True), ["start"]),
        (seen(Phase.COMPLETED, imputed_items=7, run=running("start")), ["pause"]),
        (seen(Phase.COMPLETED, run=running("start"), holds=[PAUSED]), ["resume*"]),
        (seen(Phase.COMPLETED, run=running("complete")), []),
    ],
)
def test_what_is_offered_fits_phase_holds_and_what_runs(snapshot, expected):
    assert offered(snapshot) == expected


def test_what_moves_items_back_or_switches_asks_first():
    asking = {
        action.step
        for phase in Phase
        for action in actions(seen(phase), NOW, LASTS)
        if action.question
    }
    assert asking == {"abort", "rollback", "cutover"}  # "complete" asks by its token


def test_embedding_more_is_asked_for_and_sends_so():
    snapshot = seen(Phase.COMPLETED, imputed_items=7, embeds_more=True)
    (more,) = actions(snapshot, NOW, LASTS)
    assert more.question
    shown = rendered(snapshot)["now"]
    assert """data-body='{"more": true}'""" in shown
    assert "7 items stayed imputed: embed more when you like." in shown


def test_going_on_past_a_gate_is_asked_for_and_sends_so():
    (anyway,) = [
        action
        for action in actions(seen(Phase.BACKFILLING, holds=[GATED]), NOW, LASTS)
        if action.accept_gate
    ]
    assert anyway.question
    shown = rendered(seen(Phase.BACKFILLING, holds=[GATED]))["now"]
    assert """data-body='{"accept_gate": true}'""" in shown


@pytest.mark.parametrize("phase", list(Phase))
def test_every_phase_has_one_place_on_the_line_and_its_words(phase):
    line = phase_text.line_of(phase)
    states = [stop.state for stop in line]
    assert states.count("now") == 1
    here = states.index("now")
    assert states == ["done"] * here + ["now"] + ["to come"] * (len(line) - here - 1)
    assert phase_text.sentence(seen(phase)).endswith(".")


@pytest.mark.parametrize(
    ("snapshot", "said"),
    [
        (seen(Phase.BACKFILLING), "Nobody is at work"),
        (seen(Phase.BACKFILLING, run=running("start")), "Nothing to do but wait"),
        (seen(Phase.BACKFILLING, run=running("start"), doing="measuring"), "canaries are measured"),
        (seen(Phase.BACKFILLING, run=running("start"), holds=[PAUSED]), "Paused. Resume"),
        (seen(Phase.BACKFILLING, holds=[PAUSED]), "Resume, then continue"),
        (seen(Phase.BACKFILLING, run=running("start"), holds=[GATED]), "canaries got worse"),
        (seen(Phase.BACKFILLING, run=running("start"), holds=[THROTTLED]), "A limit is passed: no"),
        (seen(Phase.SUPERSEDED), "If the other upgrade is aborted"),
        (seen(Phase.BACKFILLED), "Verify next"),
        (seen(Phase.BACKFILLED, verified=verified()), "Cut over when you are ready"),
        (seen(Phase.BACKFILLED, dead=3), "3 items failed for good: fix and try them"),
        (seen(Phase.BACKFILLED, dead=1), "1 item failed for good: fix and try it"),
        (seen(Phase.BACKFILLED, run=running("verify")), "Verify is running"),
        (seen(Phase.CUT_OVER), "roll back if you are not"),
        (seen(Phase.COMPLETED, imputed_items=7, embeds_more=True), "7 items stayed imputed: embed"),
        (seen(Phase.COMPLETED, imputed_items=1, embeds_more=True), "1 item stayed imputed: embed"),
        (seen(Phase.COMPLETED, imputed_items=7), 'To embed some: write "all" or "budget"'),
        (seen(Phase.ABORTED), "hotfill serve --new"),
        (seen(Phase.ROLLED_BACK), "hotfill serve --new"),
    ],
)
def test_it_says_what_to_do_next(snapshot, said):
    assert said in phase_text.next_sentence(snapshot, snapshot.verified is not None)


def test_a_listener_hears_of_a_new_phase_or_hold_but_not_of_every_item():
    first = phase_text.announcement(seen(Phase.BACKFILLING))
    assert first == "Backfilling; 40 percent re-embedded"
    assert phase_text.announcement(seen(Phase.BACKFILLING, new_items=414, old_items=586)) == first
    assert "held: paused (anna)" in phase_text.announcement(seen(Phase.BACKFILLING, holds=[PAUSED]))


def rendered(snapshot, **options):
    return sections(snapshot, Plan(OLD, NEW), **{"may_operate": True, **options})


def text_of(html):
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def test_holds_are_shown_with_what_was_measured_and_the_limit():
    shown = text_of(rendered(seen(Phase.BACKFILLING, holds=[THROTTLED, PAUSED]))["holds"])
    assert "throttled search p99 milliseconds 212 150 22:13:15" in shown
    assert "paused by anna – – 22:12:20" in shown


def test_the_sides_the_rest_and_the_time_left_are_shown():
    shown = text_of(rendered(seen(Phase.BACKFILLING))["coverage"])
    assert "41.2%" in shown
    assert "New model 412 Old model 588" in shown
    assert "Re-embedded 412 of 1,000 Time left about 59 s Elapsed 50 s" in shown


def test_imputed_items_are_not_counted_as_re_embedded():
    halfway = seen(Phase.BACKFILLING, old_items=0, imputed_items=600, new_items=400)
    assert halfway.coverage == 0.4
    shown = rendered(halfway)
    assert "40.0% of the items re-embedded" in text_of(shown["coverage"])
    assert "New model 400 Imputed from the old 600 Re-embedded" in text_of(shown["coverage"])
    assert 'aria-label="40.0% re-embedded, 60.0% imputed"' in shown["coverage"]
    widths = [each["width"] for each in Outline(charts.coverage_bar(halfway)).all("rect")]
    assert widths == ["100", "100.00", "40.00"]


def test_imputing_is_told_and_then_that_one_index_is_searched():
    prefill = {"strategy": "prefill", "to_impute": 1000}
    early = seen(Phase.BACKFILLING, run=running("start"), of_status={**prefill, "imputed": 250})
    shown = text_of(rendered(early)["now"])
    assert "Backfilling imputing" in shown
    assert "250 of 1,000 so far. Until then a search looks at both sides" in shown
    later = seen(Phase.BACKFILLING, run=running("start"), of_status={**prefill, "imputed": 1000})
    shown = text_of(rendered(later)["now"])
    assert "Backfilling at work" in shown
    assert "the new index, which alone is searched" in shown


def test_refreshing_is_told_with_what_is_left_and_not_as_the_first_imputing():
    counts = {"strategy": "prefill", "to_impute": 1900, "imputed": 1250}
    anew = seen(Phase.BACKFILLING, run=running("start"), doing="refreshing", of_status=counts)
    shown = text_of(rendered(anew)["now"])
    assert "made anew, by what the moved items show: 650 to go" in shown
    assert "both sides" not in shown


@pytest.mark.parametrize(
    ("doing", "said"),
    [
        ("indexing", "builds an index (12,000/50,000, 500/s, eta 1 min 16 s); no item moves"),
        ("", "An index is built, too: 12,000/50,000, 500/s, eta 1 min 16 s."),
    ],
)
def test_an_index_that_is_built_is_counted(doing, said):
    status = {"building": Building(12_000, 50_000, 24.0), "indexed": {str(NEW): 0.25}}
    building = seen(Phase.BACKFILLING, run=running("start"), doing=doing, of_status=status)
    shown = text_of(rendered(building)["now"])
    assert said in shown
    assert "hotfill optimise" not in shown, "the index comes"


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (
            StepPart("embedding a sample", 800, 2000, 8.0),
            "Now: embedding a sample 800/2,000, 100/s",
        ),
        (StepPart("fitting the map", 0, 0, 8.0), "Now: fitting the map for 8.0 s."),
    ],
)
def test_a_part_of_preparing_is_told_with_how_far_it_is(part, said):
    preparing = seen(Phase.PLANNED, run=running("start"), of_status={"part": part})
    assert said in text_of(rendered(preparing)["now"])


def test_a_side_without_its_index_a_doubtful_fit_and_a_slow_worker_are_told():
    status = {
        "indexed": {str(OLD): 1.0, str(NEW): 0.25},
        "warnings": ("rho is low",),
        "workers": (WorkerLeases("anna-7", 1, 256, 75.0), WorkerLeases("ben-8", 1, 256, 2.0)),
    }
    shown = text_of(rendered(seen(Phase.BACKFILLED, of_status=status, imputed_items=9))["now"])
    assert f"Only 25.0% of {NEW} is indexed" in shown
    assert f"% of {OLD} is indexed" not in shown
    assert "Rho is low" in shown
    assert "anna-7 has had a batch for" in shown
    assert "ben-8" not in shown
    shown = text_of(rendered(seen(Phase.BACKFILLED, of_status=status))["now"])
    assert "Rho is low" not in shown  # nothing is imputed any more


def test_what_is_empty_takes_no_card():
    shown = rendered(seen(Phase.PLANNED))
    assert {name for name, html in shown.items() if html} == {"now", "coverage", "announcement"}


def test_complete_stands_apart_because_there_is_no_way_back():
    shown = Outline(rendered(seen(Phase.CUT_OVER))["now"])
    groups = [each["class"] for each in shown.all("div") if "buttons" in each.get("class", "")]
    assert groups == ["buttons", "buttons apart"]
    apart = {
        each.step for phase in Phase for each in actions(seen(phase), NOW, LASTS) if each.apart
    }
    assert apart == {"complete"}


def test_the_latency_is_drawn_with_its_limit():
    history = (RecentLatency(NOW - 5, 0.01, 0.05), RecentLatency(NOW, 0.02, 0.1))
    snapshot = seen(
        Phase.BACKFILLING,
        latencies=(Latency("both", 1234, 0.0005, 0.02, 0.4),),
        recent_latencies=history,
    )
    plan = Plan(OLD, NEW, limits={"search_p99_milliseconds": 200.0, "disk": 0.5})
    html = sections(snapshot, plan, may_operate=True)["latency"]
    assert "p50 20.0 p99 100 limit of p99 200" in text_of(html)
    outline = Outline(html)
    lines = {each["class"]: each["points"] for each in outline.all("polyline")}
    assert lines == {"line-p50": "0.0,74.3 300.0,70.6", "line-p99": "0.0,59.5 300.0,41.0"}
    (limit,) = [each for each in outline.all("path") if each["class"] == "limit"]
    assert limit["d"] == "M0 4.0H300"


def test_lines_over_time_share_one_scale_and_are_broken_where_nobody_looked():
    ages = (400, 390, 380, 10, 0)
    rates = [Rates(NOW - age, 50, 0, 0) for age in ages]
    lines = Outline(charts.rate_line(rates, "embedded", 100)).all("polyline")
    assert [each["points"] for each in lines] == [
        "0.0,20.0 7.5,20.0 15.0,20.0",
        "292.5,20.0 300.0,20.0",
    ]
    later = [RecentLatency(NOW - age, 0.1, 0.1) for age in ages[3:]]
    for line in Outline(charts.latency_lines(later, [], rates)).all("polyline"):
        assert line["points"] == "292.5,4.0 300.0,4.0"


@pytest.mark.parametrize(
    ("phase", "searches", "both", "said"),
    [
        (Phase.BACKFILLING, 50, 0.018, "1.8 times as long"),
        (Phase.BACKFILLING, 50, 0.011, ""),
        (Phase.BACKFILLING, 49, 0.018, ""),
        (Phase.CUT_OVER, 50, 0.018, ""),
        (Phase.ROLLED_BACK, 50, 0.018, ""),
    ],
)
def test_it_says_what_the_mix_costs_once_that_is_known(phase, searches, both, said):
    latencies = (Latency("old", 50, 0.01, 0.02, 0.03), Latency("both", searches, both, 0.1, 0.2))
    sentence = phase_text.cost_sentence(seen(phase, latencies=latencies))
    assert said in sentence
    assert bool(sentence) == bool(said)


def test_the_share_by_traffic_is_shown():
    shown = text_of(rendered(seen(Phase.BACKFILLING, traffic_share=0.613))["coverage"])
    assert "By traffic: 61.3" in shown
    assert "traffic" not in rendered(seen(Phase.BACKFILLING))["coverage"]


def test_canaries_are_shown_with_what_the_gate_requires():
    snapshot = seen(
        Phase.BACKFILLING,
        quality=(measured(0.0, old_overlap=1.0), measured(0.4, agreement=0.91, flips=0.02)),
        gate={"agreement": 0.8, "flips": 0.05},
    )
    shown = text_of(rendered(snapshot)["quality"])
    assert "Agreement with the new model 0.910 \N{GREATER-THAN OR EQUAL TO} 0.8" in shown
    assert "Answers lost 0.020 \N{LESS-THAN OR EQUAL TO} 0.05" in shown
    assert "Overlap" not in shown  # not measured this time
    lines = {
        line["class"]: line
        for line in Outline(charts.canary_plot(snapshot.quality)).all("polyline")
    }
    assert lines["line-old_overlap"]["points"] == "40.0,10.0"
    assert lines["line-agreement"]["points"] == "200.0,23.5"
    # One measurement is a point, not a line that nobody sees.
    dots = Outline(charts.canary_plot(snapshot.quality[:1])).all("circle")
    assert [(dot["class"], dot["cx"], dot["cy"]) for dot in dots] == [
        ("line-old_overlap", "40.0", "10.0")
    ]


def test_the_rehearsed_curve_is_shown_with_the_place_of_the_upgrade():
    promise = Rehearsed("merge", ((0.0, 0.5), (1.0, 0.7)), 0.4, 0.7, "labels", {})
    shown = text_of(rendered(seen(Phase.BACKFILLING), rehearsed=promise)["quality"])
    assert "Old model 0.400 Expected now 0.582 New model 0.700" in shown
    before = text_of(rendered(seen(Phase.PLANNED), rehearsed=promise)["quality"])
    assert "Expected now 0.400" in before  # only the old model searches
    half = seen(Phase.BACKFILLING, old_items=500, new_items=500)
    outline = Outline(charts.rehearsed_plot(promise, half))
    (here,) = [each for each in outline.all("circle") if each["class"] == "dot"]
    (curve,) = [e for e in outline.all("polyline") if e["class"] == "line-rehearsed"]
    (_, first), (_, last) = (point.split(",") for point in curve["points"].split())
    assert float(here["cx"]) == 240.0
    assert float(here["cy"]) == pytest.approx((float(first) + float(last)) / 2, abs=0.1)


def test_latency_rates_letters_and_journal_are_shown():
    snapshot = seen(
        Phase.BACKFILLING,
        latencies=(Latency("both", 1234, 0.0005, 0.02, 0.4),),
        rates=(Rates(NOW - 1, 1, 2, 3), Rates(NOW, 412.0, 3.25, 0.0)),
        dead_letters=(DeadLetter("item-3", "embed", "no <content>", 3, NOW),),
        dead=1,
        facts=(Fact(1, NOW, "paused", {"by": "anna"}), Fact(2, NOW + 1, "resumed", {})),
    )
    shown = {name: text_of(html) for name, html in rendered(snapshot).items()}
    assert "While mixed 0.50 20.0 400 1,234" in shown["latency"]
    assert "Embedded 412 Written 3.2 Visible 0" in shown["rates"]
    assert "A batch takes" not in shown["rates"]
    found = rendered(replace(snapshot, status=replace(snapshot.status, batch_size=1024)))
    assert "A batch takes 1,024 items." in text_of(found["rates"])
    assert "item-3 no &lt;content&gt; 3 attempts" in shown["letters"]
    assert "22:13:21 Resumed 22:13:20 Paused by anna" in shown["journal"]


def test_a_superseded_upgrade_offers_no_best_step_and_tells_who_has_the_items():
    facts = (Fact(1, NOW, "superseded", {"by": "/etc/hotfill/to-v3.toml"}),)
    doubt = {"warnings": ("rho is low",)}
    superseded = seen(Phase.SUPERSEDED, old_items=1000, new_items=0, facts=facts, of_status=doubt)
    assert not any(each.main for each in actions(superseded, NOW, LASTS))
    shown = {name: text_of(html) for name, html in rendered(superseded).items()}
    assert "Other models 1,000" in shown["coverage"]
    assert "Taken over by to-v3.toml" in shown["journal"]
    assert "ho is low" not in shown["now"]


def test_what_is_said_of_the_end_is_what_came_of_it():
    done = text_of(rendered(seen(Phase.BACKFILLED, old_items=4, new_items=996))["now"])
    assert "All but 4 items are on the new side" in done
    mixed = seen(Phase.COMPLETED, old_items=0, imputed_items=588)
    assert "588 items stayed imputed, as" in text_of(rendered(mixed)["now"])
    doubt = {"warnings": ("rho is low",)}
    for phase in (Phase.ABORTED, Phase.ROLLED_BACK):
        back = seen(phase, old_items=1000, new_items=0, traffic_share=0.3, of_status=doubt)
        shown = rendered(back)
        assert "Rho is low" not in shown["now"]
        assert "By traffic" not in shown["coverage"]
    dear = {"tenths": 3, "seconds": 40.0, "ahead_seconds": 60.0}
    facts = [
        Fact(1, NOW, "budget", {"items": 100}),
        Fact(2, NOW, "backfilled", {}),
        Fact(3, NOW, "refresh", {"tenths": 3, "kept": False, "too_dear": dear}),
    ]
    said = [phase_text.fact_text(fact) for fact in facts]
    assert said == [
        "Budget: 100 items are embedded, the rest stays imputed",
        "The backfill is done",
        "Imputed vectors stay: making them anew would take too long",
    ]


def test_what_a_message_quotes_is_shown_as_code_and_can_be_copied():
    said = "say `allow_below_old = true`, or `hotfill start --yes-below-old`; <b>"
    told = {"warnings": (said,)}
    snapshot = seen(Phase.PREPARED, of_status=told, holds=(Hold("error", said, NOW),))
    html = rendered(snapshot)
    for place in ("now", "holds"):
        assert "<code>allow_below_old = true</code>" in html[place]
        assert "<code>hotfill start --yes-below-old</code>; &lt;b&gt;" in html[place]
    held = rendered(seen(Phase.BACKFILLING, holds=(THROTTLED,)))["holds"]
    assert "search p99 milliseconds" in text_of(held)


@pytest.mark.parametrize(
    ("low", "high", "scale"),
    [
        (0.238, 1.0, (0.2, 1.0)),
        (0.114, 0.167, (0.1, 0.18)),
        (0.3, 0.31, (0.3, 0.32)),
        (0.5, 0.5, (0.5, 0.52)),
        (0.0, 1.0, (0.0, 1.0)),
    ],
)
def test_a_curve_stands_between_round_ends(low, high, scale):
    assert charts._scale(low, high) == pytest.approx(scale)


def test_what_failed_is_shown():
    error = {"status": 409, "kind": "PlanError", "detail": "the old side is empty"}
    failed = Run(step="start", by="anna", began_at=NOW - 2, ended_at=NOW - 1, error=error)
    assert "Start failed: the old side is empty" in text_of(
        rendered(seen(Phase.PLANNED, run=failed))["now"]
    )


class Outline(HTMLParser):
    """Collects tags with their attributes."""

    def __init__(self, html):
        super().__init__()
        self.tags = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def test_the_page_has_landmarks_names_and_one_live_region(untouched):
    outline = Outline(untouched.get("/").text)
    assert outline.all("html")[0]["lang"] == "en"
    for landmark in ("header", "main", "footer", "h1"):
        assert len(outline.all(landmark)) == 1
    names = [*(title for _, title in TITLES), "Try a search"]
    assert [each["aria-label"] for each in outline.all("section")] == names
    polite = [a for _, a in outline.tags if a.get("aria-live")]
    assert [(a["role"], a["aria-live"]) for a in polite] == [("status", "polite")]
    assert all(a.get("aria-label") or a.get("aria-hidden") for a in outline.all("svg"))
    assert all(button["type"] in ("button", "submit") for button in outline.all("button"))
    assert [a for a in outline.all("li") if a.get("aria-current") == "step"]
    names = [a["id"] for _, a in outline.tags if "id" in a]
    assert len(names) == len(set(names))


def test_charts_place_their_points_by_value():
    bins = (Composition(0.0, 5, 0.0), Composition(1.0, 5, 1.0))
    dots = Outline(charts.composition_plot(bins)).all("circle")
    assert [(dot["cx"], dot["cy"]) for dot in dots] == [("40.0", "250.0"), ("280.0", "10.0")]
    rates = (Rates(NOW, 0, 0, 0), Rates(NOW + 10, 50, 0, 0))
    (line,) = Outline(charts.rate_line(rates, "embedded", 100)).all("polyline")
    assert line["points"] == "0.0,38.0 300.0,20.0"
    assert [
        each["width"]
        for each in Outline(
            charts.coverage_bar(seen(Phase.BACKFILLING, old_items=300, new_items=100))
        ).all("rect")
    ] == ["100", "25.00", "25.00"]


# Every colour that letters have, and what they stand on.
LETTERS = {
    "ink": ("ground", "card", "press"),
    "soft": ("ground", "card"),
    "good": ("card",),
    "held": ("card", "held-ground"),
    "bad": ("card", "bad-ground"),
    "main": ("ground", "card"),
    "main-ink": ("main",),
}


def lightness(colour):
    """WCAG's relative luminance of #rgb or #rrggbb."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    shares = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    shares = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return float(np.dot(shares, (0.2126, 0.7152, 0.0722)))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_letters_of_every_colour_are_readable_on_what_they_stand_on(scheme):
    style = files("hotfill.service").joinpath("web/static/dashboard.css").read_text("utf-8")
    palettes = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    palette = dict(re.findall(r"--([\w-]+): (#\w+)", palettes[scheme == "dark"]))
    for letters, grounds in LETTERS.items():
        for ground in grounds:
            pair = sorted(lightness(palette[name]) for name in (letters, ground))
            contrast = (pair[1] + 0.05) / (pair[0] + 0.05)
            assert contrast >= 4.5, (letters, ground, round(contrast, 2))
