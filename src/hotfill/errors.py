"""Every error that hotfill raises on purpose.

HotfillError
├── InputError                  the caller's data cannot be used
│   ├── ShapeError              wrong number of rows or dimensions
│   ├── VectorError             NaN, infinite or zero vectors; names the items
│   └── DuplicateItemError      one item id twice in one call
├── ModelMismatchError          vectors of one space met another space
├── ConfigError                 a configuration key or value is wrong
├── MissingExtraError           an optional dependency is not installed
├── EmbedError                  an embedder failed; names the items
├── SourceError                 the content of an item could not be read
├── CallTimeoutError            an embedder or a source did not return in time
├── StoreError                  the vector store refused or failed
│   ├── ClosedSideError         items of that side are not to be written in this phase
│   ├── StoreBusyError          another process has the store open
│   └── StoreFullError          no space left on the device
├── JournalError                the record of an upgrade cannot be used
│   ├── JournalCorruptError     its bytes are damaged
│   └── UpgradeBusyError        another process runs this upgrade
├── PhaseError                  that step is not possible in this phase
├── HeldError                   that step waits for holds to end
├── PlanError                   a plan has blockers, or no longer fits the store
└── DivergedError               a training became NaN (defined in `hotfill.lab.training`)

Each message says what was expected, what came, and what to do. What a program may want to know
stands in attributes, so that nobody parses text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


class HotfillError(Exception):
    """Base of all errors that hotfill raises on purpose."""


class InputError(HotfillError, ValueError):
    """The caller's data cannot be used as it is."""


class ShapeError(InputError):
    """An array has the wrong number of rows or dimensions."""


class VectorError(InputError):
    """Vectors hold NaN, infinite or only zero values.

    item_ids: the items concerned (row numbers as text where there are no ids).
    """

    def __init__(self, message: str, item_ids: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.item_ids = tuple(item_ids)


class DuplicateItemError(InputError):
    """One item id stands twice in one call.

    item_ids: the ids that occur more than once.
    """

    def __init__(self, item_ids: Sequence[str]) -> None:
        self.item_ids = tuple(item_ids)
        super().__init__(
            f"expected each item id once, but {_some(self.item_ids)} came more than once; "
            "nothing was written: remove the repetition and call again"
        )


class ModelMismatchError(HotfillError):
    """Vectors of one space met another space.

    expected, received: the two model ids (`hotfill.types.ModelId`, which stands above this module).
    """

    def __init__(self, what: str, expected: Any, received: Any) -> None:
        self.expected = expected
        self.received = received
        super().__init__(
            f"{what}: expected model {expected}, got {received} "
            f"({expected.differences(received)}); vectors of different models cannot be compared, "
            "so nothing was done"
        )


class ConfigError(HotfillError):
    """A configuration key or value is wrong."""


class MissingExtraError(HotfillError, ImportError):
    """An optional dependency is not installed.

    extra: the name to install.
    """

    def __init__(self, package: str, extra: str) -> None:
        self.extra = extra
        super().__init__(
            f"this needs the package {package!r}, which is not installed; "
            f"run: pip install 'hotfill[{extra}]'"
        )


class EmbedError(HotfillError):
    """An embedder failed.

    rows: positions of the failed contents in the call, as the embedder knows them.
    item_ids: the items, as whoever called it knows them. Both empty when the whole call failed.
    retryable: whether the same call may succeed later.
    """

    def __init__(
        self,
        message: str,
        *,
        rows: Sequence[int] = (),
        item_ids: Sequence[str] = (),
        retryable: bool = True,
    ) -> None:
        super().__init__(message)
        self.rows = tuple(rows)
        self.item_ids = tuple(item_ids)
        self.retryable = retryable


class SourceError(HotfillError):
    """The content of an item could not be read from its source.

    item_ids: the items, where it is known which. retryable: whether the same call may succeed
    later.
    """

    def __init__(
        self, message: str, *, item_ids: Sequence[str] = (), retryable: bool = False
    ) -> None:
        super().__init__(message)
        self.item_ids = tuple(item_ids)
        self.retryable = retryable


class CallTimeoutError(HotfillError):
    """An embedder or a source did not return in time."""


class StoreError(HotfillError):
    """The vector store refused or failed. retryable: whether the same call may succeed later."""

    def __init__(self, message: str, retryable: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable


class ClosedSideError(StoreError):
    """Items may not be written to that side now: an upgrade has entered a phase since.

    space: the side, as its model id. revision: of the store's stamp, which says so.
    """

    def __init__(self, space: Any, revision: int) -> None:
        self.space = space
        self.revision = revision
        super().__init__(
            f"expected items for a side that takes writes, got some for that of {space}, where "
            "searches no longer look for them; nothing was written: ask the upgrade for its phase, "
            "and write by the model of that"
        )


class StoreBusyError(StoreError):
    """Another process has the store open, and the store takes one at a time.

    pid: that process, where it is known.
    """

    def __init__(self, message: str, retryable: bool = False, pid: int | None = None) -> None:
        super().__init__(message, retryable)
        self.pid = pid


class StoreFullError(StoreError):
    """No space left where the store lives."""


class JournalError(HotfillError):
    """The record of an upgrade cannot be used."""


class JournalCorruptError(JournalError):
    """The journal's bytes are damaged."""


class UpgradeBusyError(JournalError):
    """Another live process runs this upgrade. pid: its process id; 0 where it is not known."""

    def __init__(self, message: str, pid: int) -> None:
        super().__init__(message)
        self.pid = pid


class PhaseError(HotfillError):
    """That step is not possible in the phase the upgrade is in.

    phase: where it is. allowed: the steps that are possible now.
    """

    def __init__(self, step: str, phase: str, allowed: Sequence[str]) -> None:
        self.step = step
        self.phase = phase
        self.allowed = tuple(allowed)
        options = " | ".join(self.allowed) if self.allowed else "none, the upgrade has ended"
        super().__init__(f"cannot {step} while {phase}; possible now: {options}")


class HeldError(HotfillError):
    """A step waits for holds to end. holds: one line each."""

    def __init__(self, step: str, holds: Sequence[str]) -> None:
        self.step = step
        self.holds = tuple(holds)
        super().__init__(f"cannot {step} while held: {'; '.join(self.holds)}")


class PlanError(HotfillError):
    """A plan has blockers, or no longer fits what the store holds. blockers: one line each."""

    def __init__(self, blockers: Sequence[str]) -> None:
        self.blockers = tuple(blockers)
        super().__init__("; ".join(self.blockers))


def _some(names: Sequence[str], most: int = 5) -> str:
    """Name the first few of many."""
    shown = ", ".join(repr(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
