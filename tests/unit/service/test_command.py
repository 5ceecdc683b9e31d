"""`hotfill serve`, as far as it ends by itself, and its section of the file."""

from __future__ import annotations

import json
import re
import socket
import tomllib

import pytest
from typer.testing import CliRunner

from hotfill import config
from hotfill.cli.app import app
from hotfill.errors import ConfigError
from hotfill.service.settings import read_settings
from hotfill.service.tokens import holder_of
from tests.unit.cli.project import write_config


def run(*words):
    return CliRunner().invoke(app, ["serve", *map(str, words)])


def test_a_made_token_is_let_in_once_its_lines_are_in_the_file(tmp_path):
    result = run("--make-token", "front end", "read")
    assert result.exit_code == 0
    token = re.search(r"^hotfill_\S+$", result.stdout, re.MULTILINE).group()
    lines = result.stdout[result.stdout.index("[[service.tokens]]") :]
    assert token not in lines
    path = write_config(tmp_path, service=tomllib.loads(lines)["service"])
    settings = read_settings(config.read(path))
    assert holder_of(token, settings.tokens).name == "front end"


def test_a_made_token_can_be_had_as_json():
    made = json.loads(run("--make-token", "a", "operate", "--json").stdout)
    assert set(made) == {"token", "name", "role", "sha256"}


def test_an_unknown_role_is_refused():
    result = run("--make-token", "a", "admin")
    assert result.exit_code == 2
    assert "a role is one of read, write, operate, got 'admin'" in result.stderr


def test_listening_to_strangers_without_tokens_is_refused(tmp_path):
    result = run(write_config(tmp_path), "--host", "0.0.0.0")
    assert result.exit_code == 2
    assert "there are no tokens" in result.stderr


def test_a_port_that_is_taken_is_refused(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = run(write_config(tmp_path), "--port", taken.getsockname()[1])
    assert result.exit_code == 2
    assert "cannot listen on 127.0.0.1" in result.stderr


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"prot": 1}, "unknown key 'prot'; did you mean 'port'?"),
        ({"port": "x"}, "port must be a whole number, got 'x'"),
        ({"tokens": [{"name": "a", "rol": "read"}]}, "did you mean 'role'?"),
        ({"tokens": [{"name": "a", "role": "root", "sha256": "0" * 64}]}, "tokens.0.role"),
        ({"tokens": [{"name": "a", "role": "read", "sha256": "secret"}]}, "tokens.0.sha256"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(tmp_path, section, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        read_settings(config.read(write_config(tmp_path, service=section)))
