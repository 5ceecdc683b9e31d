"""The help: quick, and the same as the page in the documentation."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from hotfill.cli.app import COMMANDS
from hotfill.cli.reference import reference

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "cli.md"
HEAVY = {"torch", "scipy", "pydantic", "rich", "qdrant_edge", "safetensors", "sqlite3", "faiss"}


def test_asking_for_help_imports_nothing_heavy():
    code = (
        "import sys; from hotfill.cli.app import app\n"
        "try: app(['--help'], prog_name='hotfill')\n"
        "except SystemExit: print('modules:', *{name.split('.')[0] for name in sys.modules})"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    help_text, _, modules = said.partition("modules:")
    assert not HEAVY & set(modules.split())
    assert all(command.__name__ in help_text for command in COMMANDS)


def test_the_page_in_the_documentation_is_up_to_date():
    expected = reference()
    assert PAGE.read_text(encoding="utf-8") == expected, (
        f"run: python -m hotfill.cli.reference > {PAGE.relative_to(PAGE.parents[2])}"
    )
