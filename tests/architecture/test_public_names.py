"""Removing or adding a public name is a visible act."""

from __future__ import annotations

import hotfill

PUBLIC = [
    "Embedder",
    "Hit",
    "HotfillError",
    "MemoryGallery",
    "Model",
    "ModelId",
    "Plan",
    "SearchResult",
    "Source",
    "Status",
    "Transform",
    "Upgrade",
    "__version__",
    "open",
    "rehearse",
]


def test_the_public_names_are_these() -> None:
    assert hotfill.__all__ == PUBLIC


def test_the_list_of_public_names_is_sorted_and_every_name_exists() -> None:
    assert sorted(hotfill.__all__) == hotfill.__all__
    assert all(hasattr(hotfill, name) for name in hotfill.__all__)
    assert set(hotfill.__all__) <= set(dir(hotfill))


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    assert not hasattr(hotfill, "Serving")
