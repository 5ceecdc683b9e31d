"""Tables made from results, printed or put between two marks of a page.

A page holds `<!-- NAME: begin -->` and `<!-- NAME: end -->`; what stands between is replaced.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path


def main(name: str, text: Callable[[], str], description: str) -> None:
    """Answer the command line of a `table.py`: print the text, or put it `--into` a page."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--into", type=Path, help="the page; without it the text is printed")
    page = parser.parse_args().into
    if page is None:
        print(text())
        return
    put(page, name, text())


def put(page: Path, name: str, text: str) -> None:
    """Replace what stands between the two marks of a name."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, rest = page.read_text(encoding="utf-8").split(begin)
    _, after = rest.split(end)
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


def line(cells: Iterable[object]) -> str:
    """Make one row of a table."""
    return f"| {' | '.join(map(str, cells))} |"


def table(heads: Sequence[str], rows: Iterable[Iterable[object]], *, words: int = 1) -> str:
    """Make a whole table; after the first `words` columns come figures."""
    ruler = ["---"] * words + ["---:"] * (len(heads) - words)
    return "\n".join([line(heads), line(ruler), *map(line, rows)])
