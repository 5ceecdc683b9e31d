"""The tables of docs/comparison.md, from results/peers.json.

python -m benchmarks.peers.table [--into docs/comparison.md]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.page import put, table
from benchmarks.peers.claims import CLAIMS, TOOLS
from benchmarks.peers.yardstick import WITHOUT_SHARES, point_at

RESULTS = Path(__file__).parent / "results" / "peers.json"
WAYS = {
    "hotfill": "hotfill: one index of mapped and new vectors",
    "isotrieve": "isotrieve: the gallery mapped, nothing re-embedded",
    "vecshift": "vecshift: the old model until the switch",
    "embedflow": "embedflow: old candidates, ranked by the new model",
    "vectormigrate": "vectormigrate: both models, rank fusion",
}
BEFORE = {"isotrieve": "isotrieve before that: old vectors, queries mapped"}
GALLERY = 18_000  # items of CLINC150's gallery
Report = dict[str, Any]


def read() -> Report:
    found: Report = json.loads(RESULTS.read_text(encoding="utf-8"))
    return found


def about(report: Report) -> str:
    versions = ", ".join(
        f"{tool} {parts['versions'][tool]}"
        for tool, parts in report["figures"].items()
        if tool in parts.get("versions", {})
    )
    loads = [
        part["load_average"][0]
        for parts in report["figures"].values()
        for part in parts.values()
        if isinstance(part, dict) and "load_average" in part
    ]
    whole = "" if report["items"] >= GALLERY else f" (drawn from {GALLERY:,})"
    return (
        f"{versions}; {report['items']:,} items{whole}, {report['queries']} queries, "
        f"{report['machine']}, Python {report['python']}, "
        f"load average {min(loads)} to {max(loads)} while it ran."
    )


def quality(report: Report) -> str:
    """One table a metric: means at each share, and at half the difference from the old model."""
    blocks = [_quality(report, metric) for metric in ("map@10", "ndcg@10", "hit_rate@1")]
    return "\n\n".join([*blocks, _below(report), _reached(report)])


def _below(report: Report) -> str:
    """Where hotfill was below the old model, and whether by more than chance."""
    said = []
    for point in _points(report["figures"]["hotfill"]):
        for metric, (mean, low, high) in point["over_old"].items():
            if mean < 0:
                sure = "beyond chance" if high < 0 else "within chance"
                interval = f"{mean:+.3f} [{low:+.3f}, {high:+.3f}], {sure}"
                said.append(f"{metric} at {point['asked']:.0%} ({interval})")
    if not said:
        return "hotfill was below the old model nowhere."
    return f"**hotfill was below the old model**: {'; '.join(said)}."


def verdicts(report: Report) -> str:
    """What the tools themselves said of this upgrade."""
    said = {
        tool: {name: each for point in _points(parts) for name, each in point["facts"].items()}
        for tool, parts in report["figures"].items()
    }
    lines = []
    if "rho" in said["hotfill"]:
        lines.append(f"hotfill a rho of {said['hotfill']['rho']:.2f}")
    if "gate" in said["isotrieve"]:
        lines.append(f"isotrieve's `gate` {said['isotrieve']['gate']}")
    if (ended := said["vecshift"].get("eval ended with")) is not None:
        lines.append(f"vecshift's `eval` {'GO' if ended == 0 else f'no GO (exit code {ended})'}")
    if "diagnostic" in said["embedflow"]:
        depth = said["embedflow"]["candidate depth"]
        lines.append(f"embedflow's probe {said['embedflow']['diagnostic']}, {depth} candidates")
    if "gate passed" in said["vectormigrate"]:
        passed = "passed" if said["vectormigrate"]["gate passed"] else "not passed"
        lines.append(f"vectormigrate's gate {passed}")
    return f"What they said of this upgrade themselves: {'; '.join(lines)}."


def _reached(report: Report) -> str:
    """Where a tool stops after a batch: the shares that it had reached."""
    said = []
    for tool in ("hotfill", "vecshift", "embedflow"):
        points = report["figures"][tool].get("quality", {}).get("points", [])
        shares = [point["facts"].get("re-embedded") for point in points[:-1]]
        if any(share is not None for share in shares):
            said.append(f"{tool} {', '.join(f'{share or 0:.1%}' for share in shares)}")
    return f"Re-embedded in fact, before the last column: {'; '.join(said)}."


def _quality(report: Report, metric: str) -> str:
    """In bold: a neighbour's figure above hotfill's."""
    figures = report["figures"]
    shares = sorted({point["asked"] for point in _points(figures["hotfill"])})
    heads = [metric, *(f"{share:.0%}" for share in shares), "at 50 %, over the old model"]
    ours = [point_at("hotfill", figures["hotfill"].get("quality", {}), share) for share in shares]
    bar = [point[metric] if point else 1.0 for point in ours]

    def row(name: str, points: list[Report | None], tool: str) -> list[str]:
        cells = [
            "-" if point is None else _number(point[metric], tool != "hotfill", most=least)
            for point, least in zip(points, bar, strict=True)
        ]
        half = points[shares.index(0.5)]
        apart = "-"
        if half is not None:
            mean, low, high = half["over_old"][metric]
            apart = f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]"
        return [name, *cells, apart]

    rows = [["the old model, exact", *[f"{report['models']['old'][metric]:.3f}"] * len(shares), ""]]
    for tool, parts in figures.items():
        found = parts.get("quality", {})
        if tool in WITHOUT_SHARES and "points" in found:
            rows.append(row(BEFORE[tool], [found["points"][0]] * len(shares), tool))
        rows.append(row(WAYS[tool], [point_at(tool, found, share) for share in shares], tool))
    rows.append(
        [
            "the new model, exact",
            *[""] * (len(shares) - 1),
            f"{report['models']['new'][metric]:.3f}",
            "",
        ]
    )
    return table(heads, rows)


def latency(report: Report) -> str:
    """Searches over the engine's own, when half is re-embedded and at the end."""
    heads = ["", "half: p50", "half: p95", "end: p50", "end: p95", "failed", "shorter than ten"]
    rows = []
    for tool, parts in report["figures"].items():
        points = _points(parts)
        cells = []
        for share in (0.5, 1.0):
            point = point_at(tool, parts.get("quality", {}), share)
            for at in ("p50_over_plain", "p95_over_plain"):
                if point is None:
                    cells.append("-")
                    continue
                mine = point_at("hotfill", report["figures"]["hotfill"].get("quality", {}), share)
                same_engine = tool not in ("hotfill", "vectormigrate")
                better = same_engine and mine is not None and point[at] < mine[at]
                cells.append(f"**{point[at]:.1f}x**" if better else f"{point[at]:.1f}x")
        failed = sum(point["failed_searches"] for point in points)
        short = max((point["short"] for point in points), default=0)
        rows.append([tool, *cells, f"{failed}", f"{short} of {report['queries']}"])
    return table(heads, rows)


