"""Tables of the keys of `upgrade.toml`, made from the code while the pages are built.

A line `<!-- keys: NAME -->` of a page is replaced by the table of that section.
"""

from __future__ import annotations

import inspect
import re
from typing import Any, get_args

from hotfill.config import settings
from hotfill.service.settings import ServiceSettings
from hotfill.service.tokens import TokenSettings
from hotfill.stores.section import StoreSection
from hotfill.upgrade.journal.section import JournalSection
from hotfill.upgrade.plan import Decisions, GuardDecisions

SECTIONS: dict[str, Any] = {
    "store": StoreSection,
    "journal": JournalSection,
    "model": settings.ModelSection,
    "upgrade": Decisions,
    "guard": GuardDecisions,
    "service": ServiceSettings,
    "token": TokenSettings,
}
_UNDOCUMENTED = {  # what docstrings leave to the names
    "path": "The folder of the store.",
    "dsn": "How to connect: libpq's connection string or URL, or the address of a server.",
    "table": "The table, in some stores the collection; for PostgreSQL also `schema.table`.",
    "exact": "Compare with every vector instead of using an index.",
    "ef": "Candidates that a search of an HNSW index keeps.",
    "connections": "Connections at a time, at most.",
    "timeout_seconds": "Of one call of the store.",
    "embedder": "The factory of the embedder.",
    "options": "Its arguments.",
    "query_options": "Arguments of `query_embedder`.",
    "model": "The id of the model, where there is no embedder.",
    "seed": "Random seed.",
    "priority_key": 'For `order = "priority"`: the metadata key to order by, high first.',
    "query_log": "For the orders by popularity: a file with one returned item id per line.",
    "host": "Where to listen; anything but this machine needs tokens.",
    "port": "The port; 0 takes a free one.",
    "tokens": "Who is let in, see below; without any, everybody on this machine.",
    "max_request_bytes": "Bytes that one call may send.",
    "max_k": "The largest `k` of a search.",
    "name": "Of the caller; it stands in the log.",
}
_PLACE = re.compile(r"<!-- keys: (\w+) -->")
_NAME = re.compile(r"(?:^|(?<=[.;] ))((?:`?\w+`?, )*`?\w+`?): ", re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by MkDocs: put the tables in."""
    return _PLACE.sub(lambda found: table(found[1]), markdown)


def table(name: str) -> str:
    """Return the keys of a section as a table in Markdown; of several kinds, one table each."""
    section: Any = SECTIONS[name]
    kinds = get_args(get_args(section)[0]) if get_args(section) else ()
    if not kinds:
        return _table(section)
    return "\n\n".join(
        f'### `kind = "{kind.model_fields["kind"].default}"`\n\n'
        f"{(inspect.getdoc(kind) or '').split(chr(10) * 2)[0]}\n\n{_table(kind)}"
        for kind in kinds
    )


def _table(section: Any) -> str:
    said: dict[str, str] = {}
    for each in reversed(section.__mro__):
        said |= meanings(each) if each.__module__ == section.__module__ else {}
    rows = ["| key | meaning | default |", "|---|---|---|"]
    for key, field in section.__pydantic_fields__.items():
        meaning = said.get(key) or _UNDOCUMENTED.get(key, "")
        if field.is_required():
            default = "needed"
        else:
            value = field.get_default(call_default_factory=True)
            shown = str(value).lower() if isinstance(value, bool) else value
            default = "" if value is None or value in ("", (), {}) else f"`{shown}`"
        choices = [each for each in _choices(field.annotation) if each not in meaning]
        meaning += f" One of {', '.join(f'`{each}`' for each in choices)}." if choices else ""
        rows.append(f"| `{key}` | {meaning.strip().replace('|', '/')} | {default} |")
    return "\n".join(rows)


def meanings(documented: type) -> dict[str, str]:
    """Read "name, other: what it is." of a docstring, wherever in a line it begins."""
    lines = (inspect.getdoc(documented) or "").splitlines()
    text = "\n".join(lines)
    text = re.sub(r"\n +", " ", text)  # the rest of an argument is indented
    found = list(_NAME.finditer(text))
    ends = [*(each.start() for each in found[1:]), len(text)]
    said = {}
    for number, each in enumerate(found):
        end = ends[number]
        meaning = text[each.end() : end].split("\n\n")[0].replace("\n", " ").strip()
        for name in each[1].replace("`", "").split(", "):
            said[name] = meaning[:1].upper() + meaning[1:]
    return said


def _choices(annotation: Any) -> list[str]:
    return [each for each in get_args(annotation) if isinstance(each, str)]
