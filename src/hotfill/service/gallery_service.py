"""An open gallery with everything around it: what the routes work with."""

from __future__ import annotations

import base64
import binascii
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.errors import EmbedError, HotfillError, InputError, ModelMismatchError
from hotfill.ranking.model_fit import load_scorer
from hotfill.service.measures import Measures, Sides
from hotfill.service.metrics import SearchMetrics
from hotfill.service.snapshot import Watch
from hotfill.service.step_runner import StepRunner
from hotfill.service.web.quality import Rehearsed, read_rehearsed
from hotfill.upgrade.fits import fit_folder
from hotfill.upgrade.serving import Serving
from hotfill.upgrade.view import NEW_ONLY, OLD_ONLY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hotfill.config import Project
    from hotfill.service.settings import ServiceSettings
    from hotfill.stores.base import Gallery, Where
    from hotfill.types import Embedder, ModelId, Vectors
    from hotfill.upgrade.journal.base import Journal
    from hotfill.upgrade.plan import Plan
    from hotfill.upgrade.view import SearchResult

_SEARCHERS = 16  # at once; more than cores, because an embedder may wait for something


# What Python code raises when the content is not what it reads; all else is the model's trouble.
_OF_THE_CONTENT = (ValueError, TypeError, KeyError, IndexError, AttributeError)


@dataclass(frozen=True, slots=True)
class SafeEmbedder:
    """Wraps an embedder so that it fails only with errors of hotfill, whatever it raises.

    A live request brings contents from outside, so a failure has to say whose fault it is.
    """

    embedder: Embedder

    @property
    def model_id(self) -> ModelId:
        """The space of the embedder's vectors."""
        return self.embedder.model_id

    def __call__(self, contents: Sequence[Any]) -> Vectors:
        """Embed. Raises EmbedError; retryable unless the contents are at fault."""
        try:
            return self.embedder(contents)
        except HotfillError:
            raise
        except Exception as error:
            at_fault = isinstance(error, _OF_THE_CONTENT)
            what = "cannot read this content" if at_fault else "failed"
            raise EmbedError(
                f"the embedder of {self.model_id.name} {what} ({type(error).__name__})",
                retryable=not at_fault,
            ) from error


@dataclass(frozen=True, slots=True)
class GalleryService:
    """One open gallery. Searches are measured; the rest goes straight to the parts.

    models: by fingerprint, those that may embed a query: the old and the new one of the gallery,
        and their small companions where there are any. searchers: the threads that searches run in.
    rehearsed: what was expected, where the configuration names a rehearsal.
    """

    settings: ServiceSettings
    gallery: Gallery
    journal: Journal
    plan: Plan
    serving: Serving
    steps: StepRunner
    watch: Watch
    measures: Measures
    metrics: SearchMetrics
    searchers: ThreadPoolExecutor
    models: Mapping[str, ModelId]
    rehearsed: Rehearsed | None

    def search(self, content: Any, k: int, where: Where | None) -> SearchResult:
        """Find the k best items for a content. Raises as `Serving.search`."""
        return self._measured(lambda: self.serving.search([content], k, where=where)[0])

    def search_vectors(
        self, vectors: Mapping[str, Sequence[float] | str], k: int, where: Where | None
    ) -> SearchResult:
        """Find the k best items for a query that was embedded elsewhere.

        vectors: by fingerprint of the model, numbers or the base64 of little-endian float32; one
        of them must be what the phase wants. Whoever sends both the old and the new model's never
        notices a change of phase; an upgrade with `own_queries` makes use of both.
        Raises ModelMismatchError when none is, and as `Serving.search_vectors`.
        """
        known = self.models
        if not vectors.keys() <= known.keys():
            names = " and ".join(str(model) for model in known.values())
            unknown = min(vectors.keys() - known.keys())
            raise InputError(f"unknown model {unknown!r}; the models of this gallery: {names}")

        def find() -> SearchResult:
            wanted = (self.serving.query_model, self.serving.view.query_model)
            model = next((each for each in wanted if each.fingerprint in vectors), wanted[0])
            vector = vectors.get(model.fingerprint)
            if vector is None:
                # The journal may know better than the view: let Serving look.
                model = known[next(iter(vectors))]
                vector = vectors[model.fingerprint]
            others = {}
            if self.plan.own_queries:  # else nobody looks at them, so they are not even decoded
                others = {
                    known[name]: _row(each)
                    for name, each in vectors.items()
                    if known[name] != model
                }
            return self.serving.search_vectors(
                _row(vector), model, k, where=where, own_queries=others
            )[0]

        def find_again() -> SearchResult:
            try:
                return find()
            except ModelMismatchError:  # the phase changed just now
                wanted = (self.serving.query_model, self.serving.view.query_model)
                if not any(each.fingerprint in vectors for each in wanted):
                    raise
                return find()

        return self._measured(find_again)

    def _measured(self, find: Callable[[], SearchResult]) -> SearchResult:
        began = time.perf_counter()
        found = find()
        seconds = time.perf_counter() - began
        sides = _sides(found)
        new_hits = len(found.hits) if sides == "new" else 0
        if sides == "both":
            new = self.plan.new_model
            new_hits = sum(hit.model == new for hit in found.hits)
        old_hits = len(found.hits) - new_hits
        self.measures.searched(sides, seconds, self.watch.latest.coverage, old_hits, new_hits)
        self.metrics.searched(str(found.phase), sides, seconds, old_hits, new_hits)
        return found


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
        closing(project.journal()) as journal,
        project.gallery() as gallery,
        ThreadPoolExecutor(_SEARCHERS, "hotfill-search") as searchers,
    ):
        plan = project.plan_in_force(journal)
        found = (project.embedder("old"), project.embedder("new"))
        embedders = [SafeEmbedder(embedder) for embedder in found if embedder is not None]
        serving = Serving(
            gallery,
            journal,
            plan,
            embedders,
            lambda: load_scorer(fit_folder(project.folder, journal)),
            load_scorer_before=None if project.former is None else project.load_scorer_before,
            query_embedders={
                model: SafeEmbedder(embedder)
                for model, embedder in project.query_embedders().items()
            },
        )
        measures = Measures()
        steps = StepRunner(
            project,
            gallery,
            journal,
            on_phase=serving.follow,
            probes={
                f"search_p{percentile}_milliseconds": partial(
                    measures.recent_milliseconds, percentile
                )
                for percentile in (50, 95, 99)
            },
        )
        watch = Watch(gallery, journal, plan, steps, measures)
        service = GalleryService(
            settings,
            gallery,
            journal,
            plan,
            serving,
            steps,
            watch,
            measures,
            SearchMetrics(watch),
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
