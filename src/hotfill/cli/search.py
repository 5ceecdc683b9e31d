"""`hotfill search`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import numpy as np
import typer

from hotfill.array_files import read_array
from hotfill.cli.arguments import DEFAULT_CONFIG, Config, Json
from hotfill.cli.output import reporting
from hotfill.cli.progress import counted
from hotfill.errors import InputError, SourceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hotfill.cli.output import Report
    from hotfill.stores.base import Scalar, Where
    from hotfill.upgrade.upgrade import Upgrade
    from hotfill.upgrade.view import SearchResult

_LONGEST_TEXT = 100  # characters of a content in a line

Query: TypeAlias = "Callable[[Upgrade, int, Where], SearchResult]"


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
    show: Annotated[
        bool,
        typer.Option(
            "--show",
            help="Show the old side, what a search gets now and the new side, with texts.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Search the gallery as the phase of the upgrade wants.

    Searches one side, or both in one ranking, and says of each hit whether its vector is old,
    imputed or new. Opens the store, so it is for an upgrade that no process runs just now. Give
    one of --vector, --like and --content.
    """
    with reporting(config, as_json) as report:
        asked, filters = _query(vector, like, content), _conditions(where or [])
        if show and vector is not None:
            raise InputError("--show embeds the query by both models: give --like or --content")
        from hotfill.config import open_upgrade

        with counted("searching"), open_upgrade(config) as up:
            status = up.status()
            if show:
                _show(up, content, like, k, filters, report)
                report.next(status.next_steps)
                return
            found = asked(up, k, filters)
            made_by = up.made_by(found.hits)
        plain = found.to_dict()
        plain["hits"] = [
            {**hit, "made_by": each} for hit, each in zip(plain["hits"], made_by, strict=True)
        ]
        report.add(
            plain,
            [
                f"{rank:3}  {hit.score:8.4f}  {each:7}  {hit.item_id}   "
                f"raw {hit.raw_score:.4f}, {hit.model}"
                for rank, (hit, each) in enumerate(zip(found.hits, made_by, strict=True), 1)
            ]
            or ["nothing found"],
        )
        report.add({}, [f"{found.phase}; the query is of {found.query_model}"])
        report.next(status.next_steps)


def _show(
    up: Upgrade, content: str | None, like: str | None, k: int, where: Where, report: Report
) -> None:
    """Report what every way of searching finds, with texts."""
    from hotfill.upgrade.side_by_side import content_of, side_by_side

    asked = content if content is not None else content_of(up, like or "")
    columns = side_by_side(up, asked, k, where=where)
    report.add(
        {
            "columns": [
                {
                    "title": column.title,
                    "about": column.about,
                    "hits": [
                        {
                            "item_id": each.item_id,
                            "score": each.score,
                            "made_by": each.made_by,
                            "content": _text_of(each.content),
                        }
                        for each in column.found
                    ],
                }
                for column in columns
            ]
        },
        [
            line
            for column in columns
            for line in (
                f"{column.title}: {column.about}",
                *(
                    f"{rank:3}  {each.score:8.4f}  {each.made_by:7}  {each.item_id}  "
                    + _text_of(each.content)
                    for rank, each in enumerate(column.found, 1)
                ),
                "",
            )
        ],
    )


def _text_of(content: object) -> str:
    """Return a content in one line of text; of what is none, its kind and size."""
    if content is None:
        return ""
    if isinstance(content, bytes):
        return f"[{len(content):,} bytes]"
    size = getattr(content, "size", None)
    shape = getattr(content, "shape", size if isinstance(size, tuple) else None)
    if shape is not None:
        return f"[{type(content).__name__} {' x '.join(map(str, shape))}]"
    text = " ".join(str(content).split())
    return text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + "\N{HORIZONTAL ELLIPSIS}"


def _query(vector: Path | None, like: str | None, content: str | None) -> Query:
    """Choose how to search. Raises InputError unless exactly one is given."""
    given = [each for each in (vector, like, content) if each is not None]
    if len(given) != 1:
        raise InputError(
            f"give one of --vector FILE.npy, --like ITEM_ID and --content TEXT; got {len(given)}"
        )

    def run(up: Upgrade, k: int, where: Where) -> SearchResult:
        if vector is not None:
            rows = np.atleast_2d(_read(vector))
            if len(rows) != 1:
                raise InputError(f"{vector}: expected one vector, got an array of {rows.shape}")
            return up.search_vectors(rows, up.view.query_model, k, where=where)[0]
        if content is not None:
            return up.search([content], k, where=where)[0]
        assert like is not None  # one of the three is given
        contents = up.contents([like])
        if like not in contents:
            raise SourceError(f"the source has no content for item {like!r}; is the id right?")
        found: SearchResult = up.search([contents[like]], k, where=where)[0]
        return found

    return run


def _conditions(pairs: Sequence[str]) -> Where:
    """Read key=value: a number, true or false, or else a text ("3" in quotes is a text).

    Raises InputError for anything else.
    """
    where: dict[str, Scalar] = {}
    for pair in pairs:
        key, sign, text = pair.partition("=")
        if not sign or not key:
            raise InputError(f"--where takes key=value, got {pair!r}")
        where[key] = _scalar(text)
    return where


def _scalar(text: str) -> Scalar:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, str | int | float | bool) else text


def _read(path: Path) -> np.ndarray:
    return read_array(path)
