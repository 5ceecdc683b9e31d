"""Upgrades to codes, between codes and back to floats: the engine from start to complete."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hotfill.binary import BinaryEmbedder, BinaryEncoder, CodeFormat, GridCodec
from hotfill.lab.binary import fit_compatible_start, fit_start, old_code_values
from hotfill.ranking import compare
from hotfill.rehearsal.comparison import RehearsalSettings, rehearse
from hotfill.rehearsal.sample import EmbeddedBy
from hotfill.stores.base import Gallery
from hotfill.stores.coded import CodedGallery
from hotfill.stores.memory import MemoryGallery
from hotfill.stores.qdrant_edge import QdrantEdgeGallery
from hotfill.types import Embedder, ModelId
from hotfill.upgrade.phases import Phase
from hotfill.upgrade.plan import Strategy
from hotfill.upgrade.upgrade import Upgrade
from hotfill.vectors import unit

OLD, NEW = ModelId("shop", "1", 32), ModelId("shop", "2", 48)
ITEMS, ASKED, K = 600, 80, 10
NAMES = [f"item-{number:03}" for number in range(ITEMS)]


def _world() -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Items, then queries, as an old, noisier model and a new one see them; what is relevant."""
    random = np.random.default_rng(3)
    hidden = random.standard_normal((ITEMS + ASKED, 16))
    old = hidden @ random.standard_normal((16, 32)) + 2 * random.standard_normal((len(hidden), 32))
    new = hidden @ random.standard_normal((16, 48)) + random.standard_normal((len(hidden), 48))
    hidden /= np.linalg.norm(hidden, axis=1, keepdims=True)
    near = hidden[ITEMS:] @ hidden[:ITEMS].T
    relevant = near >= np.sort(near, axis=1)[:, [-K]]
    return old.astype(np.float32), new.astype(np.float32), relevant


OLD_ROWS, NEW_ROWS, RELEVANT = _world()


class Table:
    """An embedder that looks vectors up by row number."""

    def __init__(self, model_id: ModelId, rows: NDArray[np.float32]) -> None:
        self.model_id = model_id
        self._rows = rows

    def __call__(self, contents: Sequence[Any], /) -> NDArray[np.float32]:
        return self._rows[list(contents)]


class StopsAfter:
    """An embedder that asks the backfill to stop whenever it has made so many more vectors."""

    def __init__(self, embedder: Embedder, items: int) -> None:
        self.model_id = embedder.model_id
        self.upgrade: Upgrade | None = None
        self._embedder, self._items, self._made = embedder, items, 0

    def __call__(self, contents: Sequence[Any], /) -> NDArray[np.float32]:
        if self.upgrade is not None and self.upgrade.phase is Phase.BACKFILLING:
            self._made += len(contents)
            if self._made >= self._items:
                self._made = 0
                self.upgrade.stop()
        return self._embedder(contents)


@dataclass(frozen=True)
class Pair:
    """Two models, and the encoders of those that give codes."""

    old: Embedder
    new: Embedder
    encoders: tuple[BinaryEncoder, ...]


def float_to_binary() -> Pair:
    encoder = fit_start(OLD_ROWS, OLD, CodeFormat(32, 4))
    old = Table(OLD, OLD_ROWS)
    return Pair(old, BinaryEmbedder(old, encoder), (encoder,))


def binary_to_binary() -> Pair:
    old, new = fit_start(OLD_ROWS, OLD, CodeFormat(32, 2)), fit_start(NEW_ROWS, NEW, _TWO_BITS)
    return Pair(_codes(OLD, OLD_ROWS, old), _codes(NEW, NEW_ROWS, new), (old, new))


def compatible_codes() -> Pair:
    old = fit_start(OLD_ROWS, OLD, CodeFormat(32, 2))
    values = old_code_values(old, OLD_ROWS[:300])
    new = fit_compatible_start(NEW_ROWS[:300], values, NEW, CodeFormat(32, 2))
    return Pair(_codes(OLD, OLD_ROWS, old), _codes(NEW, NEW_ROWS, new), (old, new))


def binary_to_float() -> Pair:
    encoder = fit_start(OLD_ROWS, OLD, CodeFormat(32, 2))
    return Pair(_codes(OLD, OLD_ROWS, encoder), Table(NEW, NEW_ROWS), (encoder,))


