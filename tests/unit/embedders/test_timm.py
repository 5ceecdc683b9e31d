"""Pictures through a real model of timm, with random weights kept in a file."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from hotfill.errors import ConfigError, EmbedError

torch = pytest.importorskip("torch")
try:
    import timm
except ModuleNotFoundError:
    pytest.skip("timm is not installed", allow_module_level=True)
except RuntimeError as error:  # torchvision was built for another torch
    pytest.skip(f"timm cannot be imported here: {error}", allow_module_level=True)

from safetensors.torch import save_file  # noqa: E402

from hotfill.embedders.timm import from_options  # noqa: E402

pytestmark = pytest.mark.filterwarnings("default")  # of timm's own dependencies
NAME = "test_resnet.r160_in1k"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    save_file(timm.create_model(NAME, pretrained=False).state_dict(), path)
    return path


def pictures(n: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, size=(n, 90, 120, 3), dtype=np.uint8))


def test_pictures_are_prepared_and_embedded_as_timm_does(weights) -> None:
    embedder = from_options(name=NAME, weights=str(weights), batch_size=2)
    model = timm.create_model(NAME, pretrained=False, checkpoint_path=str(weights))
    model.reset_classifier(0)
    model.eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    inputs = torch.stack([transform(Image.fromarray(array)) for array in pictures(3)])
    with torch.inference_mode():
        direct = model(inputs).numpy()
    expected = direct / np.linalg.norm(direct, axis=1, keepdims=True)
    np.testing.assert_allclose(embedder(pictures(3)), expected, atol=1e-4)
    assert embedder.model_id.dimension == direct.shape[1]
    assert '"crop_pct"' in embedder.model_id.preprocessing


def test_a_classifier_can_give_the_embedding(tmp_path) -> None:
    path = tmp_path / "trained.safetensors"
    model = timm.create_model(NAME, pretrained=False, num_classes=24)
    save_file(model.state_dict(), path)
    embedder = from_options(name=NAME, weights=str(path), dimension=24)
    assert embedder(pictures(2)).shape == (2, 24)


def test_encoded_pictures_are_read_and_broken_ones_named(weights) -> None:
    file = io.BytesIO()
    Image.fromarray(pictures(1)[0]).save(file, "PNG")
    embedder = from_options(name=NAME, weights=str(weights))
    np.testing.assert_allclose(embedder([file.getvalue()]), embedder(pictures(1)), atol=1e-5)
    with pytest.raises(EmbedError, match="readable picture") as caught:
        embedder([file.getvalue(), b"broken"])
    assert (caught.value.rows, caught.value.retryable) == ((1,), False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "no_such_model"}, "no_such_model"),
        ({"weights": "model.pth"}, "expected a .safetensors file"),
        ({"weights": "absent.safetensors"}, "cannot be read"),
        ({"dimension": 7}, "do not fit the model"),
    ],
)
def test_options_that_cannot_work_are_refused(weights, change, message) -> None:
    with pytest.raises(ConfigError, match=message):
        from_options(**{"name": NAME, "weights": str(weights), **change})
