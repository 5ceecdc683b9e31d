"""The house keeps its floors: imports go down, siblings do not know each other."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "src" / "hotfill"

LAYERS = {
    **dict.fromkeys(["_version", "errors", "types", "checks", "extras", "sqlite"], 0),
    **dict.fromkeys(
        ["metrics", "transforms", "scoring", "losses", "binary", "stores", "embedders"], 1
    ),
    **dict.fromkeys(["evaluation", "training", "architecture_search"], 2),
    **dict.fromkeys(["upgrade", "runners"], 3),
    "serving": 4,
    "config": 5,
    **dict.fromkeys(["cli", "service", "integrations"], 6),
}
# Runners carry out what the engine describes; they are its neighbours, not its base.
# A command starts the service, as another calls the engine.
# A search for a query model trains with the loop that trains every model.
NEIGHBOURS = {("runners", "upgrade"), ("cli", "service"), ("architecture_search", "training")}


# Inside the engine: what stands on no floor here is the roof, and may use everything.
FLOORS_OF_UPGRADE = {
    **dict.fromkeys(["phases", "holds", "requirements", "plan"], 0),
    "journal": 1,
    "work": 2,
    "fitting": 3,
    "guard": 4,
}


def part_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def modules_of(path: Path) -> set[str]:
    """What a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [node.module]
            if node.module == "hotfill":
                names = [f"hotfill.{alias.name}" for alias in node.names]
            elif node.module == "hotfill.upgrade":
                names = [f"hotfill.upgrade.{alias.name}" for alias in node.names]
        found |= set(names)
    return found


def imports_of(path: Path) -> set[str]:
    """The parts of hotfill that a file imports."""
    return {name.split(".")[1] for name in modules_of(path) if name.startswith("hotfill.")}


FILES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down_only(path: Path) -> None:
    here = part_of(path)
    assert here in LAYERS, f"{here} has no floor: give it one in LAYERS and in docs/architecture.md"
    for there in imports_of(path) - {here}:
        assert there in LAYERS, f"{path} imports the unknown part {there}"
        ground = LAYERS[here] == LAYERS[there] == 0  # one floor of small files; circles are tested
        allowed = LAYERS[there] < LAYERS[here] or ground or (here, there) in NEIGHBOURS
        assert allowed, f"{path.relative_to(ROOT)} (floor {LAYERS[here]}) imports {there}"


def test_inside_the_engine_imports_go_down_too() -> None:
    roof = max(FLOORS_OF_UPGRADE.values()) + 1
    for path in (ROOT / "upgrade").rglob("*.py"):
        here = path.relative_to(ROOT / "upgrade").parts[0].removesuffix(".py")
        floor = FLOORS_OF_UPGRADE.get(here, roof)
        names = [name.split(".") for name in modules_of(path) if name.startswith("hotfill.upgrade")]
        for there in {name[2] for name in names} - {here}:
            below = FLOORS_OF_UPGRADE.get(there, roof)
            allowed = below < floor or below == floor in (0, roof)  # circles are tested
            assert allowed, f"{path.relative_to(ROOT)} (floor {floor}) imports {there}"


def test_there_are_no_import_circles() -> None:
    graph = {}
    for path in ROOT.rglob("*.py"):
        name = ".".join(("hotfill", *path.relative_to(ROOT).with_suffix("").parts))
        graph[name.removesuffix(".__init__")] = path
    edges = {name: _run_time_imports(path, graph) for name, path in graph.items()}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail, name))
        if name in done:
            return
        for target in edges[name]:
            visit(target, (*trail, name))
        done.add(name)

    for name in edges:
        visit(name, ())


def _run_time_imports(path: Path, graph: dict[str, Path]) -> set[str]:
    """Modules imported when the file is imported: not in functions, not for type checking."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module in graph:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in graph else node.module)
    return found


def test_importing_hotfill_loads_numpy_and_the_standard_library_only() -> None:
    code = (
        "import sys, numpy; before = set(sys.modules); import hotfill; "
        "print(*{name.split('.')[0] for name in set(sys.modules) - before})"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout
    foreign = set(printed.split()) - set(sys.stdlib_module_names) - {"hotfill", "numpy"}
    assert not foreign
