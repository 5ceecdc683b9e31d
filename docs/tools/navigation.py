"""A folder in `nav` of mkdocs.yml stands for its pages that are not named there themselves.

So a new how-to page appears by being written.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


def on_config(config: Any) -> Any:
    """Called by MkDocs: replace folders by their pages."""
    docs = Path(config["docs_dir"])
    named = set(_names(config["nav"]))
    config["nav"] = _filled(config["nav"], docs, named)
    return config


def _names(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [] if nav.endswith("/") else [nav]
    parts = nav.values() if isinstance(nav, dict) else nav
    return [name for part in parts for name in _names(part)]


def _filled(nav: list[Any], docs: Path, named: set[str]) -> list[Any]:
    filled: list[Any] = []
    for entry in nav:
        if isinstance(entry, str) and entry.endswith("/"):
            pages = sorted(
                page.relative_to(docs).as_posix() for page in (docs / entry).glob("*.md")
            )
            filled += [page for page in pages if page not in named]
        elif isinstance(entry, dict):
            ((title, below),) = entry.items()
            filled.append({title: below if isinstance(below, str) else _filled(below, docs, named)})
        else:
            filled.append(entry)
    return filled
