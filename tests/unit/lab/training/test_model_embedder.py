"""What `hotfill train` wrote embeds pictures as it did in the training."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from hotfill.errors import EmbedError, InputError
from hotfill.lab.training import FolderItems, ModelFile, train_compatible
from hotfill.lab.training.items import embed
from hotfill.lab.training.model_file import from_options


@pytest.fixture
def folder(tmp_path):
    """Two classes of pictures of different sizes, dark and bright."""
    rng = np.random.default_rng(0)
    for name, low, high in (("dark", 0, 90), ("bright", 160, 255)):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(4):
            grey = rng.integers(low, high, (20 + number, 24), dtype=np.uint8)
            Image.fromarray(grey).save(tmp_path / "data" / name / f"{number}.png")
    return tmp_path / "data"


def test_a_model_of_a_folder_embeds_pictures_of_any_size(folder, settings, tmp_path) -> None:
    trained = train_compatible(
        "independent", folder, tmp_path / "out", dimension=5, side=16, channels=1, settings=settings
    )
    items = FolderItems(folder, side=16, channels=1)
    expected = embed(ModelFile.read(trained.model).model, items)
    embedder = from_options(path=str(trained.model))
    assert embedder.model_id.dimension == 5
    found = embedder([folder / item_id for item_id in items.item_ids])
    np.testing.assert_allclose(found, expected, atol=1e-6)
    as_bytes = embedder([(folder / item_id).read_bytes() for item_id in items.item_ids])
    np.testing.assert_array_equal(as_bytes, found)


def test_a_model_of_arrays_embeds_arrays_as_they_are(items, settings, tmp_path) -> None:
    pictures = (items(np.arange(60))[:, 0].numpy() * 255).round().astype(np.uint8)
    np.savez(tmp_path / "data.npz", images=pictures, labels=items.labels)
    trained = train_compatible(
        "independent", tmp_path / "data.npz", tmp_path / "out", dimension=5, settings=settings
    )
    embedder = from_options(path=str(trained.model))
    expected = embed(ModelFile.read(trained.model).model, items)
    np.testing.assert_allclose(embedder(list(pictures)), expected, atol=1e-6)
    with pytest.raises(EmbedError, match="1 channels, got 3"):
        embedder([np.zeros((8, 8, 3), np.uint8)])
    with pytest.raises(EmbedError, match="expected \\(height"):
        embedder(["a text"])


def test_what_is_no_model_is_refused(tmp_path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"no")
    with pytest.raises(InputError, match=r"model\.safetensors"):
        from_options(path=str(tmp_path / "model.safetensors"))
