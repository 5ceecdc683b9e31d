"""The cut k of a ranking metric."""

from __future__ import annotations

from hotfill.errors import InputError


def check_cut(k: int) -> None:
    """Raise InputError unless k >= 1."""
    if k < 1:
        raise InputError(f"the cut k must be >= 1, got {k}")
