"""The record of a training: one JSON object per line."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, final


@final
class Log:
    """Appends to a JSON-lines file; each line has `time` (UTC) and `event`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, event: str, **facts: Any) -> None:
        """Append one line."""
        line = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "event": event, **facts}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
