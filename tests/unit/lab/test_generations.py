"""The benchmark of generations measures what it says, on models small enough to check by hand."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from benchmarks.generations import heads
from benchmarks.generations.data import TEXT_MODELS, Chain, Part, texts
from benchmarks.generations.label_free import Bench
from benchmarks.generations.measure import measure, way
from benchmarks.generations.run import Folders, aims, kept, second_claim
from hotfill.vectors import unit

MODELS = ("first", "second", "third")


@pytest.fixture(scope="module")
def bench() -> Bench:
    """Three models that see the same eight numbers of an item with less and less noise."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(12, 8))
    turns = {model: rng.normal(size=(8, 10)) for model in MODELS}

    def part(items: int) -> Part:
        labels = rng.integers(12, size=items)
        vectors = {}
        for model, noise in zip(MODELS, (0.9, 0.5, 0.3), strict=True):
            seen = centres[labels] + noise * rng.normal(size=(items, 8))
            vectors[model] = unit((seen @ turns[model]).astype(np.float32))
        return Part(vectors, labels)

    return Bench(Chain("made up", MODELS, part(400), part(40), part(150)), seed=0)


def test_a_gallery_of_one_origin_is_that_origin(bench) -> None:
    items = len(bench.chain.gallery.labels)
    own, imputed = ("third",), ("first", "second", "third")
    for place, path in enumerate((own, imputed)):
        found = bench.mixed([own, imputed], np.full(items, place))
        np.testing.assert_array_equal(found.precision, bench.measure(path).precision)
    queries, gallery = (
        part.vectors["third"] for part in (bench.chain.queries, bench.chain.gallery)
    )
    alone = measure(queries @ gallery.T, bench.relevance)
    np.testing.assert_array_equal(bench.own("third").precision, alone.precision)


def test_a_path_is_walked_map_by_map(bench) -> None:
    first = bench.map("first", "second").impute(bench.chain.gallery.vectors["first"])
    expected = bench.map("second", "third").impute(first)
    found = bench.imputed(MODELS, bench.chain.gallery)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    # All imputed alike: the scale by origin keeps each query's order.
    plain = bench.chain.queries.vectors["third"] @ expected.T
    on_scale = bench.scores(MODELS)
    for query in range(3):
        order = np.argsort(-plain[query], kind="stable")
        assert np.all(np.diff(on_scale[query][order]) <= 1e-5)


def test_what_is_asked_for_most_moves_first(bench) -> None:
    path = ("first", "second")
    returned = bench.urgency("popularity", path)
    assert returned.sum() == 2000 * 10
    order = bench.order("popularity", path)
    assert sorted(order.tolist()) == list(range(150))
    assert np.all(np.diff(returned[order]) <= 0)


def test_a_share_of_the_way_above_one_makes_nothing_good() -> None:
    assert way(0.3, old=0.2, new=0.4) == pytest.approx(0.5)
    assert way(0.3, old=0.4, new=0.4) is None
    assert [kept(share) for share in (1.7, 0.5, -0.2, None)] == [1.0, 0.5, -0.2, 1.0]


def sweep(by_weight: dict[float, float], seed: int) -> list[dict]:
    return [
        {
            "kind": heads.WEIGHED, "recipe": "bict", "seed": seed,
            "weight": None if weight == 1 else weight,
            "generations": [{}, {"galleries": {"its map": {"map": value}}}],
        }
        for weight, value in by_weight.items()
    ]  # fmt: skip


def test_the_second_claim_needs_a_small_weight_to_be_the_best() -> None:
    flat = dict.fromkeys((*heads.WEIGHTS, 1.0), 0.1)
    small = sweep({**flat, 0.01: 0.2}, 0)
    none, large = sweep({**flat, 0.0: 0.2}, 1), sweep({**flat, 1.0: 0.2}, 2)
    unfinished = sweep({0.0: 0.1, 0.01: 0.3}, 3)
    assert second_claim({"heads": small}) == 1
    assert second_claim({"heads": small + none + large + unfinished}) == pytest.approx(
        1 / 3, abs=1e-4
    )
    assert second_claim({"heads": unfinished}) is None


