"""What does HTTP cost compared with the library call, and does an upgrade disturb anybody?

1. Latency: the same search by the library and through the service, in turn, in one process; the
   vector once as JSON numbers and once as base64.
2. Throughput: two threads of the library against eight connections to a service, in turn; base64.
3. 10,000 searches and 2,000 new items, from 32 connections, while a whole upgrade goes on, from its
   start to the removal of the old vectors.
"""

from __future__ import annotations

import argparse
import base64
import json
import multiprocessing
import os
import platform
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import uvicorn

from benchmarks.service.connection import Connection
from benchmarks.service.models import new, old, rows_of
from benchmarks.service.oracle import Oracle
from benchmarks.service.project import make, served
from hotfill import config
from hotfill.service.app import create_app
from hotfill.service.gallery_service import opened
from hotfill.service.settings import read_settings

K = 10
CLIENTS, CONNECTIONS = 2, 4  # processes, and connections of each
SEARCHERS, WRITERS = 28, 4  # connections through an upgrade
WRITES = 0.2  # for each search
AIM_ADDED_MILLISECONDS, AIM_SHARE = 1.0, 0.8


def queries_of(dimension: int, number: int = 200) -> np.ndarray:
    return old(dimension)(rows_of(number, seed=5))


def request(connection: Connection, dimension: int, query: np.ndarray, *, packed: bool) -> bytes:
    """Make a request of a search; packed: the vector as base64 instead of numbers."""
    vector = base64.b64encode(query.tobytes()).decode() if packed else query.tolist()
    value = {"vectors": {old(dimension).model_id.fingerprint: vector}, "k": K}
    return connection.request("POST", "/search", value)


@contextmanager
def in_this_process(path: Path):
    """Serve from a thread of this process; gives the parts and the port."""
    project = config.read(path)
    with opened(project, read_settings(project)) as service:
        server = uvicorn.Server(
            uvicorn.Config(create_app(service), port=0, access_log=False, log_level="warning")
        )
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield service, server.servers[0].sockets[0].getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


def latency(path: Path, dimension: int, rounds: int) -> dict[str, float]:
    """Milliseconds of each query by the library and through the service."""
    model, queries = old(dimension).model_id, queries_of(dimension)
    times = {"library": [], "service": [], "service_base64": []}
    with in_this_process(path) as (service, port):
        connection = Connection(port)
        bodies = {
            "service": [request(connection, dimension, each, packed=False) for each in queries],
            "service_base64": [
                request(connection, dimension, each, packed=True) for each in queries
            ],
        }
        for i in range(-100, rounds):
            number = i % len(queries)
            for who in list(times)[:: 1 if i % 2 else -1]:
                began = time.perf_counter()
                if who == "library":
                    service.up.search_vectors(queries[number : number + 1], model, K)
                else:
                    status, _ = connection.ask(bodies[who][number])
                    assert status == 200
                if i >= 0:
                    times[who].append(1000 * (time.perf_counter() - began))
        connection.close()
    found = {
        f"{who}_p{at}_ms": float(np.percentile(values, at))
        for who, values in times.items()
        for at in (50, 95, 99)
    }
    for who in ("service", "service_base64"):
        found[f"{who}_added_p50_ms"] = found[f"{who}_p50_ms"] - found["library_p50_ms"]
    return found


def ask_for(port: int, dimension: int, seconds: float, begin, counts) -> None:
    """One client process: as many searches as it can, over several connections."""
    connections = [Connection(port) for _ in range(CONNECTIONS)]
    bodies = [
        request(connections[0], dimension, query, packed=True) for query in queries_of(dimension)
    ]
    begin.wait()
    until, number = time.perf_counter() + seconds, 0
    while time.perf_counter() < until:
        for connection in connections:
            connection.send(bodies[number % len(bodies)])
            number += 1
        for connection in connections:
            status, _ = connection.answer()
            assert status == 200
    counts.put(number)


