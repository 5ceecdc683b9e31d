"""An open gallery with everything around it: what the routes work with."""

from __future__ import annotations

import base64
import binascii
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.errors import InputError, ModelMismatchError
from hotfill.service.measures import HitsOfSearch, Measures, Sides
from hotfill.service.metrics import SearchMetrics
from hotfill.service.snapshot import Watch
from hotfill.service.step_runner import StepRunner
from hotfill.service.web.quality import Rehearsed, read_rehearsed
from hotfill.upgrade.parts import WHICH
from hotfill.upgrade.phases import NEW_ONLY, OLD_ONLY, Phase
from hotfill.upgrade.upgrade import Upgrade

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hotfill.config import Project
    from hotfill.service.settings import ServiceSettings
    from hotfill.stores.base import Gallery, Where
    from hotfill.types import ModelId, Vectors
    from hotfill.upgrade.journal.base import Journal
    from hotfill.upgrade.plan import Plan
    from hotfill.upgrade.view import SearchResult

_MOVING = frozenset({Phase.PREPARED, Phase.BACKFILLING, Phase.ABORTING, Phase.ROLLING_BACK})
_SEARCHERS = 16  # at once; more than cores, because an embedder may wait for something


@dataclass(frozen=True, slots=True)
class GalleryService:
    """One open gallery. Searches are measured; the rest goes straight to the parts.

    models: by fingerprint, those that may embed a query: the old and the new one of the gallery,
        and their small companions where there are any. searchers: the threads that searches run in.
    rehearsed: what was expected, where the configuration names a rehearsal.
    """

    settings: ServiceSettings
    up: Upgrade
    steps: StepRunner
    watch: Watch
    measures: Measures
    metrics: SearchMetrics
    searchers: ThreadPoolExecutor
    models: Mapping[str, ModelId]
    rehearsed: Rehearsed | None

    @property
    def gallery(self) -> Gallery:
        """The open store."""
        return self.up.gallery

    @property
    def journal(self) -> Journal:
        """The open journal."""
        return self.up.journal

    @property
    def plan(self) -> Plan:
        """The plan in force."""
        return self.up.plan_in_force

    def search(self, content: Any, k: int, where: Where | None) -> SearchResult:
        """Find the k best items for a content. Raises as `Upgrade.search`."""
        return self._measured(lambda: self.up.search([content], k, where=where)[0])

    def search_vectors(
        self, vectors: Mapping[str, Sequence[float] | str], k: int, where: Where | None
    ) -> SearchResult:
        """Find the k best items for a query that was embedded elsewhere.

        vectors: by fingerprint of the model, numbers or the base64 of little-endian float32; one
        of them must be what the phase wants. Whoever sends both the old and the new model's never
        notices a change of phase; an upgrade with `queries = "both"` makes use of both.
        Raises ModelMismatchError when none is, and as `Upgrade.search_vectors`.
        """
        known = self.models
        if not vectors.keys() <= known.keys():
            names = " and ".join(str(model) for model in known.values())
            unknown = min(vectors.keys() - known.keys())
            raise InputError(f"unknown model {unknown!r}; the models of this gallery: {names}")

        def find() -> SearchResult:
            wanted = (self.up.query_model, self.up.view.query_model)
            model = next((each for each in wanted if each.fingerprint in vectors), wanted[0])
            vector = vectors.get(model.fingerprint)
            if vector is None:
                # The journal may know better than the view: let the upgrade look.
                model = known[next(iter(vectors))]
                vector = vectors[model.fingerprint]
            others = {}
            # Otherwise nobody looks at them, so they are not even decoded.
            if self.plan.queries == "both":
                others = {
                    known[name]: _row(each)
                    for name, each in vectors.items()
                    if known[name] != model
                }
            return self.up.search_vectors(
                _row(vector), model, k, where=where, other_queries=others
            )[0]

        def find_again() -> SearchResult:
            try:
                return find()
            except ModelMismatchError:  # the phase changed just now
                wanted = (self.up.query_model, self.up.view.query_model)
                if not any(each.fingerprint in vectors for each in wanted):
                    raise
                return find()

        return self._measured(find_again)

    def _measured(self, find: Callable[[], SearchResult]) -> SearchResult:
        began = time.perf_counter()
        found = find()
        seconds = time.perf_counter() - began
        phase, sides = str(found.phase), _sides(found)
        hits, coverage = self._made_by(found), self.watch.latest.coverage
        self.measures.searched(phase, sides, seconds, coverage, hits)
        self.metrics.searched(phase, sides, seconds)
        return found

    def _made_by(self, found: SearchResult) -> HitsOfSearch:
        """Tell what made the vectors of hits, as far as the search has read it."""
        new = self.plan.new_model
        there = [hit for hit in found.hits if hit.model == new]
        old = len(found.hits) - len(there)
        if there and there[0].imputed is not None:
            imputed = sum(hit.imputed is True for hit in there)
            return HitsOfSearch(old, imputed, len(there) - imputed)
        if there and (self.watch.latest.imputed_items or self._imputes(found.phase)):
            return HitsOfSearch(old, unread=[hit.item_id for hit in there])
        return HitsOfSearch(old, new=len(there))

    def _imputes(self, phase: Phase) -> bool:
        """Tell whether vectors may be imputed since the latest look."""
        return phase in _MOVING and self.plan.imputes


def _models(plan: Plan) -> Iterator[ModelId]:
    for model in (plan.old_model, plan.new_model, plan.old_query_model, plan.new_query_model):
        if model is not None:
            yield model


def _sides(found: SearchResult) -> Sides:
    if found.phase in OLD_ONLY:
        return "old"
    return "new" if found.phase in NEW_ONLY else "both"


@contextmanager
def opened(project: Project, settings: ServiceSettings) -> Iterator[GalleryService]:
    """Open the store and the journal, and watch them for the block.

    At its end a step that runs finishes its batches in hand; the same step goes on later.
    Raises StoreBusyError and what else opening a project raises.
    """
    rehearsed = None
    if settings.rehearsal is not None:
        rehearsed = read_rehearsed(project.path.parent / settings.rehearsal)
    with (
        Upgrade.of(project) as up,
        ThreadPoolExecutor(_SEARCHERS, "hotfill-search") as searchers,
    ):
        plan = up.plan_in_force
        for which in WHICH:  # a request must not wait for a model to load
            project.embedder(which)
            project.query_embedder(which)
        served = up.journal.last("served")
        measures = Measures(before=served.body["searches"] if served is not None else None)
        steps = StepRunner(up)
        watch = Watch(
            up.gallery,
            up.journal,
            plan,
            steps,
            measures,
            embeds_more=up.parts.sketch().backfill != "none",
        )
        service = GalleryService(
            settings,
            up,
            steps,
            watch,
            measures,
            SearchMetrics(watch, measures),
            searchers,
            {model.fingerprint: model for model in _models(plan)},
            rehearsed,
        )
        steps.on_end = watch.refresh
        watch.begin()
        try:
            yield service
        finally:
            steps.close()
            watch.close()


def _row(vector: Sequence[float] | str) -> Vectors:
    """Return one query as (1, n) float32."""
    if not isinstance(vector, str):
        return np.asarray(vector, dtype=np.float32)[None]
    try:
        return np.frombuffer(base64.b64decode(vector, validate=True), "<f4")[None]
    except (binascii.Error, ValueError) as error:
        raise InputError(f"a vector as text is the base64 of float32 numbers: {error}") from error
