"""`hotfill search`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hotfill.cli.arguments import DEFAULT_CONFIG, Config, Json
from hotfill.cli.output import reporting


def search(
    config: Config = DEFAULT_CONFIG,
    vector: Annotated[
        Path | None,
        typer.Option("--vector", help="A .npy file with one vector of the model that queries use."),
    ] = None,
    like: Annotated[
        str | None, typer.Option("--like", help="Search with the content of this item.")
    ] = None,
    content: Annotated[str | None, typer.Option("--content", help="Search with this text.")] = None,
    k: Annotated[int, typer.Option("-k", help="How many items to find.")] = 10,
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where", help="key=value that the metadata must have; may be given several times."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Find items as the phase of the upgrade wants: one side, or both in one ranking.

    Opens the store, so it is for an upgrade that no process runs just now. Give one of --vector,
    --like and --content.
    """
    with reporting(config, as_json) as report:
        from hotfill.cli.queries import conditions, query
        from hotfill.config import open_upgrade

        asked, filters = query(vector, like, content), conditions(where or [])
        with open_upgrade(config) as up:
            found = asked(up, k, filters)
            status = up.status()
        report.add(
            found.to_dict(),
            [
                f"{rank:3}  {hit.score:8.4f}  {hit.item_id}   raw {hit.raw_score:.4f}, {hit.model}"
                for rank, hit in enumerate(found.hits, 1)
            ]
            or ["nothing found"],
        )
        report.add({}, [f"{found.phase}; the query is of {found.query_model}"])
        report.next(status.next_steps)
