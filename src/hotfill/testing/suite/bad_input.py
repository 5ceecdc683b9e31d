"""Bad input is refused with a clear error, and nothing is written."""

import numpy as np
import pytest

from hotfill.errors import (
    DuplicateItemError,
    InputError,
    ModelMismatchError,
    ShapeError,
    StoreError,
    VectorError,
)
from hotfill.stores import Range
from hotfill.testing.models import NEW, OLD, STRANGER


def bad_rows(value):
    rows = np.ones((2, 6), dtype=np.float32)
    rows[1] = value
    return rows


GOOD = np.ones((2, 6), dtype=np.float32)
BAD_BATCHES = {
    "wrong dimension": (ShapeError, ["x", "y"], np.ones((2, 7))),
    "too few rows": (ShapeError, ["x", "y"], np.ones((1, 6))),
    "one row not a table": (ShapeError, ["x"], np.ones(6)),
    "not a number": (VectorError, ["x", "y"], bad_rows(np.nan)),
    "infinite": (VectorError, ["x", "y"], bad_rows(np.inf)),
    "zero": (VectorError, ["x", "y"], bad_rows(0)),
    "repeated id": (DuplicateItemError, ["x", "x"], GOOD),
    "empty id": (InputError, ["x", ""], GOOD),
    "id not a text": (InputError, ["x", 7], GOOD),
}


@pytest.fixture
def gallery(store, rows):
    gallery = store.gallery(OLD)
    gallery.upsert(["x", "old"], rows(2, OLD), space=OLD, metadata=[{"n": 1}, {}])
    return gallery


@pytest.fixture
def unchanged(gallery):
    """After the test everything must be as before it."""

    def content():
        return gallery.get(["x", "y", "old"]), gallery.vectors(["x", "old"], OLD).vectors.tolist()

    before = content()
    yield
    assert content() == before
    assert gallery.count(OLD) == 2
    assert gallery.spaces == (OLD,)


@pytest.mark.parametrize(("error", "item_ids", "vectors"), BAD_BATCHES.values(), ids=BAD_BATCHES)
@pytest.mark.usefixtures("unchanged")
def test_bad_batches_are_not_written(gallery, error, item_ids, vectors):
    with pytest.raises(error):
        gallery.upsert(item_ids, vectors, space=OLD)
    with pytest.raises(error):
        gallery.move(
            item_ids,
            vectors,
            space=OLD,
            expected_versions=np.full(len(item_ids), gallery.get(["x"])[0].version),
        )


@pytest.mark.usefixtures("unchanged")
def test_the_error_names_the_items(gallery):
    with pytest.raises(VectorError, match="zero values: y") as caught:
        gallery.upsert(["x", "y"], bad_rows(np.nan), space=OLD)
    assert caught.value.item_ids == ("y",)


@pytest.mark.usefixtures("unchanged")
def test_an_unknown_space_is_refused_everywhere(gallery, rows):
    vectors = rows(1, STRANGER)
    for call in (
        lambda: gallery.upsert(["x"], vectors, space=STRANGER),
        lambda: gallery.upsert(["x"], rows(1, OLD), space=OLD, kept={STRANGER: vectors}),
        lambda: gallery.move(
            ["x"],
            vectors,
            space=STRANGER,
            expected_versions=np.array([gallery.get(["x"])[0].version]),
        ),
        lambda: gallery.search({STRANGER: vectors}, 1),
        lambda: gallery.search({OLD: rows(1, OLD), STRANGER: vectors}, 1),
        lambda: gallery.vectors(["x"], STRANGER),
        lambda: gallery.scan(STRANGER),
        lambda: gallery.count(STRANGER),
    ):
        with pytest.raises(ModelMismatchError) as caught:
            call()
        assert caught.value.received == STRANGER
    gallery.drop_space(STRANGER)  # nothing to drop is not a mistake


@pytest.mark.usefixtures("unchanged")
def test_a_space_that_differs_in_one_field_only_is_unknown(gallery, rows):
    with pytest.raises(ModelMismatchError, match="metric 'cosine' != 'dot'"):
        gallery.search({type(OLD)("old", "1", 6, metric="dot"): rows(1, OLD)}, 1)


