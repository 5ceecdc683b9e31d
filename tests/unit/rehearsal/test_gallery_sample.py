"""A sample in a folder is whole or not there, and read back as what a rehearsal takes."""

from __future__ import annotations

import numpy as np
import pytest

from hotfill.errors import InputError
from hotfill.rehearsal.gallery_sample import GallerySample, read_files, read_sample
from hotfill.types import ModelId

OLD, NEW = ModelId("old", "1", 3), ModelId("new", "1", 4)


def sample(**more):
    rng = np.random.default_rng(0)
    ids = tuple(f"item {n}" for n in range(5))
    vectors = (rng.normal(size=(5, d)).astype(np.float32) for d in (3, 4))
    return GallerySample(OLD, NEW, ids, *vectors, **more)


def test_what_was_taken_is_read_back_and_what_was_not_is_not_there(tmp_path):
    plain = sample()
    plain.save(tmp_path / "plain")
    old, new, relevant = read_sample(tmp_path / "plain")
    assert (old.queries, new.queries, relevant) == (None, None, None)
    np.testing.assert_array_equal(new.gallery, plain.new)
    rich = sample(
        queries_old=plain.old[:2],
        queries_new=plain.new[:2],
        labels=np.array(["a", "b", "ä", "a", "b"]),
        query_labels=np.array(["a", "b"]),
    )
    rich.save(tmp_path / "rich")
    old, _, relevant = read_sample(tmp_path / "rich")
    assert list(relevant.items) == ["a", "b", "ä", "a", "b"]
    assert list(relevant.queries) == ["a", "b"]
    np.testing.assert_array_equal(old.queries, plain.old[:2])
    judged = sample(
        queries_old=plain.old[:1], queries_new=plain.new[:1], qrels={"0": {"3": 1.0, "1": 1.0}}
    )
    judged.save(tmp_path / "judged")
    assert read_sample(tmp_path / "judged")[2] == {"0": {"3": 1.0, "1": 1.0}}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["judged", "plain", "rich"]


def test_labels_and_judgements_at_once_are_refused(tmp_path):
    with pytest.raises(InputError, match="both given; which of them is the truth"):
        read_files({"old": tmp_path, "new": tmp_path, "labels": tmp_path, "qrels": tmp_path})
    with pytest.raises(InputError, match="no labels of the items"):
        read_files({"old": tmp_path, "new": tmp_path, "query_labels": tmp_path})


def test_a_folder_that_is_there_is_never_overwritten(tmp_path):
    sample().save(tmp_path / "sample")
    before = sorted((tmp_path / "sample").iterdir())
    with pytest.raises(InputError, match="is there already: rehearse from it with --sample"):
        sample().save(tmp_path / "sample")
    assert sorted((tmp_path / "sample").iterdir()) == before


def test_another_folder_is_no_sample(tmp_path):
    with pytest.raises(InputError, match="expected a folder that `hotfill sample` wrote"):
        read_sample(tmp_path)
