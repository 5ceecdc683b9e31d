"""Commands run in this process, over a small project in a folder."""

from __future__ import annotations

import json
import shutil

import pytest
from typer.testing import CliRunner

from hotfill.cli.app import app
from tests.unit.cli.project import fill, write_config


class Shell:
    """Runs commands on one configuration file."""

    def __init__(self, config):
        self.config = config

    def __call__(self, name, *words, code=0, stdin=None):
        """Run a command; its exit code must be `code`."""
        result = CliRunner().invoke(app, [name, str(self.config), *map(str, words)], input=stdin)
        assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
        return result

    def json(self, name, *words, code=0):
        """Run a command with --json; stdout must be one object."""
        value = json.loads(self(name, *words, "--json", code=code).stdout)
        assert isinstance(value, dict)
        return value


@pytest.fixture(scope="session")
def templates(tmp_path_factory):
    """Folders to copy: a project that has not begun, and one that is backfilled."""
    folder = tmp_path_factory.mktemp("templates")
    for name in ("fresh", "started"):
        (folder / name).mkdir()
        fill(folder / name)
    Shell(write_config(folder / "started"))("start")
    return folder


@pytest.fixture
def shell(templates, tmp_path):
    """A project that has not begun."""
    shutil.copytree(templates / "fresh", tmp_path, dirs_exist_ok=True)
    return Shell(write_config(tmp_path))


@pytest.fixture
def started(templates, tmp_path):
    """A project that is backfilled."""
    shutil.copytree(templates / "started", tmp_path, dirs_exist_ok=True)
    return Shell(write_config(tmp_path))
