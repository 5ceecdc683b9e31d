"""Put what was measured into a page.

python -m benchmarks.million.table --into docs/operations/scale.md
"""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.page import main, table

RESULTS = Path(__file__).parent / "results"
HEADS = (
    *("store", "items", "adopt, s", "imputed/s", "embedded/s", "put back/s", "bulk write/s"),
    *("p95 idle", "while imputing", "while embedding", "own MB", "journal B/item", "failed, lost"),
)


def _row(store: str, items: int, phases: dict) -> list[str]:
    def cell(phase: str, key: str) -> str:
        value = phases.get(phase, {}).get(key)
        return "-" if value is None else f"{value:,}"

    begun = phases["start"]
    parts = [part for part in phases.values() if "failed" in part]
    searches = begun["searches"]
    return [
        store,
        f"{items:,}",
        cell("adopt", "seconds"),
        cell("start", "prefill_items_per_second"),
        cell("start", "embed_items_per_second"),
        cell("rollback", "revert_items_per_second"),
        cell("alone", "items_per_second"),
        cell("alone", "p95_ms"),
        *(
            f"{searches[stage]['p95_ms']:,}" if stage in searches else "-"
            for stage in ("prefill", "embed")
        ),
        cell("start", "own_megabytes"),
        cell("complete", "journal_bytes_an_item"),
        f"{sum(each['failed'] for each in parts)}, {sum(each.get('lost', 0) for each in parts)}",
    ]


def text() -> str:
    reports = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
    return table(
        HEADS,
        [
            _row(store, report["items"], phases)
            for report in reports
            for store, phases in report["figures"].items()
            if "start" in phases
        ],
    )


if __name__ == "__main__":
    main("million", text, __doc__ or "")
