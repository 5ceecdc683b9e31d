"""Canaries: queries that are searched again and again while the upgrade runs, to see what it does.

They are chosen, embedded and searched once, before anything moves: that ranking, of the old model
over the old gallery, is what later ones are compared with. It is kept next to the journal, so that
every run of the upgrade compares with the same.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.errors import ConfigError, InputError, JournalError
from hotfill.files import folder_whole
from hotfill.text_files import text_lines
from hotfill.upgrade.caller import make_vectors
from hotfill.upgrade.order import sample_ids
from hotfill.upgrade.pairs import paired_vectors
from hotfill.upgrade.stored_vectors import StoredVectors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hotfill.stores.base import Gallery
    from hotfill.types import Embedder, ModelId, Source, Vectors
    from hotfill.upgrade.journal.base import Journal
    from hotfill.upgrade.order import Told
    from hotfill.upgrade.pace import Progress
    from hotfill.upgrade.plan import Plan

    SearchBefore = Callable[[Vectors, int], Sequence[Sequence[str]]]
    """The search before the upgrade: queries of the old model, k; item ids, best first."""


# Queries that somebody wrote down, perhaps with what answers them --------------------------------


@dataclass(frozen=True, slots=True)
class GivenQuery:
    """One line of the file. relevant: ids of the items judged to answer it."""

    content: Any
    relevant: tuple[str, ...] = ()


def read_queries(path: Path) -> list[GivenQuery]:
    """Read JSON lines: {"content": ..., "relevant": ["item id", ...]}; relevant may be left out.

    content: what the embedder reads. Raises ConfigError, naming the line.
    """
    try:
        found = [_given(path, number, line) for number, line in text_lines(path)]
    except InputError as error:
        raise ConfigError(f"the queries: {error}") from error
    if not found:
        raise ConfigError(f"{path} holds no queries")
    return found


def embed_queries(
    embedder: Embedder,
    queries: Sequence[GivenQuery],
    batch_size: int,
    told: Told = lambda done: None,
) -> Vectors:
    """Embed given queries, one at least: float32 (q, dimension).

    told: how many queries are embedded so far.
    Raises what the embedder raises, with the numbers of the queries at fault.
    """
    contents = [each.content for each in queries]
    names = [f"query {number}" for number in range(1, len(contents) + 1)]
    made = []
    for begin in range(0, len(contents), batch_size):
        some = slice(begin, begin + batch_size)
        made.append(make_vectors(embedder, embedder.model_id, names[some], contents[some]))
        told(begin + len(contents[some]))
    return np.concatenate(made)


def _given(path: Path, number: int, line: str) -> GivenQuery:
    try:
        values = json.loads(line)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}, line {number}: not JSON: {error}") from error
    relevant = values.get("relevant", []) if isinstance(values, dict) else None
    if (
        not isinstance(values, dict)
        or "content" not in values
        or not set(values) <= {"content", "relevant"}
        or not isinstance(relevant, list)
        or not all(isinstance(item_id, str) for item_id in relevant)
    ):
        raise ConfigError(
            f'{path}, line {number}: expected {{"content": ..., "relevant": [item ids]}}, '
            f"got {line.strip()[:80]}"
        )
    return GivenQuery(values["content"], tuple(relevant))


WATCHED = 1000
"""Items whose two vectors are compared once they have moved."""

_SEED = 7919  # drawn otherwise than what the maps are fitted on
_FOLDER = "canaries"


@dataclass(frozen=True, slots=True, eq=False)
class Canaries:
    """Queries, and what they found before.

    queries: of the new model, float32 (q, dimension). old_queries: the same of the old model, where
        it was asked.
    item_ids: the item that each query was made of, which no ranking counts; "" for a given query.
    relevant: per query the items judged to answer it; empty where nobody judged.
    before: per query what the old model found, best first; empty where it was not asked.
    watched: ids of other items; of those that have moved, both models' vectors are at hand.
    """

    queries: Vectors
    item_ids: tuple[str, ...]
    relevant: tuple[tuple[str, ...], ...]
    before: tuple[tuple[str, ...], ...]
    watched: tuple[str, ...]
    old_queries: Vectors | None = None

    def __len__(self) -> int:
        return len(self.item_ids)


def draw_canaries(
    gallery: Gallery,
    plan: Plan,
    source: Source,
    new_embedder: Embedder,
    old_embedder: Embedder | None,
    search_before: SearchBefore,
    fitted_on: Sequence[str],
    query_embedders: Mapping[ModelId, Embedder],
    progress: Progress,
) -> Canaries:
    """Choose the canaries that a plan asks for, and search them as everybody still searches.

    search_before: see there. fitted_on: items that the maps were fitted on; they are not watched,
    as far as there are others. query_embedders: what embeds the queries of a model, where that is
    not the model itself. progress: told what is done, part by part.
    Without an old embedder queries that are given have nothing to be compared with.
    Raises ConfigError (the file, or what is judged by it), and what embedders and source raise.
    """
    # What embeds queries reads contents; where stored vectors stand for items, there are none.
    given = bool(plan.canary_queries)
    asking = query_embedders if given or not isinstance(source, StoredVectors) else {}
    asks_new, asks_old = asking.get(plan.new_model, new_embedder), asking.get(plan.old_model)
    if given:
        found = _given_ones(plan, asks_new, asks_old or old_embedder, progress)
    else:
        found = _of_items(gallery, plan, source, asks_new, asks_old, old_embedder, progress)
    queries, old_queries, names, relevant = found
    before: list[tuple[str, ...]] = [()] * len(names)
    if old_queries is not None and len(names):
        with progress.counting("searching by the canaries"):
            lists = search_before(old_queries, plan.canary_k + 1)
        before = [without(row, name, plan.canary_k) for row, name in zip(lists, names, strict=True)]
    used = {*fitted_on, *names}
    with progress.counting("drawing items to watch", len(gallery)) as told:
        drawn = sample_ids(
            gallery, gallery.spaces, WATCHED + len(used), plan.seed + _SEED, told=told
        )
    fresh = [item_id for item_id in drawn if item_id not in used]
    watched = [*fresh, *(item_id for item_id in drawn if item_id in used)][:WATCHED]
    return Canaries(
        queries, tuple(names), tuple(relevant), tuple(before), tuple(watched), old_queries
    )


def without(ranked: Sequence[str], item_id: str, k: int) -> tuple[str, ...]:
    """Return the first k of a ranking, leaving out the item that the query was made of."""
    return tuple(each for each in ranked if each != item_id)[:k]


def given_queries(plan: Plan, embedder: Embedder, progress: Progress) -> Vectors:
    """Embed the queries of the plan's file by the new model: float32 (q, dimension).

    progress: told how many are embedded.
    """
    return embedded(embedder, read_queries(Path(plan.canary_queries)), plan, progress)


def embedded(
    embedder: Embedder, queries: Sequence[GivenQuery], plan: Plan, progress: Progress
) -> Vectors:
    """Embed queries as `embed_queries` does. progress: told how many are embedded."""
    with progress.counting("embedding queries", len(queries)) as told:
        return embed_queries(embedder, queries, plan.at_once, told)


def _given_ones(
    plan: Plan, new_embedder: Embedder, old_embedder: Embedder | None, progress: Progress
) -> tuple[Vectors, Vectors | None, list[str], list[tuple[str, ...]]]:
    given = read_queries(Path(plan.canary_queries))
    if "flips" in plan.gate and not any(each.relevant for each in given):
        raise ConfigError(f"a gate on flips needs judgements: no line of {plan.canary_queries} has")
    if old_embedder is None and {"flips", "old_overlap"} & set(plan.gate):
        raise ConfigError(
            "a gate on flips or old_overlap compares with the old model: [old] needs an embedder"
        )
    new = embedded(new_embedder, given, plan, progress)
    old = None if old_embedder is None else embedded(old_embedder, given, plan, progress)
    return new, old, [""] * len(given), [each.relevant for each in given]


def _of_items(
    gallery: Gallery,
    plan: Plan,
    source: Source,
    asks_new: Embedder,
    asks_old: Embedder | None,
    old_embedder: Embedder | None,
    progress: Progress,
) -> tuple[Vectors, Vectors, list[str], list[tuple[str, ...]]]:
    """Items as queries; to the old model by their stored vectors, unless another model asks it.

    A vector that stayed imputed is no query of the old model: the model makes it, where it can.
    """
    old = plan.old_model
    own = gallery.count(old, origin=old.fingerprint)
    if own < min(plan.canary_items, gallery.count(old)) and not isinstance(source, StoredVectors):
        asks_old = asks_old or old_embedder
    made_by = old.fingerprint if asks_old is None else None
    seed = plan.seed + _SEED
    with progress.counting("drawing the canaries", gallery.count(old)) as told:
        ids = sample_ids(gallery, [old], plan.canary_items, seed, made_by=made_by, told=told)
    with progress.counting("embedding the canaries", len(ids)) as told:
        found = paired_vectors(
            gallery,
            ids,
            old,
            source,
            asks_new,
            plan.at_once,
            old_embedder=asks_old,
            on_batch=told,
            call_seconds=plan.embed_timeout_seconds,
        )
    return found.new, found.old, list(found.item_ids), [()] * len(found.item_ids)


def keep_canaries(folder: Path, journal: Journal, canaries: Canaries) -> None:
    """Save canaries; the journal says that they are whole."""
    lists = {
        "item_ids": canaries.item_ids,
        "relevant": canaries.relevant,
        "before": canaries.before,
        "watched": canaries.watched,
    }
    with folder_whole(folder / _FOLDER) as place:
        np.save(place / "queries.npy", canaries.queries, allow_pickle=False)
        if canaries.old_queries is not None:
            np.save(place / "old_queries.npy", canaries.old_queries, allow_pickle=False)
        (place / "lists.json").write_text(json.dumps(lists), encoding="utf-8")
    journal.record("canaries", folder=_FOLDER, queries=len(canaries))


def kept_canaries(folder: Path, journal: Journal) -> Canaries | None:
    """Read what `keep_canaries` saved; None when there were none. Raises JournalError."""
    fact = journal.last("canaries")
    if fact is None:
        return None
    place = folder / _FOLDER
    try:
        lists = json.loads((place / "lists.json").read_text(encoding="utf-8"))
        queries = np.load(place / "queries.npy", allow_pickle=False)
        old = place / "old_queries.npy"
        old_queries = np.load(old, allow_pickle=False) if old.exists() else None
    except (OSError, ValueError) as error:
        raise JournalError(f"the canaries of this upgrade cannot be read: {error}") from error
    return Canaries(
        queries,
        tuple(lists["item_ids"]),
        tuple(tuple(row) for row in lists["relevant"]),
        tuple(tuple(row) for row in lists["before"]),
        tuple(lists["watched"]),
        old_queries,
    )
