"""The state of one open upgrade, which its two halves share: the engine and the serving.

Entering a phase is one method here: it records the phase, swaps the view that searches and writes
follow, and returns when none follows the one before. So no caller can search by half of a switch.
"""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections import deque
from contextlib import closing, suppress
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.errors import ConfigError, HotfillError, JournalError, ModelMismatchError
from hotfill.files import folder_whole
from hotfill.ranking import FinishedEmbedder, Fit
from hotfill.ranking.calibration import MIN_REFERENCE
from hotfill.ranking.common_scale import ReferenceItems
from hotfill.ranking.kept_origin import origin_over
from hotfill.upgrade.astray import find_astray, note_astray
from hotfill.upgrade.one_index import one_index
from hotfill.upgrade.order import sample_ids
from hotfill.upgrade.origins import MadeOver, Origins
from hotfill.upgrade.own_vectors import OwnVectors, count_imputed
from hotfill.upgrade.pace import Progress
from hotfill.upgrade.pairs import fitting_for, paired_vectors, stored_as
from hotfill.upgrade.parts import in_force
from hotfill.upgrade.phases import GOING_BACK, WRITES_CHANGE_SIDES
from hotfill.upgrade.plan import with_finish
from hotfill.upgrade.request_limits import share_limit
from hotfill.upgrade.view import Before, Switch, View, view_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from hotfill.ranking import Finish, OneSpace, Scorer
    from hotfill.ranking.kept_origin import KeptOrigin
    from hotfill.stores.base import Gallery
    from hotfill.types import Embedder, ModelId, Source, Transform, Vectors
    from hotfill.upgrade.astray import Astray
    from hotfill.upgrade.journal.base import Journal
    from hotfill.upgrade.one_index import OneIndex
    from hotfill.upgrade.pairs import Fitting, PairedVectors
    from hotfill.upgrade.parts import Parts, Which
    from hotfill.upgrade.phases import Phase, Step
    from hotfill.upgrade.plan import Plan
    from hotfill.upgrade.status import Status

_KEPT = 5000  # latest searches
_FIT_NAME = re.compile(r"fit-[1-9][0-9]*")
_READING_SHARE = 100  # times as long as a look that reads the rows took, until the next one
_RECENT_SECONDS = 60.0  # what a limit on latency looks at

LOOKING_SHARE = 20
"""How many times as long as a look at a store's kept sums took it rests, see `next_look`."""

POLL_SECONDS = 0.5
"""How often the journal is asked for the phase, for upgrades that run in another process."""


