"""The reference has what the pages and the examples tell people to use."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, ROOT, blocks, name_of, pages, prose

EXAMPLES = sorted((ROOT / "examples").rglob("*.py"))


def documented():
    """Every module that a page of the reference is made from."""
    folder = DOCS / "reference" / "python"
    texts = (page.read_text(encoding="utf-8") for page in folder.glob("*.md"))
    return {name for text in texts for name in re.findall(r"^::: (\S+)$", text, re.M)}


def file_of(module):
    path = ROOT / "src" / Path(*module.split("."))
    init = path / "__init__.py"
    return init if init.exists() else path.with_suffix(".py")


def imports_in(code):
    """What a piece of code imports of hotfill: (module, name)."""
    return {
        (node.module, alias.name)
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "hotfill"
        for alias in node.names
    }


def is_documented(module, name):
    if {module, f"{module}.{name}"} & documented():
        return True
    # A package may pass on what one of its modules has.
    passed_on = imports_in(file_of(module).read_text(encoding="utf-8"))
    return any(each == name and source in documented() for source, each in passed_on)


def code_for_users():
    for page in pages():
        yield name_of(page), [each.text for each in blocks(page) if each.kind == "python"]
    for path in EXAMPLES:
        yield path.relative_to(ROOT).as_posix(), [path.read_text(encoding="utf-8")]


@pytest.mark.parametrize(("where", "codes"), [pytest.param(*e, id=e[0]) for e in code_for_users()])
def test_whatever_is_imported_for_users_is_in_the_reference(where, codes):
    for module, name in {found for code in codes for found in imports_in(code)}:
        assert file_of(module).exists(), module
        assert is_documented(module, name), f"{where}: {module}.{name}"


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_whatever_a_page_names_in_full_is_there_and_in_the_reference(page):
    for path in set(re.findall(r"`(hotfill(?:\.\w+)+)", prose(page))):
        module, rest = path, []
        while not file_of(module).exists():
            module, _, name = module.rpartition(".")
            rest.insert(0, name)
        if rest:
            defined = file_of(module).read_text(encoding="utf-8")
            assert re.search(rf"\b{rest[0]}\b", defined), f"{module} has no {rest[0]}"
        inner = any(each.startswith(f"{module}.") for each in documented())  # a package of them
        assert inner or is_documented(module, rest[0] if rest else ""), path


def test_whatever_the_reference_shows_is_there():
    for module in documented():
        assert file_of(module).exists(), module
