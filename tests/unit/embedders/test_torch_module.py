"""A PyTorch module as an embedder, and revisions made of weights."""

from __future__ import annotations

import numpy as np
import pytest

from hotfill.errors import ConfigError, EmbedError, ShapeError
from hotfill.types import Embedder, ModelId

torch = pytest.importorskip("torch")

from hotfill.embedders.torch_module import TorchEmbedder  # noqa: E402
from hotfill.embedders.weights import file_revision, module_revision  # noqa: E402

MODEL = ModelId("net", "1", 3)


@pytest.fixture
def module():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Dropout(0.5))


def rows(n: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, 4)).astype(np.float32)


def test_contents_are_embedded_batch_by_batch_in_evaluation_mode(module) -> None:
    embedder = TorchEmbedder(module, MODEL, torch.from_numpy, batch_size=4)
    assert isinstance(embedder, Embedder)
    made = embedder(rows(10))
    weight, bias = module[0].weight.detach().numpy(), module[0].bias.detach().numpy()
    expected = rows(10) @ weight.T + bias
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, expected, atol=1e-6)
    assert embedder([]).shape == (0, 3)


def test_vectors_of_a_model_that_is_not_normalised_keep_their_length(module) -> None:
    embedder = TorchEmbedder(module, ModelId("net", "1", 3, "dot", False), torch.from_numpy)
    expected = module.eval()(torch.from_numpy(rows(2))).detach().numpy()
    np.testing.assert_allclose(embedder(rows(2)), expected, atol=1e-6)


def test_contents_that_cannot_be_prepared_are_named(module) -> None:
    embedder = TorchEmbedder(module, MODEL, lambda text: torch.ones(4) / int(text), batch_size=2)
    with pytest.raises(EmbedError, match="row 3: ValueError") as caught:
        embedder(["1", "2", "3", "four"])
    assert (caught.value.rows, caught.value.retryable) == ((3,), False)


def test_a_module_with_another_output_is_refused(module) -> None:
    with pytest.raises(ShapeError, match=r"expected \(2, 5\)"):
        TorchEmbedder(module, ModelId("net", "1", 5), torch.from_numpy)(rows(2))


def test_the_revision_follows_every_weight(module) -> None:
    before = module_revision(module)
    assert module_revision(module) == before
    with torch.no_grad():
        module[0].bias[0] += 1e-6
    assert module_revision(module) != before
    assert module_revision(module.half()) != module_revision(module.to(torch.bfloat16))
    assert len(module_revision(torch.nn.Identity())) == 12
    counting = torch.nn.BatchNorm1d(2)  # has a whole number among its buffers
    assert len(module_revision(counting)) == 12


def test_the_revision_of_files_follows_their_bytes(tmp_path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(b"a")
    other.write_bytes(b"a")
    assert file_revision(one) == file_revision(other)
    assert file_revision(one, other) != file_revision(one)
    with pytest.raises(ConfigError, match="cannot be read"):
        file_revision(tmp_path / "absent")
