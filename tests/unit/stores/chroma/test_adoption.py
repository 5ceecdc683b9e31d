"""Collections that are there: taken over as they are, carried to a new model, and handed over."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress

import numpy as np
import pytest

chromadb = pytest.importorskip("chromadb")

from hotfill.errors import ConfigError, InputError, StoreBusyError, StoreError  # noqa: E402
from hotfill.integrations.collections import StoredContents  # noqa: E402
from hotfill.stores import Range  # noqa: E402
from hotfill.stores.chroma import ChromaGallery  # noqa: E402
from hotfill.stores.section import ChromaSection, Existing  # noqa: E402
from hotfill.types import ModelId  # noqa: E402
from tests.unit.stores.chroma.pets import (  # noqa: E402
    NAMES,
    NEW,
    OLD,
    content,
    make,
    open_client,
    rows,
)


@pytest.fixture
def place(tmp_path):
    return tmp_path / "chroma"


@pytest.fixture
def client(place):
    """The users' own client, in the same process."""
    with open_client(place) as client:
        make(client)
        yield client


def adopt(place, **options):
    return ChromaGallery.adopt(str(place), OLD, collection="pets", **options)


def move_all(gallery, names=NAMES, space=NEW, seed=1):
    state = gallery.get(names)
    vectors = rows(seed, space)[: len(names)]
    versions = np.array([each.version for each in state])
    moved = gallery.move(names, vectors, space=space, expected_versions=versions)
    assert moved.all()
    return vectors


def go_back(gallery, names=NAMES):
    found = gallery.vectors(names, OLD)
    assert found.item_ids == tuple(names)
    gallery.move(names, found.vectors, space=OLD, expected_versions=found.versions)


def test_a_stamp_alters_nothing_in_the_collection(place, client):
    before = content(client)
    for _ in range(2):  # idempotent
        with adopt(place) as gallery:
            assert gallery.spaces == (OLD,)
            assert gallery.count(OLD) == gallery.count(OLD, origin=OLD.fingerprint) == len(NAMES)
            assert sorted(gallery.scan(OLD).item_ids) == sorted(NAMES)
            assert gallery.get(NAMES)[3].metadata == {"n": 3, "even": False, "x": "x"}
            hits = gallery.search({OLD: rows(0, OLD)[5:6]}, 3, where={"even": False})[OLD]
            assert hits.item_ids[0][0] == NAMES[5]
            assert hits.scores[0][0] == pytest.approx(1, abs=1e-5)
    assert content(client) == before
    assert sorted(each.name for each in client.list_collections()) == ["pets", "pets.hotfill"]


def test_an_upgrade_there_and_back_leaves_everything_as_it_was(place, client):
    before = content(client)
    with adopt(place) as gallery:
        gallery.add_space(NEW)
        move_all(gallery)
        go_back(gallery)
        gallery.drop_space(NEW)
    rows_after, *rest = content(client)
    rows_before, *rest_before = before
    assert rest == rest_before
    for name, (metadata, document, uri, vector) in rows_before.items():
        assert rows_after[name][:3] == (metadata, document, uri)
        # Chroma itself returns vectors of a cosine collection to within their last place only.
        np.testing.assert_allclose(rows_after[name][3], vector, rtol=3e-7)


def test_after_the_upgrade_its_users_find_everything_by_the_old_name_with_new_vectors(
    place, client
):
    before, metadata, settings = content(client)
    with adopt(place) as gallery:
        gallery.add_space(NEW)
        vectors = move_all(gallery)
        gallery.drop_space(OLD)
        assert gallery.spaces == (NEW,)
        assert gallery.count(NEW) == len(NAMES)
    after, metadata_after, settings_after = content(client)
    assert (metadata_after, settings_after) == (metadata, settings)
    assert {name: each[:3] for name, each in after.items()} == {
        name: each[:3] for name, each in before.items()
    }
    np.testing.assert_allclose([after[name][3] for name in NAMES], vectors, atol=1e-6)
    assert sorted(each.name for each in client.list_collections()) == ["pets", "pets.hotfill"]
    found = client.get_collection("pets", embedding_function=None).query(
        query_embeddings=vectors[4:5], n_results=1, where={"tags": {"$contains": "t4"}}
    )
    assert (found["ids"], found["documents"]) == ([[NAMES[4]]], [["text 4"]])
    with adopt_again(place) as gallery:  # and so on to the next model
        gallery.add_space(OLD)
        assert gallery.spaces == (NEW, OLD)


