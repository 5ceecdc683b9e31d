"""The engine: takes one upgrade through its phases. Running the same command again is the recovery.

Every step records what it did after doing it, and everything it does twice is harmless.
"""

from __future__ import annotations

import time
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from hotfill.errors import HeldError, HotfillError, PhaseError, PlanError, UpgradeBusyError
from hotfill.upgrade import backfill, control
from hotfill.upgrade.backfill import Backfill
from hotfill.upgrade.canaries import kept_canaries
from hotfill.upgrade.drift import latest_version
from hotfill.upgrade.guard import Guard
from hotfill.upgrade.indexes import (
    Tidying,
    build_indexes,
    lacks_index,
    note_indexes,
    optimise,
)
from hotfill.upgrade.leftover import (
    budget_of,
    dead_items,
    imputed_by_others,
    items_to_revert,
    left_over,
    resolve_letters,
    sweep,
)
from hotfill.upgrade.order import RandomOrder, order_of, order_without_vectors, pages_of
from hotfill.upgrade.own_vectors import count_imputed
from hotfill.upgrade.pace import INDEXING, BatchSize, Pace, give_notice
from hotfill.upgrade.phases import (
    ENDED,
    GOING_BACK,
    HoldKind,
    Phase,
    Step,
    advance,
    hold_of_error,
    next_steps,
)
from hotfill.upgrade.prepare import (
    agree_on_plan,
    check_no_unknown_items,
    items_for_more,
    prepare,
)
from hotfill.upgrade.refit import Refit, Refreshing
from hotfill.upgrade.state import owner_of
from hotfill.upgrade.status import Heartbeat, Status, take_status
from hotfill.upgrade.verify import (
    ITEMS_NOT_REEMBEDDED,
    Verification,
    holds_of_cutover,
    verify,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from hotfill.ranking import Fit
    from hotfill.types import ModelId
    from hotfill.upgrade.backfill import Work
    from hotfill.upgrade.journal.base import Stage
    from hotfill.upgrade.order import Order, Told
    from hotfill.upgrade.parts import Moment
    from hotfill.upgrade.plan import Plan
    from hotfill.upgrade.state import State

_POLL_SECONDS = 0.2

IMPUTED_AT_ONCE = 4
"""Batches' worth of items imputed at a time: no model bounds them. What 1,024 instead of 256 bring,
in turn on a loaded machine: LanceDB 2.6 times as many items a second, index files 1.5, Qdrant Edge
1.2, PostgreSQL 0.8."""

_UNCLAIMED = ENDED | {Phase.PLANNED, Phase.SUPERSEDED}
"""Phases in which an upgrade has nothing in the store that another one could spoil."""

_HOLDS_ON_THE_WAY: tuple[HoldKind, ...] = ("error", "gate", "paused", "postponed", "throttled")


class Engine:
    """The half of an upgrade that takes it through its phases and moves the items."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.gallery = state.gallery
        self.journal = state.journal
        self._batch_sizes: dict[Stage, BatchSize] = {}
        self._tidying: Tidying | None = None  # while items move, unless the plan wants no index

    def status(self) -> Status:
        """Read where the upgrade is. Writes nothing."""
        return take_status(self.journal, self.plan)

    @property
    def plan(self) -> Plan:
        """The plan in force."""
        return self.state.plan

    # Commands --------------------------------------------------------------------------------

    def start(self, *, retry_dead_letters: bool = False) -> Status:
        """Prepare and backfill, from wherever the upgrade is, until all is done or `stop` is set.

        Raises PlanError, UpgradeBusyError, ModelMismatchError, PhaseError, and what no retry can
        fix (EmbedError, StoreError, SourceError): then the same command goes on later.
        """
        with self._running():
            advance(self.journal.phase, Step.START)
            if self.journal.phase is Phase.SUPERSEDED:
                check_no_unknown_items(self.gallery, self.plan)  # of the upgrade that took over
                self.gallery.claim(self.state.owner)
                self.state.enter(Step.START)
            if self.journal.phase is Phase.PLANNED and self._is_done_already():
                self.state.enter(Step.FIND_ENDED)
                return self.status()
            if self.journal.phase is Phase.PLANNED:
                control.take_over(self.state.parts, self.journal)
                self._claim_fresh()
                note_indexes(self.gallery, self.journal)  # what the new side is measured by
            with self.state.progress.counting("counting the items"):
                self.gallery.recount()  # rows may have come in behind the store's back
            agree_on_plan(self.gallery, self.journal, self.state.asked, self.state.by)
            if retry_dead_letters:
                self.journal.retry(self.plan.work_cut)
            self.journal.release("error")
            self._fire("on_start")
            if self.journal.phase is Phase.PLANNED and self._prepare():
                self.state.enter(Step.START)
                self._fire("on_prepared")
            self._note_imputed()
            if self.journal.phase is Phase.PREPARED:
                self._make_room(self.plan.new_model)
                with self.state.progress.at("preparing"):
                    self._begin_backfill()
            if self.journal.phase is Phase.BACKFILLED and (
                left_over(self.gallery, self.journal, self.plan) > 0
                or (
                    self.plan.optimise
                    and lacks_index(self.gallery, self.journal, self.plan.new_model)
                )
            ):
                self.state.enter(Step.FIND_MORE)
            if self.journal.phase is Phase.BACKFILLING:
                self._backfill()
            if self.journal.phase is Phase.BACKFILLED and self.plan.cutover == "auto":
                self._verify()
                self._cut_over()
        return self.status()

    def _is_done_already(self) -> bool:
        """Tell whether the store has the new side alone: the journal was lost after it.

        Only `complete` takes the old one away, when all items are where they may stay.
        """
        new, spaces = self.plan.new_model, self.gallery.spaces
        origins = [new.fingerprint]
        if self.plan.backfill != "all":
            origins += [each.origin for each in self.state.origins.of(new)]
        return spaces == (new,) and 0 < len(self.gallery) == sum(
            self.gallery.count(new, origin=each) for each in origins
        )

    def verify(self) -> Verification:
        """Check ids, stamps and a sample embedded again; a pass allows the cutover for a while."""
        with self._running():
            advance(self.journal.phase, Step.VERIFY)
            return self._verify()

    def cutover(self) -> Status:
        """Read the new side only, from now on. It happens completely or not at all.

        Again: items that somebody put back to an old side since, where nobody finds them, are
        re-embedded.
        Raises HeldError when something holds it (no fresh verification, dead letters, a gate ...).
        """
        with self._running():
            self._cut_over()
        return self.status()

    def rollback(self) -> Status:
        """Go back to the old model after the cutover. Items written since keep their content."""
        with self._running():
            self._go_back(Step.ROLLBACK)
        return self.status()

    def abort(self) -> Status:
        """Go back to the old model before the cutover. A process at work is told to let go."""
        control.abort(self.journal)
        with self._running(wait_seconds=control.HANDOVER_SECONDS):
            self._go_back(Step.ABORT)
        return self.status()

    def complete(self, *, delete_accepted: bool = False) -> Status:
        """Remove the old vectors. There is no way back afterwards.

        Items that somebody put back to an old side since the cutover are re-embedded before.
        delete_accepted: whether accepted dead letters, which only old vectors find, may leave the
        gallery; without it they hold this step. Raises HeldError.
        """
        with self._running():
            advance(self.journal.phase, Step.COMPLETE)
            # Once completed, other spaces may be of the next upgrade.
            again = self.journal.phase is Phase.COMPLETED
            self._end_holds()
            self._embed_left_over(self.journal.phase)
            self._check_none_failed()
            self._part_with_accepted(delete_accepted)
            self._check_droppable()
            # Writers keep an old vector as long as there is a way back, so they are told first.
            self.state.enter(Step.COMPLETE)
            for space in self._others():
                if not again or space in self.plan.old_models:
                    self.gallery.drop_space(space)
            self.gallery.restrict_writes([])
            self.state.tidy_origins()
            optimise(self.gallery, self._goes_on)
            self._fire("on_completed")
            note_indexes(self.gallery, self.journal)
        return self.status()

    def embed_more(self, draft: Plan) -> Status:
        """Embed items that stayed imputed, after `complete`, as many as a draft pays for.

        Searches go on, and a kill at any time is made good by the same call: it goes on with the
        budget that was begun. draft: which items, in which order; the models are those of the
        upgrade. Items whose content nobody has, or that cannot be embedded, stay unchanged.
        Raises PlanError (other models, nothing to embed), PhaseError before `complete`.
        """
        plan, journal = self.plan, self.journal
        with self._running():
            if journal.phase is not Phase.COMPLETED:
                raise PhaseError("embed more", journal.phase, next_steps(journal.phase))
            if draft.new_model != plan.embedded_model:
                raise PlanError(
                    [
                        f"the gallery was upgraded to {plan.embedded_model}, and [new] is "
                        f"{draft.new_model}: to go on with it write that model, to go to another "
                        "one begin an upgrade by `hotfill start --new`"
                    ]
                )
            self.gallery.claim(self.state.owner)
            self._end_holds()
            source, embedder = self.state.backfilling
            begun, done = journal.last("more"), journal.last("more_done")
            if begun is None or (done is not None and done.number > begun.number):
                moved = journal.tally("embed").moved
                items = items_for_more(
                    self.gallery, replace(draft, new_model=plan.new_model), source, embedder
                )
                journal.record("more", until=moved + items)
                begun = journal.last("more")
            assert begun is not None
            journal.drop_work("embed")  # of a run that was killed
            order = order_without_vectors(draft)
            journal.add_work("embed", self._ranked_imputed(order), plan.work_cut)
            work = backfill.embed_work(
                plan.new_model, source, embedder, may_stay=True, most=int(begun.body["until"])
            )
            self._run_out(work, Phase.COMPLETED)
            if self._may_work(Phase.COMPLETED):
                journal.drop_work("embed")
                self.state.tidy_origins()
                optimise(self.gallery, self._goes_on)
            if self._may_work(Phase.COMPLETED):
                resolve_letters(self.gallery, journal, plan)
                journal.record("more_done")
        return self.status()

    def delete_dead_letters(self, item_ids: Sequence[str] | None = None) -> int:
        """Delete items that failed for good from the gallery. Returns how many.

        item_ids: which, accepted ones too; by default all that nobody accepted. Raises InputError
        when one is no dead letter.
        """
        with self._running():
            return self._delete(control.dead_letter_ids(self.journal, item_ids))

    def _delete(self, item_ids: Sequence[str]) -> int:
        for begin in range(0, len(item_ids), self.plan.at_once):
            some = item_ids[begin : begin + self.plan.at_once]
            # First the journal, so that `verify` never misses what was meant to go.
            self.journal.mark_deleted(some)
            self.gallery.delete(some)
        return len(item_ids)

    def _check_droppable(self) -> None:
        """See that the old vectors can go, before the phase says that they have gone."""
        found = [why for space in self._others() for why in self.gallery.rehearse_drop(space)]
        if found:
            raise HeldError("complete", found)

    def _check_none_failed(self) -> None:
        """See that no item is left that the new model has not embedded, and nobody accepted."""
        if dead := dead_items(self.gallery, self.journal, self.plan, "embed"):
            errors = {each.item_id: each.error for each in self.journal.dead_letters()}
            raise HeldError(
                "complete",
                [
                    f"{len(dead)} items are found by their old vectors only, {dead[0]!r} for one: "
                    f"{errors[dead[0]]}; `hotfill dead-letters` tries them again or deletes them"
                ],
            )

    def _part_with_accepted(self, delete_accepted: bool) -> None:
        """See that every item that stays has a vector of the new model."""
        accepted = dead_items(self.gallery, self.journal, self.plan, "embed", accepted=True)
        if accepted and not delete_accepted:
            raise HeldError(
                "complete",
                [
                    f"{len(accepted)} accepted items have no vector of the new model "
                    f"({accepted[0]!r} for one): let them leave the gallery by "
                    "`hotfill complete --delete-accepted`, or try them again by "
                    "`hotfill dead-letters --retry`"
                ],
            )
        self._delete(accepted)

    # Prepare ---------------------------------------------------------------------------------

    def _prepare(self) -> bool:
        with self.state.progress.at("preparing"):
            return prepare(self.state)

    def _begin_backfill(self) -> None:
        fit = self.state.load_fit()
        for stage in ("prefill", "embed"):
            self.journal.drop_work(stage)
        size = self.plan.work_cut
        if self.plan.imputes:
            self.journal.record("began", version=latest_version(self.gallery))
            ranked = self._ranked(self._others(), RandomOrder(0))
            self.journal.add_work("prefill", ranked, IMPUTED_AT_ONCE * size)
        if self.plan.backfill != "none":
            order = order_of(self.plan, self.gallery, fit.uncertainty)
            self.journal.add_work("embed", self._ranked(self._others(), order), size)
        # Of `prepared`: workers begin with the next phase.
        give_notice(self.gallery, self.state.stop)
        self.state.enter(Step.BEGIN_BACKFILL)

    def _ranked(
        self, spaces: Sequence[ModelId], order: Order
    ) -> Iterator[tuple[Sequence[str], Iterable[float]]]:
        with self._counting("listing the work", *spaces) as told:
            for space in spaces:
                for page in pages_of(self.gallery, space):
                    yield page.item_ids, order(self.gallery, page)
                    told(len(page.item_ids))

    def _note_imputed(self) -> None:
        """Note what is found by an imputed old vector, before it leaves its side.

        A store from a backup may hold such items that had been written anew by then.
        """
        old = self.plan.old_model
        if (
            self.state.imputed_before
            and old in self.gallery.spaces
            and count_imputed(self.gallery, old)
        ):
            self.journal.note_origins(self._imputed_on(old))

    def _imputed_on(self, space: ModelId) -> Iterator[tuple[list[str], list[int], str]]:
        """Read the items of a side that are found by imputed vectors: ids, versions, origin."""
        with self._counting("noting what is imputed", space) as told:
            for page in pages_of(self.gallery, space):
                for origin in dict.fromkeys(page.origins):
                    if origin != space.fingerprint:
                        rows = [row for row, each in enumerate(page.origins) if each == origin]
                        ids = [page.item_ids[row] for row in rows]
                        yield ids, page.versions[rows].tolist(), origin
                told(len(page.item_ids))

    def _ranked_imputed(self, order: Order) -> Iterator[tuple[Sequence[str], Iterable[float]]]:
        own = self.plan.new_model.fingerprint
        with self._counting("listing the work", self.plan.new_model) as told:
            for page in pages_of(self.gallery, self.plan.new_model):
                rows = [row for row, origin in enumerate(page.origins) if origin != own]
                if rows:
                    ranks = order(self.gallery, page)
                    yield [page.item_ids[row] for row in rows], [float(ranks[row]) for row in rows]
                told(len(page.item_ids))

    @contextmanager
    def _counting(self, what: str, *spaces: ModelId, total: int = 0) -> Iterator[Told]:
        """As `Progress.counting`, but told how many items came to those before.

        total: by default, all that stand in `spaces`.
        """
        total = total or sum(self.gallery.count(space) for space in spaces)
        with self.state.progress.counting(what, total) as told:
            done = 0

            def more(items: int) -> None:
                nonlocal done
                done += items
                told(done)

            yield more

    # Backfill --------------------------------------------------------------------------------

    def _make_room(self, model: ModelId) -> None:
        """Make room for a model's vectors in a store from a backup, which may lack it.

        Whoever searches such a store looks at one side, and must know of two before anything moves.
        """
        if model not in self.gallery.spaces:
            self.gallery.add_space(model)
            self.state.restrict_writes()
            self.state.look()
            give_notice(self.gallery, self.state.stop)

    def _backfill(self) -> None:
        self._make_room(self.plan.new_model)
        fit = self.state.load_fit()
        plan = self.plan
        guard = self._guard()
        if guard is not None:
            # Before anything is written: a bad model is held with the gallery as it was.
            guard.begin()
        with self._tidied(Phase.BACKFILLING) as tidying:
            if plan.imputes:
                # From here on it is all that is searched.
                self._impute(fit)
            self._embed(fit, guard)
        # Writers that had not yet heard of the upgrade may have written to the old side.
        self._embed_left_over(Phase.BACKFILLING)
        resolve_letters(self.gallery, self.journal, self.plan)
        if plan.optimise and self._may_work(Phase.BACKFILLING):
            with self.state.progress.at(INDEXING):
                tidying.at_end(lambda: self._may_work(Phase.BACKFILLING))
        self._index(Phase.BACKFILLING, plan.new_model)
        if self._may_work(Phase.BACKFILLING):
            self.state.enter(Step.FINISH_BACKFILL)
            self.journal.record("backfilled")
            self._fire("on_backfilled")

    @contextmanager
    def _tidied(self, phase: Phase) -> Iterator[Tidying]:
        """Have the store index what moves while the block runs, and wait for what it began."""
        tidying = Tidying(self.gallery, self.journal)
        if self.plan.optimise:
            self._tidying = tidying
        try:
            yield tidying
        finally:
            self._tidying = None
            with self.state.progress.at(INDEXING):
                tidying.finish(lambda: self._may_work(phase))

    def _embed(self, fit: Fit, guard: Guard | None) -> None:
        """Embed what waits for it, and let what is imputed gain by that."""
        plan = self.plan
        refit, refresh = Refit(self.state), Refreshing(self.state)
        watchers = [refit.after_batch] if plan.refit else []
        # In a chain several maps would have to learn; with a finish no plain new vector is stored.
        one = fit.one_space
        # So would those of maps that begin at imputed vectors.
        several = bool(plan.older_models or self.state.imputed_before)
        refreshes = one is not None and one.finish is None and plan.refresh and not several
        if refreshes:
            watchers.append(refresh.after_batch)
        if guard is not None:
            watchers.append(guard.after_batch)
        backfilling = Phase.BACKFILLING
        try:
            while plan.backfill != "none":
                self._run_out(
                    self._embed_work(most=budget_of(self.journal, plan)),
                    backfilling,
                    lambda items: _tell(watchers, items),
                    refresh.is_due,
                )
                if not self._may_work(backfilling):
                    break
                if plan.backfill == "budget" and not refresh.is_due():
                    self.journal.drop_work("embed")  # what the budget does not pay for
                    if refreshes:
                        refresh.at_end()
                if not refresh.is_due():
                    break
                with self.state.progress.at("refreshing"):
                    self._refresh(refresh)
        finally:
            refit.finish()

    def _impute(self, fit: Fit) -> None:
        """Impute what waits for it, and anew what another fit has imputed; note what it took.

        An index is built over it where that is lacking: of what was indexed little is left.
        """
        made = self.state.origins_in_force
        others = imputed_by_others(self.gallery, self.plan.new_model, made)
        self.journal.add_work("prefill", others, IMPUTED_AT_ONCE * self.plan.work_cut)
        work = self._impute_work(fit)
        left, worked = self._left(work), self.state.progress.working_seconds
        self._run_counted("imputing", work, Phase.BACKFILLING)
        items, began = left - self._left(work), time.monotonic()
        seconds = self.state.progress.working_seconds - worked
        self._index_early()
        if items > 0:
            seconds += time.monotonic() - began
            self.journal.record("imputed", items=items, seconds=seconds)

    def _impute_work(self, fit: Fit) -> Work:
        return backfill.prefill_work(
            self.state.own_vectors,
            self.plan.new_model,
            fit.ups,
            self.state.origins_in_force,
            lambda before: self.state.map_over(fit, before),
            self.state.origins_noted,
        )

    def _refresh(self, refresh: Refreshing) -> None:
        """Let imputed vectors gain by what has moved. Between batches; other workers go on."""
        if not refresh.make():
            return
        # Who searches elsewhere must know the fit before its vectors come.
        give_notice(self.gallery, self.state.stop)
        self.journal.drop_work("prefill")
        self._impute(self.state.load_fit())
        if self._may_work(Phase.BACKFILLING):
            refresh.finish(kept=True)

    def _index(self, phase: Phase, *spaces: ModelId) -> None:
        """Have the store index what is searched from now on, before the upgrade says so."""
        if not self.plan.optimise:
            return
        for space in spaces:
            if self._may_work(phase) and lacks_index(self.gallery, self.journal, space):
                with self.state.progress.at(INDEXING), self._failing():
                    build_indexes(self.gallery, self.journal, space, lambda: self._may_work(phase))

    def _index_early(self) -> None:
        """Have imputed vectors indexed while items move, where the store can do both; else now."""
        new_model, tidying = self.plan.new_model, self._tidying
        if tidying is None or not lacks_index(self.gallery, self.journal, new_model):
            return
        if self._may_work(Phase.BACKFILLING) and not tidying.begin():
            self._index(Phase.BACKFILLING, new_model)

    def _embed_work(self, most: int | None = None) -> Work:
        return backfill.embed_work(
            self.plan.new_model,
            *self.state.backfilling,
            may_stay=self.plan.backfill != "all",
            most=most,
        )

    def _embed_left_over(self, phase: Phase) -> None:
        """Embed what is not where the upgrade may leave it, as long as the phase lasts.

        Where nothing is left, no model is loaded. What may stay imputed is imputed, where it can.
        """
        check_no_unknown_items(self.gallery, self.plan)  # of an upgrade that came after
        self._make_room(self.plan.new_model)
        self._note_imputed()
        if (
            self.plan.backfill != "all"
            and self.plan.old_model in self.gallery.spaces
            and self._may_work(phase)
            and sweep(self.gallery, self.journal, self.plan, "prefill")
        ):
            self._run_counted("imputing", self._impute_work(self.state.load_fit()), phase)
        while self._may_work(phase) and sweep(self.gallery, self.journal, self.plan):
            self._run_counted("embedding what was left over", self._embed_work(), phase)

    def _guard(self) -> Guard | None:
        canaries = kept_canaries(self.state.folder, self.journal)
        if canaries is None:
            return None
        state = self.state
        return Guard(
            self.gallery,
            self.journal,
            self.plan,
            canaries,
            state.load_fit,
            state.load_index,
            self._impute_work if self.plan.imputes else None,
            state.progress,
        )

    def _run_out(
        self,
        work: Work,
        phase: Phase,
        after_batch: Callable[[int], None] = lambda items: None,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> None:
        """Run batches until all are done, those that other workers have leased too.

        phase: whose work it is; it ends when somebody enters another.
        interrupted: asked before each batch whether to return when those in hand are done.
        """
        self._run(work, phase, after_batch, interrupted)
        while self._may_work(phase) and not interrupted() and self._left(work) > 0:
            after_batch(0)
            if work.most is None or self.journal.workers():
                # A batch of a worker that died comes back in a while.
                self.state.stop.wait(_POLL_SECONDS)
            self._run(work, phase, after_batch, interrupted)

    def _run_counted(self, what: str, work: Work, phase: Phase) -> None:
        with self._counting(what, total=self._left(work)) as told:
            self._run_out(work, phase, told)

    def _left(self, work: Work) -> int:
        tally = self.journal.tally(work.stage)
        return tally.left if work.most is None else min(tally.left, work.most - tally.moved)

    def _run(
        self,
        work: Work,
        phase: Phase,
        after_batch: Callable[[int], None] = lambda items: None,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> None:
        batch_size, tidying = self._batch_size(work), self._tidying

        def moved(items: int) -> None:
            if tidying is not None:
                tidying.after_batch(items, work.stage)
            after_batch(items)

        pace = Pace(
            journal=self.journal,
            probes=self.state.probes,
            limits=self.plan.limits,
            duty_cycle=self.plan.duty_cycle,
            phase=phase,
            progress=self.state.progress,
            stop=self.state.stop,
            batch_size=batch_size,
            is_ahead=lambda: tidying is not None and tidying.is_outrun(),
        )
        with self._failing():
            Backfill(
                self.gallery,
                self.journal,
                owner=self.journal.leader,
                pace=lambda: None if interrupted() else pace(),
                is_over=pace.is_over,
                after_batch=moved,
                max_attempts=self.plan.max_attempts,
                max_dead_letters=self.plan.max_dead_letters,
                call_seconds=self.plan.embed_timeout_seconds,
                stop=self.state.stop,
                progress=self.state.progress,
                batch_size=batch_size,
            ).run(work)
        pace.end()

    def _batch_size(self, work: Work) -> BatchSize | None:
        if self.plan.batch_size != "auto":
            return None
        if work.stage not in self._batch_sizes:
            self._batch_sizes[work.stage] = BatchSize(
                self.journal,
                work.stage,
                work.target.dimension,
                self.plan.embed_timeout_seconds,
            )
        return self._batch_sizes[work.stage]

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Note what stops the work, so that everybody sees why nothing goes on."""
        try:
            yield
        except UpgradeBusyError:
            raise  # another process leads: a hold of this one would be in its way
        except Exception as error:
            # On a full disk the journal may fail too: the error before counts.
            with suppress(HotfillError):
                self.journal.hold(hold_of_error(error, time.time()))
            self._fire("on_failed")
            raise

    def _goes_on(self) -> bool:
        return not self.state.stop.is_set()

    def _may_work(self, phase: Phase) -> bool:
        return not self.state.stop.is_set() and self.journal.phase is phase

    # The switch ------------------------------------------------------------------------------

    def _verify(self) -> Verification:
        if self.plan.new_model not in self.gallery.spaces:  # it is from a backup
            self.state.look()
            raise HeldError("verify", [str(self.state.astray)])
        self.gallery.recount()
        resolve_letters(self.gallery, self.journal, self.plan)
        note_indexes(self.gallery, self.journal)
        report = verify(
            self.gallery,
            self.journal,
            self.plan,
            *self.state.backfilling,
            lambda: self.state.maps_of(self.state.load_fit()),
            self.state.progress,
        )
        self.journal.record("verified", **report.to_dict())
        return report

    def _cut_over(self) -> None:
        phase = advance(self.journal.phase, Step.CUTOVER)
        if phase is self.journal.phase:
            self._end_holds()
            self._embed_left_over(phase)
            return
        if holds := holds_of_cutover(self.gallery, self.journal, self.plan, time.time()):
            said = [str(hold) for hold in holds]
            if any(hold.about == ITEMS_NOT_REEMBEDDED for hold in holds):
                said.append("`hotfill start` embeds these items")
            raise HeldError("cut over", said)
        self._fire("before_cutover")
        self.state.enter(Step.CUTOVER)
        self._fire("after_cutover")

    # The way back ----------------------------------------------------------------------------

    def _go_back(self, step: Step) -> None:
        advance(self.journal.phase, step)
        if self.journal.phase not in ENDED and self.plan.old_model not in self.gallery.spaces:
            # Nothing may be entered that cannot be left: the journal is behind the store.
            over = self.gallery.spaces == (self.plan.new_model,)
            if over and self.journal.phase in GOING_BACK:
                self.state.enter(Step.FIND_ENDED)
                leads = "all is on the new side, and the upgrade is completed"
            else:
                forward = "complete" if self.journal.phase is Phase.CUT_OVER else "start"
                leads = f"`hotfill {forward}` leads on"
            raise HeldError(
                step,
                [
                    f"the store has no vectors of {self.plan.old_model} any more, so there is no "
                    f"way back; {leads}"
                ],
            )
        self.state.enter(step)
        phase = self.journal.phase
        if phase in GOING_BACK:
            give_notice(self.gallery, self.state.stop)
            self._end_holds()
            self.journal.retry(self.plan.work_cut)
            with self._tidied(phase):
                for target in self.plan.old_models:
                    self._revert_to(target)
            self._index(phase, *self.plan.old_models)
            if self.state.stop.is_set():
                return
            if dead := dead_items(self.gallery, self.journal, self.plan, "revert"):
                errors = {each.item_id: each.error for each in self.journal.dead_letters()}
                why = f"{dead[0]!r} for one: {errors[dead[0]]}; fix it and say {step} again"
                raise HeldError(step, [f"{len(dead)} items cannot go back, {why}"])
            self.state.enter(Step.FINISH_REVERT)
        elif self.plan.new_model in self.gallery.spaces:
            # Ended, and yet somebody has written here since, or the store is from a backup.
            self._make_room(self.plan.old_model)
            for target in self.plan.old_models:
                self._revert_to(target)
        self.gallery.drop_space(self.plan.new_model)
        self.gallery.restrict_writes([])
        self.state.tidy_origins()

    def _end_holds(self) -> None:
        """End what held backfill and cutover: after these, and on the way back, it holds nothing.

        Left in force, it would keep the command waiting without a word.
        """
        for kind in _HOLDS_ON_THE_WAY:
            self.journal.release(kind)

    def _revert_to(self, target: ModelId) -> None:
        plan = self.plan
        work = backfill.revert_work(
            self.gallery,
            target,
            plan.new_model,
            lambda ids: self.state.backfilling[0](ids),
            self.state.embedder("old") if target == plan.old_model else None,
            self.state.origins_noted,
        )
        if plan.older_models:
            self.journal.drop_work("revert")  # what a kill left may have been for another side
        while not self.state.stop.is_set() and (
            left := items_to_revert(self.state.own_vectors, self.journal, plan, target)
        ):
            with self._counting("going back", total=left) as told:
                self._run(work, self.journal.phase, told)

    # ------------------------------------------------------------------------------------------

    @contextmanager
    def _running(self, wait_seconds: float = 0.0) -> Iterator[None]:
        """Be the only process that leads, and say so; what a dead one had leased is free again.

        The store is claimed from the first step to the last, so that no second upgrade begins.
        """
        with (
            self.journal.coordinating(wait_seconds),
            Heartbeat(
                self.journal,
                self.plan,
                self.gallery,
                self.state.progress,
                self.state.on_status,
            ),
        ):
            if self.journal.phase not in _UNCLAIMED:
                self.gallery.claim(self.state.owner)
                self.state.restrict_writes()  # a kill may have come before it
            try:
                yield
            finally:
                with suppress(HotfillError):  # the store may be what has failed
                    if self.journal.phase in _UNCLAIMED:
                        self.gallery.release(self.state.owner)
                    self.state.look()

    def _claim_fresh(self) -> None:
        """Claim the store for an upgrade that begins; in a chain from the one before."""
        previous = self.state.parts.previous
        if previous is not None:
            with closing(previous.look()) as theirs:
                before = owner_of(previous.plan_in_force(theirs), theirs)
            self.gallery.release(before)
        self.gallery.claim(self.state.owner)

    def _others(self) -> list[ModelId]:
        return [space for space in self.gallery.spaces if space != self.plan.new_model]

    def _fire(self, moment: Moment) -> None:
        hook = self.state.parts.hooks.get(moment)
        if hook is not None:
            hook(self.status())


def _tell(watchers: Iterable[Callable[[int], None]], items: int) -> None:
    for watcher in watchers:
        watcher(items)
