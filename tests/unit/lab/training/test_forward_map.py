"""A trained forward map leaves torch and maps the same, from a file too."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from hotfill import ranking
from hotfill.errors import ShapeError
from hotfill.lab.losses.maps import ResidualBranch
from hotfill.lab.training.train_compatible import forward_map
from hotfill.types import ModelId, Transform


@pytest.mark.parametrize(("source", "target"), [(5, 5), (5, 8), (8, 5)])
def test_the_transform_gives_what_the_map_gives(source, target, tmp_path) -> None:
    map_ = ResidualBranch(source, target, hidden=7)
    torch.nn.init.normal_(map_.outer.weight)
    torch.nn.init.normal_(map_.outer.bias)
    old, new = ModelId("old", "1", source), ModelId("new", "1", target)
    transform = forward_map(map_, old, new)
    assert isinstance(transform, Transform)
    vectors = normalize(torch.randn(9, source))
    with torch.inference_mode():
        expected = normalize(map_(vectors)).numpy()
    np.testing.assert_allclose(transform(vectors.numpy()), expected, atol=1e-6)

    transform.save(tmp_path / "up.safetensors")
    loaded = ranking.load_transform(tmp_path / "up.safetensors", source=old, target=new)
    assert loaded.fingerprint == transform.fingerprint
    np.testing.assert_array_equal(loaded(vectors.numpy()), transform(vectors.numpy()))


def test_a_map_between_other_dimensions_is_refused() -> None:
    with pytest.raises(ShapeError, match="residual map"):
        forward_map(ResidualBranch(5, 8), ModelId("old", "1", 5), ModelId("new", "1", 9))
