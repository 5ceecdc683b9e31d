"""Metadata come back as they were given, and filters mean what `matches` says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hotfill.errors import InputError
from hotfill.stores import Range
from hotfill.stores.filters import (
    MOST_BYTES,
    MOST_KEYS,
    MOST_METADATA,
    MOST_VALUES,
    matches,
)
from hotfill.testing.models import OLD
from tests.conformance.conftest import STORES, UNHURRIED, named

KEYS = st.sampled_from(["a", "A", "a.b", "ä b", "xy'`[0]", "\n", "$.a", "%s", "a__text", "id"])
TO_SIXTEEN_DIGITS = {"qdrant_edge", "coded", "chroma", "chroma_server"}
"""The engines read floats from JSON to within their last place."""


def scalars(floats):
    return (
        st.booleans()
        | st.integers(-(2**63) + 1, 2**63 - 1)
        | floats
        | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)
        | st.sampled_from([0, 1, -1, 1.0, 2**53, 2**53 + 1, 2.0**53, "", "1", "true", "'; --"])
    )


def filters(values):
    bounds = st.none() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False)
    wanted = values | st.lists(values, max_size=3) | st.builds(Range, bounds, bounds)
    return st.lists(st.dictionaries(KEYS, wanted, max_size=2), max_size=6)


@pytest.mark.parametrize("name", named(STORES))
def test_metadata_come_back_and_filters_find_what_matches(name, tmp_path):
    store = STORES[name](tmp_path)
    gallery = store.gallery(OLD)
    vector = np.ones((1, OLD.dimension), dtype=np.float32)
    values = scalars(
        st.floats(-1e6, 1e6).map(lambda number: round(number, 3))
        if name in TO_SIXTEEN_DIGITS
        else st.floats(allow_nan=False, allow_infinity=False)
    )

    @settings(
        max_examples=6 if name in UNHURRIED else 25,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(
        records=st.lists(st.dictionaries(KEYS, values, max_size=3), min_size=1, max_size=6),
        wheres=filters(values),
    )
    def same(records, wheres):
        names = [f"{i}" for i in range(len(records))]
        gallery.delete([f"{i}" for i in range(6)])  # of the example before
        gallery.upsert(names, vector.repeat(len(records), axis=0), space=OLD, metadata=records)
        for state, record in zip(gallery.get(names), records, strict=True):
            assert state.metadata == record
            for key, value in record.items():
                assert type(state.metadata[key]) is type(value)
        for where in [*wheres, *({key: value} for row in records for key, value in row.items())]:
            found = gallery.search({OLD: vector}, 10, where=where)[OLD].item_ids[0]
            passing = [matches(record, where) for record in records]
            assert sorted(found) == [each for each, one in zip(names, passing, strict=True) if one]

    try:
        same()
    finally:
        gallery.close()


def test_a_filter_of_very_many_values_finds_what_it_should(store, rows):
    gallery = store.gallery(OLD)
    names = ["text", "number", "both", "neither"]
    metadata = [{"a": "x7"}, {"a": 7}, {"a": "x8", "b": True}, {"a": True}]
    gallery.upsert(names, rows(4, OLD), space=OLD, metadata=metadata)
    texts = [f"x{i}" for i in range(MOST_VALUES // 2)]
    numbers = list(range(MOST_VALUES // 2))
    for where, expected in (
        ({"a": texts}, ["both", "text"]),
        ({"a": numbers}, ["number"]),
        ({"a": texts + numbers}, ["both", "number", "text"]),
        ({"a": texts + numbers, "b": True}, ["both"]),
    ):
        found = gallery.search({OLD: rows(1, OLD)}, 10, where=where)[OLD].item_ids[0]
        assert sorted(found) == expected


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"a": list(range(MOST_VALUES + 1))}, "at most 1,000 values, got 1,001"),
        ({f"{i}": 1 for i in range(MOST_KEYS + 1)}, "at most 32 keys, got 33"),
        ({"a": "x" * MOST_BYTES}, "at most 1,048,576 bytes in all, got 1,048,577"),
        ({"a": "\ud800"}, "half a character"),
        ({"\ud800": "a"}, "half a character"),
        ({"a": "x\0"}, "NUL"),
        ([("a", 1)], "a filter is a mapping"),
    ],
)
def test_a_filter_that_would_cost_too_much_or_cannot_be_written_is_refused(
    store, rows, where, message
):
    gallery = store.gallery(OLD)
    with pytest.raises(InputError, match=message):
        gallery.search({OLD: rows(1, OLD)}, 1, where=where)


@pytest.mark.parametrize("row", [{"a": "\ud800"}, {"\ud800": 1}, {"a": "x\0"}, {"a\0": 1}])
def test_metadata_that_cannot_be_written_everywhere_are_refused(store, rows, row):
    gallery = store.gallery(OLD)
    gallery.upsert(["a"], rows(1, OLD), space=OLD, metadata=[{"n": 1}])
    with pytest.raises(InputError, match=r"NUL|half a character"):
        gallery.upsert(["a", "b"], rows(2, OLD), space=OLD, metadata=[{}, row])
    with pytest.raises(InputError, match=r"NUL|half a character"):
        gallery.set_metadata(["a"], [row])
    assert [state and state.metadata for state in gallery.get(["a", "b"])] == [{"n": 1}, None]


def test_an_item_with_more_keys_than_a_store_should_keep_is_refused(store, rows):
    gallery = store.gallery(OLD)
    many = {f"key-{number}": 1 for number in range(MOST_METADATA + 1)}
    with pytest.raises(InputError, match=r"at most 256 keys, got 257"):
        gallery.upsert(["a"], rows(1, OLD), space=OLD, metadata=[many])
    assert gallery.get(["a"]) == [None]
