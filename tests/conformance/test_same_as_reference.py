"""Any sequence of calls gives the same answers as MemoryGallery."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from hotfill.stores import MemoryGallery
from hotfill.testing.models import NEW, NEWEST, OLD, UP
from tests.conformance.conftest import PERSISTENT, STORES, UNHURRIED

NAMES = [f"item{i}" for i in range(8)]
names = st.lists(st.sampled_from(NAMES), unique=True, max_size=5)
spaces = st.sampled_from([OLD, NEW, NEWEST])
seeds = st.integers(0, 2**32 - 1)
colours = st.sampled_from(["red", "green"])


class SameAsReference(RuleBasedStateMachine):
    """Drives a store and the reference alike. Versions differ, so each side has its own."""

    store_name: str

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = STORES[self.store_name](Path(self.folder.name))
        self.model = MemoryGallery(OLD)
        self.real = self.store.gallery(OLD)

    @initialize()
    def add_spaces(self):
        for gallery in (self.model, self.real):
            gallery.add_space(NEW)
            gallery.add_space(NEWEST)

    def versions(self, gallery, item_ids, stale):
        """The versions that the items have; 1 where there is no item, or stale ones are wanted."""
        states = gallery.get(item_ids)
        return np.array([1 if s is None or stale else s.version for s in states], dtype=np.int64)

    @rule(names=names, space=spaces, seed=seeds, colour=st.none() | colours, brings=st.booleans())
    def upsert(self, names, space, seed, colour, brings):
        random = np.random.default_rng(seed)
        vectors = random.normal(size=(len(names), space.dimension))
        metadata = (
            None if colour is None else [{"colour": colour, "n": i} for i in range(len(names))]
        )
        other = OLD if space != OLD else NEW
        kept = {other: random.normal(size=(len(names), other.dimension))} if brings else None
        for gallery in (self.model, self.real):
            gallery.upsert(names, vectors, space=space, metadata=metadata, kept=kept)

    @rule(
        names=names, space=spaces, seed=seeds, by=st.sampled_from([None, UP]), stale=st.booleans()
    )
    def move(self, names, space, seed, by, stale):
        vectors = np.random.default_rng(seed).normal(size=(len(names), space.dimension))
        model, real = (
            gallery.move(
                names,
                vectors,
                space=space,
                expected_versions=self.versions(gallery, names, stale),
                origin=by,
            )
            for gallery in (self.model, self.real)
        )
        assert model.tolist() == real.tolist()

    @rule(names=names, space=spaces)
    def revert(self, names, space):
        for gallery in (self.model, self.real):
            found = gallery.vectors(names, space)
            assert gallery.move(
                found.item_ids, found.vectors, space=space, expected_versions=found.versions
            ).all()

    @rule(names=names)
    def delete(self, names):
        assert self.model.delete(names) == self.real.delete(names)

    @rule(names=names, colour=colours)
    def set_metadata(self, names, colour):
        for gallery in (self.model, self.real):
            gallery.set_metadata(names, [{"colour": colour}] * len(names))

    @rule(space=spaces)
    def drop_and_add_space(self, space):
        for gallery in (self.model, self.real):
            if gallery.count(space) == 0:
                gallery.drop_space(space)
                gallery.add_space(space)
        assert self.model.spaces == self.real.spaces

    @rule(seed=seeds, k=st.integers(1, 10), colour=st.none() | colours)
    def search(self, seed, k, colour):
        random = np.random.default_rng(seed)
        queries = {space: random.normal(size=(2, space.dimension)) for space in (OLD, NEW, NEWEST)}
        where = None if colour is None else {"colour": colour}
        model = self.model.search(queries, k, where=where)
        real = self.real.search(queries, k, where=where)
        for space in queries:
            assert model[space].item_ids == real[space].item_ids
            for expected, scores in zip(model[space].scores, real[space].scores, strict=True):
                np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)

    @rule()
    def reopen(self):
        self.real = self.store.again(self.real)

    @rule()
    def optimise(self):
        self.real.optimise()

    @invariant()
    def the_same_content(self):
        for model, real in zip(self.model.get(NAMES), self.real.get(NAMES), strict=True):
            assert (model is None) == (real is None)
            if model is not None:
                assert (model.space, model.origin) == (real.space, real.origin)
                assert model.metadata == real.metadata
        for space in (OLD, NEW, NEWEST):
            assert self.model.count(space) == self.real.count(space)
            for origin in (UP, space.fingerprint):
                assert self.model.count(space, origin=origin) == self.real.count(
                    space, origin=origin
                )
            assert sorted(self.model.scan(space).item_ids) == sorted(self.real.scan(space).item_ids)
            model, real = self.model.vectors(NAMES, space), self.real.vectors(NAMES, space)
            assert model.item_ids == real.item_ids
            np.testing.assert_allclose(model.vectors, real.vectors, atol=1e-6)

    def teardown(self):
        for gallery in self.store.made:
            gallery.close()
        with contextlib.suppress(OSError):
            self.folder.cleanup()


EXAMPLES = {**dict.fromkeys(UNHURRIED, 4), "milvus": 2, "milvus_server": 1}


@pytest.mark.parametrize("name", PERSISTENT)
def test_any_sequence_of_calls_gives_the_answers_of_the_reference(name):
    machine = type("Machine", (SameAsReference,), {"store_name": name})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES.get(name, 12),
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=True,
        ),
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", PERSISTENT)
def test_very_many_sequences_of_calls_give_the_answers_of_the_reference(name):
    machine = type("Machine", (SameAsReference,), {"store_name": name})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=2 * EXAMPLES[name] if name in UNHURRIED else 150,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