def adopt_again(place):
    return ChromaGallery.adopt(str(place), NEW, collection="pets")


@pytest.mark.parametrize("calls", range(8))
def test_a_hand_over_that_was_cut_short_is_ended_by_the_next_open(
    place, client, monkeypatch, calls
):
    gallery = adopt(place)
    gallery.add_space(NEW)
    vectors = move_all(gallery)
    left = iter(range(calls))

    def dying(call):
        def one(*args, **kwargs):
            if next(left, None) is None:
                raise RuntimeError("the process ends here")
            return call(*args, **kwargs)

        return one

    for name in ("rename", "drop"):
        monkeypatch.setattr(gallery._client, name, dying(getattr(gallery._client, name)))
    with suppress(RuntimeError):
        gallery.drop_space(OLD)
    monkeypatch.undo()
    gallery.close()
    with ChromaGallery.open(str(place), collection="pets") as gallery:
        assert gallery.spaces == (NEW,)
        assert gallery.count(NEW) == len(NAMES)
    after, *_ = content(client)
    np.testing.assert_allclose([after[name][3] for name in NAMES], vectors, atol=1e-6)
    assert sorted(each.name for each in client.list_collections()) == ["pets", "pets.hotfill"]


def test_writes_through_hotfill_change_only_what_they_name(place, client):
    before, *_ = content(client)
    with adopt(place) as gallery:
        gallery.add_space(NEW)
        move_all(gallery, NAMES[:6])
        for name in (NAMES[4], NAMES[8]):  # one on each side
            metadata = dict(gallery.get([name])[0].metadata)
            gallery.set_metadata([name], [{**metadata, "n": -1}])
        gallery.upsert(NAMES[5:6], rows(7, NEW, 1), space=NEW)
        gallery.upsert(NAMES[9:10], rows(8, OLD, 1), space=OLD, metadata=[{"even": True}])
        gallery.upsert(NAMES[10:11], rows(9, NEW, 1), space=NEW)
        move_all(gallery, NAMES[6:])
        gallery.drop_space(OLD)
    after, *_ = content(client)
    for number, name in enumerate(NAMES):
        metadata, document, uri, _ = before[name]
        expected = dict(metadata)
        if number in (4, 8):
            expected["n"] = -1
        if number == 9:
            expected = {k: metadata[k] for k in ("tags", "_private")} | {"even": True}
        assert after[name][:3] == (expected, document, uri)


def test_graphs_find_what_an_exhaustive_search_finds(place, client):
    query = rows(5, OLD, 3), rows(6, NEW, 3)
    with adopt(place) as gallery:
        gallery.add_space(NEW)
        move_all(gallery, NAMES[:6])
        found = gallery.search({OLD: query[0], NEW: query[1]}, 50, origins=True)
    with adopt(place, exact=True) as gallery:
        expected = gallery.search({OLD: query[0], NEW: query[1]}, 50)
    for space in (OLD, NEW):
        assert found[space].item_ids == expected[space].item_ids
        np.testing.assert_allclose(found[space].scores, expected[space].scores, atol=1e-5)


@pytest.mark.parametrize(
    ("collection", "model", "match"),
    [
        ("cats", OLD, r"no collection 'cats' .* there: 'pets'"),
        ("pets", ModelId("old", "1", 5), "holds vectors with 4 numbers, those of .* have 5"),
        ("pets", ModelId("old", "1", 4, metric="l2", normalised=False), "compares by 'cosine'"),
    ],
)
def test_what_does_not_fit_is_refused_in_words_and_nothing_is_made(
    place, client, collection, model, match
):
    with pytest.raises(StoreError, match=match):
        ChromaGallery.adopt(str(place), model, collection=collection)
    assert [each.name for each in client.list_collections()] == ["pets"]


