"""The house keeps its three floors: each imports only down, and no imports run in a circle."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2] / "src" / "hotfill"

BASE = {
    "_version",
    "errors",
    "types",
    "checks",
    "extras",
    "factories",
    "formatting",
    "files",
    "text_files",
    "array_files",
    "locks",
    "retry",
    "sqlite",
    "ties",
    "tracing",
    "validation",
    "vectors",
}
CORE = {"metrics", "binary", "stores", "ranking", "upgrade", "rehearsal"}
DOORS = {"config", "cli", "service", "integrations", "embedders", "runners", "testing"}
LAB = {"lab"}

MAY_IMPORT = {
    **dict.fromkeys(BASE, BASE),
    **dict.fromkeys(CORE, BASE | CORE),
    **dict.fromkeys(LAB, BASE | CORE | LAB | {"embedders"}),
    **dict.fromkeys(DOORS, BASE | CORE | DOORS | LAB),
}


@cache
def graph() -> dict[str, set[str]]:
    """Every module of hotfill with the modules of hotfill that it imports, wherever in the file."""
    files = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        files[".".join(parts).removesuffix(".__init__")] = path
    found = {}
    for name, path in files.items():
        imported = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                imported |= {each if each in files else node.module for each in inner}
        found[name] = {each for each in imported if each in files} - {name}
    return found


def part_of(module: str) -> str:
    return [*module.split("."), ""][1]


def test_each_floor_imports_only_down():
    wrong = []
    for module, imported in graph().items():
        here = part_of(module)
        if not here:
            continue  # the public face
        assert here in MAY_IMPORT, f"{here} stands on no floor: give it one, and say so in docs"
        wrong += [
            f"{module} imports {each}"
            for each in sorted(imported)
            if part_of(each) not in MAY_IMPORT[here]
        ]
    assert not wrong, "\n".join(wrong)


def test_no_imports_run_in_a_circle():
    """Imports inside of functions and for type checking count: a circle of ideas is a circle."""
    edges = {name: set(imported) for name, imported in graph().items()}
    edges["hotfill.upgrade.prepare"].discard("hotfill.upgrade.engine")  # ends with the next step
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail[trail.index(name) :], name))
        if name in done:
            return
        for target in sorted(edges[name]):
            visit(target, (*trail, name))
        done.add(name)

    for name in edges:
        visit(name, ())


def test_importing_hotfill_loads_numpy_and_the_standard_library_only():
    code = (
        "import sys, numpy; before = set(sys.modules); import hotfill; "
        "print(*{name.split('.')[0] for name in set(sys.modules) - before})"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout
    foreign = set(printed.split()) - set(sys.stdlib_module_names) - {"hotfill", "numpy"}
    assert not foreign
