"""The example shows what it says."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_the_compatible_model_searches_the_old_gallery_better_than_the_old_model(capsys) -> None:
    found = runpy.run_path(str(EXAMPLES / "04_train_compatible.py"))["main"]()
    old = found["old queries, old gallery"]
    assert found["compatible new queries, old gallery"] > old
    assert found["independent new queries, old gallery"] < old
    assert (
        found["compatible new queries, new gallery"] > found["compatible new queries, old gallery"]
    )
    assert "mAP" in capsys.readouterr().out


@pytest.mark.filterwarnings("default")  # Lightning's own advice on workers is none of ours
def test_the_recipe_works_in_lightning(capsys) -> None:
    pytest.importorskip("pytorch_lightning")
    found = runpy.run_path(str(EXAMPLES / "04_train_compatible_lightning.py"))["main"]()
    assert found["after"] > found["before"] + 0.5
