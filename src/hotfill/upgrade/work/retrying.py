"""A call that failed for a reason that may pass is made again, a few times."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from hotfill.errors import EmbedError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")

RETRY_SECONDS = (0.2, 1.0, 5.0)
"""Waits between tries."""


def tried(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Make a call, again a few times while its error says that this may help."""
    for seconds in RETRY_SECONDS:
        try:
            return call(*args, **kwargs)
        except (EmbedError, StoreError) as error:
            if not error.retryable:
                raise
            time.sleep(seconds)
    return call(*args, **kwargs)
