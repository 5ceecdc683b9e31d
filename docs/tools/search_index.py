"""The search index as a script: a page that is opened from a folder may not load anything else."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

_TAGS = re.compile(r"<[^>]+>")


def on_post_build(config: Any) -> None:
    """Called by MkDocs: turn what its search plugin gathered into what `site.js` reads."""
    folder = Path(config["site_dir"]) / "search"
    index = folder / "search_index.json"
    gathered = json.loads(index.read_text(encoding="utf-8"))["docs"]
    index.unlink()
    titles = {each["location"]: _plain(each["title"]) for each in gathered}
    entries = [
        {
            "place": each["location"] or "index.html",
            "title": _plain(each["title"]),
            "page": titles.get(each["location"].partition("#")[0], ""),
            "text": _plain(each["text"]),
        }
        for each in gathered
    ]
    script = "window.searchEntries = " + json.dumps(entries, ensure_ascii=False) + ";\n"
    (folder / "index.js").write_text(script, encoding="utf-8")


def _plain(text: str) -> str:
    return " ".join(html.unescape(_TAGS.sub(" ", text)).split())
