"""Ctrl-C and SIGTERM: first politely, then at once."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_MESSAGE = b"\nstopping after the batches in hand; once more to stop at once (nothing is lost)\n"


@contextmanager
def stopping(stop: Callable[[], object]) -> Iterator[None]:
    """Call `stop` at the first signal; the second ends the process."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may catch signals
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def first(number: int, frame: FrameType | None) -> None:
        stop()
        for each in _SIGNALS:  # the next one ends the process, as any kill may
            signal.signal(each, signal.SIG_DFL)
        # Not `print`: the signal may have come in the middle of one.
        os.write(2, _MESSAGE)

    for number in _SIGNALS:
        signal.signal(number, first)
    try:
        yield
    finally:
        for number in _SIGNALS:
            signal.signal(number, before[number])