def test_another_model_is_refused_once_stamped(place, client):
    adopt(place).close()
    with pytest.raises(StoreError, match="is stamped already: it holds old"):
        ChromaGallery.adopt(str(place), ModelId("other", "1", 4), collection="pets")
    with pytest.raises(StoreError, match="already: open or adopt it"):
        ChromaGallery.create(str(place), OLD, collection="pets")


def test_looking_for_a_gallery_makes_none(tmp_path, place, client):
    with pytest.raises(StoreError, match=r"no chroma\.sqlite3"):
        ChromaGallery.open(str(tmp_path / "elsewhere"), collection="pets")
    assert not (tmp_path / "elsewhere").exists()
    with pytest.raises(StoreError, match="no hotfill gallery 'pets'"):
        ChromaGallery.open(str(place), collection="pets")
    with pytest.raises(InputError, match="3 to 472 letters"):
        ChromaGallery.create(str(tmp_path / "elsewhere"), OLD, collection="a b")


def test_documents_are_not_filtered_by_and_that_is_said(place, client):
    with adopt(place) as gallery:
        with pytest.raises(InputError, match="neither writes documents nor filters by them"):
            gallery.search({OLD: rows(0, OLD, 1)}, 3, where={"chroma:document": "text 1"})
        with pytest.raises(InputError, match="chroma:"):
            gallery.set_metadata(NAMES[:1], [{"chroma:document": "other"}])


def test_a_rehearsal_and_remarks_leave_everything_as_it_is(place, client):
    before = content(client)
    with adopt(place) as gallery:
        assert gallery.rehearse_writes(NEW) == []
        (lengths,) = gallery.remarks(NEW)
        assert "12 of 12 vectors looked at are not of unit length" in lengths
    assert content(client) == before
    assert sorted(each.name for each in client.list_collections()) == ["pets", "pets.hotfill"]


def test_stored_zeros_are_told_of_and_carried_along(place, client):
    pets = client.get_collection("pets", embedding_function=None)
    pets.update(ids=NAMES[:2], embeddings=np.zeros((2, 4), dtype=np.float32))
    with adopt(place) as gallery:
        assert any("2 of 12 vectors looked at are all zero" in said for said in gallery.remarks())
        assert gallery.vectors(NAMES, OLD).item_ids == tuple(NAMES[2:])
        gallery.add_space(NEW)
        move_all(gallery)
        assert gallery.vectors(NAMES, OLD).item_ids == tuple(NAMES[2:])
        assert gallery.count(NEW) == len(NAMES)


# One process at a time has a folder ---------------------------------------------------------------

_OTHER = """
import sys
from hotfill.errors import StoreBusyError
from hotfill.stores.chroma import ChromaGallery
try:
    ChromaGallery.open(sys.argv[1], collection="pets").close()
except StoreBusyError as error:
    print(error)
else:
    print("opened")
"""


def elsewhere(place):
    done = subprocess.run(
        [sys.executable, "-c", _OTHER, str(place)], capture_output=True, text=True, check=True
    )
    return done.stdout


def test_a_second_process_is_refused_until_the_first_closes(place, client):
    with adopt(place):
        assert "is open in process" in elsewhere(place)
        with pytest.raises(StoreBusyError, match="open in this process already"):
            adopt(place)
        with ChromaGallery.create(str(place), OLD, collection="other"):
            pass
        assert "is open in process" in elsewhere(place)  # not let go by the other gallery
    assert elsewhere(place) == "opened\n"


# [store] ------------------------------------------------------------------------------------------


def test_a_configuration_opens_a_folder_next_to_it_and_knows_its_room(tmp_path, place, client):
    section = ChromaSection(location="chroma", collection="pets")
    with section.adopt(tmp_path, OLD, Existing()) as gallery:
        assert gallery.count(OLD) == len(NAMES)
    with section.open(tmp_path) as gallery:
        assert not gallery.capabilities.many_processes
        assert not gallery.capabilities.free_length  # it compares by the cosine
    assert section.free_bytes(tmp_path) > 0
    assert ChromaSection(location="http://localhost:8000").free_bytes(tmp_path) is None
    for existing in (Existing(vector_column="other"), Existing(id_column="other")):
        with pytest.raises(ConfigError, match="leave --"):
            section.adopt(tmp_path, OLD, existing)


