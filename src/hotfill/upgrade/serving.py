"""Search and write a gallery in any phase of its upgrade; callers need not know which."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from hotfill.checks import check_ids
from hotfill.errors import (
    ClosedSideError,
    ConfigError,
    EmbedError,
    HeldError,
    HotfillError,
    InputError,
    ModelMismatchError,
    PhaseError,
    StoreError,
)
from hotfill.tracing import span
from hotfill.upgrade.pace import NOTICE_SECONDS
from hotfill.upgrade.phases import WRITES_CHANGE_SIDES, Phase
from hotfill.upgrade.state import LOOKING_SHARE, POLL_SECONDS, next_look
from hotfill.upgrade.view import Hit, SearchResult, made_by
from hotfill.vectors import checked

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hotfill.stores.base import Metadata, Where
    from hotfill.types import Embedder, ModelId, Vectors
    from hotfill.upgrade.one_index import OneIndex
    from hotfill.upgrade.state import State
    from hotfill.upgrade.view import MadeBy, View
    from hotfill.vectors import Checked

T = TypeVar("T")


class _OverError(Exception):
    """The phase is another one since the view was taken."""


class Serving:
    """The searching and writing half of an upgrade. Safe to use from several threads."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._gallery = state.gallery
        self._journal = state.journal
        self._loading = threading.Lock()
        self._count_again = self._read_again = 0.0
        self._moved, self._share_moved = False, 0.0

    @property
    def query_model(self) -> ModelId:
        """What embeds queries now: the model of the gallery, or the one given for its queries."""
        return self._encoder(self._state.view.query_model)

    def search(
        self, contents: Sequence[Any], k: int, *, where: Where | None = None
    ) -> list[SearchResult]:
        """Find the k best items for each content, embedded by the model of the phase.

        It is embedded once; by the old model too, while old items are left, where the plan has
        `queries = "both"`.
        Raises InputError (k < 1), ConfigError (no embedder of that model), EmbedError.
        """

        if not contents:
            return []

        def search(view: View) -> list[SearchResult]:
            if sides := _searched_alone(view):
                return self._search_alone(
                    view,
                    {side: self._own_queries(view, side, contents) for side in sides},
                    k,
                    where,
                )
            queries = self._embed_queries(view.query_model, contents)
            own = {space: self._embed_queries(space, contents) for space in self._asked_too(view)}
            return self._search(view, queries, k, where, own)

        return self._timed(search, k)

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

        other_queries: the same queries embedded by other models. Where the plan has
            `queries = "both"`, the old model's count, and without them the new model's have to
            do; else ignored.
        Raises ModelMismatchError when the phase wants queries of another model (`query_model` says
        which; the gallery's own model will do, too), InputError, ShapeError, VectorError.
        """

        def search(view: View) -> list[SearchResult]:
            nonlocal queries, query_model
            finish = self._state.finish
            if finish is not None and query_model == finish.source:
                queries, query_model = finish.queries(queries), finish.target
            if sides := _searched_alone(view):
                every = {**(other_queries or {}), query_model: queries}
                return self._search_alone(
                    view, {side: self._given_queries(view, side, every) for side in sides}, k, where
                )
            encoder = self._encoder(view.query_model)
            if query_model not in (encoder, view.query_model):
                raise ModelMismatchError("the query", encoder, query_model)
            given = other_queries or {}
            own = {
                space: given[model]
                for space in self._asked_too(view)
                for model in (space, self._encoder(space))
                if model in given
            }
            return self._search(view, queries, k, where, own)

        return self._timed(search, k)

    def made_by(self, hits: Sequence[Hit]) -> tuple[MadeBy, ...]:
        """Tell what made the vector of each hit; where its search did not read that, look now."""
        new = self._state.plan.new_model
        unread = [hit.item_id for hit in hits if hit.model == new and hit.imputed is None]
        looked_up: dict[str, MadeBy] = {
            state.item_id: made_by(state.space, state.origin, new)
            for state in self._gallery.get(unread)
            if state is not None
        }

        def told(hit: Hit) -> MadeBy:
            if hit.model != new:
                return "old"
            return "imputed" if hit.imputed else looked_up.get(hit.item_id, "new")

        return tuple(map(told, hits))

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
            if view.astray is not None and view.write_model in view.astray.lacking:
                raise HeldError("write items", [str(view.astray)])
            self._await_notice(view)
            vectors = self._embed(view.write_model, contents, "write items")
            kept = {}
            if view.kept_model is not None and self._embedder(view.kept_model) is not None:
                kept[view.kept_model] = self._embed(view.kept_model, contents, "write items")
            self._check_in_force(view)
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
            # Somebody wrote one of them anew in between, but before it was deleted.
            self._journal.mark_deleted(item_ids)
        return deleted

    def set_metadata(self, item_ids: Sequence[str], metadata: Sequence[Metadata]) -> None:
        """Replace the metadata of items that exist; others are ignored. Nothing is embedded.

        Raises InputError (ids twice, another number of metadata, what no store can hold).
        """
        self._gallery.set_metadata(item_ids, metadata)

    # ------------------------------------------------------------------------------------------

    def _timed(self, search: Callable[[View], list[SearchResult]], k: int) -> list[SearchResult]:
        began = time.perf_counter()
        with span("search", k=k) as traced:
            found = self._follow_and(search)
            if traced is not None and found:
                traced.set_attribute("hotfill.phase", str(found[0].phase))
        self._state.times.searched(time.perf_counter() - began)
        return found

    def _follow_and(self, act: Callable[[View], T]) -> T:
        """Act by the view in force, which is looked at anew when the store has failed."""
        try:
            return self._act(act)
        except StoreError:
            self._state.doubt()
            raise

    def _act(self, act: Callable[[View], T]) -> T:
        """Act by the view in force. A view that is found to be out of date is replaced once."""
        state = self._state
        with state.use() as view:
            known_at = state.known_at
            refused: ModelMismatchError | ClosedSideError | None = None
            self._check_known(view)
            try:
                done = act(view)
            except _OverError:
                pass
            except (ModelMismatchError, ClosedSideError) as error:
                # An upgrade in another process may have entered a phase, and dropped a space,
                # since the journal was last asked.
                refused = error
            else:
                # It may also have begun to move items, but not sooner than it gave notice. Of a
                # side that was gone it gives none when it makes that anew.
                fresh = time.monotonic() - known_at < NOTICE_SECONDS
                if view.astray is None:
                    is_current = fresh or (
                        self._journal.phase is view.phase and state.is_as_looked_at()
                    )
                else:
                    is_current = fresh and state.is_as_looked_at()
                if is_current and not self._is_moved_by_others():
                    return done
        while True:
            changed = state.follow()
            if refused is not None and not changed:
                if isinstance(refused, ModelMismatchError):
                    raise refused
                # The store is behind the journal: restored, or whoever leads was killed between.
                self._gallery.permit_writes(refused)
            refused = None
            try:
                with suppress(_OverError), state.use() as view:
                    self._check_known(view)
                    done = act(view)
                    if view.astray is None or state.is_as_looked_at():
                        return done
            except ClosedSideError as error:
                refused = error

    def _await_notice(self, view: View) -> None:
        """Write to the other side only when every process that searches can know of the phase.

        Until then some of them search one side, and would miss an item that was there for years.
        So it is where the journal was lost, and the phase is that of an upgrade that has not begun.
        """
        changes = view.phase in WRITES_CHANGE_SIDES or view.astray is not None
        if changes and self._gallery.capabilities.many_processes:
            left = self._state.learned_at + NOTICE_SECONDS - time.monotonic()
            time.sleep(max(0.0, left))

    def _check_in_force(self, view: View) -> None:
        """See, last of all before a write, that the phase is still the one that the view follows.

        A process that stood still, or waited long for its embedder, would put an item where others
        no longer look for it. Raises _OverError.
        """
        if (
            time.monotonic() - self._state.known_at >= POLL_SECONDS
            and self._journal.phase is not view.phase
        ):
            raise _OverError

    def _check_known(self, view: View) -> None:
        """Rather refuse than miss items on a side of which the plan knows nothing."""
        if view.astray is not None and view.astray.unknown:
            raise HeldError("search or write", [str(view.astray)])
        if view.phase is not Phase.SUPERSEDED:
            return
        plan = self._state.plan
        known = (*plan.old_models, plan.new_model)
        if any(space not in known for space in self._gallery.spaces):
            raise PhaseError(
                "search or write by this configuration",
                Phase.SUPERSEDED,
                ["serve by the configuration of the upgrade that superseded this one"],
            )

    def _is_moved_by_others(self) -> bool:
        """Tell whether an upgrade of another configuration has items, which this one would miss.

        It makes its space before it gives notice and moves anything; so only where there is such a
        space this costs anything. What was not there after a search was not missed by it.
        """
        unknown = self._state.unknown_spaces
        try:
            return any(self._gallery.count(space) for space in unknown)
        except ModelMismatchError:  # dropped since
            return True

    def _asked_too(self, view: View) -> list[ModelId]:
        """List old models whose own query embedding contributes to scoring."""
        if view.scorer is None:
            return []
        if self._all_moved(view):
            asked = view.index is not None and view.index.asks_old_model and self._share_moved < 1
            return [self._state.plan.old_model] if asked else []
        return [side.model for side in view.scorer.sides if side.old_query_weight]

    def _search(
        self,
        view: View,
        queries: Vectors | Checked,
        k: int,
        where: Where | None,
        other_queries: Mapping[ModelId, Vectors | Checked],
    ) -> list[SearchResult]:
        if k < 1:
            raise InputError(f"k must be >= 1, got {k}")
        if view.scorer is None or self._all_moved(view):
            if view.index is not None:
                return self._search_by_origin(view, view.index, queries, k, where, other_queries)
            return self._search_one_side(view, queries, k, where)
        prepared = view.scorer.prepare(queries, other_queries)
        depth = prepared.depth(k, self._gallery.capabilities.most_hits)
        found = self._gallery.search(prepared.vectors, depth, where=where)
        models = tuple(found)
        with span("rank"):
            lists = prepared.rank(found, k, read=self._gallery.vectors)
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
            for ranked in lists
        ]

    def _search_alone(
        self,
        view: View,
        queries: Mapping[ModelId, Vectors | Checked],
        k: int,
        where: Where | None,
    ) -> list[SearchResult]:
        """Search sides each by its own model's queries, where no fit makes them comparable.

        Their scores mean nothing to each other, so the lists are interleaved, rank by rank.
        """
        found = self._gallery.search(queries, k, where=where)
        results = []
        for row in range(min(len(hits.item_ids) for hits in found.values())):
            # Found on two sides while it moved: the newer one counts.
            newest = {item: side for side, hits in found.items() for item in hits.item_ids[row]}
            ranked = sorted(
                (
                    (rank, place, Hit(item, 1 / (1 + rank), float(score), side))
                    for place, (side, hits) in enumerate(found.items())
                    for rank, (item, score) in enumerate(
                        zip(hits.item_ids[row], hits.scores[row].tolist(), strict=True)
                    )
                    if newest[item] == side
                ),
                key=lambda each: each[:2],
            )
            hits_of_row = tuple(hit for _, _, hit in ranked[:k])
            results.append(SearchResult(hits_of_row, self._encoder(view.query_model), view.phase))
        return results

    def _own_queries(self, view: View, side: ModelId, contents: Sequence[Any]) -> Checked:
        try:
            return self._embed_queries(side, contents)
        except ConfigError as error:
            raise HeldError("search", [f"{error}: {view.astray}"]) from error

    def _given_queries(
        self, view: View, side: ModelId, given: Mapping[ModelId, Vectors]
    ) -> Vectors:
        for model in (side, self._encoder(side)):
            if model in given:
                return given[model]
        raise HeldError("search", [f"vectors of {side} are needed, too: {view.astray}"])

    def _all_moved(self, view: View) -> bool:
        """Tell whether the old sides are empty: then there is nothing to merge.

        On the way forward items only ever leave them, but for writers elsewhere that have not
        heard of the upgrade yet, and rows that came past the store's bookkeeping; so they are
        counted again every little while, and the rows looked at as seldom as that takes long.
        """
        if view.scorer is None or view.write_model != self._state.plan.new_model:
            return False
        began = time.monotonic()
        if began >= self._count_again:
            by_rows = began >= self._read_again
            old = [side.model for side in view.scorer.sides]
            left = any(self._gallery.count(model) for model in old)
            if by_rows and not left:
                left = any(self._gallery.count_rows(model) for model in old)
                self._read_again = next_look(began)
            self._moved = not left and (by_rows or self._moved)
            if self._moved and view.index is not None and view.index.asks_old_model:
                model = view.query_model
                own = self._gallery.count(model, origin=model.fingerprint)
                self._share_moved = own / max(self._gallery.count(model), 1)
            self._count_again = (
                time.monotonic() + POLL_SECONDS if by_rows else next_look(began, LOOKING_SHARE)
            )
        return self._moved

    def _search_one_side(
        self, view: View, queries: Vectors | Checked, k: int, where: Where | None
    ) -> list[SearchResult]:
        model = view.query_model
        encoder = self._encoder(model)
        hits = self._gallery.search({model: queries}, k, where=where)[model]
        return [
            SearchResult(
                tuple(
                    [
                        Hit(item_id, score, score, model)
                        for item_id, score in zip(item_ids, scores.tolist(), strict=True)
                    ]
                ),
                encoder,
                view.phase,
            )
            for item_ids, scores in zip(hits.item_ids, hits.scores, strict=True)
        ]

    def _search_by_origin(
        self,
        view: View,
        index: OneIndex,
        queries: Vectors | Checked,
        k: int,
        where: Where | None,
        other_queries: Mapping[ModelId, Vectors | Checked],
    ) -> list[SearchResult]:
        """Search the new side, and put its hits on one scale by what made their vectors."""
        ranked = index.search(
            self._gallery,
            queries,
            k,
            where=where,
            old_queries=other_queries.get(self._state.plan.old_model),
            moved=self._share_moved,
        )
        model, encoder = index.model, self._encoder(view.query_model)
        return [
            SearchResult(
                tuple(
                    [
                        Hit(item_id, score, raw, model, not own)
                        for item_id, score, raw, own in zip(
                            each.item_ids,
                            each.scores.tolist(),
                            each.raw_scores.tolist(),
                            each.sides.tolist(),
                            strict=True,
                        )
                    ]
                ),
                encoder,
                view.phase,
            )
            for each in ranked
        ]

    def _encoder(self, space: ModelId) -> ModelId:
        embedder = self._state.query_embedder(space)
        return space if embedder is None else embedder.model_id

    def _embed_queries(self, space: ModelId, contents: Sequence[Any]) -> Checked:
        embedder = self._state.query_embedder(space)
        if embedder is None:
            return self._embed(space, contents, "search by content")
        return _embedded(embedder, space, contents)

    def _embed(self, model: ModelId, contents: Sequence[Any], purpose: str) -> Checked:
        embedder = self._embedder(model)
        if embedder is None:
            raise ConfigError(f"to {purpose} now, an embedder of {model} is needed; give one")
        return _embedded(embedder, model, contents)

    def _embedder(self, model: ModelId) -> Embedder | None:
        plan = self._state.plan
        if model not in (plan.old_model, plan.new_model):
            return None
        with self._loading:  # a model may take long to load: once is enough
            return self._state.embedder("old" if model == plan.old_model else "new")


def _searched_alone(view: View) -> tuple[ModelId, ...]:
    """Name sides to be searched each by its own model's queries; none where all is well."""
    if view.astray is None or view.scorer is not None or len(view.astray.sides) < 2:
        return ()
    return view.astray.sides


# What Python code raises when the content is not what it reads; all else is the model's trouble.
_OF_THE_CONTENT = (ValueError, TypeError, KeyError, IndexError, AttributeError)


def _embedded(embedder: Embedder, space: ModelId, contents: Sequence[Any]) -> Checked:
    """Embed what came from outside, for a space.

    Raises EmbedError, retryable unless the content is at fault.
    """
    model = embedder.model_id
    try:
        with span("embed", model=str(model), items=len(contents)):
            made = embedder(contents)
    except HotfillError:
        raise
    except Exception as error:
        at_fault = isinstance(error, _OF_THE_CONTENT)
        what = "cannot read this content" if at_fault else "failed"
        raise EmbedError(
            f"the embedder of {model.name} {what} ({type(error).__name__})",
            retryable=not at_fault,
        ) from error
    vectors = checked(made, space, what=f"vectors of {model}", copy=True)
    if len(vectors) != len(contents):
        raise EmbedError(
            f"{model}: expected {len(contents)} vectors, got {len(vectors)}", retryable=False
        )
    return vectors
