"""What came of one fault, and the table of many."""

from __future__ import annotations

import statistics
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outcome:
    """One fault. lost, doubled: items, at any moment since, by searches or by looking at each.

    wrong: vectors that their model does not give. searches: answered since the fault.
    search_errors: outside of the outage. recovered: whether the backfill went on. seconds: until
    then.
    """

    store: str
    kind: str
    lost: int
    doubled: int
    wrong: int
    searches: int
    search_errors: int
    recovered: bool
    seconds: float


def table(outcomes) -> str:
    """A Markdown table: a row for each store and kind, and their sum."""
    rows = [
        "| store | fault | faults | items lost | items doubled | wrong vectors | searches answered "
        "| search errors outside the outage | recovered | seconds to recovery: median, most |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    kinds = sorted({(each.store, each.kind) for each in outcomes})
    for store, kind in kinds:
        some = [each for each in outcomes if (each.store, each.kind) == (store, kind)]
        rows.append(_row(store, kind, some))
    rows.append(_row("**all**", "", list(outcomes)))
    return "\n".join(rows)


def _row(store, kind, some) -> str:
    counted = ("lost", "doubled", "wrong", "searches", "search_errors", "recovered")
    sums = [sum(getattr(each, name) for each in some) for name in counted]
    cells = [
        store,
        kind,
        len(some),
        *sums,
        f"{statistics.median(e.seconds for e in some):.1f}, {max(e.seconds for e in some):.1f}",
    ]
    return "| " + " | ".join(map(str, cells)) + " |"
