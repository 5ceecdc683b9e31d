"""The index against the slow integer oracle."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from numpy.typing import NDArray

from hotfill.binary.code_file import Codes, as_factors, read_codes, write_codes
from hotfill.binary.codes import CodeFormat, Levels, pack, quantise
from hotfill.binary.index import CodeIndex
from hotfill.binary.index_file import load_index, save_index
from hotfill.binary.rerank import rerank_by_floats
from hotfill.binary.scan import Scanner
from hotfill.binary.scores import asymmetric_scores, symmetric_scores
from hotfill.errors import DuplicateItemError, InputError, ModelMismatchError, ShapeError
from hotfill.types import ModelId
from hotfill.vectors import unit

FORMATS = [CodeFormat(dimension, bits) for bits in (1, 2, 3, 4) for dimension in (5, 13, 32)]
SOURCE = ModelId("photo", "1", 64)


def stamp(code_format: CodeFormat) -> ModelId:
    return ModelId("photo", "1", code_format.dimension, normalised=False, preprocessing="codes")


def random_levels(n: int, code_format: CodeFormat, seed: int) -> Levels:
    random = np.random.default_rng(seed)
    return random.integers(0, 2**code_format.bits, (n, code_format.dimension), np.uint8)


def random_codes(n: int, code_format: CodeFormat, seed: int = 0) -> Codes:
    factors = as_factors(np.random.default_rng(seed).uniform(0.5, 2, n))
    levels = random_levels(n, code_format, seed)
    return Codes(code_format, pack(levels, code_format), factors, stamp(code_format))


def oracle(scores: NDArray[np.float32], items: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """Sort everything: best first, ties by item."""
    return np.stack([items[np.lexsort((items, -row))][:k] for row in scores])


@pytest.mark.parametrize("code_format", FORMATS, ids=str)
def test_the_scan_of_codes_by_codes_is_exact(code_format: CodeFormat) -> None:
    """The ruler nibble makes the tables' step one: distances are the oracle's integers."""
    gallery, queries = random_levels(500, code_format, 0), random_levels(7, code_format, 1)
    scanner = Scanner(code_format, gallery.mean(axis=0, dtype=np.float32)[None])
    scanner.add(np.arange(500), gallery)
    distances, slots = scanner.search_codes(queries, 500, 1)
    for query, row, found in zip(queries, distances, slots, strict=True):
        gaps = query.astype(int)[None, :] - gallery[found].astype(int)
        assert np.array_equal((gaps**2).sum(axis=1), np.rint(row))
        assert np.abs(row - np.rint(row)).max() < 0.01
        assert sorted(found.tolist()) == list(range(500))


@pytest.mark.parametrize("code_format", FORMATS, ids=str)
def test_the_scan_by_floats_stays_within_the_rounding_of_its_tables(
    code_format: CodeFormat,
) -> None:
    """Each nibble's entry is rounded to 1/255 of the widest span: half a step each, at most."""
    gallery = random_levels(300, code_format, 0)
    queries = np.random.default_rng(2).standard_normal((5, code_format.dimension), np.float32)
    scanner = Scanner(code_format, gallery.mean(axis=0, dtype=np.float32)[None])
    scanner.add(np.arange(300), gallery)
    distances, slots = scanner.search_floats(queries, 300, 1)
    rows = scanner.float_rows(queries)[:, : code_format.dimension]
    cells = np.arange(code_format.top_level + 1)
    spans = np.ptp((rows[:, :, None] - cells) ** 2, axis=2).max(axis=1)
    per_nibble = 4 // code_format.stored_bits
    nibbles = -(-code_format.dimension // per_nibble) + 1
    for query, row, found, span in zip(rows, distances, slots, spans, strict=True):
        exact = ((query[None, :] - gallery[found]) ** 2).sum(axis=1)
        # The ruler adds the same to every distance.
        error = row - exact - np.median(row - exact)
        assert np.abs(error).max() <= nibbles * per_nibble * span / 255


@pytest.mark.parametrize("code_format", FORMATS, ids=str)
@pytest.mark.parametrize("symmetric", [True, False], ids=["codes", "floats"])
def test_a_search_of_all_candidates_equals_the_oracle(
    code_format: CodeFormat, symmetric: bool
) -> None:
    codes, items = random_codes(120, code_format), np.arange(120)[::-1] * 3
    index = CodeIndex(codes, items)
    asked = random_codes(6, code_format, seed=1)
    if symmetric:
        hits = index.search(asked, 10, candidates=12)
        scores = symmetric_scores(asked.packed, codes.packed, code_format)
    else:
        queries = np.random.default_rng(3).standard_normal((6, code_format.dimension), np.float32)
        hits = index.search(queries, 10, candidates=12)
        scores = asymmetric_scores(queries, codes.packed, codes.factors, code_format)
    expected = oracle(scores, items, 10)
    rows = np.searchsorted(-items, -expected)  # items descend
    assert np.allclose(hits.scores, np.take_along_axis(scores, rows, 1), rtol=1e-5, atol=1e-5)
    if symmetric:  # float sums may swap what differs in the seventh digit
        assert np.array_equal(hits.items, expected)


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("scan_bits", [1, 2])
@pytest.mark.parametrize("symmetric", [True, False], ids=["codes", "floats"])
def test_a_coarse_scan_of_all_candidates_equals_the_oracle(
    bits: int, scan_bits: int, symmetric: bool
) -> None:
    code_format = CodeFormat(20, bits)
    codes, items = random_codes(120, code_format), np.arange(120)
    index = CodeIndex(codes, items, scan_bits=scan_bits)
    assert index.scan_bits == scan_bits
    if symmetric:
        asked = random_codes(6, code_format, seed=1)
        scores = symmetric_scores(asked.packed, codes.packed, code_format)
        hits = index.search(asked, 10, candidates=12)
    else:
        queries = np.random.default_rng(3).standard_normal((6, 20), np.float32)
        scores = asymmetric_scores(queries, codes.packed, codes.factors, code_format)
        hits = index.search(queries, 10, candidates=12)
    expected = np.take_along_axis(scores, oracle(scores, items, 10), 1)
    assert np.allclose(hits.scores, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("code_format", [CodeFormat(20, bits) for bits in (2, 3, 4)], ids=str)
def test_a_coarse_scan_reads_the_first_bits_alone(code_format: CodeFormat) -> None:
    """Codes that differ in later bits only are as far as each other from every query."""
    low = random_levels(40, code_format, 0) >> 1 << 1
    scanner = Scanner(code_format, low[:1].astype(np.float32), bits=1)
    half = 2 ** (code_format.bits - 1)
    first = np.where(low >= half, half, 0).astype(np.uint8)
    scanner.add(np.arange(40), low)
    scanner.add(np.arange(40, 80), first)
    distances, slots = scanner.search_codes(random_levels(3, code_format, 1), 80, 1)
    for row, found in zip(distances, slots, strict=True):
        by_slot = dict(zip(found.tolist(), row.tolist(), strict=True))
        assert all(by_slot[slot] == by_slot[slot + 40] for slot in range(40))


def test_a_coarse_scan_finds_what_a_whole_one_finds() -> None:
    """With the default number of candidates, on made vectors that lie in clusters."""
    random = np.random.default_rng(0)
    code_format = CodeFormat(64, 4)
    centres = random.standard_normal((50, 64))
    near = centres[random.integers(0, 50, 4000)] + 0.5 * random.standard_normal((4000, 64))
    rows = unit(near.astype(np.float32)) * np.float32(8 * 0.74)
    levels = quantise(rows, code_format)
    index_of = {
        bits: CodeIndex(
            Codes(code_format, pack(levels, code_format), as_factors(np.ones(4000))), scan_bits=bits
        )
        for bits in (None, 2, 1)
    }
    asked = rows[::100] + 0.05 * random.standard_normal((40, 64)).astype(np.float32)
    whole = index_of[None].search(asked, 10).items
    for bits in (2, 1):
        found = index_of[bits].search(asked, 10).items
        shared = [len(set(a) & set(b)) / 10 for a, b in zip(found, whole, strict=True)]
        assert np.mean(shared) > 0.99


def test_few_candidates_are_enough_where_neighbours_stand_out() -> None:
    code_format = CodeFormat(64, 2)
    random = np.random.default_rng(0)
    levels = random_levels(3000, code_format, 0)
    index = CodeIndex(Codes(code_format, pack(levels, code_format), as_factors(np.ones(3000))))
    near = levels[:20].copy()
    near[:, ::8] = random.integers(0, 4, near[:, ::8].shape)
    asked = Codes(code_format, pack(near, code_format), as_factors(np.ones(20)))
    assert np.array_equal(index.search(asked, 1, candidates=2).items[:, 0], np.arange(20))


def test_k_above_the_number_of_items_leaves_empty_places() -> None:
    codes = random_codes(3, CodeFormat(8, 2))
    hits = CodeIndex(codes).search(codes, 5)
    assert hits.items.shape == hits.scores.shape == (3, 5)
    assert np.array_equal(np.sort(hits.items[:, :3], axis=1), [[0, 1, 2]] * 3)
    assert (hits.items[:, 3:] == -1).all()
    assert np.isneginf(hits.scores[:, 3:]).all()


def test_an_empty_index_finds_nothing_and_can_be_filled() -> None:
    code_format = CodeFormat(8, 2)
    index = CodeIndex(random_codes(0, code_format))
    asked = random_codes(2, code_format, seed=1)
    assert (index.search(asked, 3).items == -1).all()
    index.add(asked, np.array([7, 9]))
    assert index.search(asked, 1).items.tolist() == [[7], [9]]
    assert index.remove(np.array([7, 9, 11])) == 2
    assert len(index) == 0
    assert (index.search(asked, 3).items == -1).all()


@pytest.mark.parametrize("lists", [1, 3])
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_items_added_after_others_left_are_scanned_by_their_own_codes(
    bits: int, lists: int
) -> None:
    """FAISS adds behind a removal without clearing what was there (seen with 1.15.1)."""
    code_format = CodeFormat(20, bits)
    random = np.random.default_rng(0)
    levels = random.integers(0, code_format.top_level + 1, (150, 20)).astype(np.uint8)
    centroids = levels[:lists].astype(np.float32)
    scanner = Scanner(code_format, centroids)
    scanner.add(np.arange(100), levels[:100])
    scanner.remove(np.arange(0, 100, 3))
    scanner.add(np.arange(100, 150), levels[100:])
    distances, slots = scanner.search_codes(levels[:5], len(scanner), lists)
    exact = np.square(levels[:5, None].astype(np.float32) - levels[slots].astype(np.float32))
    assert np.array_equal(distances, exact.sum(axis=-1))


def test_inverted_lists_find_the_same_when_all_are_probed() -> None:
    codes = random_codes(400, CodeFormat(16, 2))
    asked = random_codes(9, CodeFormat(16, 2), seed=1)
    flat = CodeIndex(codes).search(asked, 10, candidates=40)
    listed = CodeIndex(codes, lists=8)
    whole = listed.search(asked, 10, candidates=40, probes=8)
    assert np.array_equal(flat.items, whole.items)
    part = listed.search(asked, 10, probes=2)
    shared = [len(set(a) & set(b)) for a, b in zip(part.items, whole.items, strict=True)]
    assert 0 < np.mean(shared) < 10


def test_threads_change_nothing() -> None:
    codes = random_codes(300, CodeFormat(16, 4))
    index = CodeIndex(codes)
    one = index.search(codes, 5, thread_count=1)
    two = index.search(codes, 5, thread_count=2)
    assert np.array_equal(one.items, two.items)


def test_ranking_again_by_floats_gives_the_float_order() -> None:
    code_format = CodeFormat(8, 1)
    index = CodeIndex(random_codes(50, code_format))
    asked = random_codes(4, code_format, seed=1)
    random = np.random.default_rng(4)
    floats, queries = random.standard_normal((50, 64)), random.standard_normal((4, 64))
    floats /= np.linalg.norm(floats, axis=1, keepdims=True)
    hits = rerank_by_floats(
        index.search(asked, 50), queries, lambda items: floats[items].astype(np.float32), 5
    )
    assert np.array_equal(hits.items, np.argsort(-(queries @ floats.T), axis=1)[:, :5])


def test_an_index_comes_back_from_its_folder(tmp_path: Path) -> None:
    codes = random_codes(200, CodeFormat(13, 3))
    index = CodeIndex(codes, np.arange(200) + 5, lists=4, scan_bits=2)
    index.remove(np.array([6, 8]))
    save_index(index, tmp_path / "index", source=SOURCE)
    again = load_index(tmp_path / "index")
    asked = random_codes(9, CodeFormat(13, 3), seed=1)
    assert len(again) == 198
    assert again.space == index.space
    assert again.scan_bits == 2
    expected, got = index.search(asked, 5, probes=4), again.search(asked, 5, probes=4)
    assert np.array_equal(expected.items, got.items)


def test_a_damaged_index_is_refused(tmp_path: Path) -> None:
    save_index(CodeIndex(random_codes(50, CodeFormat(13, 2))), tmp_path, source=SOURCE)
    path = tmp_path / "lists.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-3] + b"\1" + whole[-2:])
    with pytest.raises(InputError, match="damaged"):
        load_index(tmp_path)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="is not a readable safetensors file"):
        load_index(tmp_path)
    path.write_bytes(whole)
    write_codes(tmp_path / "codes", random_codes(50, CodeFormat(13, 2), seed=1), source=SOURCE)
    with pytest.raises(InputError, match="do not belong"):
        load_index(tmp_path)


def test_codes_mapped_from_a_file_are_searched_and_grow(tmp_path: Path) -> None:
    code_format = CodeFormat(16, 2)
    write_codes(tmp_path / "codes", random_codes(100, code_format), source=SOURCE)
    mapped = read_codes(tmp_path / "codes")
    index = CodeIndex(mapped)
    more = random_codes(30, code_format, seed=5)
    index.add(more, np.arange(100, 130))
    assert np.array_equal(index.search(more, 1).items[:, 0], np.arange(100, 130))
    assert index.search(mapped.take([4]), 1).items.tolist() == [[4]]


def test_bad_input_is_refused_before_anything_changes() -> None:
    code_format = CodeFormat(8, 2)
    codes = random_codes(4, code_format)
    index = CodeIndex(codes)
    with pytest.raises(DuplicateItemError, match="'3'"):
        index.add(random_codes(2, code_format, 1), np.array([9, 3]))
    with pytest.raises(DuplicateItemError):
        index.add(random_codes(2, code_format, 1), np.array([9, 9]))
    with pytest.raises(InputError, match=">= 0"):
        index.add(random_codes(1, code_format, 1), np.array([-1]))
    with pytest.raises(ShapeError, match="item numbers"):
        index.add(codes, np.arange(3))
    with pytest.raises(ShapeError, match="expected CodeFormat"):
        index.search(random_codes(1, CodeFormat(8, 1)), 1)
    with pytest.raises(ShapeError, match=r"expected shape \(n, 8\)"):
        index.search(np.ones((1, 9), np.float32), 1)
    other = Codes(code_format, codes.packed, codes.factors, ModelId("other", "1", 8))
    with pytest.raises(ModelMismatchError):
        index.search(other, 1)
    with pytest.raises(InputError, match=">= 1"):
        index.search(codes, 0)
    with pytest.raises(InputError, match="lists"):
        CodeIndex(codes, lists=5)
    with pytest.raises(InputError, match="scan_bits"):
        CodeIndex(codes, scan_bits=3)
    assert len(index) == 4


class Changes(RuleBasedStateMachine):
    """Whatever is added and removed, a search of everything finds exactly what is there."""

    def __init__(self) -> None:
        super().__init__()
        self.format = CodeFormat(12, 2)
        base = random_codes(5, self.format)
        self.index = CodeIndex(base, lists=2)
        self.held = {number: base.packed[number] for number in range(5)}
        self.seed = 0

    @rule(numbers=st.sets(st.integers(0, 40), min_size=1, max_size=6))
    def add(self, numbers: set[int]) -> None:
        new = sorted(numbers - set(self.held))
        self.seed += 1
        codes = random_codes(len(new), self.format, self.seed)
        self.index.add(codes, np.array(new, np.int64))
        self.held |= dict(zip(new, codes.packed, strict=True))

    @rule(numbers=st.sets(st.integers(0, 40), max_size=9))
    def remove(self, numbers: set[int]) -> None:
        gone = self.index.remove(np.array(sorted(numbers), np.int64))
        assert gone == len(numbers & set(self.held))
        for number in numbers:
            self.held.pop(number, None)

    @invariant()
    def finds_what_is_there(self) -> None:
        assert len(self.index) == len(self.held)
        if not self.held:
            return
        items = np.array(sorted(self.held))
        packed = np.stack([self.held[number] for number in items])
        asked = random_codes(1, self.format, seed=99)
        hits = self.index.search(asked, len(items), probes=2)
        scores = symmetric_scores(asked.packed, packed, self.format)
        assert np.array_equal(hits.items, oracle(scores, items, len(items)))


Changes.TestCase.settings = settings(max_examples=25, stateful_step_count=15, deadline=None)
TestChanges = Changes.TestCase


def test_searches_go_on_after_somebody_imported_the_torch_side_of_faiss() -> None:
    """It exchanges the methods of all of FAISS, so in a process of its own."""
    pytest.importorskip("torch")
    said = (
        "import numpy as np, faiss.contrib.torch_utils\n"
        "from hotfill.binary.scan import Scanner\n"
        "from hotfill.binary.codes import CodeFormat\n"
        "levels = np.eye(5, dtype=np.uint8)\n"
        "scanner = Scanner(CodeFormat(5, 1), levels.mean(axis=0, dtype=np.float32)[None])\n"
        "scanner.add(np.arange(5), levels)\n"
        "print(scanner.search_codes(levels, 1, 1)[1].ravel())\n"
    )
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=False)
    assert done.stdout.split("\n")[0] == "[0 1 2 3 4]", done.stderr