_TWO_BITS = CodeFormat(48, 2)


def _codes(model: ModelId, rows: NDArray[np.float32], encoder: BinaryEncoder) -> BinaryEmbedder:
    return BinaryEmbedder(Table(model, rows), encoder)


DIRECTIONS = [
    (float_to_binary, "merge"),
    (binary_to_binary, "merge"),
    (binary_to_binary, "prefill"),
    (compatible_codes, "compatible"),
    (binary_to_float, "merge"),
]


def found_share(found: Sequence[Sequence[str]]) -> float:
    """Recall of what is relevant, at K."""
    rows = [[NAMES.index(name) for name in names[:K]] for names in found]
    return float(np.mean([RELEVANT[query, row].mean() for query, row in enumerate(rows)]))


def alone(embedder: Embedder) -> float:
    """Recall of a model that embedded everything, by arithmetic."""
    rows = embedder(range(ITEMS + ASKED))
    scores = compare(rows[ITEMS:], rows[:ITEMS], embedder.model_id)
    best = np.argsort(-scores, axis=1)[:, :K]
    return found_share([[NAMES[item] for item in row] for row in best])


def mirror(gallery: CodedGallery) -> MemoryGallery:
    """The same items on the same sides, their codes as floats in the reference store."""
    copy = MemoryGallery()
    for space in gallery.spaces:
        copy.add_space(space)
    for space in gallery.spaces:
        states = gallery.get(NAMES)
        ids = [state.item_id for state in states if state is not None and state.space == space]
        copy.upsert(ids, gallery.vectors(ids, space).vectors, space=space)
    return copy


@pytest.mark.parametrize(("pair_of", "strategy"), DIRECTIONS)
def test_an_upgrade_with_codes_on_a_side_goes_from_start_to_complete(
    tmp_path: Path, pair_of: Callable[[], Pair], strategy: Strategy
) -> None:
    pair = pair_of()
    old, new = pair.old.model_id, pair.new.model_id
    codecs = [GridCodec(encoder) for encoder in pair.encoders]
    QdrantEdgeGallery.create(tmp_path / "store", ModelId("nothing", "1", 1)).close()

    def opened() -> CodedGallery:
        inner = QdrantEdgeGallery.open(tmp_path / "store", exact=True)
        return CodedGallery(inner, tmp_path / "codes", codecs)

    gallery = opened()
    gallery.add_space(old)
    gallery.drop_space(ModelId("nothing", "1", 1))
    gallery.upsert(NAMES, pair.old(range(ITEMS)), space=old)
    stopping = StopsAfter(pair.new, 150)

    def upgrade_of(gallery: Gallery) -> Upgrade:
        return Upgrade(
            gallery,
            old=pair.old,
            new=stopping,
            source=lambda ids: {name: NAMES.index(name) for name in ids},
            folder=tmp_path,
            strategy=strategy,
            batch_size=50,
            fit_items=300,
            verify_items=50,
        )

    upgrade = stopping.upgrade = upgrade_of(gallery)

    asked = range(ITEMS, ITEMS + ASKED)
    lowest = min(alone(pair.old), alone(pair.new))
    stops = []
    while upgrade.start().phase is not Phase.BACKFILLED:
        stopping.upgrade = None  # it embeds queries, too
        everything = upgrade.search(list(asked[:3]), ITEMS)
        assert all(sorted(hit.item_id for hit in result.hits) == NAMES for result in everything)
        found = upgrade.search(list(asked), K)
        by_arithmetic = upgrade_of(mirror(gallery))
        for here, there in zip(found, by_arithmetic.search(list(asked), K), strict=True):
            np.testing.assert_allclose(
                [hit.score for hit in here.hits], [hit.score for hit in there.hits], atol=2e-4
            )
        moved = gallery.count(new, origin=new.fingerprint)
        stops.append(moved)
        share = found_share([[hit.item_id for hit in result.hits] for result in found])
        assert share >= lowest - 0.02, f"{share} with {moved} moved, {lowest} at the worse end"
        stopping.upgrade = upgrade
    assert any(0 < moved < ITEMS for moved in stops)
    stopping.upgrade = None
    assert upgrade.verify().passed
    assert upgrade.cutover().phase is Phase.CUT_OVER
    assert upgrade.complete().phase is Phase.COMPLETED
    gallery.close()
    with opened() as gallery:
        assert gallery.spaces == (new,)
        after = upgrade_of(gallery).search(list(asked), K)
        share = found_share([[hit.item_id for hit in result.hits] for result in after])
        assert share == pytest.approx(alone(pair.new), abs=0.01)


