"""One configuration file and everything that is built from it, when it is asked for."""

from __future__ import annotations

import time
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hotfill.binary import Binarisation, BinaryEmbedder
from hotfill.config.codes import encoder_named, opened_with_codes
from hotfill.config.factories import made_by
from hotfill.config.settings import GuardSection, ModelSection, Settings
from hotfill.config.shell_hooks import shell_hooks
from hotfill.errors import ConfigError, ModelMismatchError, StoreBusyError
from hotfill.locks import holder
from hotfill.ranking import Fit
from hotfill.rehearsal.sampling import Sampler
from hotfill.types import Embedder, ModelId
from hotfill.upgrade import control
from hotfill.upgrade.engine import HANDOVER_SECONDS, Upgrade
from hotfill.upgrade.fits import fit_folder
from hotfill.upgrade.journal.lock import busy
from hotfill.upgrade.pairs import fitting_for, given_map
from hotfill.upgrade.phases import Phase, Step, advance
from hotfill.upgrade.plan import Plan
from hotfill.upgrade.prepare import make_plan
from hotfill.upgrade.serving import Serving
from hotfill.upgrade.status import Current, current_of, current_told, take_status
from hotfill.upgrade.stored_vectors import StoredVectors
from hotfill.upgrade.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hotfill.ranking import Scorer
    from hotfill.stores.base import Gallery
    from hotfill.types import Source, Vectors
    from hotfill.upgrade.canaries import SearchBefore
    from hotfill.upgrade.journal.base import DeadLetter, Journal
    from hotfill.upgrade.status import Status

_WHICH: tuple[Literal["old"], Literal["new"]] = ("old", "new")
_POLL_SECONDS = 0.1  # how soon a store that was let go is noticed


