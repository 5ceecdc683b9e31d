"""How much an embedding server takes in a request: learned once, for all processes of an upgrade.

A server refuses requests that are too large, and an embedder finds its limit by halves, each of
which costs a refusal. What one process has learned is a fact of the journal, so that the others,
and those that go on after it, begin there. It is forgotten when the model's settings change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable

    from hotfill.types import Embedder
    from hotfill.upgrade.journal.base import Journal

_KIND = "request_limit"


@runtime_checkable
class LearnsLimit(Protocol):
    """An embedder that finds out how much its server takes in a request."""

    @property
    def request_settings(self) -> str:
        """What the limit depends on, in any form: another limit is learned where it differs."""

    @property
    def note(self) -> str:
        """What an operator should know by now, a sentence; empty where that is nothing."""

    def share_limit(
        self, known: Callable[[], int | None], keep: Callable[[int], None] | None
    ) -> None:
        """Begin calls at what `known` says, where that is less; tell `keep` what was learned."""


class _Shared:
    """What the journal says of one embedder. Asked before every call, so it reads what is new."""

    def __init__(self, journal: Journal, embedder: LearnsLimit, model: str) -> None:
        self._journal, self._embedder, self._model = journal, embedder, model
        self._seen = 0
        self.last: dict[str, Any] = {"settings": "", "most": 0}

    def known(self) -> int | None:
        for fact in self._journal.facts(_KIND, after=self._seen):
            self._seen = fact.number
            if fact.body["model"] == self._model:
                self.last = fact.body
        same = self.last["settings"] == self._embedder.request_settings
        return self.last["most"] or None if same else None

    def keep(self, most: int) -> None:
        known = self.known()
        if known is None or most < known or not most:
            self._journal.record(
                _KIND,
                model=self._model,
                settings=self._embedder.request_settings,
                most=most,
                note=self._embedder.note if most else "",
            )


def share_limit(embedder: Embedder | None, journal: Journal) -> None:
    """Let an embedder know what any process has learned of its server, and tell what it learns.

    Embedders that learn nothing are left alone. Idempotent.
    """
    if (learner := _learner(embedder)) is not None:
        assert embedder is not None
        shared = _Shared(journal, learner, embedder.model_id.fingerprint)
        if shared.known() is None and shared.last["most"]:
            shared.keep(0)  # learned with other settings
        learner.share_limit(shared.known, shared.keep)


def tell_limit(embedder: Embedder, journal: Journal) -> None:
    """Let an embedder know what was learned until now. Writes nothing."""
    if (learner := _learner(embedder)) is not None:
        most = _Shared(journal, learner, embedder.model_id.fingerprint).known()
        learner.share_limit(lambda: most, None)


def note_of_limit(embedder: Embedder) -> str:
    """Say what an operator should know of an embedder's server; empty where that is nothing."""
    learner = _learner(embedder)
    return "" if learner is None else learner.note


def limits_noted(journal: Journal) -> tuple[str, ...]:
    """Read what was learned of the servers of all models, a sentence each."""
    last = {fact.body["model"]: fact.body["note"] for fact in journal.facts(_KIND)}
    return tuple(note for note in last.values() if note)


def _learner(embedder: Any) -> LearnsLimit | None:
    """Find the one that asks the server, within caches and what makes codes of vectors."""
    while embedder is not None and not isinstance(embedder, LearnsLimit):
        embedder = getattr(embedder, "uncached", None) or getattr(embedder, "embedder", None)
    return embedder
