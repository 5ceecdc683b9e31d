"""An embedder that stops answering, as one may whose device or server has died."""

from __future__ import annotations

import threading
from pathlib import Path

from tests.unit.cli.models import NEW, Projection


class Hanging(Projection):
    """at: the batch that never returns. sign: a file that is made when it comes."""

    def __init__(self, at: int, sign: str) -> None:
        super().__init__(NEW, 0.02)
        self._at, self._sign, self._calls = at, Path(sign), 0

    def __call__(self, contents):
        self._calls += 1
        if self._calls == self._at:
            self._sign.touch()
            threading.Event().wait()
        return super().__call__(contents)


def hanging_model(at: int, sign: str) -> Hanging:
    return Hanging(at, sign)
