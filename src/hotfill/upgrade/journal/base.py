"""The Journal interface: the durable record of one upgrade.

The store is the truth about items; the journal is the truth about the upgrade: its plan, its phase,
its holds, its batches of work and what became of them. A batch is marked done after it was moved,
and moving is idempotent, so a process may be killed between any two lines. Phases, plans, fits,
deletes and what people decided have reached the disk when the call returns; what a power cut may
take is the account of the last batches, which are then done again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from hotfill.upgrade.phases import Hold, HoldKind, Phase, Step

Stage: TypeAlias = Literal["prefill", "embed", "revert"]
"""What is done to a batch: map old vectors, embed contents again, or put old vectors back."""


@dataclass(frozen=True, slots=True)
class Batch:
    """A unit of work. attempts: how often it failed before."""

    number: int
    stage: Stage
    item_ids: tuple[str, ...]
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Tally:
    """Items of one stage. done = moved + skipped; skipped items were gone, written or moved."""

    total: int = 0
    moved: int = 0
    skipped: int = 0

    @property
    def left(self) -> int:
        """Items not yet done (dead letters were taken out of their batch and do not count)."""
        return self.total - self.moved - self.skipped


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An item that failed for good.

    at: seconds since the epoch. accepted_by: who let the upgrade go on without it; empty where
    nobody did.
    """

    item_id: str
    stage: Stage
    error: str
    attempts: int
    at: float
    accepted_by: str = ""


