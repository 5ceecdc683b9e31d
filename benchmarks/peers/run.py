"""hotfill and its neighbours on the same upgrade, by the same yardstick. See README.md."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np  # noqa: E402

from benchmarks.peers import environments, world  # noqa: E402
from benchmarks.peers.endpoint import Endpoint, running  # noqa: E402
from benchmarks.peers.lookup import World, noted  # noqa: E402
from benchmarks.peers.yardstick import WITHOUT_SHARES, Yardstick, point_at  # noqa: E402

HERE = Path(__file__).parent
TOOLS = ("hotfill", *environments.PACKAGES)
SHARES = (0.0, 0.1, 0.5)
KILLED_AT = 0.4
QUICK_PARTS = {"hotfill": ("quality", "killed")}  # of the others, the first
SLOW = ("isotrieve",)  # its gate alone takes half a minute
QUERIES = 300
PATIENCE_SECONDS = 3 * 3600
Figures = dict[str, Any]


class Bench:
    """One tool's three parts, each from a fresh database: `quality`, `whole`, `killed`."""

    def __init__(self, tool: str, python: Path, place: Path, server: Any, endpoint: Endpoint):
        self.tool, self.python, self.place = tool, python, place
        self.server, self.endpoint = server, endpoint
        self.world, self.items = place / "world", len(World(place / "world").gallery)
        self.folder, self.dsn = place / tool, ""

    def fresh(self, part: str) -> None:
        """A folder and a database of its own."""
        self.folder = self.place / f"{self.tool}-{part}"
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        self.dsn = copied(self.server, f"{self.tool}_{part}")

    def step(self, *words: str, note: bool = False, die_at: float | None = None) -> Figures:
        """A step of the tool's driver in a process of its own, with what it cost."""
        out = self.folder / "answer.json"
        out.unlink(missing_ok=True)
        log = self.folder / "embedded.bin"
        end = round(die_at * self.items) if die_at else None
        settings: Figures = {"log": str(log), "die_at": end} if note else {}
        self.endpoint.load(**settings, victim=self.folder / "pid")
        variables = {"PEERS_LOG": str(log)} if note else {}
        if end is not None:
            variables["PEERS_DIE_AT"] = str(end)
        command = [str(self.python), str(driver_of(self.tool)), *words, "--world", str(self.world)]
        command += ["--folder", str(self.folder), "--dsn", self.dsn, "--out", str(out)]
        server_before, began = processor_seconds(self.server.pid), time.perf_counter()
        with (self.folder / "log").open("ab") as said:
            process = subprocess.Popen(
                command,
                stdout=said,
                stderr=said,
                env=self.environment() | variables,
                cwd=self.folder,
            )
        _, ended, used = os.wait4(process.pid, 0)
        process.returncode = code = os.waitstatus_to_exitcode(ended)
        found = {
            "seconds": round(time.perf_counter() - began, 2),
            "processor_seconds": round(used.ru_utime + used.ru_stime, 2),
            "database_processor_seconds": round(
                processor_seconds(self.server.pid) - server_before, 2
            ),
            "ended_with": code,
        }
        if code not in (0, -9):
            raise ToolError(tail(self.folder / "log"))
        return found | (json.loads(out.read_text()) if out.exists() else {})

    def environment(self) -> dict[str, str]:
        """The same for all; hotfill and its driver are found by path, neighbours are installed."""
        paths = [str(HERE / "drivers"), str(ROOT)]
        if self.tool not in environments.PACKAGES:
            paths.insert(0, str(ROOT / "src"))
        return os.environ | {
            "PYTHONPATH": os.pathsep.join(paths),
            "PEERS_WORLD": str(self.world),
            "PEERS_ENDPOINT": self.endpoint.url,
            "OMP_NUM_THREADS": "1",
            "NO_COLOR": "1",
        }

    # Parts -------------------------------------------------------------------------------------

    def quality(self, yardstick: Yardstick, queries: int, shares: tuple[float, ...]) -> Figures:
        """Stop at each share and search; at the end, too."""
        self.fresh("quality")
        points = []
        for share in (*shares, 1.0):
            step = self.step("whole") if share == 1.0 else self.step("until", str(share))
            found = self.step("search", "--queries", str(queries))
            points.append(
                {
                    "asked": share,
                    "facts": step["facts"] | found["facts"],
                    **yardstick.figures(found["found"]),
                    **latency(found),
                }
            )
        return {"points": points}

    def whole(self, *_: Any) -> Figures:
        """All of it, without a stop; then what is held."""
        self.fresh("whole")
        found = self.step("whole", note=True)
        asked = noted(self.folder / "embedded.bin")
        return found | {
            "asked_of_the_new_model": round(len(asked) / self.items, 3),
            **self.held(),
        }

    def killed(self, yardstick: Yardstick, queries: int, _: Any) -> Figures:
        """SIGKILL, searches, and the same command again."""
        self.fresh("killed")
        first = self.step("whole", note=True, die_at=KILLED_AT)
        if first["ended_with"] != -9:
            return {"killed": False, "why": "it never asks for that many vectors"}
        before = noted(self.folder / "embedded.bin")
        between = self.step("search", "--queries", str(queries))
        answers = yardstick.figures(between["found"]) | latency(between)
        again: Figures
        try:
            again = self.step("whole", note=True)
        except ToolError as error:
            return {"killed": True, "meanwhile": answers, "goes_on": False, "error": str(error)}
        after = noted(self.folder / "embedded.bin")[len(before) :]
        return {
            "killed": True,
            "meanwhile": answers,
            "goes_on": True,
            "facts": again["facts"],
            "asked_before": round(len(before) / self.items, 3),
            "asked_after": round(len(after) / self.items, 3),
            "asked_again": round(len(set(before) & set(after)) / self.items, 3),
            **self.held(),
        }

    def held(self) -> Figures:
        names = ("lost", "duplicated", "not_of_the_new_model")
        found = self.step("held")
        return {name: found[name] for name in names}


