"""Our docstrings as Markdown: "name: what it is" and "Raises ..." each on a line of its own.

They are written to be read in the source; Markdown would run their lines together.
"""

from __future__ import annotations

import re
from typing import Any

from griffe import Docstring, Extension

_NAMES = r"[`a-z_*][\w.`*]*"
# "old_vectors (n, d_old), new_vectors (n, d_new): row i of both is the same item"
_ARGUMENT = re.compile(rf"^({_NAMES}(?: \([^)]*\))?(?:, {_NAMES}(?: \([^)]*\))?)*): (?=\S)")
_OUTCOME = re.compile(r"^(?:Returns?|Raises|Yields) ")


def as_markdown(text: str) -> str:
    """Return a docstring with a line break before each argument and each outcome."""
    lines: list[str] = []
    for line in text.splitlines():
        found = _ARGUMENT.match(line)
        inside = bool(lines) and bool(lines[-1].strip()) and not lines[-1].startswith("    ")
        if found:
            line = f"`{found[1].replace('`', '')}`: {line[found.end() :]}"
        if (found or _OUTCOME.match(line)) and inside:
            lines[-1] += "  "  # Markdown's line break
        # The rest of an argument is indented in the source; to Markdown that would be code.
        lines.append(line.lstrip() if inside and line.startswith(" ") else line)
    return "\n".join(lines)


class PlainDocstrings(Extension):
    """Called by griffe for everything it reads."""

    def on_instance(self, *, obj: Any, **kwargs: Any) -> None:
        """Rewrite the docstring of one object."""
        if obj.docstring is not None:
            obj.docstring = Docstring(as_markdown(obj.docstring.value), parent=obj)