@pytest.mark.parametrize("pair_of", [float_to_binary, binary_to_binary, binary_to_float])
def test_such_upgrades_can_be_rehearsed(pair_of: Callable[[], Pair]) -> None:
    pair = pair_of()
    asked = range(ITEMS, ITEMS + ASKED)
    rehearsal = rehearse(
        EmbeddedBy(pair.old(range(ITEMS)), pair.old(asked)),
        EmbeddedBy(pair.new(range(ITEMS)), pair.new(asked)),
        settings=RehearsalSettings(fit=200, points=3),
    )
    measured = {curve.strategy for curve in rehearsal.curves}
    assert {"merge", "prefill"} <= measured
    for curve in rehearsal.curves:
        assert 0 <= curve.points[1].quality.map <= 1


# Codes of several versions side by side, for good -------------------------------------------------


def test_codes_of_three_versions_stay_side_by_side_and_are_searched_by_the_newest(
    tmp_path: Path,
) -> None:
    newest = ModelId("shop", "3", 48)
    better = (NEW_ROWS + np.random.default_rng(7).standard_normal(NEW_ROWS.shape)).astype("f4")
    form = CodeFormat(32, 2)
    first = fit_start(OLD_ROWS, OLD, form)
    values = old_code_values(first, OLD_ROWS[:300])
    second = fit_compatible_start(NEW_ROWS[:300], values, NEW, form)
    third = fit_compatible_start(better[:300], values, newest, form)
    embedders = [
        _codes(OLD, OLD_ROWS, first),
        _codes(NEW, NEW_ROWS, second),
        _codes(newest, better, third),
    ]
    spaces = [each.model_id for each in embedders]
    codecs = [GridCodec(each) for each in (first, second, third)]
    inner = QdrantEdgeGallery.create(tmp_path / "store", ModelId("nothing", "1", 1), exact=True)
    gallery = CodedGallery(inner, tmp_path / "codes", codecs)
    gallery.add_space(spaces[0])
    gallery.drop_space(ModelId("nothing", "1", 1))
    gallery.upsert(NAMES, embedders[0](range(ITEMS)), space=spaces[0])
    version = dict.fromkeys(NAMES, 0)
    for number in (1, 2):
        old, new = embedders[number - 1], embedders[number]
        with Upgrade(
            gallery,
            old=old,
            new=new,
            source=lambda ids: {name: NAMES.index(name) for name in ids},
            folder=tmp_path / f"upgrade-{number}",
            strategy="compatible",
            backfill="budget",
            budget_items=200,
            seed=number,
            batch_size=50,
            verify_items=50,
        ) as up:
            up.start()
            assert up.verify().passed
            up.cutover()
            up.complete()
            page = gallery.scan(spaces[number], limit=ITEMS)
            for name, origin in zip(page.item_ids, page.origins, strict=True):
                if origin == spaces[number].fingerprint:
                    version[name] = number
            asked = list(range(ITEMS, ITEMS + ASKED))
            found = up.search(asked, K)
            (covered,) = up.current().models
    assert gallery.spaces == (spaces[2],)
    assert [list(version.values()).count(each) for each in (0, 1, 2)].count(0) == 0
    assert covered.embedded == 200
    assert sum(each.items for each in covered.imputed) == ITEMS - 200
    # Each item has the very code that its version gave it.
    made = [embedder(range(ITEMS)) for embedder in embedders]
    rows = np.stack([made[version[name]][row] for row, name in enumerate(NAMES)])
    np.testing.assert_allclose(
        unit(gallery.vectors(NAMES, spaces[2]).vectors), unit(rows), atol=1e-5
    )
    queries = embedders[2](asked)
    scores = unit(queries) @ unit(rows).T
    best = -np.sort(-scores, axis=1)[:, :K]
    for here, there in zip(found, best, strict=True):
        np.testing.assert_allclose([hit.score for hit in here.hits], there, atol=2e-4)
    lists = [[hit.item_id for hit in result.hits] for result in found]
    assert found_share(lists) > alone(embedders[0])
    gallery.close()
