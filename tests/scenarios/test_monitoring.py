"""The tools read the board and the alert rules of the kit, over what hotfill really says."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from benchmarks.service.models import contents
from benchmarks.service.project import make, served
from tests.lifetime import end_with_parent

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "alerts.yml"
BOARD = json.loads((DEPLOY / "grafana" / "hotfill.json").read_text(encoding="utf-8"))
PATIENCE_SECONDS = 60.0
STEP_SECONDS = 0.5

pytestmark = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("promtool")),
    reason="no Prometheus is installed (Debian: apt-get install prometheus)",
)


def promtool(*words):
    done = subprocess.run(["promtool", *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_speaks_when_it_should_and_is_silent_otherwise():
    promtool("check", "rules", RULES)
    promtool("check", "config", DEPLOY / "prometheus" / "prometheus.yml")
    promtool("test", "rules", DEPLOY / "prometheus" / "alerts_test.yml")
    tested = (DEPLOY / "prometheus" / "alerts_test.yml").read_text(encoding="utf-8")
    for line in RULES.read_text(encoding="utf-8").splitlines():
        if line.strip().startswith("- alert:"):
            name = line.split()[-1]
            assert tested.count(f"alertname: {name}") >= 2, name  # once silent, once not


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@contextmanager
def prometheus(folder, target):
    """Prometheus with the kit's configuration, but for the target and the pace; gives a client."""
    rules = shutil.copy(RULES, folder)
    text = (DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8")
    text = text.replace("hotfill:8765", target).replace("15s", "500ms").replace(RULES.name, rules)
    config = folder / "prometheus.yml"
    config.write_text(text)
    port = free_port()
    command = [
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (
        (folder / "prometheus.log").open("w") as log,
        subprocess.Popen(command, stdout=log, stderr=log, preexec_fn=end_with_parent) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=30) as client,
    ):
        try:
            yield client
        finally:
            process.terminate()


def ask(client, expression):
    """The series that an expression gives now."""
    try:
        answer = client.get("/query", params={"query": expression})
    except httpx.TransportError:  # it is still starting
        return []
    if answer.status_code == 503:  # it listens already, and reads its log
        return []
    assert answer.status_code == 200, (expression, answer.text)
    return answer.json()["data"]["result"]


def until(seen):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := seen()):
        assert time.monotonic() < deadline
        time.sleep(STEP_SECONDS)
    return found


@contextmanager
def searched(service):
    """Searches go on during the block."""
    row = contents(10)(["item-7"])["item-7"].tolist()
    stop = threading.Event()

    def run():
        with httpx.Client(base_url=service) as client:
            while not stop.wait(0.05):
                client.post("/search", json={"content": row})

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def expressions():
    """Every query of the board, as it is asked of this Prometheus."""
    chosen = {"$__rate_interval": "10s", "$job": "hotfill", "$instance": ".*"}
    for panel in BOARD["panels"]:
        for target in panel["targets"]:
            text = target["expr"]
            for name, value in chosen.items():
                text = text.replace(name, value)
            assert "$" not in text
            yield panel["title"], text


def test_every_query_of_board_and_rules_finds_what_a_service_says(tmp_path):
    path = make(tmp_path, 300, 16, exact=True, seconds_per_item=0.02, batch_size=8, fit_items=120)
    # Above what any search takes: so that something is measured, required and held.
    with path.open("a") as file:
        file.write("\n[limits]\nsearch_p99_milliseconds = 0.001\n")
    with served(path) as port, prometheus(tmp_path, f"127.0.0.1:{port}") as client:
        service = f"http://127.0.0.1:{port}"
        with searched(service):
            httpx.post(f"{service}/upgrade/start").raise_for_status()
            until(lambda: ask(client, 'hotfill_hold{kind="throttled"}'))
            found = {}
            for title, text in expressions():
                if "eta" not in text:  # there is none while it is held
                    found[title] = until(lambda: ask(client, text))  # noqa: B023
            assert {each["metric"]["phase"] for each in found["Phase"]} == {"backfilling"}
            assert {each["metric"]["side"] for each in found["Items by side"]} == {
                "old",
                "imputed",
                "new",
            }
            rules = rules_of(client)
            assert len(rules) == RULES.read_text(encoding="utf-8").count("- alert:")
            assert {rule["health"] for rule in until(lambda: evaluated(client, rules))} == {"ok"}
            # The states that the kit's alerts wait for come; a hold may go and come in between.
            for name, state in (("HotfillThrottled", "pending"), ("HotfillDown", "inactive")):
                until(lambda: state_of(client, name) == state)  # noqa: B023


def rules_of(client):
    groups = client.get("/rules").json()["data"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


def state_of(client, alert):
    return {rule["name"]: rule["state"] for rule in rules_of(client)}[alert]


def evaluated(client, rules):
    """The rules, once Prometheus has evaluated all of them."""
    now = rules_of(client)
    return now if all(rule["health"] != "unknown" for rule in now) and rules else []


def test_the_board_is_whole():
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(ids) == len(set(ids))
    taken = set()
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
        refs = [target["refId"] for target in panel["targets"]]
        assert len(refs) == len(set(refs))
        for part in (panel, *panel["targets"]):
            assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    names = {each["name"] for each in BOARD["templating"]["list"]}
    assert names == {"datasource", "job", "instance"}