class SearchTimes:
    """How long the searches of this process took lately, for limits on them. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._latest: deque[tuple[float, float]] = deque(maxlen=_KEPT)

    def searched(self, seconds: float) -> None:
        """Note one search."""
        self._latest.append((self._clock(), seconds))

    def recent_milliseconds(self, percentile: float) -> float:
        """Latency of the last minute; 0 when nobody searched."""
        since = self._clock() - _RECENT_SECONDS
        values = [seconds for at, seconds in tuple(self._latest) if at >= since]
        return 1000 * float(np.percentile(values, percentile)) if values else 0.0


class State:
    """Gallery, journal, plan, fit and view of one upgrade.

    plan: in force. stop: set it to end the work after the batches in hand. progress: of this
    process. by: who gives the commands; noted where that matters. on_status: called about every
    second while work goes on. real_queries: of the new model, (q, d), where a fit is to be made.
    pairs_over: by origin, imputed vectors of the old side (n, d_old) and the new model's own of the
    same items (n, d_new): not fitted on, but what such vectors are calibrated by.
    """

    _finish: Finish | None = None

    def __init__(self, parts: Parts, gallery: Gallery, journal: Journal, plan: Plan) -> None:
        self.parts = parts
        self.gallery = gallery
        self.journal = journal
        self.plan = plan
        self.stop = threading.Event()
        self.progress = Progress()
        self.times = SearchTimes()
        self.by = ""
        self.real_queries: Vectors | None = None
        self.pairs_over: dict[str, tuple[Vectors, Vectors]] = {}
        self.on_status: Callable[[Status], None] = lambda status: None
        self._changing = threading.Lock()
        self._switch: Switch[View] | None = None  # a process that only moves items needs none
        self._fit_number = 0
        self._polled = self._known_at = self._learned_at = 0.0
        self._look_again = self._read_again = 0.0
        self._astray: Astray | None = None
        self._spaces: tuple[ModelId, ...] = ()  # when the store was last looked at

    @property
    def folder(self) -> Path:
        """The upgrade's own folder."""
        return self.parts.folder

    @property
    def owner(self) -> str:
        """What this upgrade claims the store by, wherever it runs."""
        return owner_of(self.plan, self.journal)

    @property
    def probes(self) -> dict[str, Callable[[], float]]:
        """Measurements by name, for `Plan.limits`: of this process's searches, and as given."""
        own = {
            f"search_p{percentile}_milliseconds": partial(
                self.times.recent_milliseconds, percentile
            )
            for percentile in (50, 95, 99)
        }
        return {**own, **self.parts.probes}

    @property
    def fitting(self) -> Fitting:
        """How the plan's maps are fitted."""
        return fitting_for(self.plan, self.gallery, self.real_queries)

    @property
    def stored_as(self) -> Callable[[Vectors], Vectors] | None:
        """What the store makes of imputed vectors; None where they stay as placed."""
        return stored_as(self.gallery, self.plan.new_model)

    @cached_property
    def own_vectors(self) -> OwnVectors:
        """Read old vectors without those that, in a chain, the upgrade before imputed."""
        imputations: list[Transform] = []
        previous = self.parts.previous
        if previous is not None:
            with closing(previous.look()) as journal:
                last = journal.last("fit")
                if previous.plan_in_force(journal).strategy == "prefill" and last is not None:
                    names = (last.body.get("replaces"), last.body["folder"])
                    folders = [_fit_named(previous.folder, name) for name in names if name]
                    imputations = [Fit.load(folder).up for folder in folders]
        return OwnVectors(self.gallery, self.plan.old_models, tuple(imputations))

    @cached_property
    def origins(self) -> Origins:
        """What imputed the vectors that the store holds, in this upgrade or before it."""
        return Origins(self.gallery, self.folder)

    def tidy_origins(self) -> None:
        """Forget what imputed vectors of which none is left."""
        known = {each for fact in self.journal.facts("fit") for each in fact.body["origins"]}
        for space in (*self.plan.old_models, self.plan.new_model):
            self.origins.tidy(space, known)

    @property
    def plan(self) -> Plan:
        """The plan in force."""
        return self._plan

    @plan.setter
    def plan(self, plan: Plan) -> None:
        """Follow a plan: as it was asked for, with the finish that was fitted for it."""
        self.asked = plan
        self._plan = plan if plan.finished_model else in_force(plan, self.journal)
        self._forget_models()

    def finish_by(self, fit: Fit) -> None:
        """Let vectors end in the space of a fit's finish, where it has one, from now on."""
        if fit.one_space is not None and fit.one_space.finish is not None:
            self._plan = with_finish(self.asked, fit.one_space.index_model)
            self._forget_models()
            self._finish = fit.one_space.finish

    def _forget_models(self) -> None:
        self._finish = None
        for name in ("backfilling", "own_vectors"):
            self.__dict__.pop(name, None)

    @property
    def finish(self) -> Finish | None:
        """What brings the new model's vectors to the space that they end in, if not to its own."""
        if self._finish is None and self._plan.finished_model is not None:
            one = self.load_fit().one_space
            self._finish = None if one is None else one.finish
        return self._finish

    @cached_property
    def backfilling(self) -> tuple[Source, Embedder]:
        """What new vectors are made of, and by. Raises ConfigError where one is missing."""
        source, embedder = self.parts.backfilling(self.gallery)
        share_limit(embedder, self.journal)
        if embedder.model_id != self.plan.embedded_model:
            raise ModelMismatchError("[new] embedder", self.plan.embedded_model, embedder.model_id)
        return source, self._finished(embedder, self.finish)

    @staticmethod
    def _finished(embedder: Embedder, finish: Transform | None) -> Embedder:
        return embedder if finish is None else FinishedEmbedder(embedder, finish)

    def drawn(self, spaces: Sequence[ModelId], size: int, made_by: str | None = None) -> list[str]:
        """Draw up to `size` items evenly from some sides; see `sample_ids`."""
        total = sum(self.gallery.count(space) for space in spaces)
        with self.progress.counting("drawing a sample", total) as told:
            return sample_ids(
                self.gallery, spaces, size, self.plan.seed, made_by=made_by, told=told
            )

    def paired(
        self,
        item_ids: Sequence[str],
        *,
        old_embedder: Embedder | None = None,
        enough: int | None = None,
    ) -> PairedVectors:
        """Pair items' old vectors with new ones made now; see `paired_vectors`."""
        plan = self.plan
        total = len(item_ids) if enough is None else min(enough, len(item_ids))
        with self.progress.counting("embedding a sample", total) as told:
            return paired_vectors(
                self.gallery,
                item_ids,
                plan.old_model,
                *self.backfilling,
                plan.at_once,
                old_embedder=old_embedder,
                stop=self.stop,
                on_batch=told,
                call_seconds=plan.embed_timeout_seconds,
                enough=enough,
            )

    def embedder(self, which: Which) -> Embedder | None:
        """Return a model's embedder. Raises ModelMismatchError when it is not of that model."""
        found = self.parts.embedder(which)
        model = self.plan.old_model if which == "old" else self.plan.embedded_model
        if found is None:
            return None
        share_limit(found, self.journal)
        if found.model_id != model:
            raise ModelMismatchError(f"[{which}] embedder", model, found.model_id)
        return found if which == "old" else self._finished(found, self.finish)

    def query_embedder(self, model: ModelId) -> Embedder | None:
        """Return another embedder of a gallery model's queries; None where there is none.

        Raises ModelMismatchError when it was trained to search another model's vectors (it tells
        by `gallery_model`), ConfigError when its vectors have another dimension.
        """
        plan = self.plan
        if model not in (plan.old_model, plan.new_model):
            return None
        is_new = model == plan.new_model
        found = self.parts.query_embedder("new" if is_new else "old")
        finish = self.finish if is_new else None
        if found is None and finish is not None:
            found = self.parts.embedder("new")
        if found is not None:
            asked = plan.embedded_model if is_new else model
            meant = getattr(found, "gallery_model", asked)
            if meant != asked:
                raise ModelMismatchError("the gallery of the query model", meant, asked)
            if found.model_id.dimension != model.dimension:
                raise ConfigError(
                    f"queries for {model} need {model.dimension} dimensions; their embedder is "
                    f"{found.model_id}"
                )
            return self._finished(found, None if finish is None else finish.queries)
        return None

    def query_embedders(self) -> dict[ModelId, Embedder]:
        """Return the query embedders by the model of the gallery."""
        models = (self.plan.old_model, self.plan.new_model)
        found = {model: self.query_embedder(model) for model in models}
        return {model: embedder for model, embedder in found.items() if embedder is not None}

    def embedder_of_queries(self) -> Embedder:
        """Return what embeds queries of the new model. Raises ConfigError where one is missing."""
        return self.query_embedder(self.plan.new_model) or self.backfilling[1]

    # Phases and the view -----------------------------------------------------------------------

    def enter(self, step: Step) -> Phase:
        """Record the phase that a step leads to. Searches and writes follow it on return."""
        phase = self.journal.advance(step)
        with self._changing:
            self._polled = self._known_at = time.monotonic()
            self._follow(phase)
        if phase in WRITES_CHANGE_SIDES:
            self.restrict_writes()
        return phase

    def restrict_writes(self) -> None:
        """Let the store refuse items for a side that takes none in the phase in force.

        They would come from a process that stood still since it asked for the phase, and nobody
        would look for them there.
        """
        plan, going_back = self.plan, self.journal.phase in GOING_BACK
        self.gallery.restrict_writes(plan.old_models if going_back else [plan.new_model])

    def look(self) -> None:
        """Compare the phase with the store, and note what is astray."""
        with self._changing:
            self._look()
            if self._switch is not None:
                self._follow(self.journal.phase)

    @property
    def astray(self) -> Astray | None:
        """How the store differed from the phase when it was last looked at; None: not at all."""
        return self._astray

    @property
    def unknown_spaces(self) -> tuple[ModelId, ...]:
        """Spaces of which the plan knows nothing: another upgrade may be about to fill them."""
        known = (*self.plan.old_models, self.plan.new_model)
        return tuple(space for space in self._spaces if space not in known)

    def is_as_looked_at(self) -> bool:
        """Tell whether the store has the spaces that it had when it was last looked at."""
        return self.gallery.spaces == self._spaces

    def use(self) -> AbstractContextManager[View]:
        """Work with the view in force; it stays whole for the block. Polls now and then."""
        return self._current().use()

    @property
    def view(self) -> View:
        """What searches and writes follow now, as far as this process knows."""
        return self._current().value

    @property
    def known_at(self) -> float:
        """When the journal was last asked for the phase, on the monotonic clock."""
        return self._known_at

    @property
    def learned_at(self) -> float:
        """When this process learned of the phase in force, on the monotonic clock."""
        return self._learned_at

    def doubt(self) -> None:
        """Look at journal and store before the next search or write.

        The store was away, and may be another one since: put back from a backup.
        """
        self._polled = self._known_at = self._look_again = self._read_again = 0.0

    def follow(self) -> bool:
        """Ask journal and store how things are now; tell whether the view is another since."""
        before = self.view
        self.look()
        return self.view is not before

    def keep_fit(
        self,
        fit: Fit,
        *,
        pairs: int,
        chosen: Mapping[str, Mapping[str, Any]] | None = None,
        **more: Any,
    ) -> None:
        """Save a fit and put it in force; searches rank by it on return. pairs: fitted on.

        chosen: by what had imputed old vectors, which map carries them on; see `ChosenMap`.

        Its folder is written whole, and synced, before the journal names it, so that a kill in
        between leaves the fit before in force. more: facts that the journal keeps with it.
        """
        last = self.journal.last("fit")
        number = 1 if last is None else int(last.body["number"]) + 1
        name = f"fit-{number}"
        with folder_whole(self.folder / name) as place:
            fit.save(place)
        facts = dict(fit.facts)
        if "ranking" in facts and self.plan.ranking != "auto":
            facts["ranking"] = self.plan.ranking
        over = {
            self.map_over(fit, before)[1]: before
            for before in (self.imputed_before if self.plan.imputes else ())
        }
        if chosen:
            facts["maps_over"] = [
                {"vectors": self.imputed_before[before], **each} for before, each in chosen.items()
            ]
        facts["origins"] = [*(up.fingerprint for up in fit.ups.values()), *over]
        if self.plan.backfill != "all" or over:
            # Its vectors may stay for good, and need it in every search.
            self.origins.keep(
                fit,
                self.plan.new_model,
                number,
                facts.get("ranking", "raw"),
                {
                    name: self._over(fit, before, (chosen or {}).get(before, {}).get("why", ""))
                    for name, before in over.items()
                },
            )
        self.journal.record("fit", number=number, folder=name, pairs=pairs, **facts, **more)
        with self._changing:
            self._follow_fit()

    def keep_refreshed(self, fit: Fit, *, pairs: int, tenths: int, weight: float) -> None:
        """Put a fit with residuals in force; the one whose vectors it will replace stays for them.

        Of earlier ones no vector is left, so their folders go, but for the first fit's.
        """
        before = self.journal.last("fit")
        assert before is not None
        earlier = before.body.get("replaces")
        self.keep_fit(
            fit, pairs=pairs, replaces=before.body["folder"], tenths=tenths, weight=weight
        )
        if earlier is not None and "replaces" in self._fact_of(earlier):
            shutil.rmtree(_fit_named(self.folder, earlier), ignore_errors=True)

    def _over(self, fit: Fit, before: str, why: str) -> MadeOver:
        """Tell what a map makes of vectors that were imputed before, for the record of it."""
        if (anew := fit.over.get(before)) is not None:
            return MadeOver(self.imputed_before[before], anew.references, anew.overfetch, why)
        one, pairs = fit.one_space, self.pairs_over.get(before)
        references = None
        if one is not None and pairs is not None and len(pairs[0]) >= MIN_REFERENCE:
            old, new = pairs
            imputed = self.gallery.kept_as(one.impute(old), one.index_model)
            references = ReferenceItems(one.own(new), np.asarray(imputed, np.float32))
        return MadeOver(self.imputed_before[before], references, why=why)

    @property
    def imputed_before(self) -> Mapping[str, str]:
        """What had imputed vectors of the old side when the upgrade began: words by origin.

        The empty origin stands for all of which the store has no record.
        """
        noted = self.journal.last("imputed_before")
        found: Mapping[str, str] = {} if noted is None else noted.body["origins"]
        return found

    def origins_noted(self, item_ids: Sequence[str]) -> Mapping[str, tuple[int, str]]:
        """Read what made old vectors that no model made: content version and origin, by item id."""
        return self.journal.origins_noted(item_ids) if self.imputed_before else {}

    def find_imputed_before(self) -> None:
        """Look what had imputed vectors of the old side, before anything moves, and note it."""
        old = self.plan.old_model
        found, left = {}, count_imputed(self.gallery, old)
        for each in self.origins.of(old) if left else ():
            if count := self.gallery.count(old, origin=each.origin):
                found[each.origin] = str(each)
                left -= count
        if left > 0:
            found[""] = "imputed by a fit of which nothing is known"
        if found or self.imputed_before:
            self.journal.record("imputed_before", origins=found)

    @property
    def origins_in_force(self) -> Sequence[str]:
        """The origins of all that the fit in force imputes."""
        last = self.journal.last("fit")
        found: Sequence[str] = [] if last is None else last.body["origins"]
        return found

    def map_over(self, fit: Fit, before: str) -> tuple[Transform, str]:
        """Return what carries vectors of the origin `before` on, and the origin of the result."""
        known = before if before in self.imputed_before else ""
        anew = fit.over.get(known)
        up = fit.up if anew is None else anew.imputation
        return up, origin_over(up.fingerprint, known)

    def maps_of(self, fit: Fit) -> dict[str, Transform]:
        """Return the maps of a fit by the origin of what they make."""
        over = [self.map_over(fit, before) for before in self.imputed_before]
        return {up.fingerprint: up for up in fit.ups.values()} | {name: up for up, name in over}

    def load_fit(self) -> Fit:
        """Read the fit in force."""
        return self.fitting.load(fit_folder(self.folder, self.journal))

    def load_index(self) -> OneIndex | None:
        """Read how one index is ranked; None where its plain order is the ranking."""
        last = self.journal.last("fit")
        calibrated = last is not None and last.body.get("ranking") == "calibrated"
        both = self.plan.strategy == "prefill" and self.plan.queries == "both"
        if not (calibrated or both):
            return None
        return one_index(
            self._fits_in_the_index(),
            calibrated=calibrated,
            both=both,
            weight=self.plan.old_query_weight,
        )

    def _index_of(self, space: ModelId) -> OneIndex | None:
        """Read how a side is ranked that is searched by itself, after an upgrade or before one."""
        found = self.origins.of(space)
        if found and not self.gallery.keeps_length(space):
            found = [each.bent() for each in found]
        calibrated = bool(found) and found[-1].ranking == "calibrated"
        return one_index(found, calibrated=calibrated, both=False, weight=None)

    def _fits_in_the_index(self) -> list[OneSpace | KeptOrigin]:
        """Read whose imputed vectors may stand in the index, the fit in force last."""
        last = self.journal.last("fit")
        assert last is not None
        names = [last.body.get("replaces"), last.body["folder"]]
        fits = [self.fitting.load(_fit_named(self.folder, name)) for name in names if name]
        over = [each for each in self.origins.of(self.plan.new_model) if each.over]
        return [*over, *(one for fit in fits for one in fit.one_spaces)]

    def _fact_of(self, folder: str) -> Mapping[str, Any]:
        """Read what the journal says of the fit in a folder."""
        facts = [fact.body for fact in self.journal.facts("fit") if fact.body["folder"] == folder]
        return facts[-1] if facts else {}

    def _current(self) -> Switch[View]:
        """Return the switch, polled: the phase and the fit may have changed elsewhere."""
        if self._switch is None:
            with self._changing:
                if self._switch is None:
                    self._polled = self._known_at = time.monotonic()
                    self._fit_number = self._number_of_fit()
                    self._look()
                    self._learned_at = time.monotonic()
                    self._switch = Switch(self._view(self.journal.phase))
        now = time.monotonic()
        if now - self._polled >= POLL_SECONDS:
            self._polled = now
            with self._changing:
                if now >= self._read_again or not self.is_as_looked_at():
                    self._look()
                elif now >= self._look_again:
                    self._look(by_rows=False)
                self._follow(self.journal.phase)
                self._known_at = now
                self._follow_fit()
        return self._switch

    def _follow(self, phase: Phase) -> None:
        if self._switch is None:
            return
        if (now := self._switch.value).phase is not phase:
            self._learned_at = time.monotonic()
            self._look()
        elif now.astray == self._astray:
            return
        self._fit_number = self._number_of_fit()
        self._switch.swap(self._view(phase))

    def _look(self, *, by_rows: bool = True) -> None:
        """Compare the phase with the store; not again soon where that takes long."""
        self._look_for_finish()
        began = time.monotonic()
        self._spaces = self.gallery.spaces
        self._astray = find_astray(
            self.gallery,
            self.journal,
            self.plan,
            chained=self.parts.previous is not None,
            by_rows=by_rows,
        )
        with suppress(HotfillError):  # a full disk must not keep anybody from searching
            note_astray(self.journal, self._astray)
        if self._astray is not None:
            # Somebody may be about to put it right, and give short notice.
            self._look_again = self._read_again = time.monotonic() + POLL_SECONDS
        elif by_rows:
            self._look_again = time.monotonic() + POLL_SECONDS
            self._read_again = next_look(began, _READING_SHARE)
        else:
            self._look_again = next_look(began, LOOKING_SHARE)

    def _follow_fit(self) -> None:
        number = self._number_of_fit()
        if self._switch is not None and number != self._fit_number:
            self._fit_number = number
            self._switch.swap(self._view(self._switch.value.phase))

    def _number_of_fit(self) -> int:
        fit = self.journal.last("fit")
        return fit.number if fit is not None else 0

    def _look_for_finish(self) -> None:
        """Follow the finish that another process has fitted since."""
        if self._plan.finish != "plain" and self._plan.finished_model is None:
            self.plan = self.asked

    def _view(self, phase: Phase) -> View:
        self._look_for_finish()
        plan, before = self.plan, None
        if plan.older_models and self.parts.previous is not None:
            before = Before(self.load_scorer_before, plan.older_models[-1])
        view = view_of(phase, plan.old_model, plan.new_model, self._load_scorer, before=before)
        if self._astray is not None and self._astray.phase is phase:
            return self._view_of_all(view, self._astray)
        index = self.load_index() if view.scorer is not None else self._index_of(view.query_model)
        return replace(view, index=index)

    def _view_of_all(self, view: View, astray: Astray) -> View:
        """Widen a view to all sides that hold items; ranked together where a fit is at hand."""
        kept = None if view.kept_model in astray.lacking else view.kept_model
        view = replace(view, kept_model=kept, astray=astray)
        if len(astray.sides) == 1:
            return replace(view, query_model=astray.sides[0], scorer=None)
        with suppress(HotfillError):  # there may be no fit, or none of these sides
            scorer = self._load_scorer()
            if {*astray.sides} == {*scorer.spaces}:
                return replace(view, query_model=self.plan.new_model, scorer=scorer)
        return replace(view, scorer=None)

    def _load_scorer(self) -> Scorer:
        return Fit.load(fit_folder(self.folder, self.journal)).scorer

    def search_before(self, queries: Vectors, k: int) -> Sequence[Sequence[str]]:
        """Search as before this upgrade: item ids per query of the old model, best first.

        In a chain that is a search of all sides of the previous upgrade; without its parts nobody
        can tell, and the lists are empty.
        """
        old = self.plan.old_model
        if not self.plan.older_models:
            return self.gallery.search({old: queries}, k)[old].item_ids
        if self.parts.previous is None:
            return [()] * len(queries)
        prepared = self.load_scorer_before().prepare(queries)
        depth = prepared.depth(k, self.gallery.capabilities.most_hits)
        found = self.gallery.search(prepared.vectors, depth)
        ranked = prepared.rank(found, k, read=self.gallery.vectors)
        return [each.item_ids for each in ranked]

    def load_scorer_before(self) -> Scorer:
        """In a chain, read what the sides of the previous upgrade are ranked by."""
        previous = self.parts.previous
        if previous is None:
            raise ConfigError(f"{self.parts.name} supersedes no upgrade")
        with closing(previous.look()) as journal:
            return Fit.load(fit_folder(previous.folder, journal)).scorer


