"""What is installed is the library, and nothing else; what it says of itself holds."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from importlib.util import find_spec

import pytest

from tests.architecture.test_layers import ROOT

REPOSITORY = ROOT.parent.parent
MOST_BYTES = 1_500_000

for module in ("build", "hatchling"):
    pytest.importorskip(module, reason=f"{module} is not installed")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder with a source distribution, and the wheel that is made of that."""
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, REPOSITORY],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_wheel_has_every_file_of_the_library_and_no_other(built):
    (wheel,) = built.glob("*.whl")
    assert wheel.stat().st_size < MOST_BYTES
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    files = {
        path.relative_to(ROOT.parent).as_posix()
        for path in ROOT.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert names == files
    assert {"hotfill/py.typed", "hotfill/service/web/templates/page.html"} <= names


def test_the_source_has_what_the_wheel_is_made_of(built):
    (archive,) = built.glob("*.tar.gz")
    assert archive.stat().st_size < MOST_BYTES
    with tarfile.open(archive) as opened:
        tops = {name.split("/")[1] for name in opened.getnames()}
    files = {"README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml", "PKG-INFO", ".gitignore"}
    assert tops == files | {"src"}


def test_the_metadata_says_what_is_so(built):
    trove = pytest.importorskip("trove_classifiers")
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith("METADATA"))
        said = Parser().parsestr(archive.read(name).decode())
    assert set(said.get_all("Classifier")) <= trove.classifiers
    tested = {
        each.rpartition(" ")[2]
        for each in said.get_all("Classifier")
        if re.search(r":: 3\.\d+$", each)
    }
    page = (REPOSITORY / "docs" / "reference" / "platforms.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| (3\.\d+) \|", page, re.M)) == tested
    assert said["Requires-Python"] == f">={min(tested, key=lambda each: int(each[2:]))}"
    assert said["Description-Content-Type"] == "text/markdown"


def test_no_extra_is_a_must(built):
    """`pip install hotfill` brings what the core imports, and little else."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert len(project["dependencies"]) <= 10
    assert find_spec("hotfill") is not None
    versions = [each for each in project["dependencies"] if "==" in re.sub(r";.*", "", each)]
    assert versions == []