def test_a_gallery_of_our_own_lets_mapped_vectors_have_their_length(tmp_path):
    with ChromaGallery.create(str(tmp_path / "own"), OLD) as gallery:
        assert gallery.capabilities.free_length
        versions = gallery.upsert(["a", "b"], rows(0, OLD, 2), space=OLD)
        short = 0.5 * rows(1, OLD, 1)
        gallery.move(["b"], short, space=OLD, expected_versions=versions[1:], origin="up")
        assert gallery.count(OLD, origin="up") == 0  # the model's own is better
        gallery.add_space(NEW)
        mapped = 0.5 * rows(1, NEW, 1)
        gallery.move(["b"], mapped, space=NEW, expected_versions=versions[1:], origin="up")
        assert (gallery.count(NEW, origin="up"), gallery.count(NEW, origin=NEW.fingerprint)) == (
            1,
            0,
        )
        hits = gallery.search({NEW: 2 * mapped}, 1, origins=True)[NEW]
        assert hits.scores[0][0] == pytest.approx(0.5, abs=1e-6)
        assert hits.origins == (("up",),)


@pytest.mark.parametrize("exact", [False, True])
def test_unit_vectors_compared_by_the_distance_are_scored_by_the_cosine(place, client, exact):
    held, names = rows(3, OLD, 8), [f"{n}" for n in range(8)]
    client.create_collection("plain", embedding_function=None).add(ids=names, embeddings=held)
    free = ModelId("free", "1", 4, normalised=False)
    with pytest.raises(StoreError, match=r"compares by 'l2'; .* \(cosine\)"):
        ChromaGallery.adopt(str(place), free, collection="plain")
    with ChromaGallery.adopt(str(place), OLD, collection="plain", exact=exact) as gallery:
        # Off the sphere the distance has another order, so mapped vectors are brought onto it.
        assert not gallery.capabilities.free_length
        (query,) = rows(4, OLD, 1)
        hits = gallery.search({OLD: query[None]}, 8)[OLD]
        cosines = held @ query
        assert list(hits.item_ids[0]) == [names[n] for n in np.argsort(-cosines)]
        np.testing.assert_allclose(hits.scores[0], np.sort(cosines)[::-1], atol=1e-5)
        assert gallery.layout is None  # there are no documents


def test_documents_are_contents_on_either_side(place, client):
    with adopt(place) as gallery:
        assert gallery.layout.content == "chroma:document"
        gallery.add_space(NEW)
        move_all(gallery, NAMES[:6])
        contents = StoredContents(gallery)
        assert contents(NAMES) == {name: f"text {n}" for n, name in enumerate(NAMES) if n % 3}
        assert StoredContents(gallery, "x")(["pet 0", "pet 1", "pet 9", "gone"]) == {
            "pet 1": "x",
            "pet 9": "x",
        }
        move_all(gallery, NAMES[6:])
        assert gallery.layout.content == "chroma:document"


def test_keys_that_chroma_refuses_are_written_in_another_way_and_found(tmp_path):
    with ChromaGallery.create(str(tmp_path / "own"), OLD) as gallery:
        metadata = [{"$price": 3.5, "#": "x"}, {"$price": 3, "#": "y"}]
        gallery.upsert(["a", "b"], rows(0, OLD, 2), space=OLD, metadata=metadata)
        assert [state.metadata for state in gallery.get(["a", "b"])] == metadata
        for where, expected in (
            ({"$price": 3.5}, ("a",)),
            ({"$price": Range(at_least=3.5)}, ("a",)),
            ({"$price": [3, 2.5]}, ("b",)),
            ({"#": "y", "$price": Range(at_most=3)}, ("b",)),
        ):
            found = gallery.search({OLD: rows(1, OLD, 1)}, 5, where=where)[OLD]
            assert found.item_ids == (expected,)
        gallery.set_metadata(["a"], [{"#": "z"}])
        assert gallery.get(["a"])[0].metadata == {"#": "z"}
