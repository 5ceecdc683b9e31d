"""What goes out: ONNX, and a picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from hotfill.errors import HotfillError, InputError
from hotfill.lab.architecture_search import query_embedder
from hotfill.lab.architecture_search.evolution import (
    Evolution,
    History,
    Measured,
    evolve,
    search_picture,
)
from hotfill.lab.architecture_search.network import Network, recalibrate
from hotfill.lab.architecture_search.space import Architecture, Block, Budget, small_space

pytest.importorskip("onnxruntime")

SPACE = small_space(side=28, channels=1, dimension=8, stem=4)


@pytest.mark.parametrize("operation", ["shuffle7", "xception"])
def test_an_exported_network_gives_torchs_unit_vectors_for_any_number_of_pictures(
    tmp_path, operation
) -> None:
    network = Network(SPACE, Architecture((Block(operation, 1.2),) * SPACE.blocks))
    recalibrate(network, [torch.randn(16, 1, 28, 28)])
    done = query_embedder.export(network, tmp_path / "query.onnx", channels=1, side=28)
    assert done.bytes == done.path.stat().st_size
    assert network.training
    session = query_embedder.session(done.path)
    for count in (1, 7):
        images = torch.randn(count, 1, 28, 28)
        (found,) = session.run(None, {"images": images.numpy()})
        with torch.inference_mode():
            expected = nn.functional.normalize(network.eval()(images)).numpy()
        np.testing.assert_allclose(found, expected, atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-5)
        network.train()


def test_an_export_that_differs_from_torch_leaves_no_file(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(query_embedder, "TOLERANCE", 0.0)
    network = Network(SPACE, Architecture((Block("shuffle3", 1.2),) * SPACE.blocks))
    with pytest.raises(HotfillError, match="onnxruntime and torch differ"):
        query_embedder.export(network, tmp_path / "query.onnx", channels=1, side=28)
    assert not list(tmp_path.iterdir())


def test_a_network_that_onnx_cannot_say_is_refused(tmp_path) -> None:
    network = nn.Sequential(nn.AdaptiveAvgPool2d(3), nn.Flatten())  # 28 is not divisible by 3
    with pytest.raises(HotfillError, match="cannot be exported to ONNX"):
        query_embedder.export(network, tmp_path / "query.onnx", channels=1, side=28)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("generations", [1, 3])
def test_a_search_is_drawn(tmp_path, generations) -> None:
    pytest.importorskip("matplotlib")
    history = evolve(
        Budget(SPACE, 10**6),
        Evolution(generations, 5, 4, seed=1),
        lambda a: Measured(a.blocks[0].width / 4, a.blocks[1].width / 2),
    )
    for name in ("search.png", "search.svg"):
        search_picture(history, tmp_path / name)
        assert (tmp_path / name).stat().st_size > 5000


def test_a_search_without_candidates_is_not_drawn(tmp_path) -> None:
    with pytest.raises(InputError, match="no candidate yet"):
        search_picture(History(SPACE, {}), tmp_path / "search.png")
