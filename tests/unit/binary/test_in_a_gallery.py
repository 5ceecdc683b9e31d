"""A gallery goes from float to binary by the engine, from its own stored vectors, and back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hotfill.binary import Binarisation, BinaryEncoder
from hotfill.binary.codes import CodeFormat, levels_from_values, pack
from hotfill.lab.binary import fit_start
from hotfill.stores.memory import MemoryGallery
from hotfill.types import ModelId
from hotfill.upgrade.pairs import Fitting
from hotfill.upgrade.phases import Phase
from tests.unit.upgrade.small import Small

FLOAT = ModelId("text", "3", 24)
ITEMS = [f"item-{number:03}" for number in range(120)]


class StoredVectors:
    """A source whose contents are the vectors that the gallery holds already."""

    def __init__(self, gallery: MemoryGallery) -> None:
        self._gallery = gallery

    def __call__(self, item_ids: Sequence[str], /) -> dict[str, NDArray[np.float32]]:
        found = self._gallery.vectors(item_ids, FLOAT)
        return dict(zip(found.item_ids, found.vectors, strict=True))


class ByCodes:
    """What maps between the models here is the encoder itself; nothing has to be fitted."""

    def __init__(self, encoder: BinaryEncoder) -> None:
        self.up = Binarisation(encoder)
        self.facts: dict[str, float] = {}
        self.one_space, self.one_spaces = None, ()
        self.ups = {FLOAT: self.up}

    def uncertainty(self, old_vectors: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.zeros(len(old_vectors))

    def save(self, folder: Path) -> None:
        """Nothing to keep: the encoder has a file of its own."""


@pytest.mark.parametrize("strategy", ["prefill", "merge"])
def test_a_float_gallery_becomes_binary_and_can_go_back(tmp_path: Path, strategy: str) -> None:
    random = np.random.default_rng(0)
    rows = random.standard_normal((len(ITEMS), 24)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    encoder = fit_start(rows, FLOAT, CodeFormat(24, 2))
    gallery = MemoryGallery(FLOAT)
    gallery.upsert(ITEMS, rows, space=FLOAT)
    fitted = ByCodes(encoder)
    upgrade = Small(
        gallery,
        old=FLOAT,
        new=Binarisation(encoder),
        source=StoredVectors(gallery),
        folder=tmp_path,
        strategy=strategy,
        batch_size=16,
        verify_items=16,
    )
    upgrade.fitting = Fitting(fit=lambda old, new: fitted, load=lambda folder: fitted)
    assert upgrade.start().phase is Phase.BACKFILLED
    assert upgrade.verify().passed
    assert upgrade.cutover().phase is Phase.CUT_OVER
    assert gallery.count(encoder.space, origin=encoder.space.fingerprint) == len(ITEMS)
    found = gallery.vectors(ITEMS, encoder.space)
    # The store scaled its copies to unit length; they still pack to the encoder's codes.
    levels = levels_from_values(found.vectors, encoder.code_format)
    assert np.array_equal(pack(levels, encoder.code_format), encoder.encode(rows).packed)
    hits = gallery.search({encoder.space: Binarisation(encoder)(rows[:20])}, 1)
    assert [ids[0] for ids in hits[encoder.space].item_ids] == ITEMS[:20]
    assert upgrade.rollback().phase is Phase.ROLLED_BACK
    assert np.allclose(gallery.vectors(ITEMS, FLOAT).vectors, rows, atol=1e-6)
