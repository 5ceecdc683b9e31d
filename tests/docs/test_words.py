"""The words that the glossary has dropped stand in no page, docstring or help text."""

from __future__ import annotations

import ast
import re

import pytest

from hotfill.cli.reference import reference
from tests.docs.pages import ROOT, name_of, pages

DROPPED = {
    r"\bown_queries\b|\bown query and\b": 'queries = "both"',
    r"\bown_(?:share|view)\b": "old_query_weight",
    r"\b[Rr]etired\b": "kept old vector",
    r"\bredone\b": "re-embedded",
    r"`hotfill stamp\b": "hotfill adopt",
    r"\b(?:bury|buried|revived?)\b": "reject, retry, accept",
    r"\b(?:[Mm]end|mended|mends)\b": "fix",
    r"\btold by\b": "recorded by",
    r"\blets? pass\b": "waived",
    r"\b[Ff]ormer\b|\bg(?:ive|ives|ave) way\b": "previous upgrade",
    r"\b[Aa]gain is harmless\b": "Idempotent",
    r"`(?:uncertain|popular|popular_uncertain)`": "uncertainty, popularity",
    r"`(?:kernel|plain) bridge`|`(?:ridge|kernel) (?:up|down)`": "kernel_bridge, bridge",
    r"\b[Bb]eside\b": "with, next to, in addition to",
    r"\b[Mm]eanwhile\b": "say when",
    r"\bas they are\b": "unchanged",
    r"\bso many\b": "this many",
}
KNOWN = {
    "docs/glossary.md",  # names the dropped words to say that they are
}


def dropped_in(text):
    return {
        found[0]: instead
        for wrong, instead in DROPPED.items()
        for found in re.finditer(wrong, text)
    }


@pytest.mark.parametrize("page", [p for p in pages() if name_of(p) not in KNOWN], ids=name_of)
def test_no_page_uses_a_dropped_word(page):
    assert not dropped_in(page.read_text(encoding="utf-8"))


def test_no_docstring_uses_a_dropped_word():
    found = {}
    for path in sorted((ROOT / "src").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                words = dropped_in(ast.get_docstring(node) or "")
                if words:
                    found[f"{name_of(path)}:{getattr(node, 'name', '')}"] = words
    assert not found


def test_no_message_uses_a_dropped_word():
    found = {}
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            # A name or a key has no blanks; a word that people read stands among others.
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
                words = dropped_in(node.value)
                if words:
                    found[f"{name_of(path)}:{node.lineno}"] = words
    assert not found


def test_no_help_text_uses_a_dropped_word():
    assert not dropped_in(reference())
