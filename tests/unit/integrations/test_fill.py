"""A gallery is filled from a reader, whole, whatever stops it on the way."""

from __future__ import annotations

import numpy as np
import pytest

from hotfill.errors import EmbedError, ModelMismatchError, StoreError
from hotfill.integrations.fill import fill_gallery
from hotfill.integrations.items import in_batches
from hotfill.stores.memory import MemoryGallery
from hotfill.types import ModelId

MODEL = ModelId("small", "1", 4)


class Numbers:
    def batches(self, size=256, /):
        yield from in_batches(((f"item-{n}", n, {"even": n % 2 == 0}) for n in range(50)), size)


class Embedder:
    model_id = MODEL

    def __init__(self, fail_at: int = -1) -> None:
        self.fail_at = fail_at
        self.asked: list[int] = []

    def __call__(self, contents):
        if self.fail_at in contents:
            raise EmbedError("out of reach")
        self.asked += contents
        return np.array([[n + 1, 1, 2, 3] for n in contents], dtype=np.float32)


def test_every_item_is_embedded_and_written_with_its_metadata() -> None:
    gallery, read = MemoryGallery(MODEL), []
    assert fill_gallery(gallery, Numbers(), Embedder(), batch_size=8, on_batch=read.append) == 50
    assert gallery.count(MODEL) == 50
    assert read == [8, 16, 24, 32, 40, 48, 50]
    assert gallery.get(["item-3"])[0].metadata == {"even": False}
    found = gallery.vectors(["item-7"], MODEL).vectors[0]
    np.testing.assert_allclose(found, np.array([8, 1, 2, 3]) / np.linalg.norm([8, 1, 2, 3]))


def test_after_a_failure_the_next_call_embeds_only_what_is_missing() -> None:
    gallery = MemoryGallery(MODEL)
    with pytest.raises(EmbedError):
        fill_gallery(gallery, Numbers(), Embedder(fail_at=20), batch_size=8)
    assert gallery.count(MODEL) == 16
    again = Embedder()
    assert fill_gallery(gallery, Numbers(), again, batch_size=8) == 34
    assert again.asked == list(range(16, 50))
    assert fill_gallery(gallery, Numbers(), again, batch_size=8) == 0


def test_a_gallery_of_another_model_is_refused() -> None:
    with pytest.raises(ModelMismatchError):
        fill_gallery(MemoryGallery(ModelId("other", "1", 4)), Numbers(), Embedder())
    with pytest.raises(StoreError, match="not stamped"):
        fill_gallery(MemoryGallery(), Numbers(), Embedder())
