"""How the gallery is searched and written in each phase: one frozen object, swapped as a whole.

| phase | a query is embedded by | searched | a write goes to |
|---|---|---|---|
| planned, aborted, rolled_back | the old model | the old side | the old side |
| prepared, backfilling, backfilled | the new model | both sides | the new side, old vector kept |
| superseded | the new model | both sides | the new side, old vector kept |
| cut_over | the new model | the new side | the new side, old vector kept |
| aborting, rolling_back | the new model | both sides | the old side |
| completed | the new model | the new side | the new side |

In a chain the first row is as the unfinished upgrade before it: both its sides, ranked together.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, TypeAlias, TypeVar

from hotfill.errors import HotfillError
from hotfill.upgrade.phases import GOING_BACK, NEW_ONLY, OLD_ONLY, WAY_BACK_OPEN, Phase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hotfill.ranking import Scorer
    from hotfill.types import ModelId
    from hotfill.upgrade.astray import Astray
    from hotfill.upgrade.one_index import OneIndex


@dataclass(frozen=True, slots=True)
class Before:
    """In a chain: what was before it, and comes back when it is aborted. An unfinished upgrade.

    load_scorer: ranks the sides of that upgrade. kept_model: the model before its new one.
    """

    load_scorer: Callable[[], Scorer]
    kept_model: ModelId


@dataclass(frozen=True, slots=True)
class View:
    """What searches and writes follow.

    query_model: embeds the queries. write_model: its side takes writes.
    kept_model: whose vectors are written too, for the way back; None when none are.
    scorer: ranks the sides together; None when one side is searched.
    index: ranks the new side by itself, where its plain order is not the ranking; else None.
    astray: how the store differs from what the phase says; None, nearly always. Without a scorer
        each of its sides is searched by a query of its own model.
    """

    phase: Phase
    query_model: ModelId
    write_model: ModelId
    kept_model: ModelId | None
    scorer: Scorer | None
    index: OneIndex | None = None
    astray: Astray | None = None


def view_of(
    phase: Phase,
    old_model: ModelId,
    new_model: ModelId,
    load_scorer: Callable[[], Scorer],
    *,
    before: Before | None = None,
) -> View:
    """Return the view of a phase (the table above). load_scorer: only called when needed.

    before: in a chain, how the gallery is searched where the old side alone is meant.
    """
    if phase in OLD_ONLY:
        if before is not None:
            return View(phase, old_model, old_model, before.kept_model, before.load_scorer())
        return View(phase, old_model, old_model, None, None)
    kept = old_model if phase in WAY_BACK_OPEN else None
    if phase in NEW_ONLY:
        return View(phase, new_model, new_model, kept, None)
    write_model = old_model if phase in GOING_BACK else new_model
    return View(phase, new_model, write_model, kept, load_scorer())


# One value that many threads use, and that is replaced as a whole --------------------------------

T = TypeVar("T")


class Switch(Generic[T]):
    """Holds the current value; `swap` returns when nobody uses the one before.

    So whoever swaps knows that from then on everybody sees the new value, and nobody ever sees
    half of each.
    """

    def __init__(self, value: T) -> None:
        self._value = value
        self._users = 0
        self._generation = 0
        self._changed = threading.Condition()
        self._waiting_for: dict[int, int] = {}  # generation -> its users, while someone waits

    @property
    def value(self) -> T:
        """The current value, for looking at; use `use` to work with it."""
        return self._value

    @contextmanager
    def use(self) -> Iterator[T]:
        """Work with the current value; it stays whole for the block."""
        with self._changed:
            value, generation = self._value, self._generation
            self._users += 1
        try:
            yield value
        finally:
            with self._changed:
                if generation == self._generation:
                    self._users -= 1
                else:
                    self._waiting_for[generation] -= 1
                    self._changed.notify_all()

    def swap(self, value: T, timeout_seconds: float = 60.0) -> None:
        """Replace the value and wait until the previous is out of use.

        Raises HotfillError when it is still in use after the time; the value is replaced anyway.
        """
        with self._changed:
            previous = self._generation
            self._waiting_for[previous] = self._users
            self._value = value
            self._users = 0
            self._generation += 1
            free = self._changed.wait_for(
                lambda: self._waiting_for[previous] == 0, timeout=timeout_seconds
            )
            if not free:
                raise HotfillError(
                    f"{self._waiting_for[previous]} searches or writes that began before the "
                    f"switch are still running after {timeout_seconds:g} s"
                )
            del self._waiting_for[previous]


# What a search returns ---------------------------------------------------------------------------


MadeBy: TypeAlias = Literal["old", "imputed", "new"]
"""What made a vector that is searched: an older model, a map from its space, or the new model."""


def made_by(space: ModelId, origin: str, new_model: ModelId) -> MadeBy:
    """Tell what made a vector, by the space it is searched in and its origin."""
    if space != new_model:
        return "old"
    return "new" if origin == new_model.fingerprint else "imputed"


class Hit(NamedTuple):
    """One item found.

    score: comparable over the whole list, higher is better; while two sides are searched it is on
    the new side's scale. raw_score: as its side's metric gives it. model: of the vector that was
    searched. imputed: whether a map made that vector; None where the search did not read it.
    """

    item_id: str
    score: float
    raw_score: float
    model: ModelId
    imputed: bool | None = None


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What one query found, best first. query_model: what embedded it. phase: at that time."""

    hits: tuple[Hit, ...]
    query_model: ModelId
    phase: Phase

    @property
    def item_ids(self) -> tuple[str, ...]:
        """The ids alone."""
        return tuple(hit.item_id for hit in self.hits)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; models by name and fingerprint."""
        return {
            "phase": str(self.phase),
            "query_model": str(self.query_model),
            "hits": [
                {
                    "item_id": hit.item_id,
                    "score": hit.score,
                    "raw_score": hit.raw_score,
                    "model": str(hit.model),
                }
                for hit in self.hits
            ],
        }
