"""What an engine says when it fails, in our words: its text decides."""

from __future__ import annotations

from typing import TypeAlias

from hotfill.errors import StoreError

Sayings: TypeAlias = tuple[tuple[str, type[StoreError], bool], ...]
"""What stands in the text, what it means, and whether the same call may succeed later."""


def told(doing: str, text: str, sayings: Sayings, *, retryable: bool = False) -> StoreError:
    """Return the error for the first saying in a text, whatever the case of its letters.

    retryable: whether a call whose failure none of them fits may succeed later.
    """
    lowered = text.lower()
    for part, kind, later in sayings:
        if part.lower() in lowered:
            return kind(f"could not {doing}: {text}", retryable=later)
    return StoreError(f"could not {doing}: {text}", retryable=retryable)
