"""`hotfill sample`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hotfill.cli.arguments import DEFAULT_CONFIG, Config, Json
from hotfill.cli.output import reporting

if TYPE_CHECKING:
    from collections.abc import Callable

    from hotfill.cli.output import Report

_NOTE_SECONDS = 5.0


def sample(
    config: Config = DEFAULT_CONFIG,
    out: Annotated[
        Path, typer.Option("--out", help="A new folder for the sample, for `hotfill rehearse`.")
    ] = Path("sample"),
    items: Annotated[
        int, typer.Option(help="How many items, drawn evenly from the gallery.")
    ] = 5000,
    queries: Annotated[
        Path | None,
        typer.Option(
            help='JSON lines {"content": ..., "relevant": [item ids]}, as [guard] takes them; '
            "without them, items are asked for."
        ),
    ] = None,
    label_key: Annotated[
        str, typer.Option(help="A metadata key; items of the same value answer each other.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Take a sample of the gallery to rehearse an upgrade with; touch nothing stored.

    Old vectors are read from the store; the new model embeds the sampled items, and both models
    the given queries.
    """
    with reporting(config, as_json) as report:
        from hotfill.config import open_upgrade
        from hotfill.rehearsal.gallery_sample import check_free
        from hotfill.rehearsal.sampling import Sampler
        from hotfill.upgrade.canaries import read_queries

        check_free(out)
        given = [] if queries is None else read_queries(queries)
        with open_upgrade(config) as up:
            taken = Sampler.of(up).take(
                items, queries=given, label_key=label_key, on_batch=_progress(report)
            )
        taken.save(out)
        counts = {
            "folder": str(out),
            "items": len(taken.item_ids),
            "queries": 0 if taken.queries_new is None else len(taken.queries_new),
            "judged_queries": len(taken.qrels),
            "labelled": taken.labels is not None,
        }
        report.add(
            counts,
            [
                f"{counts['items']:,} items and {counts['queries']:,} queries in {out}",
                f"next: hotfill rehearse --sample {out}"
                + (" --use-labels" if taken.qrels or label_key else ""),
            ],
        )


def _progress(report: Report) -> Callable[[int], None]:
    """Say now and then how many items are done."""
    said_at = time.monotonic()

    def say(done: int) -> None:
        nonlocal said_at
        if time.monotonic() - said_at > _NOTE_SECONDS:
            report.note(f"{done:,} items embedded")
            said_at = time.monotonic()

    return say