@dataclass(frozen=True, slots=True)
class WorkerLeases:
    """The batches that one process has in hand. seconds: how long it has had the oldest."""

    owner: str
    batches: int
    items: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that happened. at: seconds since the epoch."""

    number: int
    at: float
    kind: str
    body: dict[str, Any]


class Journal(ABC):
    """The durable record of one upgrade. Safe to use from several threads."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """Name this journal and no other: drawn once, when it was made. For claims in stores."""

    # What was decided and what happened ------------------------------------------------------

    @property
    @abstractmethod
    def phase(self) -> Phase:
        """Where the upgrade is. `planned` in a fresh journal."""

    @abstractmethod
    def enter(self, phase: Phase) -> None:
        """Record a new phase. The same phase again writes nothing."""

    @abstractmethod
    def advance(self, step: Step) -> Phase:
        """Enter the phase that a step leads to, and return it.

        Looking and entering are one transaction: of two processes that take different steps at
        once, one meets the phase that the other entered. Raises PhaseError then, as `phases`.
        """

    @abstractmethod
    def record(self, kind: str, **body: Any) -> None:
        """Append a fact. body: plain values."""

    @abstractmethod
    def facts(self, kind: str | None = None, *, after: int = 0) -> Iterator[Fact]:
        """Read facts, oldest first. after: the number of a fact; only those after it."""

    @abstractmethod
    def last(self, kind: str) -> Fact | None:
        """Read the newest fact of a kind."""

    # Why it may not move ---------------------------------------------------------------------

    @abstractmethod
    def hold(self, hold: Hold) -> None:
        """Add a hold; one of the same kind and subject is replaced, keeping its `since`."""

    @abstractmethod
    def release(self, kind: HoldKind, about: str | None = None) -> bool:
        """End holds of a kind (about one subject, or all). Tells whether there was one."""

    @abstractmethod
    def holds(self) -> tuple[Hold, ...]:
        """Read the holds, oldest first."""

    # Work ------------------------------------------------------------------------------------

    @abstractmethod
    def add_work(
        self, stage: Stage, pages: Iterable[tuple[Sequence[str], Iterable[float]]], batch_size: int
    ) -> int:
        """Cut items into batches, lowest rank first; all of it, or nothing if killed on the way.

        pages: item ids with their ranks, in any order; never held in memory at once.
        Returns the number of items added.
        """

    @abstractmethod
    def lease(
        self,
        stage: Stage,
        owner: str,
        seconds: float,
        most: int | None = None,
        items: int | None = None,
    ) -> Batch | None:
        """Take the next batch, for a while. None when there is none to take now.

        A lease that ran out, because its owner died or hangs, is given to the next who asks.
        most: how many items of the stage may have moved in all. Those in hand count until they are
            done, whoever has them; a batch that would pass it is cut there. None for no end.
        items: take the batches that follow with it as one, up to this many items. Only those that
            nobody ever had: whoever had one may still finish it or put it back, and must mean the
            items that he was given. None takes a batch as it was cut.
        """

    @abstractmethod
    def prolong(self, owner: str, seconds: float) -> int:
        """Let the leases that an owner still has last that long from now. Returns how many."""

    @abstractmethod
    def finish(self, batch: Batch, *, moved: int, skipped: int) -> None:
        """Record that a batch is done. Idempotent."""

    @abstractmethod
    def put_back(self, batch: Batch, parts: Sequence[Sequence[str]]) -> None:
        """Put a failed batch back as one or several smaller ones, with one more attempt each."""

    @abstractmethod
    def workers(self) -> tuple[WorkerLeases, ...]:
        """Tell who has batches in hand, and for how long; the longest first."""

    @abstractmethod
    def release_leases(self, owner: str | None = None) -> int:
        """Give leased batches back, all or those of one owner, who is known to be gone."""

    @abstractmethod
    def drop_work(self, stage: Stage) -> None:
        """Forget the batches of a stage that are not done."""

    @abstractmethod
    def tally(self, stage: Stage) -> Tally:
        """Count the items of a stage."""

    @abstractmethod
    def worked_ids(self, stage: Stage) -> Iterator[tuple[str, ...]]:
        """Read the item ids of all batches of a stage, a batch at a time."""

    # Dead letters ----------------------------------------------------------------------------

    @abstractmethod
    def reject(self, batch: Batch, item_ids: Sequence[str], error: str) -> None:
        """Take items out of a batch and list them as dead letters."""

    @abstractmethod
    def dead_letters(self, *, accepted: bool = False) -> tuple[DeadLetter, ...]:
        """Read the dead letters that hold the upgrade, or those that somebody accepted."""

    @abstractmethod
    def accept(self, item_ids: Sequence[str], by: str) -> int:
        """Let the upgrade go on without these dead letters. Returns how many there were.

        by: who decides, not empty.
        """

    @abstractmethod
    def resolve(self, item_ids: Sequence[str]) -> None:
        """Take items off the dead letters: they no longer need what failed."""

    @abstractmethod
    def retry(self, batch_size: int, item_ids: Sequence[str] | None = None) -> int:
        """Turn dead letters into work again. Returns how many.

        item_ids: which, accepted or not; by default all that nobody accepted.
        """

    # Deletes ---------------------------------------------------------------------------------

    @abstractmethod
    def mark_deleted(self, item_ids: Sequence[str]) -> None:
        """Remember items deleted on purpose, so that `verify` does not miss them.

        Their dead letters are void.
        """

    @abstractmethod
    def deleted(self, item_ids: Sequence[str]) -> frozenset[str]:
        """Tell which of these were deleted on purpose."""

    @abstractmethod
    def forget(self, item_ids: Sequence[str]) -> bool:
        """Forget that items were deleted or failed: they were written anew.

        Tells whether there was anything to forget; cheap where there was not.
        """

    # What made old vectors, where that was no model -------------------------------------------

    @abstractmethod
    def note_origins(self, pages: Iterable[tuple[Sequence[str], Sequence[int], str]]) -> None:
        """Remember what made vectors that a model did not make, before they leave their side.

        pages: item ids, their content versions, and the origin of their vectors. Never held in
        memory at once. Idempotent.
        """

    @abstractmethod
    def origins_noted(self, item_ids: Sequence[str]) -> dict[str, tuple[int, str]]:
        """Read content version and origin of those of the items that were noted."""

    # Signs of life ---------------------------------------------------------------------------

    @abstractmethod
    def beat(self, **values: Any) -> None:
        """Replace the coordinating process's sign of life: plain values, with the time added."""

    @abstractmethod
    def last_beat(self) -> dict[str, Any]:
        """Read the newest sign of life; empty before the first."""

    @abstractmethod
    def coordinating(self, wait_seconds: float = 0.0) -> AbstractContextManager[None]:
        """Be the one process, on any machine, that takes the upgrade through its phases.

        A dead one's place is free again, and so are its batches. Raises UpgradeBusyError when it is
        taken for longer than `wait_seconds`.
        """

    @property
    @abstractmethod
    def leader(self) -> str:
        """Name the owner of the leading process's batches; another with every `coordinating`."""

    @abstractmethod
    def check_leading(self) -> None:
        """Raise UpgradeBusyError when this process led and another has taken its place since.

        Asked before every move and every few seconds. Also raises JournalError when the journal
        itself was taken away. Does nothing where this object does not lead.
        """

    @abstractmethod
    def close(self) -> None:
        """Release the journal. Idempotent."""
