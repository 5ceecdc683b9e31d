"""Items drawn evenly."""

from __future__ import annotations

from collections import Counter

import pytest

from hotfill.stores.memory import MemoryGallery
from hotfill.upgrade.order import sample_ids
from tests.unit.upgrade.small import OLD, contents, filled


@pytest.mark.parametrize(("items", "size"), [(0, 5), (5, 0), (5, 5), (5, 9), (50, 7)])
def test_a_sample_has_its_size_and_no_item_twice(items, size):
    source = contents(items)
    gallery = filled(source) if items else MemoryGallery(OLD)
    sample = sample_ids(gallery, [OLD], size, seed=3)
    assert len(sample) == len(set(sample)) == min(items, size)
    assert set(sample) <= set(source)
    assert sample == sample_ids(gallery, [OLD], size, seed=3)


def test_every_item_is_as_likely_as_any_other():
    gallery = filled(contents(20))
    drawn = Counter(item for seed in range(600) for item in sample_ids(gallery, [OLD], 5, seed))
    # Each is drawn 150 times on average, with a standard deviation below 10.7.
    assert len(drawn) == 20
    assert all(abs(count - 150) < 5 * 10.7 for count in drawn.values())