PARTS = ("quality", "whole", "killed")


class ToolError(Exception):
    """A driver ended with an error; its last words."""


def tail(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()[-12:]
    return "\n".join(lines)[-1500:]


def latency(found: Figures) -> Figures:
    """Milliseconds of the tool, and as a multiple of the engine's own in between."""
    mine, plain = (1000 * np.array(found[name]) for name in ("seconds", "plain_seconds"))
    said: Figures = {"failed_searches": len(found["failures"]), "failures": found["failures"][:2]}
    for at in (50, 95):
        one, other = float(np.percentile(mine, at)), float(np.percentile(plain, at))
        said[f"p{at}_ms"] = round(one, 3)
        said[f"p{at}_over_plain"] = round(one / other, 2)
    return said


def prepare(server: Any, world_folder: Path) -> None:
    """Make the database that all begin with: the gallery by the old model, `plain` by the new."""
    import psycopg

    told = World(world_folder)
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute("CREATE DATABASE prepared")
    with psycopg.connect(database(server, "prepared"), autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")
        connection.execute("SET maintenance_work_mem = '512MB'")
        for table, side in (("items", "old"), ("plain", "new")):
            vectors = told.vectors(side)
            connection.execute(
                f"CREATE TABLE {table} (id bigint PRIMARY KEY, content text NOT NULL, "
                f"embedding vector({vectors.shape[1]}))"
            )
            cursor = connection.cursor()
            with cursor.copy(f"COPY {table} (id, content, embedding) FROM STDIN") as rows:
                for item, text in enumerate(told.gallery):
                    rows.write_row((item, text, str(vectors[item].tolist())))
            connection.execute(f"CREATE INDEX ON {table} USING hnsw (embedding vector_cosine_ops)")
            connection.execute(f"VACUUM ANALYZE {table}")


def copied(server: Any, name: str) -> str:
    """A fresh copy of it; returns how to connect."""
    import psycopg

    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {name} TEMPLATE prepared STRATEGY file_copy")
    return database(server, name)


def database(server: Any, name: str) -> str:
    return str(server.dsn).replace("dbname=postgres", f"dbname={name}")


def processor_seconds(server: int) -> float:
    """What the server and its children have used so far, those that have ended, too."""
    parents, used = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has ended meanwhile
                continue
            parents[int(entry.name)] = int(fields[1])
            used[int(entry.name)] = sum(map(int, fields[11:15]))
    own = [process for process in used if process == server or parents[process] == server]
    return sum(used[process] for process in own) / os.sysconf("SC_CLK_TCK")


def driver_of(tool: str) -> Path:
    return HERE / "drivers" / f"{tool}_driver.py"


def lines_of_the_user(driver: Path) -> int:
    """Lines between the marks of a driver that are neither empty nor a comment."""
    count, inside = 0, False
    for line in driver.read_text(encoding="utf-8").splitlines():
        word = line.strip()
        if word in ("# user: begin", "# user: end"):
            inside = word.endswith("begin")
        elif inside and word and not word.startswith("#"):
            count += 1
    return count


@contextmanager
def postgres() -> Iterator[Any]:
    """The tests' real PostgreSQL, or None with the reason where it is not installed."""
    try:
        from tests.postgres import Server
    except (ImportError, AttributeError) as error:
        raise SystemExit(f"PostgreSQL of the tests is missing: {error}") from None
    server = Server()
    try:
        yield server
    finally:
        server.remove()


# Report -------------------------------------------------------------------------------------------


def aims(figures: dict[str, Figures]) -> dict[str, Figures]:
    """What hotfill promises here: nothing lost, right while mixed, and the price it may have."""
    found: dict[str, Figures] = {}

    def hold(name: str, value: float, *, least: float | None = None, most: float | None = None):
        met = value >= least if least is not None else value <= most  # type: ignore[operator]
        aim = f">= {least}" if least is not None else f"<= {most}"
        found[name] = {"value": round(value, 4), "aim": aim, "met": bool(met)}

    ours = figures.get("hotfill", {})
    if "points" in ours.get("quality", {}):
        points = ours["quality"]["points"]
        worst = min(point["over_old"]["map@10"][0] for point in points)
        hold("hotfill: lowest map@10 over the old model's", worst, least=0.0)
        mixed = [point for point in points if 0 < point["asked"] < 1]
        slowest = max(point["p95_over_plain"] for point in mixed)
        hold("hotfill: p95 while mixed over the engine's own", slowest, most=1.5)
        for point, tool in product(mixed, figures):
            other = point_at(tool, figures[tool].get("quality", {}), point["asked"])
            if tool != "hotfill" and other is not None:
                name = f"hotfill: map@10 over {tool}'s at {point['asked']:.0%}"
                hold(name, point["map@10"] - other["map@10"], least=0.0)
    if ours.get("killed", {}).get("goes_on"):
        wrong = ("lost", "duplicated", "not_of_the_new_model")
        hold("hotfill: wrong after a kill", sum(ours["killed"][name] for name in wrong), most=0)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="1,000 drawings, what is there")
    parser.add_argument("--data", type=Path, help="the folder of all data sets")
    parser.add_argument("--texts", type=Path, help="what mixed_quality/texts.py wrote")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--items", type=int, default=10**9, help="of the gallery, the most")
    parser.add_argument("--queries", type=int, default=QUERIES)
    parser.add_argument("--only", nargs="+", choices=TOOLS, help="measure these anew")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="of these tools")
    parser.add_argument("--again", action="store_true", help="measure everything anew")
    parser.add_argument(
        "--folder", type=Path, default=ROOT / "build" / "peers", help="for environments and files"
    )
    parser.add_argument("--json", type=Path, help="the report; what is in it is not measured again")
    asked = parser.parse_args()
    if asked.quick:
        asked.data = asked.texts = None
    elif asked.data is None or asked.texts is None:
        parser.error("--data and --texts are needed without --quick")
    out = asked.json or (None if asked.quick else HERE / "results" / "peers.json")
    queries = min(asked.queries, world.QUERIES) if asked.quick else asked.queries
    name = f"{'quick' if asked.quick else asked.items}-{queries}-{asked.seed}"
    place = asked.folder.resolve() / name
    of = world.make(
        place / "world",
        data=asked.data,
        texts=asked.texts,
        items=asked.items,
        queries=queries,
        seed=asked.seed,
    )
    kept = json.loads(out.read_text()) if out is not None and out.exists() else {}
    figures: dict[str, Figures] = kept.get("figures", {})
    report: Figures = {}
    plan = {"items": len(World(place / "world").gallery), "queries": queries, "seed": asked.seed}
    if asked.again:
        figures = {}
    elif kept and plan != {name: kept[name] for name in plan}:
        parser.error(f"{out} is of another plan; give --again, or another --json")
    yardstick = Yardstick(place / "world", queries)
    built = asked.folder.resolve() / "environments"
    with postgres() as server, running(place / "world") as endpoint:
        prepare(server, place / "world")

        def measured(tool: str, part: str) -> Figures:
            if not asked.quick:
                environments.make(tool, built)
            elif not environments.ready(tool, built):
                raise ToolError("no environment yet: a run without --quick makes it")
            python = environments.python_of(tool, built)
            bench = Bench(tool, python, place, server, endpoint)
            shares = (0.5,) if asked.quick else SHARES
            if tool in WITHOUT_SHARES:
                shares = (0.0,)
            found: Figures = getattr(bench, part)(yardstick, queries, shares)
            return found

        for part, tool in product(PARTS, TOOLS):
            mine = figures.setdefault(tool, {})
            chosen = part in asked.parts and (asked.only is None or tool in asked.only)
            if asked.quick and (tool in SLOW or part not in QUICK_PARTS.get(tool, ("quality",))):
                chosen = False
            if not chosen or (part in mine and asked.only is None):
                continue
            try:
                mine[part] = measured(tool, part)
            except (ToolError, subprocess.CalledProcessError) as error:
                said = getattr(error, "stderr", None) or str(error)
                mine[part] = {"error": str(said)[-1500:]}
            mine[part]["load_average"] = [round(each, 1) for each in os.getloadavg()]
            mine["lines_of_the_user"] = lines_of_the_user(driver_of(tool))
            if environments.ready(tool, built):
                mine["versions"] = environments.versions(tool, built)
            print(f"{tool} {part} {json.dumps(mine[part])[:2000]}", file=sys.stderr)
            report = {
                "benchmark": "peers",
                "of": of,
                **plan,
                "machine": f"{platform.machine()}, {os.cpu_count()} cores",
                "python": platform.python_version(),
                "models": {
                    side: yardstick.figures(yardstick.exact[side]) for side in ("old", "new")
                },
                "figures": figures,
                "aims": aims(figures),
            }
            if out is not None:
                draft = out.with_suffix(".draft")
                draft.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
                draft.replace(out)
    print(json.dumps(report or kept))


if __name__ == "__main__":
    main()
