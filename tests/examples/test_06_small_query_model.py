"""The example shows what it says."""

from __future__ import annotations

import runpy
from pathlib import Path

import torch

EXAMPLE = Path(__file__).parents[2] / "examples" / "06_small_query_model.py"


def test_a_small_model_that_was_taught_finds_in_the_large_ones_gallery(capsys) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = runpy.run_path(str(EXAMPLE))["main"]()
    finally:
        torch.set_num_threads(threads)
    assert found["small alone"] < 0.3
    assert found["small, taught"] > found["large"] - 0.1
    assert "multiply-adds" in capsys.readouterr().out
