"""Measurements for Prometheus: counts and durations of this process, the rest as last seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from hotfill.upgrade.phases import Phase

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import Metric

    from hotfill.service.measures import Measures
    from hotfill.service.snapshot import Watch

_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class SearchMetrics:
    """Counts searches, and reports them with their hits and the latest look of a watch."""

    def __init__(self, watch: Watch, measures: Measures) -> None:
        self._registry = CollectorRegistry()
        self._seconds = Histogram(
            "hotfill_search_seconds",
            "How long a search took in the library, without HTTP.",
            ["phase", "sides"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._requests = Counter(
            "hotfill_requests_total",
            "HTTP requests that were answered.",
            ["route", "status"],
            registry=self._registry,
        )
        self._registry.register(_Looked(watch, measures))

    def searched(self, phase: str, sides: str, seconds: float) -> None:
        """Count one search."""
        self._seconds.labels(phase, sides).observe(seconds)

    def requested(self, route: str, status: int) -> None:
        """Count one request."""
        self._requests.labels(route, str(status)).inc()

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self._registry)


class _Looked(Collector):
    """What the latest look saw."""

    def __init__(self, watch: Watch, measures: Measures) -> None:
        self._watch = watch
        self._measures = measures

    def collect(self) -> Iterator[Metric]:
        looked = self._watch.latest
        status = looked.status
        phase = GaugeMetricFamily(
            "hotfill_phase", "1 for the phase the upgrade is in.", labels=["phase"]
        )
        for each in Phase:
            phase.add_metric([str(each)], float(each is status.phase))
        yield phase
        items = GaugeMetricFamily(
            "hotfill_items",
            "Items searched on each side; `imputed` are on the new one by a mapped old vector.",
            labels=["side", "model"],
        )
        items.add_metric(["old", status.old_model], looked.old_items)
        items.add_metric(["imputed", status.new_model], looked.imputed_items)
        items.add_metric(["new", status.new_model], looked.new_items)
        yield items
        hits = CounterMetricFamily(
            "hotfill_search_hits",
            "Items found, by what made their vectors, as `hotfill_items`; `new_or_imputed`: on the "
            "new side, by searches that did not read it. One search a second is looked up.",
            labels=["phase", "side"],
        )
        for labels, count in self._measures.hits().items():
            hits.add_metric(labels, count)
        yield hits
        indexed = GaugeMetricFamily(
            "hotfill_indexed_ratio",
            "Share of a side that an index covers; absent for a side that needs none.",
            labels=["side", "model"],
        )
        for model, share in status.indexed.items():
            if share is not None:
                side = "new" if model == status.new_model else "old"
                indexed.add_metric([side, model], share)
        yield indexed
        for name, text, value in (
            (
                "coverage_ratio",
                "Share of items found by the new model's own vector.",
                looked.coverage,
            ),
            ("upgrade_items", "Items to be re-embedded in all.", status.items),
            (
                "upgrade_done_items",
                "Items re-embedded, in every run.",
                status.moved + status.skipped,
            ),
            (
                "visible_items",
                "Items that searches find by the new model's own vector.",
                status.visible,
            ),
            ("dead_letters", "Items that failed for good.", status.dead_letters),
            ("upgrade_running", "1 while a process is at work.", float(status.running)),
            ("upgrade_elapsed_seconds", "Since the start.", status.elapsed_seconds),
            ("upgrade_working_seconds", "Spent working.", status.working_seconds),
        ):
            yield GaugeMetricFamily(f"hotfill_{name}", text, value)
        if status.eta_seconds is not None:
            yield GaugeMetricFamily("hotfill_upgrade_eta_seconds", "Left.", status.eta_seconds)
        if looked.rates:
            rate = GaugeMetricFamily(
                "hotfill_items_per_second", "Over the last seconds.", labels=["what"]
            )
            for what in ("embedded", "written", "visible"):
                rate.add_metric([what], getattr(looked.rates[-1], what))
            yield rate
        yield CounterMetricFamily(
            "hotfill_embedded_items", "Embedded by this process.", status.embedded
        )
        yield CounterMetricFamily(
            "hotfill_written_items", "Written by this process.", status.written
        )
        yield from _holds(self._watch)


def _holds(watch: Watch) -> Iterator[Metric]:
    labels = ["kind", "about"]
    held = GaugeMetricFamily("hotfill_hold", "1 for each reason not to move.", labels=labels)
    measured = GaugeMetricFamily(
        "hotfill_hold_measured", "What was measured; its unit is in `about`.", labels=labels
    )
    required = GaugeMetricFamily(
        "hotfill_hold_required", "What is required; its unit is in `about`.", labels=labels
    )
    # The text of an error is long, changes, and may quote what failed: it is left out.
    holds = {
        (hold.kind, "" if hold.kind == "error" else hold.about): hold
        for hold in watch.latest.status.holds
    }
    for about, hold in holds.items():
        held.add_metric(about, 1.0)
        if hold.measured is not None:
            measured.add_metric(about, hold.measured)
        if hold.required is not None:
            required.add_metric(about, hold.required)
    yield from (held, measured, required)
