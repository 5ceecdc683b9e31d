"""Whoever searches in another process hears of a phase before anything moves in it.

Such a process asks the journal for the phase every little while (`hotfill.serving`). Until it has
heard that there are two sides it searches one, and would miss what has moved to the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import threading

    from hotfill.stores.base import Gallery

NOTICE_SECONDS = 1.0
"""From the entering of a phase to the first move in it. A search whose knowledge of the phase is
older than this when it ends has to ask again."""


def give_notice(gallery: Gallery, stop: threading.Event) -> None:
    """Wait so long, where other processes may have the gallery open."""
    if gallery.capabilities.many_processes:
        stop.wait(NOTICE_SECONDS)
