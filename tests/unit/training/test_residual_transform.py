"""A trained forward map leaves torch and maps the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from hotfill.errors import ShapeError
from hotfill.losses.maps import Residual
from hotfill.training import residual_transform
from hotfill.types import ModelId, Transform


@pytest.mark.parametrize(("source", "target"), [(5, 5), (5, 8), (8, 5)])
def test_the_transform_gives_what_the_map_gives(source, target) -> None:
    map_ = Residual(source, target, hidden=7)
    torch.nn.init.normal_(map_.outer.weight)
    torch.nn.init.normal_(map_.outer.bias)
    old, new = ModelId("old", "1", source), ModelId("new", "1", target)
    transform = residual_transform(map_, old, new)
    assert isinstance(transform, Transform)
    vectors = normalize(torch.randn(9, source))
    with torch.inference_mode():
        expected = normalize(map_(vectors)).numpy()
    np.testing.assert_allclose(transform(vectors.numpy()), expected, atol=1e-6)
    with pytest.raises(ShapeError, match="residual map"):
        residual_transform(map_, old, ModelId("new", "1", target + 1))
