"""When something was away, as everybody could know; a search may fail then and at no other time."""

from __future__ import annotations

import time
from contextlib import contextmanager


class Outages:
    """Spans of time, by the clock that all threads share."""

    def __init__(self) -> None:
        self._spans: list[list[float]] = []

    def begin(self) -> None:
        """It is away from now on."""
        self._spans.append([time.monotonic(), float("inf")])

    def end(self) -> None:
        """It is back. Idempotent."""
        for span in self._spans:
            span[1] = min(span[1], time.monotonic())

    @contextmanager
    def one(self):
        """It is away during the block."""
        self.begin()
        try:
            yield
        finally:
            self.end()

    def at(self, moment: float) -> None:
        """It was away for a moment."""
        self._spans.append([moment, moment])

    def excuse(self, began: float, ended: float) -> bool:
        """Tell whether something that failed overlaps with an outage."""
        return any(span[0] <= ended and began <= span[1] for span in self._spans)
