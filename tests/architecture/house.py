"""How the house stands, in figures: `make house` prints them, `test_house.py` holds them.

python -m tests.architecture.house
"""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections import Counter
from functools import cache
from pathlib import Path

from tests.architecture.test_layers import ROOT, graph

CATALOGUES = ("hotfill.lab.losses.terms.", "hotfill.testing.suite.")
"""One entry a file, whatever its size: being a catalogue says why."""

FITTING = ("upgrade/prepare.py", "upgrade/state.py", "upgrade/pairs.py", "ranking/fit.py")
"""What to read to know how the map is fitted, kept and loaded."""

AIMS = {
    "source_files": 360,
    "source_lines": 42_000,
    "small_modules_with_one_importer": 20,
    "files_of_a_query_on_postgresql": 14,
    "files_of_how_the_map_is_fitted": 4,
    "constructor_arguments": 6,
    "callbacks_needed": 0,
    "class_names_standing_twice": 0,
    "import_lines_per_100_of_code": 14,
}
"""The highest figure wanted of each."""

REASONS = {
    "source_lines": (
        "what has come since the aim was set: three stores and frameworks' collections, one-space "
        "ranking, galleries mixed for good, dead letters, claims, trials of writing in plan and "
        "doctor, `init`, compatible heads, `compare`, the search panel, the public suite"
    ),
    "files_of_a_query_on_postgresql": (
        "in the middle of an upgrade: the face, the serving with its view, state, parts and plan, "
        "the interface, seven of the store, and what checks vectors, breaks ties and traces"
    ),
}
"""Why a figure may be above its aim."""


@cache
def sources() -> dict[str, str]:
    """The text of every source file, by its path below the package."""
    return {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(ROOT.rglob("*.py"))
    }


def small_modules_with_one_importer() -> list[str]:
    """Modules under a hundred lines that one other module imports; faces and catalogues apart."""
    importers: Counter[str] = Counter()
    for imported in graph().values():
        importers.update(imported)
    found = []
    for name, count in importers.items():
        path = ROOT.parent / (name.replace(".", "/") + ".py")
        if count != 1 or name.startswith(CATALOGUES) or not path.is_file():
            continue
        if len(path.read_text(encoding="utf-8").splitlines()) < 100:
            found.append(name)
    return sorted(found)


def class_names_standing_twice() -> list[str]:
    names = Counter(
        node.name
        for text in sources().values()
        for node in ast.parse(text).body
        if isinstance(node, ast.ClassDef)
    )
    return sorted(name for name, count in names.items() if count > 1)


def import_lines_per_100_of_code() -> float:
    imports = code = 0
    for text in sources().values():
        tree = ast.parse(text)
        lines = text.splitlines()
        said = set()  # lines of docstrings, which are no code
        for node in ast.walk(tree):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                said |= set(range(node.lineno, (node.end_lineno or 0) + 1))
            elif isinstance(node, ast.Import | ast.ImportFrom):
                imports += (node.end_lineno or 0) - node.lineno + 1
        code += sum(
            bool(line.strip()) and not line.lstrip().startswith("#") and number not in said
            for number, line in enumerate(lines, 1)
        )
    return 100 * imports / code


def constructor_arguments() -> int:
    """Of the one object, and the most of its two halves."""
    from hotfill.upgrade.engine import Engine
    from hotfill.upgrade.serving import Serving
    from hotfill.upgrade.upgrade import Upgrade

    return max(
        len(inspect.signature(each.__init__).parameters) - 1 for each in (Upgrade, Engine, Serving)
    )


def callbacks_needed() -> int:
    """Arguments of the constructors that are called back."""
    from hotfill.upgrade.engine import Engine
    from hotfill.upgrade.serving import Serving
    from hotfill.upgrade.upgrade import Upgrade

    signatures = [inspect.signature(each.__init__) for each in (Upgrade, Engine, Serving)]
    return sum(
        "Callable" in str(parameter.annotation) or parameter.name.startswith("on_")
        for signature in signatures
        for parameter in signature.parameters.values()
    )


def files_of_a_query_on_postgresql() -> list[str]:
    """The files whose functions run for one query in the middle of an upgrade, not the first."""
    import sys
    import tempfile

    from hotfill.stores.postgres import PostgresGallery
    from tests.postgres import fresh_schema, server
    from tests.unit.upgrade.small import NEW, OLD, contents, filled, half_done, upgrade

    seen: set[str] = set()

    def note(frame, event, argument):
        if event == "call":
            seen.add(frame.f_code.co_filename)

    with tempfile.TemporaryDirectory() as folder:
        source = contents(300)
        dsn = server().dsn
        with PostgresGallery.create(dsn, OLD, schema=fresh_schema(), exact=True) as gallery:
            up = upgrade(
                Path(folder), gallery=filled(source, gallery), source=source, fit_items=150
            )
            up.fitting = None
            half_done(up)
            query = up.new_embedder([next(iter(source.values()))])
            up.search_vectors(query, NEW, 10)
            sys.setprofile(note)
            up.search_vectors(query, NEW, 10)
            sys.setprofile(None)
            up.close()
    inside = [Path(each) for each in seen if each.startswith(str(ROOT))]
    return sorted(each.relative_to(ROOT).as_posix() for each in inside)


def figures(*, with_postgresql: bool = False) -> dict[str, float]:
    """Measure. with_postgresql: also what needs a server."""
    found: dict[str, float] = {
        "source_files": len(sources()),
        "source_lines": sum(len(text.splitlines()) for text in sources().values()),
        "small_modules_with_one_importer": len(small_modules_with_one_importer()),
        "files_of_how_the_map_is_fitted": sum((ROOT / each).is_file() for each in FITTING),
        "constructor_arguments": constructor_arguments(),
        "callbacks_needed": callbacks_needed(),
        "class_names_standing_twice": len(class_names_standing_twice()),
        "import_lines_per_100_of_code": round(import_lines_per_100_of_code(), 1),
    }
    if with_postgresql:
        found["files_of_a_query_on_postgresql"] = len(files_of_a_query_on_postgresql())
    return found


def main() -> None:
    found = figures(with_postgresql=True)
    for name, value in found.items():
        met = "met" if value <= AIMS[name] else "missed"
        reason = f" ({REASONS.get(name, 'no reason')})" if value > AIMS[name] else ""
        print(f"{re.sub('_', ' ', name):38} {value:>9,}   aim <= {AIMS[name]:,}: {met}{reason}")
    print("small modules:", ", ".join(small_modules_with_one_importer()) or "none")
    print("class names:", ", ".join(class_names_standing_twice()) or "none")
    print("a query:", ", ".join(files_of_a_query_on_postgresql()))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
