"""An open service over a small project, asked without a network."""

from __future__ import annotations

import shutil
from contextlib import contextmanager

import pytest
from fastapi.testclient import TestClient

from hotfill import config
from hotfill.service.app import create_app
from hotfill.service.gallery_service import opened
from hotfill.service.settings import read_settings
from hotfill.service.tokens import hash_of
from tests.unit.cli.project import fill, write_config

TOKENS = {"reader": "read", "writer": "write", "operator": "operate"}


class Client(TestClient):
    """Asks the service; `do` gives a step and waits for its end."""

    def search(self, status=200, **query):
        return self.ok("POST", "/search", status, json=query)

    def do(self, step, **body):
        self.ok("POST", f"/upgrade/{step}", 202, json=body or None)
        return self.wait()

    def wait(self):
        run = self.app.state.service.steps.wait()
        assert run.error is None, run.error
        return run

    def upgrade(self):
        return self.ok("GET", "/upgrade")

    def ok(self, method, path, status=200, **options):
        answer = self.request(method, path, **options)
        assert answer.status_code == status, answer.text
        return answer.json()


@contextmanager
def serving(path, **settings):
    project = config.read(path)
    with (
        opened(project, read_settings(project, **settings)) as service,
        Client(create_app(service), base_url="http://127.0.0.1:8765") as client,
    ):
        yield client


@contextmanager
def half_done(project, **upgrade):
    """A service whose backfill rests between its first batch and its last."""
    write_config(project.parent, seconds_per_call=0.2, upgrade=upgrade)
    with serving(project) as client:
        client.ok("POST", "/upgrade/start", 202)
        while client.upgrade()["moved"] == 0:
            assert client.upgrade()["run"]["running"]
        client.ok("POST", "/upgrade/pause")
        while client.upgrade()["workers"]:  # batches in hand are done before it rests
            assert client.upgrade()["run"]["running"]
        yield client
        client.ok("POST", "/upgrade/resume")


@pytest.fixture(scope="session")
def filled(tmp_path_factory):
    """A folder to copy: a gallery, all of it on the old side."""
    folder = tmp_path_factory.mktemp("filled")
    fill(folder)
    return folder


@pytest.fixture
def project(filled, tmp_path):
    """The configuration file of an upgrade that has not begun."""
    shutil.copytree(filled, tmp_path, dirs_exist_ok=True)
    return write_config(tmp_path)


@pytest.fixture(scope="module")
def untouched(filled, tmp_path_factory):
    """A service without tokens, for tests that change nothing."""
    folder = tmp_path_factory.mktemp("untouched")
    shutil.copytree(filled, folder, dirs_exist_ok=True)
    with serving(write_config(folder)) as made:
        yield made


@pytest.fixture
def client(project):
    """A service without tokens."""
    with serving(project) as made:
        yield made


@pytest.fixture
def guarded(project):
    """A service with a token of each role; the token's text is its name."""
    tokens = [
        {"name": name, "role": role, "sha256": hash_of(name)} for name, role in TOKENS.items()
    ]
    with serving(project, tokens=tokens) as made:
        yield made