@dataclass(frozen=True, slots=True)
class Project:
    """One configuration file, read. Nothing is opened before it is asked for.

    former: in a chain, the unfinished upgrade that this one supersedes.
    """

    path: Path
    settings: Settings
    former: Project | None = None
    _embedders: dict[str, Embedder] = field(default_factory=dict, repr=False, compare=False)

    @property
    def folder(self) -> Path:
        """The upgrade's own folder."""
        name = self.settings.folder or f"{self.path.stem}.upgrade"
        return self.path.parent / name

    def journal(self) -> Journal:
        """Open the journal; makes it, and the folder, if it is missing."""
        self.folder.mkdir(parents=True, exist_ok=True)  # the fits are kept there, too
        return self.settings.journal.opened(self.folder, self.settings.store.journal_dsn)

    def look(self) -> Journal:
        """Open the journal to read it; before the upgrade begins, an empty one. Makes nothing."""
        return self.settings.journal.looked_at(self.folder, self.settings.store.journal_dsn)

    def gallery(self) -> Gallery:
        """Open the store. Raises StoreError, StoreBusyError, MissingExtraError."""
        return opened_with_codes(self.settings, self.path.parent)

    @property
    def free_bytes(self) -> int | None:
        """Room where the store lives; None where that is not known."""
        return self.settings.store.free_bytes(self.path.parent)

    def source(self) -> Source:
        """Make the source."""
        section = self.settings.source
        made: Source = made_by("source.factory", section.factory, section.options, self.path.parent)
        return made

    def embedder(self, which: Literal["old", "new"]) -> Embedder | None:
        """Make an embedder, once; None when the file names none."""
        if which in self._embedders:
            return self._embedders[which]
        section: ModelSection = getattr(self.settings, which)
        if section.embedder is None:
            made = self.embedder("old") if section.encoder is not None and which == "new" else None
        else:
            made = made_by(f"{which}.embedder", section.embedder, section.options, self.path.parent)
        if made is None:
            return None
        made = _an_embedder(f"{which}.embedder", section.embedder, made)
        if section.encoder is not None:
            made = BinaryEmbedder(made, encoder_named(section.encoder, self.path.parent))
        if section.model is not None:
            wanted = ModelId.from_dict(section.model)
            if wanted != made.model_id:
                raise ConfigError(
                    f"[{which}] model and embedder disagree: {wanted.differences(made.model_id)}"
                )
        self._embedders[which] = made  # a model may take long to load
        return made

    def query_embedder(self, which: Literal["old", "new"]) -> Embedder | None:
        """Make the embedder of a model's queries, once; None where the model embeds its own."""
        section: ModelSection = getattr(self.settings, which)
        key = f"{which}.query_embedder"
        if section.query_embedder is not None and key not in self._embedders:
            made = made_by(key, section.query_embedder, section.query_options, self.path.parent)
            self._embedders[key] = _an_embedder(key, section.query_embedder, made)
        return self._embedders.get(key)

    def query_embedders(self) -> dict[ModelId, Embedder]:
        """Return the embedders of queries by the model of the gallery; see `Serving`."""
        found = {self.model(which): self._asking(which) for which in _WHICH}
        return {model: embedder for model, embedder in found.items() if embedder is not None}

    def _asking(self, which: Literal["old", "new"]) -> Embedder | None:
        """Codes are asked by floats, which finds more; others as the file says."""
        own = self.embedder(which)
        asking = own.for_queries() if isinstance(own, BinaryEmbedder) else None
        return self.query_embedder(which) or asking

    def model(self, which: Literal["old", "new"]) -> ModelId:
        """Tell the id of a model, from the file or from its embedder."""
        section: ModelSection = getattr(self.settings, which)
        if section.model is not None:
            return ModelId.from_dict(section.model)
        if section.encoder is not None:
            return encoder_named(section.encoder, self.path.parent).space
        embedder = self.embedder(which)
        if embedder is None:
            raise ConfigError(f"[{which}] needs an embedder, or a model with its id")
        return embedder.model_id

    def draft(self) -> Plan:
        """Return the plan as far as the file decides it."""
        decided = self.settings.upgrade.model_dump() | self._guarding()
        # Paths must mean the same from every folder.
        for name in ("query_log", "up", "canary_queries"):
            if decided[name]:
                decided[name] = str((self.path.parent / decided[name]).resolve())
        for which in _WHICH:
            queries = self.query_embedder(which)
            decided[f"{which}_query_model"] = None if queries is None else queries.model_id
        if decided["own_queries"] and not (self.embedder("old") or self.query_embedder("old")):
            raise ConfigError(
                "own_queries has the old model embed each query too: [old] needs an embedder"
            )
        decided["older_models"] = self._older_models()
        return Plan(
            self.model("old"), self.model("new"), **decided, limits=dict(self.settings.limits)
        )

    def _older_models(self) -> tuple[ModelId, ...]:
        """Return the models before the old one, in whose spaces items may still be searched."""
        if self.former is None:
            return ()
        with closing(self.former.look()) as journal:
            plan = self.former.plan_in_force(journal)
        if plan.new_model != self.model("old"):
            raise ConfigError(
                f"{self.path} supersedes {self.former.path}, which leads to {plan.new_model}; "
                f"[old] must be that model, and is {self.model('old')}"
            )
        return plan.old_models

    def give_way(self, by: str) -> None:
        """End what this unfinished upgrade does, because another supersedes it. Again is harmless.

        by: that one's file. Returns when the process that led this one has let go; raises
        UpgradeBusyError when it does not, PhaseError when there is nothing to take over.
        """
        with closing(self.journal()) as journal:
            control.supersede(journal, by)
            with journal.coordinating(HANDOVER_SECONDS):
                pass

    def load_scorer_before(self) -> Scorer:
        """In a chain, read what the sides of the unfinished upgrade are ranked by."""
        if self.former is None:
            raise ConfigError(f"{self.path} supersedes no upgrade")
        with closing(self.former.look()) as journal:
            return Fit.load(fit_folder(self.former.folder, journal)).scorer

    def _search_before(self, gallery: Gallery) -> SearchBefore:
        """In a chain, search as the unfinished upgrade does."""

        def search(queries: Vectors, k: int) -> list[tuple[str, ...]]:
            prepared = self.load_scorer_before().prepare(queries)
            found = gallery.search(prepared.vectors, prepared.depth(k))
            ranked = prepared.rank(found, k, read=gallery.vectors)
            return [each.item_ids for each in ranked]

        return search

    def _guarding(self) -> dict[str, Any]:
        """Return what [guard] and [gate] decide of the plan; a gate alone has the usual guard."""
        gate, guard = dict(self.settings.gate), self.settings.guard
        if guard is None and not gate:
            return {"canary_queries": ""}
        guard = guard or GuardSection()
        return {
            "canary_queries": guard.queries,
            "canary_items": 0 if guard.queries else guard.items,
            "canary_k": guard.k,
            "guard_seconds": guard.every_seconds,
            "gate": gate,
        }

    def plan_in_force(self, journal: Journal) -> Plan:
        """Return the plan that the upgrade began with; before it begins, the draft."""
        begun = journal.last("plan")
        return Plan.from_dict(begun.body) if begun else self.draft()

    def status(self) -> Status:
        """Read where the upgrade is, whoever runs it. Writes nothing."""
        with closing(self.look()) as journal:
            return take_status(journal, self.plan_in_force(journal))

    def dead_letters(self) -> tuple[DeadLetter, ...]:
        """Read which items failed for good, and why. Writes nothing."""
        with closing(self.look()) as journal:
            return journal.dead_letters()

    def check(self, step: Step) -> None:
        """Raise PhaseError unless the phase allows a step. Writes nothing."""
        with closing(self.look()) as journal:
            advance(journal.phase, step)

    def current(self) -> Current:
        """Tell which models the gallery holds, from the store or else the journal. Writes nothing.

        Raises StoreBusyError when another process has the store and no upgrade has begun.
        """
        try:
            with self.gallery() as gallery:
                return current_of(gallery)
        except StoreBusyError:
            with closing(self.look()) as journal:
                if journal.last("plan") is None:
                    raise
                return current_told(take_status(journal, self.plan_in_force(journal)))

    def plan(self) -> Plan:
        """Look at everything and return the full plan. Writes nothing."""
        with self.gallery() as gallery:
            return self._plan(gallery)

    def sampler(self, gallery: Gallery) -> Sampler:
        """Build what takes samples of an open store for rehearsals. It writes nothing."""
        source, new = self._backfilling(gallery)
        asking = self.query_embedders()
        return Sampler(gallery, self.draft(), source, new, self.embedder("old"), asking)

    def _plan(self, gallery: Gallery) -> Plan:
        (source, embedder), draft = self._backfilling(gallery), self.draft()
        given_map(draft)  # a wrong file is told before anything is embedded
        plan = make_plan(gallery, draft, source, embedder, self.free_bytes)
        unfit = self.settings.journal.blockers(
            self.settings.store.journal_dsn, many_processes=gallery.capabilities.many_processes
        )
        return replace(plan, blockers=(*unfit, *plan.blockers))

    @contextmanager
    def opened(self, step: Step) -> Iterator[Upgrade]:
        """Open journal and store for a step, build the engine, and close them after the block.

        Whether the phase allows the step is looked at first, from the journal alone. `start`
        follows the file and is refused if the upgrade began with another plan; every other step
        follows the plan that the upgrade began with. An abort begins before the store is opened,
        because a process at work lets go of the store only then.
        Raises PhaseError, UpgradeBusyError, and what `gallery` and `upgrade` raise.
        """
        self.check(step)
        with closing(self.journal()) as journal:
            lets_go = step is Step.ABORT
            if step is Step.ABORT:
                control.abort(journal)
            elif step is Step.START and self._takes_over(journal):
                lets_go = True
            with self._gallery_unless_running(HANDOVER_SECONDS if lets_go else 0) as g:
                plan = None if step is Step.START else self.plan_in_force(journal)
                yield self.upgrade(g, journal, plan)

    def _takes_over(self, journal: Journal) -> bool:
        """End what the former upgrade does, before this one begins. Tells whether there is one."""
        if self.former is None or journal.phase is not Phase.PLANNED:
            return False
        self._older_models()  # a wrong [old] is told before anything gives way
        self.former.give_way(str(self.path))
        return True

    def _gallery_unless_running(self, wait_seconds: float) -> Gallery:
        """Open the store, waiting if need be. Raises UpgradeBusyError when an upgrade has it."""
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                return self.gallery()
            except StoreBusyError as error:
                if time.monotonic() < deadline:
                    time.sleep(_POLL_SECONDS)
                    continue
                if (pid := holder(self.folder / "running")) is not None:
                    raise busy(pid) from error
                raise

    def upgrade(self, gallery: Gallery, journal: Journal, plan: Plan | None = None) -> Upgrade:
        """Build the engine for an open store and journal.

        plan: what to follow; by default what the file says.
        Raises ModelMismatchError when an embedder is not of the plan's model.
        """
        if plan is None:
            # A begun upgrade has its plan in the journal; only a fresh one is looked at first.
            begun = journal.last("plan") is not None
            plan = self.draft() if begun else self._plan(gallery)
        source, new = self._backfilling(gallery)
        old = self.embedder("old")
        for what, embedder, model in (
            ("[old] embedder", old, plan.old_model),
            ("[new] embedder", new, plan.new_model),
        ):
            if embedder is not None and embedder.model_id != model:
                raise ModelMismatchError(what, model, embedder.model_id)
        return Upgrade(
            gallery=gallery,
            journal=journal,
            plan=plan,
            folder=self.folder,
            new_embedder=new,
            old_embedder=old,
            source=source,
            fitting=fitting_for(plan),
            former_gives_way=lambda: self._takes_over(journal),
            search_before=None if self.former is None else self._search_before(gallery),
            query_embedders=self.query_embedders() if plan.guarded else {},
            hooks=shell_hooks(self.settings.hooks),
        )

    @contextmanager
    def worker(self, **settings: Any) -> Iterator[Worker]:
        """Open journal and store for one more worker of an upgrade that another process leads.

        settings: of `Worker`, by name. Raises what `gallery` raises.
        """
        with closing(self.journal()) as journal, self.gallery() as gallery:
            plan = self.plan_in_force(journal)
            yield Worker(gallery, journal, plan, *self._backfilling(gallery), **settings)

    def serving(self, gallery: Gallery, journal: Journal) -> Serving:
        """Build the door for searches and writes for an open store and journal."""
        embedders = [e for e in (self.embedder("old"), self.embedder("new")) if e is not None]
        plan = self.plan_in_force(journal)
        return Serving(
            gallery,
            journal,
            plan,
            embedders,
            lambda: Fit.load(fit_folder(self.folder, journal)).scorer,
            query_embedders=self.query_embedders(),
            load_scorer_before=None if self.former is None else self.load_scorer_before,
        )

    def _backfilling(self, gallery: Gallery) -> tuple[Source, Embedder]:
        """Return what new vectors are made of and by: contents, or the old vectors themselves."""
        section = self.settings.new
        if section.encoder is None or section.embedder is not None:
            return self.source(), self._new_embedder()
        old, encoder = self.model("old"), encoder_named(section.encoder, self.path.parent)
        if encoder.source != old:
            raise ModelMismatchError("[new] encoder", old, encoder.source)
        return StoredVectors(gallery, old), Binarisation(encoder)

    def _new_embedder(self) -> Embedder:
        embedder = self.embedder("new")
        if embedder is None:
            raise ConfigError("[new] needs an embedder: items are embedded by it")
        return embedder


def _an_embedder(key: str, name: str | None, made: Any) -> Embedder:
    if not isinstance(made, Embedder):
        raise ConfigError(
            f"{key} = {name!r} must give an object with `model_id` that can be called with "
            f"contents; it gave {type(made).__name__}"
        )
    return made
