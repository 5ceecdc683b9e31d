"""Outside code at named moments. A hook that fails stops the move it guards."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from hotfill.upgrade.status import Status

Moment: TypeAlias = Literal[
    "on_start",
    "on_prepared",
    "on_backfilled",
    "before_cutover",
    "after_cutover",
    "on_completed",
    "on_failed",
]
"""`before_cutover` is the last thing before the switch, after every check."""

Hooks: TypeAlias = Mapping[Moment, Callable[["Status"], None]]
