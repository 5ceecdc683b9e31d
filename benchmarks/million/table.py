"""Put what was measured into a page.

python -m benchmarks.million.table --into docs/operations/scale.md
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from benchmarks.page import main, table

RESULTS = Path(__file__).parent / "results"
Phases = dict[str, dict]
MOVES = (
    *("store", "items", "imputed/s", "embedded/s", "put back/s", "bulk write/s", "with its index"),
    *("p95 alone", "hotfill, idle", "imputing", "embedding", "own MB", "failed, lost"),
)
COMMANDS = (*("adopt", "scan", "plan", "start", "verify", "cutover", "rollback", "complete"),)
# What a stage takes, by where it is measured: items a second, or seconds of all.
STAGES = {
    "engine: write": ("alone", "items_per_second"),
    "engine: index": ("alone", "index_seconds"),
    "adopt": ("adopt", "seconds"),
    "scan": ("scan", "scan_seconds"),
    "impute": ("start", "prefill_items_per_second"),
    "embed": ("start", "embed_items_per_second"),
    "wait for indexes": ("start", "indexing_seconds"),
    "start, whole": ("start", "seconds_whole"),
    "put back": ("rollback", "revert_items_per_second"),
    "complete": ("complete", "seconds"),
}


def reports() -> Iterator[tuple[str, int, Phases]]:
    """Every store with its number of items and its phases, in the order of both."""
    found = []
    for path in RESULTS.glob("*.json"):
        report = json.loads(path.read_text())
        found += [(store, report["items"], each) for store, each in report["figures"].items()]
    yield from sorted((each for each in found if "start" in each[2]), key=lambda each: each[:2])


def value(phases: Phases, phase: str, key: str) -> float | None:
    if (phase, key) == ("start", "seconds_whole"):
        return phases["start"]["wall_seconds"]  # of all three runs: it was killed twice
    return phases.get(phase, {}).get(key)


def cell(number: float | None) -> str:
    if number is None:
        return "-"
    return f"{number:,.0f}" if number >= 100 else f"{number:,.3g}"


def moves() -> str:
    rows = []
    for store, items, phases in reports():
        parts = [part for part in phases.values() if "failed" in part]
        searches = phases["start"]["searches"]
        lost = sum(each.get("lost", 0) for each in parts)
        rows.append(
            [
                store,
                f"{items:,}",
                cell(value(phases, "start", "prefill_items_per_second")),
                cell(value(phases, "start", "embed_items_per_second")),
                cell(value(phases, "rollback", "revert_items_per_second")),
                cell(value(phases, "alone", "items_per_second")),
                cell(value(phases, "alone", "again_per_second")),
                cell(value(phases, "alone", "p95_ms")),
                *(
                    cell(some["p95_ms"]) if some else "-"
                    for some in (
                        phases["idle"]["searches"].get("planned"),
                        searches.get("prefill"),
                        searches.get("embed"),
                    )
                ),
                cell(phases["start"]["own_megabytes"]),
                f"{sum(each['failed'] for each in parts)}, {lost}",
            ]
        )
    return table(MOVES, rows)


def commands() -> str:
    rows = []
    for store, items, phases in reports():
        seconds = [
            value(
                phases, name, {"scan": "scan_seconds", "start": "wall_seconds"}.get(name, "seconds")
            )
            for name in COMMANDS
        ]
        done = phases.get("complete", {})
        rows.append(
            [
                store,
                f"{items:,}",
                *map(cell, seconds),
                cell(done.get("bytes_an_item_before")),
                cell(done.get("bytes_an_item_after")),
                cell(done.get("journal_bytes_an_item")),
            ]
        )
    heads = ("store", "items", *(f"{name}, s" for name in COMMANDS))
    return table((*heads, "B/item before complete", "after", "of the journal"), rows)


def growth() -> str:
    """Microseconds an item of each stage, by the number of items: equal ones grow with them."""
    found = list(reports())
    sizes = sorted({items for _, items, _ in found})
    rows = []
    for store in dict.fromkeys(store for store, _, _ in found):
        of = {items: phases for each, items, phases in found if each == store}
        for stage, (phase, key) in STAGES.items():
            numbers = {items: value(phases, phase, key) for items, phases in of.items()}
            each = [
                None
                if (number := numbers.get(items)) is None
                else 1e6 / number
                if "per_second" in key
                else 1e6 * number / items
                for items in sizes
            ]
            if sum(number is not None for number in each) > 1:
                rows.append([store, stage, *map(cell, each)])
    heads = ("store", "microseconds an item", *(f"of {items:,}" for items in sizes))
    return table(heads, rows, words=2)


def text() -> str:
    return "\n\n".join([moves(), commands(), growth()])


if __name__ == "__main__":
    main("million", text, __doc__ or "")
