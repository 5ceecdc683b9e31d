"""The notebook runs, and shows what it says."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")

ROOT = Path(__file__).parents[2]


@pytest.mark.filterwarnings("default")  # of Jupyter's own libraries
def test_the_notebook_runs_and_its_figures_are_those_of_its_words(tmp_path) -> None:
    (tmp_path / "examples").mkdir()
    for name in ("demo", "data"):
        (tmp_path / name).symlink_to(ROOT / name)
    path = shutil.copy(ROOT / "examples" / "07_compare_recipes.ipynb", tmp_path / "examples")
    notebook = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # figures come from a run
    client = nbclient.NotebookClient(notebook, timeout=200, kernel_name="python3")
    client.execute(cwd=str(tmp_path / "examples"))
    printed = [
        output.text
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if output.output_type == "stream" and output.name == "stdout"
    ]
    assert printed[0] == "1200 drawings of 60 characters\n64 -> 128 dimensions\n"
    names = [line.split("  ")[0] for line in printed[1].splitlines()[1:]]
    assert names == ["old system", "bct", "advbct", "bict", "ridge", "triplet"]
    assert printed[2].splitlines()[-1].startswith("bct - ridge: ")
    assert (tmp_path / "examples" / "curves.svg").exists()
    assert (tmp_path / "examples" / "runs" / "seed1.qrels").exists()
