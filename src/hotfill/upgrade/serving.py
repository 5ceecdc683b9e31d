"""Search and write a gallery in any phase of its upgrade; callers need not know which."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar

from hotfill.checks import check_ids
from hotfill.errors import (
    ConfigError,
    EmbedError,
    InputError,
    ModelMismatchError,
    PhaseError,
)
from hotfill.upgrade.pace import NOTICE_SECONDS
from hotfill.upgrade.phases import Phase
from hotfill.upgrade.view import Before, Hit, SearchResult, Switch, View, view_of
from hotfill.vectors import check_vectors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hotfill.ranking import Scorer
    from hotfill.stores.base import Gallery, Metadata, Where
    from hotfill.types import Embedder, ModelId, Vectors
    from hotfill.upgrade.journal.base import Journal
    from hotfill.upgrade.plan import Plan

T = TypeVar("T")


class Serving:
    """The one door to a gallery while its model is upgraded.

    gallery, journal, plan: of the upgrade.
    embedders: of the old and the new model, as far as there are; needed to search by content and
        to write. They are called from several threads.
    query_embedders: by the model of the gallery, another one that embeds its queries: a small model
        whose vectors are comparable with the large one's. Nothing it makes is stored. If it tells
        by `gallery_model` whose vectors it was trained to search, others are refused.
    load_scorer: reads what was fitted when the upgrade was prepared.
    load_scorer_before: in a chain (`Plan.older_models`) reads what was fitted for the unfinished
        upgrade: before this one begins, and when it was aborted, its sides are searched.
    poll_seconds: how often the journal is asked for the phase, for upgrades that run in another
        process. In the same process pass `follow` as the engine's `on_phase`: then no search ever
        sees half of a switch.
    """

    def __init__(
        self,
        gallery: Gallery,
        journal: Journal,
        plan: Plan,
        embedders: Sequence[Embedder],
        load_scorer: Callable[[], Scorer],
        poll_seconds: float = 0.5,
        query_embedders: Mapping[ModelId, Embedder] | None = None,
        load_scorer_before: Callable[[], Scorer] | None = None,
    ) -> None:
        self._load_scorer_before = load_scorer_before
        self._gallery = gallery
        self._journal = journal
        self._plan = plan
        self._embedders = {embedder.model_id: embedder for embedder in embedders}
        self._query_embedders = dict(query_embedders or {})
        for space, embedder in self._query_embedders.items():
            meant = getattr(embedder, "gallery_model", space)
            if meant != space:
                raise ModelMismatchError("the gallery of the query model", meant, space)
            if embedder.model_id.dimension != space.dimension:
                raise ConfigError(
                    f"queries for {space} need {space.dimension} dimensions; their embedder is "
                    f"{embedder.model_id}"
                )
        self._load_scorer = load_scorer
        self._poll_seconds = poll_seconds
        self._polled = self._known_at = time.monotonic()
        self._following = threading.Lock()
        self._counted_until, self._moved = 0.0, False
        fit = journal.last("fit")
        self._fit_number = fit.number if fit is not None else 0
        self._switch = Switch(self._view(journal.phase))

    @property
    def view(self) -> View:
        """What searches and writes follow now."""
        return self._switch.value

    @property
    def query_model(self) -> ModelId:
        """What embeds queries now: the model of the gallery, or the one given for its queries."""
        return self._encoder(self.view.query_model)

    def follow(self, phase: Phase) -> None:
        """Switch to a phase; returns when no search or write follows the one before."""
        with self._following:
            if phase is not self._switch.value.phase:
                self._switch.swap(self._view(phase))

    def refit(self) -> None:
        """Rank by the newest fit; the engine's `on_fit`."""
        with self._following:
            self._switch.swap(self._view(self._switch.value.phase))

    def search(
        self, contents: Sequence[Any], k: int, *, where: Where | None = None
    ) -> list[SearchResult]:
        """Find the k best items for each content, embedded by the model of the phase.

        It is embedded once; by the old model too where the plan has `own_queries`, while old items
        are left.
        Raises InputError (k < 1), ConfigError (no embedder of that model), EmbedError.
        """

        if not contents:
            return []

        def search(view: View) -> list[SearchResult]:
            queries = self._embed_queries(view.query_model, contents)
            own = {space: self._embed_queries(space, contents) for space in self._asked_too(view)}
            return self._search(view, queries, k, where, own)

        return self._follow_and(search)

    def search_vectors(
        self,
        queries: Vectors,
        query_model: ModelId,
        k: int,
        *,
        where: Where | None = None,
        own_queries: Mapping[ModelId, Vectors] | None = None,
    ) -> list[SearchResult]:
        """Find the k best items for each query, float32 (q, query_model.dimension).

        own_queries: the same queries embedded by other models. Where the plan has `own_queries`,
            the old model's count, and without them the new model's have to do; else ignored.
        Raises ModelMismatchError when the phase wants queries of another model (`query_model` says
        which; the gallery's own model will do, too), InputError, ShapeError, VectorError.
        """

        def search(view: View) -> list[SearchResult]:
            encoder = self._encoder(view.query_model)
            if query_model not in (encoder, view.query_model):
                raise ModelMismatchError("the query", encoder, query_model)
            given = own_queries or {}
            own = {
                space: given[model]
                for space in self._asked_too(view)
                for model in (space, self._encoder(space))
                if model in given
            }
            return self._search(view, queries, k, where, own)

        return self._follow_and(search)

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
        check_ids(item_ids)
        if len(item_ids) != len(contents):
            raise InputError(
                f"expected one content per item ({len(item_ids)}), got {len(contents)}"
            )
        if not item_ids:
            return

        def write(view: View) -> None:
            vectors = self._embed(view.write_model, contents, "write items")
            kept = {}
            if view.kept_model is not None and view.kept_model in self._embedders:
                kept[view.kept_model] = self._embed(view.kept_model, contents, "write items")
            self._gallery.upsert(
                item_ids, vectors, space=view.write_model, metadata=metadata, kept=kept
            )
            if self._journal.forget(item_ids):
                # Somebody may have deleted one of them between these two lines.
                states = self._gallery.get(item_ids)
                gone = [each for each, state in zip(item_ids, states, strict=True) if state is None]
                if gone:
                    self._journal.mark_deleted(gone)

        self._follow_and(write)

    def delete(self, item_ids: Sequence[str]) -> int:
        """Remove items for good, also from batches in flight. Returns how many there were."""
        check_ids(item_ids)
        # The note comes first: a kill in between leaves an item that `verify` would not have
        # missed, never a missing item that nobody can explain.
        self._journal.mark_deleted(item_ids)
        deleted = self._gallery.delete(item_ids)
        if len(self._journal.deleted(item_ids)) < len(set(item_ids)):
            # Somebody wrote one of them anew meanwhile, but before it was deleted.
            self._journal.mark_deleted(item_ids)
        return deleted

    def set_metadata(self, item_ids: Sequence[str], metadata: Sequence[Metadata]) -> None:
        """Replace the metadata of items that exist; others are ignored. Nothing is embedded.

        Raises InputError (ids twice, another number of metadata, what no store can hold).
        """
        self._gallery.set_metadata(item_ids, metadata)

    # ------------------------------------------------------------------------------------------

    def _view(self, phase: Phase) -> View:
        plan = self._plan
        before = None
        if plan.older_models and self._load_scorer_before is not None:
            before = Before(self._load_scorer_before, plan.older_models[-1])
        return view_of(phase, plan.old_model, plan.new_model, self._load_scorer, before=before)

    def _follow_and(self, act: Callable[[View], T]) -> T:
        """Act by the current view. A view that is found to be out of date is replaced once."""
        now = time.monotonic()
        if now - self._polled >= self._poll_seconds:
            self._polled = now
            self.follow(self._journal.phase)
            self._known_at = now
            self._follow_fit()
        known_at = self._known_at
        with self._switch.use() as view:
            if view.phase is Phase.SUPERSEDED:
                self._check_not_taken_over()
            try:
                done = act(view)
            except ModelMismatchError:
                # An upgrade in another process may have entered a phase, and dropped a space,
                # since the journal was last asked.
                if self._journal.phase is view.phase:
                    raise
            else:
                # It may also have begun to move items, but not sooner than it gave notice.
                if time.monotonic() - known_at < NOTICE_SECONDS:
                    return done
                if self._journal.phase is view.phase:
                    return done
        self.follow(self._journal.phase)
        with self._switch.use() as view:
            return act(view)

    def _check_not_taken_over(self) -> None:
        """Rather refuse than miss the items that a third model has."""
        known = (*self._plan.old_models, self._plan.new_model)
        if any(space not in known for space in self._gallery.spaces):
            raise PhaseError(
                "search or write by this configuration",
                Phase.SUPERSEDED,
                ["serve by the configuration of the upgrade that superseded this one"],
            )

    def _asked_too(self, view: View) -> list[ModelId]:
        """List the old models that have a say of their own in what a query finds."""
        if view.scorer is None or self._all_moved(view):
            return []
        return [side.model for side in view.scorer.sides if side.old_query_weight]

    def _search(
        self,
        view: View,
        queries: Vectors,
        k: int,
        where: Where | None,
        own_queries: Mapping[ModelId, Vectors],
    ) -> list[SearchResult]:
        if k < 1:
            raise InputError(f"k must be >= 1, got {k}")
        if view.scorer is None or self._all_moved(view):
            return self._search_one_side(view, queries, k, where)
        prepared = view.scorer.prepare(queries, own_queries)
        found = self._gallery.search(prepared.vectors, prepared.depth(k), where=where)
        models = tuple(found)
        return [
            SearchResult(
                tuple(
                    Hit(item_id, float(score), float(raw), models[side])
                    for item_id, score, raw, side in zip(
                        ranked.item_ids,
                        ranked.scores.tolist(),
                        ranked.raw_scores.tolist(),
                        ranked.sides.tolist(),
                        strict=True,
                    )
                ),
                self._encoder(view.query_model),
                view.phase,
            )
            for ranked in prepared.rank(found, k, read=self._gallery.vectors)
        ]

    def _follow_fit(self) -> None:
        """Rank by the newest fit, if another process has made one."""
        fit = self._journal.last("fit")
        number = fit.number if fit is not None else 0
        if number != self._fit_number:
            self._fit_number = number
            self.refit()

    def _all_moved(self, view: View) -> bool:
        """Tell whether the old sides are empty: then there is nothing to merge.

        On the way forward items only ever leave them, but for writers elsewhere that have not
        heard of the upgrade yet; so it is asked again every little while.
        """
        if view.scorer is None or view.write_model != self._plan.new_model:
            return False
        now = time.monotonic()
        if now >= self._counted_until:
            self._counted_until = now + self._poll_seconds
            self._moved = not any(self._gallery.count(side.model) for side in view.scorer.sides)
        return self._moved

    def _search_one_side(
        self, view: View, queries: Vectors, k: int, where: Where | None
    ) -> list[SearchResult]:
        model = view.query_model
        encoder = self._encoder(model)
        hits = self._gallery.search({model: queries}, k, where=where)[model]
        return [
            SearchResult(
                tuple(
                    Hit(item_id, score, score, model)
                    for item_id, score in zip(item_ids, scores.tolist(), strict=True)
                ),
                encoder,
                view.phase,
            )
            for item_ids, scores in zip(hits.item_ids, hits.scores, strict=True)
        ]

    def _encoder(self, space: ModelId) -> ModelId:
        embedder = self._query_embedders.get(space)
        return space if embedder is None else embedder.model_id

    def _embed_queries(self, space: ModelId, contents: Sequence[Any]) -> Vectors:
        embedder = self._query_embedders.get(space)
        if embedder is None:
            return self._embed(space, contents, "search by content")
        return _embedded(embedder, embedder.model_id, contents)

    def _embed(self, model: ModelId, contents: Sequence[Any], purpose: str) -> Vectors:
        embedder = self._embedders.get(model)
        if embedder is None:
            raise ConfigError(f"to {purpose} now, an embedder of {model} is needed; give one")
        return _embedded(embedder, model, contents)


def _embedded(embedder: Embedder, model: ModelId, contents: Sequence[Any]) -> Vectors:
    vectors = check_vectors(embedder(contents), model.dimension, what=f"vectors of {model}")
    if len(vectors) != len(contents):
        raise EmbedError(
            f"{model}: expected {len(contents)} vectors, got {len(vectors)}", retryable=False
        )
    return vectors
