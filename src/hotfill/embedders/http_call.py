"""The bookkeeping of one call: which rows have a vector, which never will, which are to ask."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hotfill.embedders.answer import Answer
from hotfill.errors import EmbedError, HotfillError

if TYPE_CHECKING:
    from concurrent.futures import Future

_REFUSED_EVERYTHING = 32  # refusals in a call without one success: the texts are not to blame


@dataclass(frozen=True, slots=True)
class Refused:
    """The server will not embed one of these texts. reason: as it said."""

    reason: str


class Call:
    """What has become of the rows of one call."""

    def __init__(self, requests: list[list[int]]) -> None:
        self.waiting = deque(requests)
        self._failed: dict[int, str] = {}
        self._problem: HotfillError | None = None
        self._answered = False
        self._refusals = 0

    @property
    def goes_on(self) -> bool:
        """Whether there is a request to send."""
        return bool(self.waiting) and self._problem is None

    def took(self, rows: list[int], future: Future[Answer | Refused]) -> Answer | None:
        """Note the outcome of a request; give back the answer, if it is one."""
        try:
            outcome = future.result()
        except HotfillError as error:
            self._problem = self._problem or error
            return None
        if isinstance(outcome, Answer):
            self._answered = True
            self._failed |= {rows[row]: reason for row, reason in outcome.failed.items()}
            return outcome
        self._refusals += 1
        if len(rows) == 1:
            self._failed[rows[0]] = outcome.reason
        else:
            middle = len(rows) // 2
            self.waiting += [rows[:middle], rows[middle:]]
        if self._refusals >= _REFUSED_EVERYTHING and not self._answered:
            self._problem = EmbedError(
                f"the server refuses everything it is sent: {outcome.reason}; the request itself "
                "is probably wrong: check model and extra"
            )
        return None

    def raise_failures(self, n: int) -> None:
        """Raise what went wrong, if anything did."""
        if self._problem is not None:
            raise self._problem
        if self._failed:
            rows = sorted(self._failed)
            raise EmbedError(
                f"{len(rows)} of {n} texts cannot be embedded; row {rows[0]}: "
                f"{self._failed[rows[0]]}",
                rows=rows,
                retryable=False,
            )
