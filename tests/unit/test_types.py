"""Model ids: equal only if every field is."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotfill.errors import ConfigError
from hotfill.types import Embedder, ModelId, Source, Transform

ids = st.builds(
    ModelId,
    name=st.text(min_size=1, max_size=8),
    revision=st.text(max_size=8),
    dimension=st.integers(1, 4096),
    metric=st.sampled_from(["cosine", "dot", "l2"]),
    normalised=st.booleans(),
    preprocessing=st.text(max_size=8),
)
CHANGES = {
    "name": "other",
    "revision": "other",
    "dimension": 65,
    "metric": "l2",
    "normalised": False,
    "preprocessing": "crop",
}
MODEL = ModelId("m", "1", 64)


@settings(deadline=None)
@given(ids)
def test_a_model_id_survives_json(model):
    assert ModelId.from_dict(json.loads(json.dumps(model.to_dict()))) == model


@settings(deadline=None)
@given(ids, ids)
def test_fingerprints_are_equal_exactly_for_equal_ids(first, second):
    assert (first.fingerprint == second.fingerprint) == (first == second)
    assert len(first.fingerprint) == 12


@pytest.mark.parametrize("field", [each.name for each in fields(ModelId)])
def test_a_change_of_any_field_changes_the_fingerprint_and_is_named(field):
    other = replace(MODEL, **{field: CHANGES[field]})
    assert other.fingerprint != MODEL.fingerprint
    assert MODEL.differences(other) == (f"{field} {getattr(MODEL, field)!r} != {CHANGES[field]!r}")


def test_equal_ids_have_no_difference():
    assert MODEL.differences(ModelId("m", "1", 64)) == "no difference"


def test_a_fingerprint_is_the_same_in_every_release():
    # Stores on disk carry it: a change of this figure makes every one of them unreadable.
    assert MODEL.fingerprint == "1629b6c7737d"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": ""}, "needs a name"),
        ({"dimension": 0}, "dimension must be >= 1, got 0"),
        ({"metric": "hamming"}, "metric must be one of cosine, dot, l2, got 'hamming'"),
    ],
)
def test_a_model_id_that_makes_no_sense_is_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        replace(MODEL, **change)


def test_unknown_and_missing_fields_are_named():
    with pytest.raises(ConfigError, match="unknown: dimensions; missing: dimension"):
        ModelId.from_dict({"name": "m", "revision": "1", "dimensions": 64})


def test_a_model_id_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        MODEL.dimension = 3


def test_anything_of_the_right_shape_is_an_embedder_a_source_or_a_transform():
    class Both:
        model_id = source = target = MODEL
        fingerprint = "x"

        def __call__(self, contents):
            return contents

    assert isinstance(Both(), Embedder)
    assert isinstance(Both(), Transform)
    assert isinstance(lambda item_ids: {}, Source)
    assert not isinstance(lambda contents: contents, Embedder)
