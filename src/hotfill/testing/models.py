"""Spaces that the tests move items between."""

from hotfill.types import ModelId

OLD = ModelId("old", "1", 6)
NEW = ModelId("new", "1", 8, metric="l2", normalised=False)
NEWEST = ModelId("newest", "1", 5, metric="dot", normalised=False)
STRANGER = ModelId("stranger", "1", 6)
UP = "up-transform"  # the fingerprint of some transform