@pytest.mark.parametrize(
    "metadata",
    [
        [{}],
        [{}, {}, {}],
        [{}, {"_hidden": 1}],
        [{}, {"": 1}],
        [{}, {'a"b': 1}],
        [{}, {"a\\b": 1}],
        [{}, {7: 1}],
        [{}, {"n": None}],
        [{}, {"n": [1, 2]}],
        [{}, {"n": float("nan")}],
        [{}, {"n": 2**63}],
        [{}, "text"],
    ],
)
@pytest.mark.usefixtures("unchanged")
def test_bad_metadata_is_refused(gallery, rows, metadata):
    with pytest.raises(InputError, match="metadata"):
        gallery.upsert(["x", "y"], rows(2, OLD), space=OLD, metadata=metadata)
    with pytest.raises(InputError, match="metadata"):
        gallery.set_metadata(["x", "old"], metadata)


@pytest.mark.parametrize(
    "where",
    [
        {"_version": 1},
        {"back\\": 1},
        {"n": None},
        {"n": {"a": 1}},
        {"n": [1, None]},
        {"n": Range(at_least=float("nan"))},
        {"n": Range(at_most="x")},
        {"n": Range(at_most=10**400)},
    ],
)
def test_bad_filters_are_refused(gallery, rows, where):
    with pytest.raises(InputError):
        gallery.search({OLD: rows(1, OLD)}, 1, where=where)


def test_bad_searches_are_refused(gallery, store, rows):
    with pytest.raises(InputError, match="k must be >= 1, got 0"):
        gallery.search({OLD: rows(1, OLD)}, 0)
    with pytest.raises(ShapeError):
        gallery.search({OLD: np.ones((1, 5))}, 1)
    with pytest.raises(VectorError, match="queries"):
        gallery.search({OLD: bad_rows(np.nan)}, 1)
    gallery.add_space(NEW)
    with pytest.raises(ShapeError, match="same number of rows"):
        gallery.search({OLD: rows(1, OLD), NEW: rows(2, NEW)}, 1)


@pytest.mark.usefixtures("unchanged")
def test_bad_versions_are_refused(gallery, rows):
    for versions in (np.array([1, 2]), np.array([1.5]), np.array([[1]])):
        with pytest.raises(ShapeError, match="expected_versions"):
            gallery.move(["x"], rows(1, OLD), space=OLD, expected_versions=versions)


@pytest.mark.usefixtures("unchanged")
def test_kept_vectors_of_the_searched_space_are_refused(gallery, rows):
    with pytest.raises(InputError, match="kept"):
        gallery.upsert(["x"], rows(1, OLD), space=OLD, kept={OLD: rows(1, OLD)})


@pytest.mark.usefixtures("unchanged")
def test_a_page_holds_at_least_one_item(gallery):
    with pytest.raises(InputError, match="limit must be >= 1"):
        gallery.scan(OLD, limit=0)


@pytest.mark.usefixtures("unchanged")
def test_repeated_ids_are_refused_where_things_are_written(gallery):
    with pytest.raises(DuplicateItemError):
        gallery.set_metadata(["x", "x"], [{}, {}])
    with pytest.raises(DuplicateItemError):
        gallery.delete(["x", "x"])


def test_a_closed_store_refuses_every_call_in_the_same_words(store, rows):
    gallery = store.gallery(OLD)
    versions = gallery.upsert(["a"], rows(1, OLD), space=OLD)
    gallery.close()
    gallery.close()
    for call in (
        lambda: gallery.add_space(NEW),
        lambda: gallery.drop_space(OLD),
        lambda: gallery.upsert(["a"], rows(1, OLD), space=OLD),
        lambda: gallery.set_metadata(["a"], [{}]),
        lambda: gallery.delete(["a"]),
        lambda: gallery.move(["a"], rows(1, OLD), space=OLD, expected_versions=versions),
        lambda: gallery.search({OLD: rows(1, OLD)}, 1),
        lambda: gallery.get(["a"]),
        lambda: gallery.vectors(["a"], OLD),
        lambda: gallery.scan(OLD),
        lambda: gallery.count(OLD),
        gallery.optimise,
    ):
        with pytest.raises(StoreError, match=f"this {type(gallery).__name__} is closed: open it"):
            call()


def test_nothing_to_write_or_to_read_is_no_mistake(store, rows):
    gallery = store.gallery(OLD)
    none = np.empty((0, OLD.dimension), dtype=np.float32)
    assert gallery.upsert([], none, space=OLD).tolist() == []
    assert gallery.move([], none, space=OLD, expected_versions=np.array([])).tolist() == []
    assert gallery.delete([]) == 0
    assert gallery.get([]) == []
    assert gallery.vectors([], OLD).vectors.shape == (0, OLD.dimension)
    assert gallery.search({}, 1) == {}
    assert gallery.search({OLD: none}, 1)[OLD].item_ids == ()
    gallery.set_metadata([], [])
    with pytest.raises(ModelMismatchError):
        gallery.upsert([], rows(0, STRANGER), space=STRANGER)