def test_a_compatible_head_below_the_old_one_misses_its_aim() -> None:
    def row(recipe: str, gained: float) -> dict:
        gallery = {"as it is": {"above old": {"mean": gained}}}
        return {"recipe": recipe, "weight": None, "kind": "extended-data", "seed": 0,
                "generations": [{"galleries": gallery}] * 2}  # fmt: skip

    found = aims({"heads": [row("bct", 0.01), row("bct", -0.01), row("unibct", 0.0)]})
    name = "{}, generation 2: not below old, of {} kinds and seeds"
    assert found[name.format("bct", 2)] == {"value": 0.5, "aim": 1, "met": False}
    assert found[name.format("unibct", 1)]["met"]


def test_heads_grow_by_kind_and_their_pairs_are_never_trained_on() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(10), 2 * heads.TRAIN)
    vectors = {model: unit(rng.normal(size=(1000, 6)).astype(np.float32)) for model in MODELS}
    rest = Part(vectors, labels)
    few = rest.take(np.arange(0, 1000, 25))
    chain = Chain("made up", MODELS, rest, few, few)
    for kind in heads.EXTENDED:
        growth = heads.grow(chain, kind, seed=1)
        assert not growth.seen[-1][growth.pairs].any()
        assert [int(seen.sum()) for seen in growth.seen] == [150, 300, 500]
        known = [len(np.unique(labels[seen])) for seen in growth.seen]
        assert known == ([10, 10, 10] if kind == "extended-data" else [3, 6, 10])
        assert growth.models == (MODELS if kind == "extended-backbone" else ("second",) * 3)


def test_all_models_of_a_text_chain_have_the_same_text_in_a_row(tmp_path) -> None:
    rng = np.random.default_rng(0)
    words = [[f"{letter}{number}" for number in range(12)] for letter in "xyz"]
    lines = [
        (split, f"intent-{kind}", " ".join(rng.choice(words[kind], 4)))
        for _ in range(60)
        for kind in range(3)
        for split in ("train", "test")[: 1 + (rng.random() < 0.5)]
    ]
    folder = tmp_path / "banking77"
    folder.mkdir()
    with gzip.open(folder / "banking77.tsv.gz", "wt", encoding="utf-8") as file:
        file.write("\n".join("\t".join(line) for line in [("split", "intent", "text"), *lines]))
    arrays = {}
    for side, split in (("gallery", "train"), ("queries", "test")):
        kinds = np.array([int(line[1][-1]) for line in lines if line[0] == split])
        arrays[f"{side}_labels" if side == "gallery" else "query_labels"] = kinds
        near = np.eye(3, dtype=np.float32)[kinds] + 0.01
        arrays |= {f"old_{side}": near[:, :2] + near[:, 2:], f"new_{side}": near}
    np.savez(tmp_path / "made.npz", **arrays)
    chain = texts(folder, tmp_path / "made.npz", seed=0)
    assert chain.models == TEXT_MODELS
    for part in (chain.rest, chain.queries, chain.gallery):
        np.testing.assert_array_equal(part.vectors[TEXT_MODELS[2]].argmax(axis=1), part.labels)
        # Texts of one intent share words, and texts of two share none.
        by_words = part.vectors[TEXT_MODELS[0]]
        alike = part.labels[:, None] == part.labels
        assert (by_words @ by_words.T)[~alike].max() < 0.01
    assert [len(part.labels) for part in (chain.queries, chain.gallery)] == [30, 90]


def test_a_text_chain_without_its_embeddings_says_what_makes_them(tmp_path) -> None:
    with pytest.raises(SystemExit, match=r"clinc150 needs --texts: what mixed_quality/texts.py"):
        Folders(tmp_path).chain("clinc150", 0, 150)
