"""What newcomers type first: the commands of the README, of serving and of comparing."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
import pytest

from tests.docs.pages import DOCS, ROOT, blocks
from tests.examples.howto import put_command
from tests.lifetime import end_with_parent

PATIENCE_SECONDS = 120.0


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """The gallery of the quickstart, filled by the old model, and `hotfill` as a command."""
    pytest.importorskip("qdrant_edge")
    put_command(tmp_path / "bin", monkeypatch)
    monkeypatch.chdir(tmp_path)
    for block in blocks(DOCS / "quickstart.md"):
        if block.title is not None:
            (tmp_path / block.title).write_text(block.text, encoding="utf-8")
    subprocess.run([sys.executable, "fill.py"], check=True)
    return tmp_path


def commands(page, program):
    """The lines of a page that call a program, each as it stands."""
    return [
        line
        for block in blocks(page)
        if block.kind == "sh"
        for line in block.text.replace("\\\n", " ").splitlines()
        if line.split()[:1] == [program]
    ]


def do(line, timeout=PATIENCE_SECONDS):
    done = subprocess.run(
        ["bash", "-e", "-c", line],
        capture_output=True,
        text=True,
        timeout=timeout,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, (line, done.stdout, done.stderr)
    return done.stdout


def test_the_commands_of_the_readme_lead_from_init_to_the_cutover(shop):
    pytest.importorskip("matplotlib")
    (shop / "upgrade.toml").unlink()
    first, *then = commands(ROOT / "README.md", "hotfill")
    assert "postgresql:///shop" in first
    models = "--old my_shop:old --new my_shop:new --content my_shop:texts"
    do(first.replace("postgresql:///shop", f"gallery {models}"))
    # Measured before anything is touched, although it stands further down.
    measuring = [line for line in then if "sample" in line]
    for line in [*measuring, *(line for line in then if line not in measuring)]:
        do(line)
    status = json.loads(do("hotfill status --json"))
    assert status["phase"] == "cut_over"
    assert (shop / "rehearsal" / "index.html").exists()


@contextmanager
def serving(line):
    """Run a page's line that serves, at a port that is free; gives the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    words = [*line.partition("#")[0].split(), "--port", str(port)]
    with (
        open("serve.log", "wb") as log,
        subprocess.Popen(words, stderr=log, preexec_fn=end_with_parent) as process,
    ):
        try:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while True:
                try:
                    urlopen(f"http://127.0.0.1:{port}/ready", timeout=5).close()
                    break
                except (URLError, TimeoutError):
                    assert process.poll() is None
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
            yield port
        finally:
            process.terminate()


def asked(line, port, fails="f"):
    """Ask as a page says, but hear of errors. fails: "" where one is expected."""
    line = line.replace("localhost:8765", f"127.0.0.1:{port}").replace(
        "curl", f"curl -sS{fails}", 1
    )
    return json.loads(do(line))


@pytest.fixture(autouse=True)
def curl():
    if shutil.which("curl") is None:
        pytest.skip("no curl is installed")


def test_the_commands_of_the_page_about_serving_run(shop):
    pytest.importorskip("fastapi")
    page = DOCS / "howto" / "serve.md"
    serve, token = commands(page, "hotfill")
    searching, by_picture, putting, patching, looking, deleting = commands(page, "curl")
    (shop / "bicycle.jpg").write_bytes(b"of a shop that sells texts")
    with serving(serve) as port:
        assert asked(searching, port)["phase"] == "planned"
        refused = asked(by_picture, port, fails="")
        assert refused["status"] == 422
        assert "cannot read this content" in refused["detail"]  # it was given the bytes
        assert asked(putting, port) == {"items": 1}
        assert asked(patching, port) == {"items": 1}
        assert asked(looking, port)["metadata"] == {"shop": 4}
        (found,) = asked(searching.replace('"shop": 3', '"shop": 4'), port)["hits"]
        assert found["item_id"] == "b-17"
        assert asked(deleting, port) == {"items": 1}
    assert 'role = "read"' in do(token)


def test_the_last_commands_of_the_quickstart_serve_and_search(shop):
    pytest.importorskip("fastapi")
    page = DOCS / "quickstart.md"
    (serve,) = [line for line in commands(page, "hotfill") if "serve" in line]
    (curl,) = commands(page, "curl")
    with serving(serve) as port:
        answer = asked(curl, port)
    assert len(answer["hits"]) == 3
    assert {hit["why"]["side"] for hit in answer["hits"]} == {"old"}


def test_the_commands_of_the_page_about_comparing_run(tmp_path, monkeypatch):
    for package in ("torch", "ir_measures"):
        pytest.importorskip(package)
    put_command(tmp_path / "bin", monkeypatch)
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(12), 20)
    new = random.normal(size=(12, 24))[labels] + random.normal(size=(240, 24))
    for name, rows in {"old": new[:, :8], "new": new, "labels": labels}.items():
        np.save(f"{name}.npy", rows if name == "labels" else rows.astype(np.float32))
    (line,) = commands(DOCS / "howto" / "compare.md", "hotfill")
    rows = do(line).splitlines()
    assert [row.split()[0] for row in rows] == [
        "AP", "old", "bct", "advbct", "bict", "ridge", "AP,",
    ]  # fmt: skip