def next_look(began: float, share: int = _READING_SHARE) -> float:
    """Tell when to look at the store again, on the monotonic clock: not soon where it takes long.

    began: the look that has just ended. share: how many times as long as it took it rests; by
    default of one that reads the rows (PostgreSQL reads the whole table).
    """
    now = time.monotonic()
    return now + max(POLL_SECONDS, share * (now - began))


def owner_of(plan: Plan, journal: Journal) -> str:
    """Name an upgrade for its claim on the store: its journal is what no other upgrade has."""
    return f"{plan.embedded_model} (journal {journal.identity})"


def fit_folder(folder: Path, journal: Journal) -> Path:
    """Tell the folder of the fit in force. Raises JournalError before there is one."""
    last = journal.last("fit")
    if last is None:
        raise JournalError("nothing was fitted yet; `hotfill start` does it first of all")
    return _fit_named(folder, last.body["folder"])


def _fit_named(folder: Path, name: object) -> Path:
    """Tell where a fit is that the journal names. Raises JournalError for a name of no fit."""
    if not isinstance(name, str) or not _FIT_NAME.fullmatch(name):
        raise JournalError(
            f"the journal names {name!r} as a fit, and a fit is called fit-1, fit-2, ...: restore "
            "the journal from a backup; nothing was read or removed there"
        )
    return folder / name
