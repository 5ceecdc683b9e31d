"""`python -m tests.acceptance.truth --faults 60 --seed 0 --json FILE`: one campaign, as a table."""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from tests.acceptance.truth.faults import KINDS, ON_SERVERS
from tests.acceptance.truth.run import STORES, campaign
from tests.acceptance.truth.world import Outcome, table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=60, help="of all stores together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--store", choices=STORES, action="append", help="by default each")
    parser.add_argument(
        "--kind", choices=[*KINDS, *ON_SERVERS], action="append", help="by default each"
    )
    parser.add_argument("--json", type=Path, help="where to keep what came of every fault")
    asked = parser.parse_args()
    stores = asked.store or list(STORES)
    began, outcomes = time.monotonic(), []

    def told(outcome: Outcome) -> None:
        outcomes.append(outcome)
        print(len(outcomes), outcome, flush=True)
        if asked.json is not None:  # each time: what was run counts, whatever ends it
            asked.json.write_text(_report(outcomes, asked.seed, time.monotonic() - began))

    with tempfile.TemporaryDirectory(prefix="hotfill-truth-") as folder:
        Path(folder).chmod(0o711)
        for number, store in enumerate(stores):
            share = asked.faults // len(stores) + (number < asked.faults % len(stores))
            campaign(store, share, asked.seed, Path(folder), told=told, only=asked.kind)
    print(table(outcomes))
    print(f"seed {asked.seed}, {time.monotonic() - began:.0f} s")


def _report(outcomes: list[Outcome], seed: int, seconds: float) -> str:
    report = {
        "faults": len(outcomes),
        "faultless": sum(each.faultless for each in outcomes),
        "seed": seed,
        "seconds": round(seconds),
        "python": platform.python_version(),
    }
    lines = ",\n".join(json.dumps(asdict(each)) for each in outcomes)  # one fault a line
    return f'{json.dumps(report)[:-1]}, "outcomes": [\n{lines}\n]}}\n'


if __name__ == "__main__":
    main()