def library_rate(path: Path, dimension: int, seconds: float, threads: int, begin, counts) -> None:
    """A process that searches by the library, in several threads."""
    project = config.read(path)
    model, queries = old(dimension).model_id, queries_of(dimension)
    with opened(project, read_settings(project)) as service:
        found = [0] * threads

        def search(who: int) -> None:
            until = time.perf_counter() + seconds
            while time.perf_counter() < until:
                row = found[who] % len(queries)
                service.up.search_vectors(queries[row : row + 1], model, K)
                found[who] += 1

        begin.wait()
        workers = [threading.Thread(target=search, args=(who,)) for who in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    counts.put(sum(found))


def throughput(path: Path, dimension: int, seconds: float, rounds: int) -> dict[str, object]:
    """Queries per second of both, in turn."""
    context = multiprocessing.get_context("spawn")
    rates = {"library": [], "service": []}
    for _ in range(rounds):
        counts = context.Queue()
        begin = context.Event()
        one = context.Process(
            target=library_rate, args=(path, dimension, seconds, 2, begin, counts)
        )
        one.start()
        time.sleep(3)
        begin.set()
        rates["library"].append(counts.get() / seconds)
        one.join()
        with served(path) as port:
            begin = context.Event()
            clients = [
                context.Process(target=ask_for, args=(port, dimension, seconds, begin, counts))
                for _ in range(CLIENTS)
            ]
            for client in clients:
                client.start()
            time.sleep(3)
            begin.set()
            rates["service"].append(sum(counts.get() for _ in clients) / seconds)
            for client in clients:
                client.join()
    shares = [s / r for s, r in zip(rates["service"], rates["library"], strict=True)]
    return {
        "library_per_second": rates["library"],
        "service_per_second": rates["service"],
        "share": float(np.median(shares)),
    }


def through_an_upgrade(folder: Path, items: int, dimension: int, searches: int) -> dict:
    """Search and write while the upgrade goes from its start to its end."""
    writes = round(WRITES * searches)
    path = make(
        folder,
        items,
        dimension,
        exact=True,
        more=writes,
        batch_size=64,
        fit_items=500,
        seconds_per_item=0.0005,
    )
    rows = rows_of(items + writes)
    oracle = Oracle(rows, old(dimension), new(dimension), folder / "upgrade.upgrade" / "fit-1")
    contents = rows_of(500, seed=6)
    # Of all searches: how many have been asked when the next step is given.
    steps = [("start", 0.1), ("verify", 0.7), ("cutover", 0.75), ("complete", 0.9)]
    asked, lock = [0], threading.Lock()
    begun, there = [0], []  # writes: how many were sent, and which were acknowledged, in turn
    answers: list[tuple[int, dict, int, int]] = []
    failed: list[str] = []

    with served(path) as port:

        def search() -> None:
            connection = Connection(port)
            while True:
                with lock:
                    number = asked[0]
                    asked[0] += 1
                if number >= searches:
                    break
                content = contents[number % len(contents)].tolist()
                query = {"content": content, "k": K, "explain": True}
                must = len(there)
                try:
                    answer = connection.json("POST", "/search", query)
                    answers.append((number, answer, must, begun[0]))
                except (RuntimeError, OSError) as error:
                    failed.append(str(error))
                    connection = Connection(port)

        def write() -> None:
            connection = Connection(port)
            while True:
                with lock:
                    number = begun[0]
                    if number >= writes:
                        break
                    begun[0] += 1
                while asked[0] < number / WRITES and asked[0] < searches:
                    time.sleep(0.001)  # spread over all searches
                item = {
                    "item_id": f"item-{items + number}",
                    "content": rows[items + number].tolist(),
                }
                try:
                    connection.json("PUT", "/items", {"items": [item]})
                    there.append(number)
                except (RuntimeError, OSError) as error:
                    failed.append(f"a write: {error}")
                    connection = Connection(port)

        clients = [threading.Thread(target=search) for _ in range(SEARCHERS)]
        clients += [threading.Thread(target=write) for _ in range(WRITERS)]
        for client in clients:
            client.start()
        operator = Connection(port)
        reached = {}
        for step, share in steps:
            while asked[0] < share * searches:
                time.sleep(0.01)
            if step == "verify":
                wait_for(operator, lambda status: status["phase"] == "backfilled")
            answer = operator.json("POST", f"/upgrade/{step}")
            if "confirmation_token" in answer:
                token = {"confirmation_token": answer["confirmation_token"]}
                operator.json("POST", f"/upgrade/{step}", token)
            if step != "start":
                wait_for(operator, lambda status: not status["run"]["running"])
            reached[step] = asked[0]
        for client in clients:
            client.join()
        last = operator.json("GET", "/upgrade")
    faults = []
    for number, answer, acknowledged, sent in answers:
        must, may = (np.arange(items + writes) < items for _ in range(2))
        must[[items + each for each in there[:acknowledged]]] = True
        may[items : items + sent] = True
        faults += oracle.faults(answer, contents[number % len(contents)], K, must, may)
    return {
        "items": items,
        "searches": searches,
        "writes": len(there),
        "failed": len(failed),
        "wrong": len(faults),
        "first_failures": failed[:5],
        "first_faults": faults[:5],
        "by_phase": dict(Counter(answer["phase"] for _, answer, *_ in answers)),
        "searches_when_step_was_done": reached,
        "last_phase": last["phase"],
    }


def wait_for(operator: Connection, condition) -> None:
    while True:
        status = operator.json("GET", "/upgrade")
        if status["run"] and status["run"]["error"]:
            raise RuntimeError(status["run"]["error"]["detail"])
        if condition(status):
            return
        time.sleep(0.05)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--data", help="not used: the vectors are made here")
    parser.add_argument("--seed", type=int, default=0, help="not used: nothing is drawn at random")
    arguments = parser.parse_args()
    quick = arguments.quick
    items, dimension = (10_000, 256) if quick else (100_000, 256)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = make(folder, items, dimension, exact=False)
        slow = latency(path, dimension, 300 if quick else 3000)
        print(json.dumps(slow), flush=True)
        rate = throughput(path, dimension, 2 if quick else 10, 1 if quick else 5)
        print(json.dumps(rate), flush=True)
    with tempfile.TemporaryDirectory() as name:
        searches = 1000 if quick else 10_000
        upgrade = through_an_upgrade(Path(name), 3000 if quick else 20_000, 64, searches)
        print(json.dumps(upgrade), flush=True)
    if not quick:
        raw = {
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "python": platform.python_version(),
            "load_average": os.getloadavg(),
            "items": items,
            "dimension": dimension,
            "k": K,
            "latency": slow,
            "throughput": rate,
            "upgrade": upgrade,
        }
        results = Path(__file__).parent / "results" / "service.json"
        results.parent.mkdir(exist_ok=True)
        results.write_text(json.dumps(raw, indent=1) + "\n")
    figures = {
        "library_p50_ms": round(slow["library_p50_ms"], 3),
        "service_p50_ms": round(slow["service_p50_ms"], 3),
        "added_p50_ms": round(slow["service_added_p50_ms"], 3),
        "added_p50_ms_base64": round(slow["service_base64_added_p50_ms"], 3),
        "share_of_library_rate": round(rate["share"], 3),
        "searches_through_an_upgrade": upgrade["searches"],
        "writes_through_an_upgrade": upgrade["writes"],
        "failed": upgrade["failed"],
        "wrong": upgrade["wrong"],
    }
    aims = {
        "added_p50_ms": {
            "value": figures["added_p50_ms"],
            "aim": AIM_ADDED_MILLISECONDS,
            "met": slow["service_added_p50_ms"] < AIM_ADDED_MILLISECONDS,
        },
        "share_of_library_rate": {
            "value": figures["share_of_library_rate"],
            "aim": AIM_SHARE,
            "met": rate["share"] >= AIM_SHARE,
        },
        **{
            name: {"value": upgrade[name], "aim": 0, "met": upgrade[name] == 0}
            for name in ("failed", "wrong")
        },
    }
    print(json.dumps({"benchmark": "service", "figures": figures, "aims": aims}))


if __name__ == "__main__":
    main()
