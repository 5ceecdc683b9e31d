"""An environment of its own for each neighbour, made by venv and pip and kept."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from hotfill import __version__

PACKAGES = {
    "isotrieve": "isotrieve[pgvector]==0.4.0",
    "vecshift": "vecshift==0.4.0",
    "embedflow": "embedflow[pgvector]==0.8.0",
    "vectormigrate": "vectormigrate==1.0.1",
}


def python_of(name: str, folder: Path) -> Path:
    """Where a tool's interpreter is, made or not; hotfill's is this one."""
    if name not in PACKAGES:
        return Path(sys.executable)
    version = PACKAGES[name].partition("==")[2]
    return folder / f"{name}-{version}" / "bin" / "python"


def ready(name: str, folder: Path) -> bool:
    """Whether the environment is there, whole."""
    return name not in PACKAGES or (python_of(name, folder).parent.parent / "ready").exists()


def make(name: str, folder: Path) -> None:
    """Make it unless it is there. Raises CalledProcessError with what pip said."""
    if ready(name, folder):
        return
    home = python_of(name, folder).parent.parent
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
    pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", PACKAGES[name]]
    subprocess.run(pip, check=True, capture_output=True, text=True)
    (home / "ready").touch()


def versions(name: str, folder: Path) -> dict[str, str]:
    """The versions of the tool and of what it leans on."""
    code = (
        "import importlib.metadata as m, json, sys\n"
        "found = {}\n"
        "for each in sys.argv[1:]:\n"
        "    try: found[each] = m.version(each)\n"
        "    except m.PackageNotFoundError: pass\n"
        "print(json.dumps(found))"
    )
    done = subprocess.run(
        [str(python_of(name, folder)), "-c", code, name, "numpy", "psycopg", "scikit-learn"],
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, str] = json.loads(done.stdout)
    if name == "hotfill":  # what runs is this checkout, whatever was installed
        found[name] = __version__
    return found
