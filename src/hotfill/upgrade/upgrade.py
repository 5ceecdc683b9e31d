"""One upgrade of one gallery: the object that people and programs hold.

It owns gallery, journal, plan, models, fit and view. What runs it (`engine`) and what searches and
writes through it (`serving`) are its two halves; no caller holds a half.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from hotfill.errors import PhaseError, StoreBusyError, UpgradeBusyError
from hotfill.locks import holder
from hotfill.upgrade import control
from hotfill.upgrade.engine import Engine
from hotfill.upgrade.indexes import note_indexes, optimise
from hotfill.upgrade.journal.lock import busy
from hotfill.upgrade.origins import Origins
from hotfill.upgrade.pace import StepPart
from hotfill.upgrade.pairs import given_map, given_pairs
from hotfill.upgrade.parts import GivenParts, Model, Parts
from hotfill.upgrade.phases import ENDED, Phase, Step, advance, next_steps
from hotfill.upgrade.prepare import make_plan
from hotfill.upgrade.request_limits import tell_limit
from hotfill.upgrade.serving import Serving
from hotfill.upgrade.state import State, owner_of
from hotfill.upgrade.status import Current, Status, current_of, current_recorded, take_status
from hotfill.upgrade.verify import holds_of_cutover
from hotfill.upgrade.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from hotfill.stores.base import Gallery, Metadata, Where
    from hotfill.types import Embedder, ModelId, Source, Vectors
    from hotfill.upgrade.journal.base import DeadLetter, Journal
    from hotfill.upgrade.own_vectors import NotedOrigins
    from hotfill.upgrade.phases import Hold
    from hotfill.upgrade.plan import Plan
    from hotfill.upgrade.verify import Verification
    from hotfill.upgrade.view import Hit, MadeBy, SearchResult, View

_POLL_SECONDS = 0.1  # how soon a store that was let go is noticed


class Upgrade:
    """One upgrade of the model behind one gallery. All methods may be called from several threads.

    gallery: the open store, stamped with the old model. Whoever opened it closes it.
    old, new: an embedder each, the ModelId of an old model that no longer runs, or a `Model`.
    source: gives the content of items by id. Not needed to search by vectors.
    folder: the upgrade's own folder; its journal and its fits are kept there.
    settings: what `Plan` decides, by name (`strategy="prefill"`, `order="uncertainty"` ...), and
        `journal`, `hooks`, `probes`, `previous`; see `GivenParts`.

    A store, a journal or a model is opened or loaded when it is first needed, so that `status`
    costs next to nothing. A process that only searches opens the same object and never calls
    `start`. Use it as a context manager, or `close` it.
    """

    def __init__(
        self,
        gallery: Gallery,
        *,
        old: Model | Embedder | ModelId,
        new: Model | Embedder | ModelId,
        source: Source | None = None,
        folder: str | Path,
        **settings: Any,
    ) -> None:
        if isinstance(previous := settings.get("previous"), Upgrade):
            settings["previous"] = previous._parts
        parts = GivenParts(gallery, Model.of(old), Model.of(new), source, Path(folder), settings)
        parts.draft()  # a wrong setting is told here, and not in the middle of a search
        self._begin(parts)

    @classmethod
    def of(cls, parts: Parts) -> Self:
        """Make the upgrade of parts from elsewhere, such as a configuration file."""
        made = cls.__new__(cls)
        made._begin(parts)
        return made

    def _begin(self, parts: Parts) -> None:
        self._parts = parts
        self._opening = threading.RLock()
        self._open_journal: Journal | None = None
        self._open_gallery: Gallery | None = None
        self._open_state: State | None = None
        self._serving: Serving | None = None
        self._background: threading.Thread | None = None
        self._failure: Exception | None = None
        self._stopping = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let `start` finish its batches in hand, and release store and journal. Idempotent."""
        self.stop()
        if (thread := self._background) is not None:
            thread.join()
        with self._opening:
            self._open_state = self._serving = None
            if self._open_gallery is not None:
                self._parts.close_gallery(self._open_gallery)
                self._open_gallery = None
            if self._open_journal is not None:
                self._open_journal.close()
                self._open_journal = None
            self._parts.release()

    # Look -----------------------------------------------------------------------------------------

    @property
    def parts(self) -> Parts:
        """What this upgrade is made of."""
        return self._parts

    @property
    def contents(self) -> Source:
        """What gives the contents of items by id. Raises ConfigError where there is none."""
        return self._parts.source(self.gallery)

    @property
    def gallery(self) -> Gallery:
        """The open store. Raises StoreBusyError where another process has it."""
        return self._opened_gallery()

    @property
    def journal(self) -> Journal:
        """The open journal; made if it is missing."""
        with self._opening:
            if self._open_journal is None:
                self._open_journal = self._parts.journal()
            return self._open_journal

    @property
    def part(self) -> StepPart | None:
        """What of a long step is done in this process now; None where that has no name.

        First of all an index that the store builds.
        """
        gallery, state = self._open_gallery, self._open_state
        if gallery is not None and (now := gallery.building) is not None:
            return StepPart("building an index", now.done, now.total, now.seconds)
        return None if state is None else state.progress.part

    @property
    def folder(self) -> Path:
        """The upgrade's own folder."""
        return self._parts.folder

    @property
    def phase(self) -> Phase:
        """The phase now, whoever entered it."""
        with self._looking() as journal:
            return journal.phase

    @property
    def plan_in_force(self) -> Plan:
        """The plan that the upgrade began with; before it begins, the draft."""
        if self._open_state is not None:
            return self._open_state.plan
        with self._looking() as journal:
            return self._parts.plan_in_force(journal)

    def plan(self) -> Plan:
        """Look at everything and return the full plan: counts, time, blockers. Writes nothing."""
        draft = self._parts.draft()
        given_map(draft), given_pairs(draft)  # a wrong file is told before anything is embedded
        source, embedder = self._parts.backfilling(self.gallery)
        if self._open_state is None:
            with self._looking() as journal:
                tell_limit(embedder, journal)
        plan = make_plan(self.gallery, draft, source, embedder, self._parts.free_bytes)
        many_processes = self.gallery.capabilities.many_processes
        unfit = self._parts.blockers(many_processes=many_processes)
        return replace(plan, blockers=(*unfit, *plan.blockers))

    def status(self) -> Status:
        """Read where the upgrade is, whoever runs it. Loads no model, writes nothing."""
        with self._looking() as journal:
            return take_status(journal, self._parts.plan_to_look_at(journal))

    def current(self) -> Current:
        """Tell which models the gallery holds, from the store or else the journal. Writes nothing.

        Raises StoreBusyError when another process has the store and no upgrade has begun.
        """
        try:
            return current_of(self.gallery, Origins(self.gallery, self.folder))
        except (StoreBusyError, UpgradeBusyError):
            with self._looking() as journal:
                if journal.last("plan") is None:
                    raise
                return current_recorded(take_status(journal, self._parts.plan_in_force(journal)))

    def dead_letters(self) -> tuple[DeadLetter, ...]:
        """Read which items failed for good, and why. Writes nothing."""
        with self._looking() as journal:
            return journal.dead_letters()

    @contextmanager
    def noting_origins(self) -> Iterator[NotedOrigins]:
        """Open what tells which items have an old vector that no model made."""
        with self._looking() as journal:
            yield journal.origins_noted

    def check(self, step: Step, *, more: bool = False) -> None:
        """Raise PhaseError unless the phase allows a step. Writes nothing. more: see `start`."""
        phase = self.phase
        if not more:
            advance(phase, step)
        elif phase is not Phase.COMPLETED:
            raise PhaseError("embed more", phase, next_steps(phase))

    # Search and write -----------------------------------------------------------------------------

    @property
    def query_model(self) -> ModelId:
        """What embeds queries now: the model of the gallery, or the one given for its queries."""
        return self._serve().query_model

    @property
    def view(self) -> View:
        """What searches and writes follow now: phase, models, ranking. It may change any time."""
        return self._state().view

    @overload
    def search(
        self, query: list[Any], k: int, *, where: Where | None = None
    ) -> list[SearchResult]: ...

    @overload
    def search(self, query: Any, k: int, *, where: Where | None = None) -> SearchResult: ...

    def search(self, query: Any, k: int, *, where: Where | None = None) -> Any:
        """Find the k best items for a content, or for each of a list of contents.

        One query gives one result, a list gives a list. It is right in every phase, while `start`
        runs in this process or in another.
        Raises InputError (k < 1), ConfigError (no embedder of the model that the phase asks by),
        EmbedError, StoreError.
        """
        contents = query if isinstance(query, list) else [query]
        found = self._serve().search(contents, k, where=where)
        return found if isinstance(query, list) else found[0]

    def search_vectors(
        self,
        queries: Vectors,
        query_model: ModelId,
        k: int,
        *,
        where: Where | None = None,
        other_queries: Mapping[ModelId, Vectors] | None = None,
    ) -> list[SearchResult]:
        """Find the k best items for each query, float32 (q, query_model.dimension).

        query_model: what embedded them; `query_model` of this object tells what the phase wants,
            and the gallery's own model will do, too.
        other_queries: the same queries embedded by other models. The old model's count where the
            plan has `queries = "both"`, and without them the new model's have to do; else ignored.
        Raises ModelMismatchError when the phase wants queries of another model, InputError,
        ShapeError, VectorError.
        """
        return self._serve().search_vectors(
            queries, query_model, k, where=where, other_queries=other_queries
        )

    def made_by(self, hits: Sequence[Hit]) -> tuple[MadeBy, ...]:
        """Tell what made the vector of each hit of one query: "old", "imputed" or "new".

        Where a search did not read it (`Hit.imputed` is None), the store is asked now.
        Raises InputError (an item twice), StoreError.
        """
        return self._serve().made_by(hits)

    def upsert(
        self,
        item_ids: Sequence[str],
        contents: Sequence[Any],
        metadata: Sequence[Metadata] | None = None,
    ) -> None:
        """Write items; found by the next search. Nothing is written when any of them fails.

        Raises InputError (ids twice, another number of contents), ConfigError (no embedder of the
        model that the phase writes by), EmbedError, StoreError.
        """
        self._serve().upsert(item_ids, contents, metadata)

    def delete(self, item_ids: Sequence[str]) -> int:
        """Remove items for good, also from batches in flight. Returns how many there were."""
        return self._serve().delete(item_ids)

    def set_metadata(self, item_ids: Sequence[str], metadata: Sequence[Metadata]) -> None:
        """Replace the metadata of items that exist; others are ignored. Nothing is embedded.

        Raises InputError (ids twice, another number of metadata, what no store can hold).
        """
        self._serve().set_metadata(item_ids, metadata)

    # Take it through its phases -------------------------------------------------------------------

    def archive(self) -> str:
        """Put the record of an upgrade that has ended aside, so that `start` begins a new one.

        Returns where journal and folder are kept. Other processes that have this upgrade open go on
        with the old one until they open it again. Raises PhaseError unless it has ended,
        UpgradeBusyError, ConfigError.
        """
        if (phase := self.phase) not in ENDED:
            raise PhaseError("archive", phase, next_steps(phase))
        with self._opening:
            with self.journal.coordinating():
                pass  # nobody leads
            self.journal.close()
            self._open_journal = self._open_state = self._serving = None
            return self._parts.archive()

    def start(
        self,
        plan: Plan | None = None,
        *,
        background: bool = False,
        retry_dead_letters: bool = False,
        refit: bool = False,
        allow_below_old: bool = False,
        more: bool = False,
    ) -> Status:
        """Prepare and backfill, from wherever the upgrade is, until every item is re-embedded.

        The same call again, in any process and after any crash, goes on. It follows the settings
        given here, and is refused if the upgrade began with others that bind it.
        plan: what `plan` returned, where it was just asked for: then nothing is measured twice.
        background: run in a thread and return at once; `wait` tells how it ended.
        retry_dead_letters: try items again that failed for good.
        refit: fit again from moved items; the better fit counts.
        allow_below_old: begin although searches may begin below the old model; see `Decisions`.
        more: after `complete`, embed items that stayed imputed: all whose content is known, or with
            `backfill = "budget"` as many as that pays for, each time anew. Searches go on.
        Raises PlanError, UpgradeBusyError, ModelMismatchError, PhaseError, and what no retry can
        fix (EmbedError, StoreError, SourceError): then the same call goes on later.
        """

        self.check(Step.START, more=more)
        with self._opening:
            if self._background is not None and self._background.is_alive():
                raise busy(os.getpid())
            self._stopping.clear()
            self._failure = None

        def run() -> None:
            if more:
                state = self._state_in_force()
                Engine(state).embed_more(self._parts.draft())
                return
            waits = control.take_over(self._parts, self.journal)
            state = self._state(control.HANDOVER_SECONDS if waits else 0.0)
            # A begun upgrade has its plan in the journal; a fresh one is looked at first.
            begun = self.journal.last("plan") is not None
            draft = self._parts.draft()
            if self.phase is Phase.PLANNED and draft.is_measured:
                begun = False  # how many items the budget pays for is found by planning alone
            followed = plan or (draft if begun else self.plan())
            state.plan = replace(
                followed,
                refit=refit or followed.refit,
                allow_below_old=allow_below_old or followed.allow_below_old,
            )
            Engine(state).start(retry_dead_letters=retry_dead_letters)

        if not background:
            run()
            return self.status()

        def in_background() -> None:
            try:
                run()
            except Exception as error:  # `wait` raises it
                self._failure = error

        self._background = threading.Thread(
            target=in_background, name="hotfill-upgrade", daemon=True
        )
        self._background.start()
        return self.status()

    def wait(self, timeout_seconds: float | None = None) -> Status:
        """Wait for a `start` in the background. Raises what it raised."""
        if (thread := self._background) is not None:
            thread.join(timeout_seconds)
            if not thread.is_alive():
                self._background = None
                if self._failure is not None:
                    raise self._failure
        return self.status()

    def stop(self) -> None:
        """Ask what runs in this process to end after the batches in hand; `start` goes on later."""
        self._stopping.set()
        if self._open_state is not None:
            self._open_state.stop.set()

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called since the last step began."""
        return self._stopping.is_set()

    def verify(self) -> Verification:
        """Check ids, stamps and a sample embedded again; a pass allows the cutover for a while."""
        self.check(Step.VERIFY)
        return Engine(self._state_in_force()).verify()

    @property
    def needs_verification(self) -> bool:
        """Whether nothing but a fresh verification is missing for the cutover. Loads no model."""
        if self.phase is not Phase.BACKFILLED:
            return False
        state = self._state_in_force()
        holds = holds_of_cutover(state.gallery, self.journal, state.plan, time.time())
        return {hold.kind for hold in holds} == {"stale_verification"}

    def cutover(self) -> Status:
        """Read the new side only, from now on. It happens completely or not at all. Idempotent.

        Raises HeldError when something holds it (no fresh verification, dead letters, a gate ...).
        """
        self.check(Step.CUTOVER)
        return Engine(self._state_in_force()).cutover()

    def rollback(self) -> Status:
        """Go back to the old model after the cutover. Items written since keep their content."""
        self.check(Step.ROLLBACK)
        return Engine(self._state_in_force()).rollback()

    def abort(self) -> Status:
        """Go back to the old model before the cutover. A process at work is told to let go."""
        self.check(Step.ABORT)
        control.abort(self.journal)
        # The process at work lets go of the store only now.
        return Engine(self._state_in_force(control.HANDOVER_SECONDS)).abort()

    def complete(self, *, delete_accepted: bool = False) -> Status:
        """Remove the old vectors. There is no way back afterwards.

        delete_accepted: let dead letters that were accepted leave the gallery; without it they
        hold `complete`, because only their old vectors find them.
        """
        self.check(Step.COMPLETE)
        return Engine(self._state_in_force()).complete(delete_accepted=delete_accepted)

    def optimise(self) -> None:
        """Let the store build its indexes and tidy up; searches and writes go on.

        Needs no upgrade, nor ends one: a store may need it at any time. Ctrl-C gives it up.
        Raises StoreError.
        """
        optimise(self.gallery)
        with self._looking() as journal:
            if journal.last("plan") is not None:
                note_indexes(self.gallery, journal)

    def delete_dead_letters(self, item_ids: Sequence[str] | None = None) -> int:
        """Delete items that failed for good from the gallery. Returns how many.

        item_ids: which, accepted ones too; by default all that nobody accepted. Raises InputError
        when one is no dead letter.
        """
        return Engine(self._state_in_force()).delete_dead_letters(item_ids)

    def take_over(self) -> None:
        """Take the gallery from an upgrade whose journal is lost. An operator's decision.

        Only for that: of two upgrades that both go on, each would undo what the other does.
        """
        self.gallery.claim(owner_of(self.plan_in_force, self.journal), take_over=True)

    def pause(self, by: str = "") -> None:
        """Hold all work until `resume`, in whichever process it runs. by: shown to everybody."""
        control.pause(self.journal, by)

    def resume(self) -> bool:
        """End all pauses, and holds by errors: they were resolved. Tells whether there was one."""
        return control.resume(self.journal)

    def accept_gate(self, by: str = "") -> tuple[Hold, ...]:
        """Go on although the gate is not met. Returns the holds that ended."""
        return control.accept_gate(self.journal, by)

    def switch_guard(self, *, on: bool, by: str = "") -> None:
        """Let the guard measure the canaries, or not, in whichever process runs the upgrade."""
        control.switch_guard(self.journal, on=on, by=by)

    def postpone(self, by: str = "") -> None:
        """Hold the cutover, not the backfill, until `unpostpone`."""
        control.postpone(self.journal, by)

    def unpostpone(self) -> bool:
        """Let the cutover happen. Tells whether it was postponed."""
        return control.unpostpone(self.journal)

    @contextmanager
    def session(
        self, *, by: str = "", on_status: Callable[[Status], None] = lambda status: None
    ) -> Iterator[Self]:
        """Say who gives the commands of the block, and hear about every second how they go."""
        self._by, self._on_status = by, on_status
        try:
            yield self
        finally:
            self._by, self._on_status = "", lambda status: None

    def worker(self, **settings: Any) -> Worker:
        """Make one more worker for an upgrade that another process leads.

        settings: of `Worker`, by name.
        """
        state = self._state()
        source, embedder = state.backfilling
        return Worker(state.gallery, state.journal, state.plan, source, embedder, **settings)

    # ----------------------------------------------------------------------------------------------

    _by: str = ""
    _on_status: Callable[[Status], None] = staticmethod(lambda status: None)

    def _state(self, wait_seconds: float = 0.0) -> State:
        """Open store and journal, waiting for another process to let go of them if need be."""
        with self._opening:
            if self._open_state is None:
                gallery = self._opened_gallery(wait_seconds)
                plan = self._parts.plan_in_force(self.journal)
                self._open_state = self._make_state(gallery, plan)
            found = self._open_state
            found.by, found.on_status = self._by, self._on_status
            if not self._stopping.is_set():
                found.stop.clear()
            return found

    def _make_state(self, gallery: Gallery, plan: Plan) -> State:
        return State(self._parts, gallery, self.journal, plan)

    def _state_in_force(self, wait_seconds: float = 0.0) -> State:
        """For every step but `start`: follow the plan that the upgrade began with."""
        self._stopping.clear()
        state = self._state(wait_seconds)
        state.plan = self._parts.plan_in_force(self.journal)
        return state

    def _serve(self) -> Serving:
        serving = self._serving
        if serving is None:
            with self._opening:
                if self._serving is None:
                    self._serving = Serving(self._state())
                serving = self._serving
        return serving

    def _opened_gallery(self, wait_seconds: float = 0.0) -> Gallery:
        """Open the store, waiting if need be. Raises UpgradeBusyError when an upgrade has it."""
        deadline = time.monotonic() + wait_seconds
        with self._opening:
            while self._open_gallery is None:
                try:
                    self._open_gallery = self._parts.gallery()
                except StoreBusyError as error:
                    if time.monotonic() < deadline:
                        time.sleep(_POLL_SECONDS)
                        continue
                    if (pid := holder(self.folder / "running")) is not None:
                        raise busy(pid) from error
                    raise
            return self._open_gallery

    @contextmanager
    def _looking(self) -> Iterator[Journal]:
        """Read the journal without making one."""
        if self._open_journal is not None:
            yield self._open_journal
            return
        with closing(self._parts.look()) as journal:
            yield journal