def cost(report: Report) -> str:
    """The whole upgrade, without a stop. In bold: what costs less than hotfill."""
    heads = ["", "seconds", "processor s, tool", "processor s, database"]
    heads += ["asked of the new model, galleries", "lines of yours"]
    formats = {
        "seconds": "{:.0f}",
        "processor_seconds": "{:.0f}",
        "database_processor_seconds": "{:.0f}",
        "asked_of_the_new_model": "{:.2f}",
        "lines_of_the_user": "{}",
    }

    def values(tool: str) -> Report:
        parts = report["figures"][tool]
        return parts.get("whole", {}) | {"lines_of_the_user": parts["lines_of_the_user"]}

    ours, rows = values("hotfill"), []
    for tool in report["figures"]:
        cells = []
        for name, form in formats.items():
            value = values(tool).get(name)
            said = "-" if value is None else form.format(value)
            less = value is not None and name in ours and value < ours[name]
            cells.append(f"**{said}**" if less and tool != "hotfill" else said)
        rows.append([tool, *cells])
    return table(heads, rows)


def killed(report: Report) -> str:
    """After SIGKILL at 40 %, and after the same command again."""
    heads = ["", "map@10 after the kill, over the old model", "searches failed, short"]
    heads += ["goes on", "lost", "doubled", "not the new model's", "asked for again"]
    rows = []
    for tool, parts in report["figures"].items():
        found = parts.get("killed", {})
        if not found.get("killed"):
            rows.append([tool, *["error" if "error" in found else "-"] * 7])
            continue
        between = found["meanwhile"]
        mean, low, high = between["over_old"]["map@10"]
        row = [tool, f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]"]
        row.append(f"{between['failed_searches']}, {between['short']}")
        if not found["goes_on"]:
            rows.append([*row, "**no**", "-", "-", "-", "-"])
            continue
        row.append("yes")
        row += [f"{found[name]:,}" for name in ("lost", "duplicated", "not_of_the_new_model")]
        rows.append([*row, f"{found['asked_again']:.0%} of the items"])
    return table(heads, rows)


def claims(_: Report) -> str:
    return table(["", *TOOLS], [[what, *said] for what, said in CLAIMS.items()], words=6)


def errors(report: Report) -> str:
    """What could not be run, with its last line."""
    said = [
        f"- {tool}, {name}: `{part['error'].splitlines()[-1]}`"
        for tool, parts in report["figures"].items()
        for name, part in parts.items()
        if isinstance(part, dict) and "error" in part
    ]
    return "\n".join(said) if said else "All five ran to the end."


BLOCKS: dict[str, Callable[[Report], str]] = {
    f"peers {block.__name__}": block
    for block in (about, quality, verdicts, latency, cost, killed, claims, errors)
}


def _points(parts: Report) -> list[Report]:
    found: list[Report] = parts.get("quality", {}).get("points", [])
    return found


def _number(value: float, neighbour: bool, *, most: float) -> str:
    return f"**{value:.3f}**" if neighbour and round(value, 3) > round(most, 3) else f"{value:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--into", type=Path, help="the page; without it the tables are printed")
    page = parser.parse_args().into
    report = read()
    for name, block in BLOCKS.items():
        if page is None:
            print(f"{name}\n\n{block(report)}\n")
        else:
            put(page, name, block(report))


if __name__ == "__main__":
    main()
