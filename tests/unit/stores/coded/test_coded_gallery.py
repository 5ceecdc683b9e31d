"""What is peculiar to a gallery of codes; what all galleries share is in tests/conformance."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hotfill.binary import Binarisation, CodeFormat, GridCodec
from hotfill.errors import ConfigError, InputError, StoreBusyError, StoreError
from hotfill.lab.binary import fit_start
from hotfill.stores.coded import CodedGallery
from hotfill.stores.coded.side import pointer_space, to_pointers, to_slots
from hotfill.stores.memory import MemoryGallery
from hotfill.stores.qdrant_edge import QdrantEdgeGallery
from hotfill.types import ModelId

FLOAT = ModelId("text", "3", 64)
N = 300
NAMES = [f"item{number}" for number in range(N)]


def rows(n: int, seed: int = 0) -> NDArray[np.float32]:
    # Not the numbers that the encoder's random rotation is made of.
    return np.random.default_rng([seed, 1]).standard_normal((n, 64)).astype(np.float32)


ENCODER = fit_start(rows(400, 9), FLOAT, CodeFormat(64, 2))
CODES = ENCODER.space
POINTERS = pointer_space(CODES)
binarised = Binarisation(ENCODER)


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[CodedGallery]:
    with CodedGallery(MemoryGallery(FLOAT), tmp_path / "codes", [GridCodec(ENCODER)]) as gallery:
        gallery.add_space(CODES)
        yield gallery


class Faulty(MemoryGallery):
    """A store whose next move is done, and then reported as failed."""

    fails = False

    def move(self, *arguments: Any, **named: Any) -> NDArray[np.bool_]:
        moved = super().move(*arguments, **named)
        if self.fails:
            raise StoreError("the connection was lost")
        return moved


class Kept(MemoryGallery):
    """A store that keeps more than metadata."""

    def _stored(self, item_ids: list[str], fields: list[str]) -> dict[str, dict[str, Any]]:
        return {item_id: dict.fromkeys(fields, f"of {item_id}") for item_id in item_ids}


def test_contents_are_those_of_the_store_that_has_the_items(tmp_path: Path) -> None:
    with CodedGallery(Kept(FLOAT), tmp_path / "codes", [GridCodec(ENCODER)]) as gallery:
        assert gallery.stored(["a"], ["text"]) == {"a": {"text": "of a"}}
        assert gallery.layout is None


def test_codes_answer_as_their_grid_values_do_in_a_store_of_floats(gallery: CodedGallery) -> None:
    values = binarised(rows(N))
    reference = MemoryGallery(CODES)
    gallery.upsert(NAMES, values, space=CODES)
    reference.upsert(NAMES, values, space=CODES)
    np.testing.assert_allclose(
        gallery.vectors(NAMES, CODES).vectors, reference.vectors(NAMES, CODES).vectors, atol=1e-6
    )
    for queries in (rows(20, 1), binarised(rows(20, 1))):  # floats in code space, and codes
        found = gallery.search({CODES: queries}, 10)[CODES]
        expected = reference.search({CODES: queries}, 10)[CODES]
        np.testing.assert_allclose(np.array(found.scores), np.array(expected.scores), atol=1e-6)


def test_a_code_takes_a_sixteenth_of_a_float_vector_on_disk(
    gallery: CodedGallery, tmp_path: Path
) -> None:
    gallery.upsert(NAMES, binarised(rows(N)), space=CODES)
    (path,) = (tmp_path / "codes").glob("*.codes")
    used = path.stat().st_blocks * 512  # what is reserved but not written takes none
    assert used <= N * (64 * 4 / 16 + 4) + 4096  # the sum, and the last page
    # With the two numbers that the store underneath keeps; a float vector takes its own size.
    assert gallery.vector_bytes(CODES) == 64 * 4 // 16 + 4 + 8
    assert gallery.vector_bytes(FLOAT) == 64 * 4


def test_slots_of_items_that_left_are_used_again_once_that_is_on_the_disk(
    gallery: CodedGallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hotfill.stores.coded.side._REUSED_FROM", 100)
    on_disk: list[set[str]] = []
    monkeypatch.setattr(
        MemoryGallery, "_sync", lambda inner: on_disk.append({*inner.scan(POINTERS).item_ids})
    )
    gallery.upsert(NAMES, binarised(rows(N)), space=CODES)
    (path,) = (tmp_path / "codes").glob("*.codes")
    size = path.stat().st_size
    for seed in range(1, 8):
        gallery.delete(NAMES[: N // 2])
        gallery.upsert(NAMES, binarised(rows(N, seed)), space=CODES)
    assert path.stat().st_size <= 2 * size
    assert on_disk == [{*NAMES[N // 2 :]}] * 7  # each time without those whose slots were taken
    best = gallery.search({CODES: binarised(rows(N, 7))}, 1)[CODES]
    assert [ids[0] for ids in best.item_ids] == NAMES


def test_vectors_that_are_no_codes_are_refused_and_nothing_is_written(
    gallery: CodedGallery,
) -> None:
    versions = gallery.upsert(NAMES[:2], rows(2), space=FLOAT)
    with pytest.raises(InputError, match="2-bit grid"):
        gallery.upsert(["new"], rows(1), space=CODES)
    with pytest.raises(InputError, match="2-bit grid"):
        gallery.move(NAMES[:2], rows(2), space=CODES, expected_versions=versions)
    assert gallery.get(["new"]) == [None]
    assert (gallery.count(FLOAT), gallery.count(CODES)) == (2, 0)


def test_what_a_transform_made_is_rounded_to_the_nearest_code(gallery: CodedGallery) -> None:
    floats = rows(50)
    versions = gallery.upsert(NAMES[:50], floats, space=FLOAT)
    estimates = ENCODER.queries(floats)  # in code space, but no codes
    gallery.move(
        NAMES[:50], estimates, space=CODES, expected_versions=versions, origin="some-transform"
    )
    assert gallery.count(CODES, origin="some-transform") == 50
    stored = gallery.vectors(NAMES[:50], CODES).vectors
    lengths = np.linalg.norm(estimates, axis=1)
    assert np.mean(np.sum(stored * estimates, axis=1) / lengths) > 0.9


def test_a_rare_match_is_found_however_deep_it_lies(gallery: CodedGallery) -> None:
    kinds = [{"kind": "rare" if number == 137 else "common"} for number in range(N)]
    gallery.upsert(NAMES, binarised(rows(N)), space=CODES, metadata=kinds)
    queries = -binarised(rows(N))[137:138]  # nothing is farther away than the item wanted
    found = gallery.search({CODES: queries}, 3, where={"kind": "rare"})[CODES]
    assert found.item_ids == (("item137",),)


def test_after_a_failure_half_way_the_codes_agree_with_the_store_again(tmp_path: Path) -> None:
    inner = Faulty(FLOAT)
    with CodedGallery(inner, tmp_path, [GridCodec(ENCODER)]) as gallery:
        gallery.add_space(CODES)
        versions = gallery.upsert(NAMES, rows(N), space=FLOAT)
        inner.fails = True
        with pytest.raises(StoreError, match="connection"):
            gallery.move(NAMES, binarised(rows(N)), space=CODES, expected_versions=versions)
        best = gallery.search({CODES: binarised(rows(N))}, 1)[CODES]
        assert [ids[0] for ids in best.item_ids] == NAMES


def test_a_gallery_of_codes_needs_their_codec_again(tmp_path: Path) -> None:
    with small_gallery(tmp_path):
        pass
    with (
        QdrantEdgeGallery.open(tmp_path / "store") as inner,
        pytest.raises(ConfigError, match=r"2-bit codes by .* name the encoder"),
    ):
        CodedGallery(inner, tmp_path / "codes", [])


def test_a_damaged_or_missing_code_is_noticed_when_it_is_read_or_searched(tmp_path: Path) -> None:
    with small_gallery(tmp_path):
        pass
    (path,) = (tmp_path / "codes").glob("*.codes")
    data = bytearray(path.read_bytes())
    data[3] ^= 1
    path.write_bytes(data)
    with reopened(tmp_path) as gallery:
        assert len(gallery.vectors(NAMES[1:20], CODES).item_ids) == 19
        with pytest.raises(StoreError, match="codes of 1 items are damaged"):
            gallery.vectors(NAMES[:20], CODES)
        with pytest.raises(StoreError, match="codes of 1 items are damaged"):
            gallery.search({CODES: binarised(rows(1))}, 1)
    path.unlink()
    with (
        reopened(tmp_path) as gallery,
        pytest.raises(StoreError, match="codes of 20 items are damaged"),
    ):
        gallery.delete(NAMES[:1])


def test_codes_are_open_in_one_place_at_a_time(gallery: CodedGallery, tmp_path: Path) -> None:
    with pytest.raises(StoreBusyError):
        CodedGallery(MemoryGallery(FLOAT), tmp_path / "codes", [GridCodec(ENCODER)])


def test_pointers_hold_large_slot_numbers_exactly() -> None:
    slots = np.array([0, 1, 2**20 - 1, 2**20, 123_456_789_012, 2**40 - 1])
    pointers = to_pointers(slots)
    assert pointers.dtype == np.float32
    assert (np.abs(pointers).sum(axis=1) > 0).all()
    assert np.array_equal(to_slots(pointers), slots)


def small_gallery(folder: Path) -> CodedGallery:
    inner = QdrantEdgeGallery.create(folder / "store", FLOAT, exact=True)
    gallery = CodedGallery(inner, folder / "codes", [GridCodec(ENCODER)])
    gallery.add_space(CODES)
    gallery.upsert(NAMES[:20], binarised(rows(20)), space=CODES)
    return gallery


def reopened(folder: Path) -> CodedGallery:
    inner = QdrantEdgeGallery.open(folder / "store", exact=True)
    return CodedGallery(inner, folder / "codes", [GridCodec(ENCODER)])
