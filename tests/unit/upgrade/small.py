"""A small world for the engine's tests: items are numbers, models are random projections."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from hotfill.errors import EmbedError
from hotfill.stores.base import Gallery
from hotfill.stores.memory import MemoryGallery
from hotfill.types import ModelId, Vectors
from hotfill.upgrade.pairs import Fitting
from hotfill.upgrade.parts import Model
from hotfill.upgrade.phases import Phase
from hotfill.upgrade.state import State
from hotfill.upgrade.upgrade import Upgrade

OLD = ModelId("old", "1", 4)
NEW = ModelId("new", "1", 6)
WIDTH = 8  # numbers that make up the content of an item


@dataclass
class Projection:
    """An honest embedder: a fixed random projection. Contents that begin with `broken` fail."""

    model_id: ModelId
    broken: set[float] = field(default_factory=set)
    calls: int = 0

    def __call__(self, contents: Any) -> Any:
        self.calls += 1
        rows = np.asarray(contents, dtype=np.float32)
        bad = [i for i, row in enumerate(rows) if float(row[0]) in self.broken]
        if bad:
            raise EmbedError("cannot read this content", rows=bad, retryable=False)
        seed = int(self.model_id.fingerprint[:8], 16)
        matrix = np.random.default_rng(seed).normal(size=(WIDTH, self.model_id.dimension))
        vectors = rows @ matrix.astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class Rough:
    """Embeds nearly as a model does: with a small error, the same each time for a content."""

    def __init__(self, model: ModelId, name: str) -> None:
        self.model_id = ModelId(name, "1", model.dimension)
        self._model, self._error = Projection(model), Projection(self.model_id)

    def __call__(self, contents: Any) -> Any:
        vectors = self._model(contents) + 0.1 * self._error(contents)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class Contents(dict):
    """A source: a dictionary that can be called."""

    def __call__(self, item_ids):
        return {item_id: self[item_id] for item_id in item_ids if item_id in self}


@dataclass
class LeastSquares:
    """The plainest fit: an affine map by least squares."""

    matrix: Any
    source: ModelId = OLD
    target: ModelId = NEW
    one_space: None = None
    one_spaces: tuple = ()
    over: dict = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        return "least-squares"

    def __call__(self, vectors):
        mapped = vectors @ self.matrix
        return (mapped / np.linalg.norm(mapped, axis=1, keepdims=True)).astype(np.float32)

    @property
    def up(self):
        return self

    @property
    def ups(self):
        return {self.source: self}

    @property
    def facts(self):
        return {}

    def uncertainty(self, old_vectors):
        return np.abs(old_vectors[:, 0])

    def agreement(self, old_vectors, new_vectors) -> float:
        return float(np.mean(np.einsum("ij,ij->i", self(old_vectors), new_vectors)))

    def save(self, folder: Path) -> None:
        np.save(folder / "matrix.npy", self.matrix)


FITTING = Fitting(
    fit=lambda old, new: LeastSquares(
        np.linalg.lstsq(old, new, rcond=None)[0] if len(old) else np.zeros((4, 6))
    ),
    load=lambda folder: LeastSquares(np.load(folder / "matrix.npy")),
)


def contents(n: int, seed: int = 0) -> Contents:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, WIDTH)).astype(np.float32)
    return Contents({f"item-{i:05}": row for i, row in enumerate(rows)})


def filled(source: Contents, gallery: Gallery | None = None) -> Gallery:
    gallery = MemoryGallery(OLD) if gallery is None else gallery  # an empty one is false
    ids = list(source)
    gallery.upsert(
        ids,
        Projection(OLD)([source[i] for i in ids]),
        space=OLD,
        metadata=[{"number": i} for i in range(len(ids))],
    )
    return gallery


def stay_imputed(gallery: Gallery, item_ids: list[str], space: ModelId = OLD) -> None:
    """Leave items by vectors that some map made, as an upgrade does; they tell nothing of them."""
    if not item_ids:
        return
    earlier = ModelId("earlier", "1", 3)
    gallery.add_space(earlier)
    gallery.upsert(item_ids, np.ones((len(item_ids), 3), np.float32), space=earlier)
    made = np.random.default_rng(9).normal(size=(len(item_ids), space.dimension)).astype(np.float32)
    gallery.move(
        item_ids,
        made / np.linalg.norm(made, axis=1, keepdims=True),
        space=space,
        expected_versions=np.array([state.version for state in gallery.get(item_ids)]),
        origin="a map",
    )
    gallery.drop_space(earlier)


class Exchangeable:
    """An embedder that a test can exchange for another while an upgrade goes on."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    @property
    def model_id(self) -> ModelId:
        return self.inner.model_id

    def __call__(self, contents: Any) -> Any:
        return self.inner(contents)


