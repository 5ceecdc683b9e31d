"""The help: quick, and the same as the page in the documentation."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from hotfill._version import __version__
from hotfill.cli.app import COMMANDS, app
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
    for title, commands in COMMANDS.items():
        assert f"\n{title}:\n" in help_text
        assert all(
            f"\n  {command.__name__.replace('_', '-')} " in help_text for command in commands
        )
    assert "..." not in help_text.partition("Options:")[2]


def run(*words, **options):
    return CliRunner().invoke(app, [*map(str, words)], **options)


def test_habits_of_a_command_line_work():
    assert run("--version").stdout == f"hotfill {__version__}\n"
    assert run("-h").stdout == run("--help").stdout
    assert "Example:\n    hotfill start upgrade.toml" in run("start", "-h").stdout


def test_the_environment_may_name_the_configuration(tmp_path):
    path = tmp_path / "elsewhere.toml"
    said = run("status", env={"HOTFILL_CONFIG": str(path)})
    assert said.exit_code == 2
    assert f"there is no configuration file {path}" in said.stderr


def test_the_page_in_the_documentation_is_up_to_date():
    expected = reference()
    assert PAGE.read_text(encoding="utf-8") == expected, (
        f"run: python -m hotfill.cli.reference > {PAGE.relative_to(PAGE.parents[2])}"
    )
