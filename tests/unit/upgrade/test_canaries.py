"""Which queries are canaries, what they found before, and that it is kept."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hotfill.errors import ConfigError, JournalError
from hotfill.stores.memory import MemoryGallery
from hotfill.upgrade.canaries import (
    WATCHED,
    draw_canaries,
    keep_canaries,
    kept_canaries,
    read_queries,
    without,
)
from hotfill.upgrade.journal.sqlite import SqliteJournal
from hotfill.upgrade.pace import Progress
from hotfill.upgrade.plan import Plan
from tests.unit.upgrade.small import (
    NEW,
    OLD,
    Contents,
    Projection,
    Rough,
    contents,
    filled,
    stay_imputed,
)


def drawn(source, *, old_embedder=None, fitted_on=(), broken=(), asked_by=None, imputed=(), **plan):
    gallery = filled(source)
    stay_imputed(gallery, list(imputed))

    def search(queries, k):
        return gallery.search({OLD: queries}, k)[OLD].item_ids

    return draw_canaries(
        gallery,
        Plan(OLD, NEW, batch_size=7, **plan),
        source,
        Projection(NEW, set(broken)),
        old_embedder,
        search,
        fitted_on,
        asked_by or {},
        Progress(),
    )


def test_items_become_queries_that_do_not_find_themselves():
    source = contents(60)
    canaries = drawn(source, canary_items=20, canary_k=4)
    assert len(canaries) == len(set(canaries.item_ids)) == 20
    rows = [source[name] for name in canaries.item_ids]
    np.testing.assert_allclose(canaries.queries, Projection(NEW)(rows), atol=1e-6)
    vectors = dict(zip(source, Projection(OLD)(list(source.values())), strict=True))
    for name, before in zip(canaries.item_ids, canaries.before, strict=True):
        ranked = sorted(source, key=lambda item, q=vectors[name]: -float(vectors[item] @ q))
        assert before == tuple(item for item in ranked if item != name)[:4]


def test_an_imputed_vector_is_no_query_of_the_old_model():
    source = contents(60)
    names = list(source)
    canaries = drawn(source, canary_items=30, imputed=names[:40])
    assert set(canaries.item_ids) == set(names[40:])
    old = Projection(OLD)
    canaries = drawn(source, canary_items=30, imputed=names[:40], old_embedder=old)
    assert len(canaries) == 30
    rows = [source[name] for name in canaries.item_ids]
    np.testing.assert_allclose(canaries.old_queries, old(rows), atol=1e-6)


def test_items_that_cannot_be_embedded_or_have_no_content_are_no_canaries():
    source = contents(30)
    broken = {float(source["item-00003"][0])}
    lacking = Contents(list(source.items())[:-1])
    gallery = filled(source)
    canaries = draw_canaries(
        gallery,
        Plan(OLD, NEW, canary_items=30),
        lacking,
        Projection(NEW, broken),
        None,
        lambda queries, k: gallery.search({OLD: queries}, k)[OLD].item_ids,
        (),
        {},
        Progress(),
    )
    assert set(canaries.item_ids) == set(source) - {"item-00003", "item-00029"}


def test_what_the_maps_were_fitted_on_is_watched_only_when_there_is_nothing_else():
    source = contents(WATCHED + 50)
    fitted_on = list(source)[:100]
    canaries = drawn(source, canary_items=10, fitted_on=fitted_on)
    assert len(canaries.watched) == len(set(canaries.watched)) == WATCHED
    used = {*fitted_on, *canaries.item_ids}
    assert len(used & set(canaries.watched)) == WATCHED - (WATCHED + 50 - len(used))


@pytest.mark.parametrize("given", [False, True])
def test_canaries_are_embedded_by_what_embeds_the_queries(given, tmp_path):
    source = contents(40)
    small = {OLD: Rough(OLD, "small-old"), NEW: Rough(NEW, "small-new")}
    plan = {"canary_items": 8, "canary_k": 3}
    if given:
        asked = [source["item-00001"], source["item-00007"]]
        lines = [json.dumps({"content": row.tolist()}) for row in asked]
        (tmp_path / "queries.jsonl").write_text("\n".join(lines))
        plan = {"canary_queries": str(tmp_path / "queries.jsonl"), "canary_k": 3}
    canaries = drawn(source, asked_by=small, **plan)
    rows = asked if given else [source[name] for name in canaries.item_ids]
    assert len(canaries) == len(rows) == (2 if given else 8)
    np.testing.assert_allclose(canaries.queries, small[NEW](rows), atol=1e-6)
    np.testing.assert_allclose(canaries.old_queries, small[OLD](rows), atol=1e-6)
    stored = Projection(OLD)(list(source.values()))
    for query, own, before in zip(
        canaries.old_queries, canaries.item_ids, canaries.before, strict=True
    ):
        ranked = [list(source)[row] for row in np.argsort(-stored @ query)]
        assert before == tuple(item for item in ranked if item != own)[:3]


def test_given_queries_are_searched_by_the_old_model_and_keep_their_judgements(tmp_path):
    source = contents(40)
    rows = [[float(x) for x in row] for row in contents(3, seed=4).values()]
    lines = [{"content": rows[0], "relevant": ["item-00001"]}, {"content": rows[1]}]
    path = tmp_path / "canaries.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    canaries = drawn(source, canary_queries=str(path), old_embedder=Projection(OLD), canary_k=3)
    assert (canaries.item_ids, canaries.relevant) == (("", ""), (("item-00001",), ()))
    np.testing.assert_allclose(canaries.queries, Projection(NEW)(rows[:2]), atol=1e-6)
    vectors = dict(zip(source, Projection(OLD)(list(source.values())), strict=True))
    query = Projection(OLD)(rows[:1])[0]
    ranked = sorted(source, key=lambda item: -float(vectors[item] @ query))
    assert canaries.before[0] == tuple(ranked[:3])
    assert drawn(source, canary_queries=str(path)).before == ((), ())  # nobody to ask


def test_a_gate_that_nothing_can_be_measured_for_is_refused(tmp_path):
    path = tmp_path / "canaries.jsonl"
    path.write_text('{"content": [1, 0, 0, 0, 0, 0, 0, 0]}\n')
    with pytest.raises(ConfigError, match="needs judgements"):
        drawn(
            contents(9),
            canary_queries=str(path),
            gate={"flips": 0.1},
            old_embedder=Projection(OLD),
        )
    with pytest.raises(ConfigError, match=r"\[old\] needs an embedder"):
        drawn(contents(9), canary_queries=str(path), gate={"old_overlap": 0.1})
    with pytest.raises(ConfigError, match="needs canaries to measure"):
        Plan(OLD, NEW, gate={"agreement": 0.5})
    with pytest.raises(ConfigError, match="needs canary_queries with judgements"):
        Plan(OLD, NEW, gate={"flips": 0.5}, canary_items=9)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no queries"),
        ("{", "line 1: not JSON"),
        ('{"content": 1}\n[]', r"line 2: expected \{"),
        ('{"relevant": []}', "line 1: expected"),
        ('{"content": 1, "relevant": "a"}', "line 1: expected"),
        ('{"content": 1, "relevant": [1]}', "line 1: expected"),
        ('{"content": 1, "wanted": []}', "line 1: expected"),
    ],
)
def test_a_damaged_file_is_refused_with_its_line(tmp_path, text, message):
    path = tmp_path / "canaries.jsonl"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_queries(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_queries(tmp_path / "absent")


def test_canaries_are_kept_and_come_back_the_same(tmp_path):
    journal = SqliteJournal(tmp_path / "journal.sqlite")
    assert kept_canaries(tmp_path, journal) is None
    for items in (20, 10):  # again, as after a kill
        canaries = drawn(contents(40), canary_items=items)
        keep_canaries(tmp_path, journal, canaries)
        again = kept_canaries(tmp_path, journal)
        np.testing.assert_array_equal(again.queries, canaries.queries)
        for name in ("item_ids", "relevant", "before", "watched"):
            assert getattr(again, name) == getattr(canaries, name)
    (tmp_path / "canaries" / "lists.json").unlink()
    with pytest.raises(JournalError, match="cannot be read"):
        kept_canaries(tmp_path, journal)
    journal.close()


def test_a_gallery_without_items_has_no_canaries():
    canaries = draw_canaries(
        MemoryGallery(OLD),
        Plan(OLD, NEW, canary_items=5),
        Contents(),
        Projection(NEW),
        None,
        lambda queries, k: [()] * len(queries),
        (),
        {},
        Progress(),
    )
    assert (len(canaries), canaries.queries.shape, canaries.watched) == (0, (0, 6), ())


def test_a_query_made_of_an_item_leaves_that_item_out():
    assert without(["a", "b", "c"], "b", 2) == ("a", "c")
    assert without(["a", "b", "c"], "", 2) == ("a", "b")
