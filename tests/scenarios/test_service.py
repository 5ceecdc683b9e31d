"""A real service in a process of its own, searched while a whole upgrade goes on."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from contextlib import contextmanager

import httpx
import psutil
import pytest

from benchmarks.service.models import new, old, rows_of
from benchmarks.service.oracle import Oracle
from benchmarks.service.project import make, served
from hotfill.service.tokens import hash_of

ITEMS, DIMENSION, K = 600, 16, 5
PATIENCE_SECONDS = 120.0


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return make(
        tmp_path_factory.mktemp("served"),
        ITEMS,
        DIMENSION,
        exact=True,
        seconds_per_item=0.002,
        batch_size=16,
        fit_items=200,
        verify_items=50,
    )


class Searches:
    """Searches from several threads until told to stop, and keeps every answer."""

    def __init__(self, address):
        self.address = address
        self.contents = rows_of(50, seed=6)
        self.answers, self.failures = [], []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(i,)) for i in range(2)]

    def _run(self, number):
        with httpx.Client(base_url=self.address) as client:
            while not self._stop.is_set():
                number = (number + 2) % len(self.contents)
                query = {"content": self.contents[number].tolist(), "k": K, "explain": True}
                try:
                    answer = client.post("/search", json=query, timeout=30)
                    answer.raise_for_status()
                except httpx.HTTPError as error:
                    self.failures.append(repr(error))
                else:
                    self.answers.append((number, answer.json()))

    @contextmanager
    def going_on(self):
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()

    def wait(self, more):
        """Wait until that number of further searches is answered."""
        until = len(self.answers) + more
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(self.answers) < until:
            assert time.monotonic() < deadline, self.failures[:3]
            time.sleep(0.01)


def give(client, step, **body):
    answer = client.post(f"/upgrade/{step}", json=body or None, timeout=60)
    assert answer.is_success, answer.text
    return answer.json()


def wait_for(client, condition):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition(status := client.get("/upgrade").json()):
        assert status["run"] is None or status["run"]["error"] is None, status["run"]
        assert time.monotonic() < deadline, status
        time.sleep(0.05)


def ended(status):
    return not status["run"]["running"]


def test_no_search_fails_or_is_wrong_while_the_model_is_upgraded(path):
    with served(path) as port:
        address = f"http://127.0.0.1:{port}"
        searches = Searches(address)
        with httpx.Client(base_url=address) as operator, searches.going_on():
            searches.wait(20)
            give(operator, "start")
            wait_for(operator, lambda status: status["phase"] == "backfilled" and ended(status))
            give(operator, "verify")
            wait_for(operator, ended)
            give(operator, "cutover")
            searches.wait(20)
            token = give(operator, "complete")["confirmation_token"]
            give(operator, "complete", confirmation_token=token)
            wait_for(operator, ended)
            assert operator.get("/upgrade").json()["phase"] == "completed"
            searches.wait(20)
            metrics = operator.get("/metrics").text
    oracle = Oracle(
        rows_of(ITEMS), old(DIMENSION), new(DIMENSION), path.parent / "upgrade.upgrade" / "fit-1"
    )
    assert searches.failures == []
    phases = Counter(answer["phase"] for _, answer in searches.answers)
    assert {"planned", "backfilling", "cut_over", "completed"} <= set(phases)
    sides = Counter(
        hit["why"]["side"]
        for _, answer in searches.answers
        if answer["phase"] == "backfilling"
        for hit in answer["hits"]
    )
    assert sides["old"]
    assert sides["new"]
    faults = [
        fault
        for number, answer in searches.answers
        for fault in oracle.faults(answer, searches.contents[number], K)
    ]
    assert faults == []
    assert 'hotfill_phase{phase="completed"} 1.0' in metrics
    log = (path.parent / "service.log").read_text()
    assert "stopped cleanly" in log
    assert "Traceback" not in log


def test_the_oracle_sees_what_is_wrong(path):
    """Else the test above would prove nothing."""
    embed = old(DIMENSION)
    rows = rows_of(ITEMS)
    scores = embed(rows) @ embed(rows[:1])[0]
    best = scores.argsort()[::-1][:K]

    def answer(items):
        return {
            "phase": "planned",
            "query_model": embed.model_id.fingerprint,
            "hits": [
                {
                    "item_id": f"item-{item}",
                    "score": float(scores[item]),
                    "why": {"model": embed.model_id.fingerprint},
                }
                for item in items
            ],
        }

    oracle = Oracle(rows, embed, new(DIMENSION), path.parent)
    assert oracle.faults(answer(best), rows[0], K) == []
    assert oracle.faults(answer(best[:-1]), rows[0], K) == ["4 hits instead of 5"]
    assert "an item was returned twice" in oracle.faults(answer([*best[:-1], best[0]]), rows[0], K)
    assert "a better item is missing" in oracle.faults(answer([*best[1:], 599]), rows[0], K)
    wrong = answer(best)
    wrong["hits"][0]["score"] += 0.1
    assert "a score is wrong" in oracle.faults(wrong, rows[0], K)


TOKEN = '[[service.tokens]]\nname = "{0}"\nrole = "read"\nsha256 = "{1}"\n'


def test_at_sighup_the_tokens_are_read_again_and_a_wrong_file_changes_nothing(tmp_path):
    path = make(tmp_path, 50, 8, exact=True)
    plain = path.read_text()
    path.write_text(plain + TOKEN.format("anna", hash_of("anna")))
    with served(path) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        log = tmp_path / "service.log"
        assert client.get("/upgrade", headers=bearer("anna")).status_code == 200

        def hang_up(text, said):
            before = log.read_text().count(said)
            path.write_text(text)
            os.kill(pid_of(path), signal.SIGHUP)
            wait_until(lambda: log.read_text().count(said) > before)

        hang_up(plain + TOKEN.format("bert", hash_of("bert")), "1 tokens are let in")
        assert client.get("/upgrade", headers=bearer("anna")).status_code == 401
        assert client.get("/upgrade", headers=bearer("bert")).status_code == 200
        for wrong in (plain + "[service]\nport = 'x'\n", plain):
            hang_up(wrong, "stay as they were")
            assert client.get("/upgrade", headers=bearer("bert")).status_code == 200
        lines = [json.loads(each) for each in log.read_text().splitlines() if each[:1] == "{"]
        assert {each["level"] for each in lines if "level" in each} == {"info", "error"}
        mine = client.get("/nowhere", headers={"x-request-id": "mine"})
        assert mine.headers["x-request-id"] == "mine"
        wait_until(lambda: '"request_id":"mine"' in log.read_text())


def bearer(token):
    return {"authorization": f"Bearer {token}"}


def wait_until(seen):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not seen():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def pid_of(path):
    """The process that serves a configuration file, a child of this one."""
    return next(
        each.pid
        for each in psutil.Process().children()
        if str(path) in each.cmdline() and "serve" in each.cmdline()
    )