class _SmallState(State):
    """Tells the test of every phase, and fits as the test says."""

    def __init__(self, up: Small, *parts: Any) -> None:
        self._up = up
        super().__init__(*parts)

    @property
    def fitting(self) -> Fitting:
        return self._up.fitting or super().fitting

    def _load_scorer(self) -> Any:
        return self._up.scorer or super()._load_scorer()

    def enter(self, step: Any) -> Any:
        phase = super().enter(step)
        self._up.on_phase(phase)
        return phase


class Small(Upgrade):
    """An upgrade of the small world, with what a test needs to meddle with it."""

    fitting: Fitting | None = FITTING
    scorer: Any = None
    on_phase: Any = staticmethod(lambda phase: None)
    source: Any
    exchangeable: Exchangeable

    @property
    def new_embedder(self) -> Any:
        return self.exchangeable.inner

    @new_embedder.setter
    def new_embedder(self, embedder: Any) -> None:
        self.exchangeable.inner = embedder

    @property
    def old_embedder(self) -> Any:
        return self.parts.embedder("old")

    @old_embedder.setter
    def old_embedder(self, embedder: Any) -> None:
        self.remade(old=replace(self.parts.old, embedder=embedder))

    def changed(self, **settings: Any) -> None:
        """Follow other settings from now on, as after an edit of the configuration file."""
        self.remade(settings={**self.parts.settings, **settings})

    def remade(self, **parts: Any) -> None:
        self._parts = replace(self._parts, **parts)
        self._open_state = self._serving = None

    def start(self, plan: Any = None, **how: Any) -> Any:
        """Begin without measuring a sample, so that tests may count what is embedded."""
        return super().start(plan or self.parts.draft(), **how)

    @property
    def state(self) -> State:
        return self._state()

    def _make_state(self, gallery: Any, plan: Any) -> State:
        return _SmallState(self, self.parts, gallery, self.journal, plan)


def upgrade(folder: Path, n: int = 100, **changes: Any) -> Small:
    """An upgrade of n items that has not begun; settings and parts may be changed by name."""
    source = changes.pop("source", None) or contents(n)
    gallery = changes.pop("gallery") if "gallery" in changes else filled(source)
    embedder = Exchangeable(changes.pop("new_embedder", None) or Projection(NEW))
    old = Model(changes.pop("old_embedder", None), OLD, changes.pop("old_query_embedder", None))
    new = Model(embedder, None, changes.pop("new_query_embedder", None))
    fitting, on_phase = changes.pop("fitting", FITTING), changes.pop("on_phase", None)
    if (journal := changes.pop("journal", None)) is not None:
        changes["journal"] = lambda: journal
    # Random projections to so few numbers have next to nothing in common: rho is about 0.65.
    settings = {"batch_size": 8, "fit_items": 32, "verify_items": 16, "allow_below_old": True}
    settings |= changes
    up = Small(gallery, old=old, new=new, source=source, folder=folder, **settings)
    up.source, up.exchangeable, up.fitting = source, embedder, fitting
    if on_phase is not None:
        up.on_phase = on_phase
    if journal is not None:
        _ = up.journal  # the one given; else looking would open it, and close it afterwards
    return up


def half_done(up: Small) -> None:
    """Run an upgrade until about half of its items have moved."""
    embedder, items = up.new_embedder, len(up.gallery)

    class Stopping:
        model_id = embedder.model_id
        embedded = 0  # counted here: the journal hears of a batch only when it has been written

        def __call__(self, contents: Any) -> Vectors:
            if up.phase is Phase.BACKFILLING:  # before that a sample is fitted
                self.embedded += len(contents)
                if self.embedded > items // 2:
                    up.stop()
            return embedder(contents)

    up.new_embedder = Stopping()
    up.start()
    up.new_embedder = embedder


def assert_reembedded(gallery: Gallery, source: Contents) -> None:
    """Every item is on the new side by the vector that embedding it directly gives."""
    ids = sorted(source)
    assert len(gallery) == len(ids)
    assert gallery.count(NEW, origin=NEW.fingerprint) == len(ids)
    found = gallery.vectors(ids, NEW)
    assert list(found.item_ids) == ids
    direct = Projection(NEW)([source[i] for i in ids])
    np.testing.assert_allclose(found.vectors, direct, atol=1e-5)
