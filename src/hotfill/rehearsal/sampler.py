"""Take a sample of a live gallery for a rehearsal; nothing is written to the store."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.errors import ConfigError, InputError
from hotfill.rehearsal.budget import Cost
from hotfill.rehearsal.gallery_sample import GallerySample
from hotfill.rehearsal.sample import MAX_QUERIES, MIN_ITEMS, QUERY_SHARE
from hotfill.upgrade.canaries import embed_queries
from hotfill.upgrade.order import sample_ids
from hotfill.upgrade.own_vectors import OwnItems
from hotfill.upgrade.pairs import paired_vectors
from hotfill.upgrade.parts import WHICH
from hotfill.upgrade.prepare import Caching, Priced
from hotfill.upgrade.stored_vectors import StoredVectors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from hotfill.stores.base import Gallery, ItemState
    from hotfill.types import Embedder, ModelId, Source, Vectors
    from hotfill.upgrade.canaries import GivenQuery
    from hotfill.upgrade.own_vectors import NotedOrigins
    from hotfill.upgrade.plan import Plan
    from hotfill.upgrade.upgrade import Upgrade

_PAGE = 1000  # items whose metadata are read at once


@dataclass(frozen=True, slots=True)
class Sampler:
    """Takes samples of one gallery.

    plan: both models, the batch size and the seed. new_embedder, source: make the new vectors.
    old_embedder: only needed for given queries, and where most items stayed imputed.
    query_embedders: by the model of the gallery, another one that embeds its queries (see
    `Serving`); then some items become queries. noting: opens the origins of kept old vectors.
    """

    gallery: Gallery
    plan: Plan
    source: Source
    new_embedder: Embedder
    old_embedder: Embedder | None = None
    query_embedders: Mapping[ModelId, Embedder] = field(default_factory=dict)
    noting: Callable[[], AbstractContextManager[NotedOrigins]] = lambda: nullcontext(lambda _: {})

    @classmethod
    def of(cls, upgrade: Upgrade) -> Sampler:
        """Take samples of an upgrade's gallery."""
        parts = upgrade.parts
        asking = {parts.model(which): parts.query_embedder(which) for which in WHICH}
        return cls(
            upgrade.gallery,
            parts.draft(),
            *parts.backfilling(upgrade.gallery),
            parts.embedder("old"),
            {model: embedder for model, embedder in asking.items() if embedder is not None},
            upgrade.noting_origins,
        )

    def take(
        self,
        items: int,
        *,
        queries: Sequence[GivenQuery] = (),
        label_key: str = "",
        on_batch: Callable[[int], None] = lambda done: None,
    ) -> GallerySample:
        """Draw items evenly from the whole gallery, and embed them by the new model.

        Where items stayed imputed, only those are drawn whose old vector the old model made itself;
        where they are too few and the old model is at hand, it embeds what is drawn from all.
        items: how many, at least 300; those that answer given queries are among them, and may be
        more. queries: embedded by both models; without them a rehearsal asks by items.
        label_key: a key of the metadata, whose value tells which items answer each other; items
        without it are left out. on_batch: told how many items are done.
        Raises ConfigError (the gallery lacks the old model, no old embedder for given queries,
        queries and a label key at once), InputError (too few items, a label key that none has),
        and what embedders raise.
        """
        self._check(queries, label_key)
        asked_by_items = not queries and self._asked_by_others()
        more = min(MAX_QUERIES, items // QUERY_SHARE) if asked_by_items else 0
        wanted, seed = items + more, self.plan.seed
        with self.noting() as noted:
            own = OwnItems(self.gallery, self.plan.old_model, noted)
            random = own.draw(wanted, seed)
            made_anew = self._makes_old_anew(own, len(random), wanted)
            if made_anew:
                random = sample_ids(self.gallery, self.gallery.spaces, wanted, seed)
            drawn_from = None if made_anew else own
            label_of = self._drawn(wanted, random, drawn_from, queries, label_key)
        # Of a small gallery, or few items with labels, no more than their share.
        count = min(more, len(label_of) // QUERY_SHARE)
        drawn, asking = list(label_of)[count:], list(label_of)[:count]
        if len(drawn) < MIN_ITEMS:
            if own.imputed and len(random) < MIN_ITEMS:
                raise InputError(self._too_few_own(len(drawn), own.imputed))
            among = f" with {label_key!r} in their metadata" if label_key else ""
            raise InputError(
                f"{len(drawn)} items{among} are too few for a rehearsal: it takes {MIN_ITEMS}, and "
                "some thousand give a steady answer"
            )
        plan = self.plan
        timed = _Timed(self.new_embedder)
        found = paired_vectors(
            self.gallery,
            drawn,
            plan.old_model,
            self.source,
            timed,
            plan.at_once,
            old_embedder=self.old_embedder if made_anew else None,
            on_batch=on_batch,
        )
        queries_old, queries_new, asked = self._queries(queries, asking, made_anew=made_anew)
        return GallerySample(
            plan.old_model,
            plan.new_model,
            found.item_ids,
            found.old,
            found.new,
            queries_old,
            queries_new,
            _labels(found.item_ids, label_of) if label_key else None,
            _labels(asked, label_of) if label_key and asked else None,
            _qrels(queries, found.item_ids),
            timed.cost(len(self.gallery)),
            own.imputed,
            queries_from_items=bool(asked),
        )

    def _makes_old_anew(self, own: OwnItems, drawn: int, wanted: int) -> bool:
        """Whether the old model embeds the sample, for want of vectors that it made before."""
        return (
            own.imputed > 0
            and drawn < wanted
            and self.old_embedder is not None
            and not isinstance(self.source, StoredVectors)
        )

    def _too_few_own(self, own: int, imputed: int) -> str:
        """Say why a gallery that stayed imputed cannot be sampled, and what to do."""
        return (
            f"a rehearsal is of vectors that {self.plan.old_model} made itself, and {own:,} of the "
            f"items to be sampled have one, where {MIN_ITEMS} are needed; {imputed:,} others are "
            "imputed: embed some of them by `hotfill start --more` in the upgrade before, or give "
            "[old] an embedder"
        )

    def _check(self, queries: Sequence[GivenQuery], label_key: str) -> None:
        old = self.plan.old_model
        if old not in self.gallery.spaces:
            held = ", ".join(str(space) for space in self.gallery.spaces)
            raise ConfigError(f"the old model is {old}, but the store holds {held}")
        if queries and label_key:
            raise ConfigError(
                "given queries have no metadata, so a label key says nothing of them: judge them "
                'by {"content": ..., "relevant": [item ids]}, or leave one of the two out'
            )
        if queries and self._asks_old() is None:
            raise ConfigError("given queries are embedded by both models: [old] needs an embedder")

    def _asked_by_others(self) -> bool:
        """Whether other models ask, and can ask by items: they read contents, not vectors."""
        both = {self.plan.old_model, self.plan.new_model}
        return bool(both & set(self.query_embedders)) and not isinstance(self.source, StoredVectors)

    def _asks_old(self) -> Embedder | None:
        return self.query_embedders.get(self.plan.old_model, self.old_embedder)

    def _asks_new(self) -> Embedder:
        return self.query_embedders.get(self.plan.new_model, self.new_embedder)

    def _drawn(
        self,
        items: int,
        random: list[str],
        own: OwnItems | None,
        queries: Sequence[GivenQuery],
        label_key: str,
    ) -> dict[str, str]:
        """What answers a query, then others at random, all in the gallery; with their labels.

        own: tells which answers may be drawn; None where all may.
        """
        answers = list(dict.fromkeys(name for query in queries for name in query.relevant))
        states = self._states(answers)
        there = {state.item_id for state in states} if own is None else own.of(states)
        np.random.default_rng(self.plan.seed).shuffle(random)
        drawn = list(dict.fromkeys([*(name for name in answers if name in there), *random]))
        drawn = drawn[: max(items, len(there))]
        if not label_key:
            return dict.fromkeys(drawn, "")
        states = self._states(drawn)
        labelled = [each for each in states if label_key in each.metadata]
        if not labelled:
            keys = ", ".join(sorted({key for each in states for key in each.metadata})) or "none"
            raise InputError(f"no item has {label_key!r} in its metadata; keys there: {keys}")
        return {each.item_id: str(each.metadata[label_key]) for each in labelled}

    def _states(self, item_ids: Sequence[str]) -> list[ItemState]:
        """What the store knows of items, in their order; those that are gone are left out."""
        return [
            state
            for begin in range(0, len(item_ids), _PAGE)
            for state in self.gallery.get(item_ids[begin : begin + _PAGE])
            if state is not None
        ]

    def _queries(
        self, given: Sequence[GivenQuery], asking: Sequence[str], *, made_anew: bool
    ) -> tuple[Vectors | None, Vectors | None, tuple[str, ...]]:
        """By the old model, by the new one, and the items that they were made of, if any."""
        plan, asks_old = self.plan, self._asks_old()
        if given and asks_old is not None:
            by_old = embed_queries(asks_old, given, plan.at_once)
            return by_old, embed_queries(self._asks_new(), given, plan.at_once), ()
        if not asking:
            return None, None, ()
        found = paired_vectors(
            self.gallery,
            asking,
            plan.old_model,
            self.source,
            self._asks_new(),
            plan.at_once,
            old_embedder=self.query_embedders.get(plan.old_model)
            or (self.old_embedder if made_anew else None),
        )
        return found.old, found.new, found.item_ids


class _Timed:
    """Tells what an embedder costs, by the batches of which it knew nothing beforehand."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._items, self._seconds, self._priced = 0, 0.0, 0
        self._price: float | None = None

    @property
    def model_id(self) -> ModelId:
        return self._embedder.model_id

    def __call__(self, contents: Sequence[Any]) -> Vectors:
        cache = self._embedder if isinstance(self._embedder, Caching) else None
        paid = self._embedder if cache is None else cache.uncached
        if isinstance(paid, Priced) and (price := paid.price(contents)) is not None:
            self._price, self._priced = (self._price or 0.0) + price, self._priced + len(contents)
        known = 0 if cache is None else cache.cached(contents)
        began = perf_counter()
        made = self._embedder(contents)
        if not known:
            self._seconds += perf_counter() - began
            self._items += len(contents)
        return made

    def cost(self, items: int) -> Cost:
        """Return the cost of a gallery with this number of items."""
        return Cost(
            items,
            self._seconds / self._items if self._items else None,
            None if self._price is None else self._price / self._priced,
        )


def _labels(item_ids: Sequence[str], label_of: Mapping[str, str]) -> NDArray[np.str_]:
    return np.array([label_of[item_id] for item_id in item_ids])


def _qrels(queries: Sequence[GivenQuery], item_ids: Sequence[str]) -> dict[str, dict[str, float]]:
    """Judgements by row numbers; of items that are in the sample."""
    row_of = {item_id: str(row) for row, item_id in enumerate(item_ids)}
    found = {
        str(row): {row_of[name]: 1.0 for name in query.relevant if name in row_of}
        for row, query in enumerate(queries)
    }
    return {query: grades for query, grades in found.items() if grades}
