"""The parts that stores are made of."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotfill.errors import StoreError, StoreFullError
from hotfill.stores.folder import FolderStamp, read_stamp, write_stamp
from hotfill.stores.memory import best
from hotfill.stores.versions import LastingClock, VersionClock
from hotfill.types import ModelId

MODEL = ModelId("m", "1", 4)


def test_versions_grow_even_when_the_clock_stands_still(monkeypatch):
    monkeypatch.setattr("time.time_ns", lambda: 50)
    clock = VersionClock()
    assert clock.take(3).tolist() == [50, 51, 52]
    assert clock.take(0).tolist() == []
    assert clock.take(2).tolist() == [53, 54]
    monkeypatch.setattr("time.time_ns", lambda: 1000)
    assert clock.take(1).tolist() == [1000]
    assert VersionClock(floor=2000).take(1).tolist() == [2001]


def test_no_version_is_given_out_above_the_ceiling_that_is_kept(monkeypatch):
    now = [50]
    monkeypatch.setattr("time.time_ns", lambda: now[0])
    kept = []
    clock = LastingClock(0, kept.append)
    for now[0] in (50, 51, 10**10, 10**12, 10**12):
        assert clock.take(3)[-1] <= kept[-1]
    assert len(kept) == 2  # not for every write
    now[0] = 50  # another process, whose clock was set back
    assert LastingClock(kept[-1], kept.append).take(1)[0] > kept[1]


def test_a_ceiling_that_could_not_be_kept_is_kept_before_the_next_version():
    kept = []

    def keep(ceiling):
        kept.append(ceiling)
        if len(kept) == 1:
            raise StoreFullError("no space left")

    clock = LastingClock(0, keep)
    with pytest.raises(StoreFullError):
        clock.take(1)
    assert clock.take(1)[0] <= kept[1]


def test_a_stamp_comes_back_as_written(tmp_path):
    stamp = FolderStamp(spaces=(MODEL, ModelId("m", "2", 5, metric="l2")), data="shard-3")
    write_stamp(tmp_path, FolderStamp(spaces=(), data="other"))
    write_stamp(tmp_path, stamp)
    assert read_stamp(tmp_path) == stamp
    assert [path.name for path in tmp_path.iterdir()] == ["spaces.json"]


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"format": 1}', '{"format": 1, "data": "x", "spaces": [{"name": "m"}]}'],
)
def test_a_damaged_stamp_is_refused(tmp_path, content):
    (tmp_path / "spaces.json").write_text(content)
    with pytest.raises(StoreError, match="cannot be understood"):
        read_stamp(tmp_path)


def test_a_stamp_of_a_later_format_is_refused(tmp_path):
    (tmp_path / "spaces.json").write_text(json.dumps({"format": 2, "spaces": []}))
    with pytest.raises(StoreError, match="format 2, this version of hotfill reads 1"):
        read_stamp(tmp_path)


@given(st.integers(0, 1000), st.integers(1, 5000), st.integers(1, 200), st.booleans())
def test_the_best_are_those_that_sorting_all_puts_first(seed, n, k, few_values):
    scores = np.random.default_rng(seed).normal(size=n).astype(np.float32)
    if few_values:
        scores = np.round(scores)
    found = best(scores, k)
    assert len({*found.tolist()}) == len(found) == min(k, n)
    np.testing.assert_array_equal(scores[found], np.sort(scores)[::-1][:k])
