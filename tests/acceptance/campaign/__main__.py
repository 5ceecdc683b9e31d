"""`python -m tests.acceptance.campaign [--faults N] [--seed N] [--store S] [--json FILE]`."""

from __future__ import annotations

import argparse
import json
import logging
import platform
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from tests.acceptance.campaign.outcome import table
from tests.acceptance.campaign.run import STORES, campaign


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=100, help="of all stores together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--store", choices=STORES, action="append", help="by default each")
    parser.add_argument("--kind", action="append", help="by default each")
    parser.add_argument("--json", type=Path, help="where to keep what came of every fault")
    asked = parser.parse_args()
    logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)  # it tells of every cut
    stores = asked.store or list(STORES)
    began = time.monotonic()
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="hotfill-campaign-") as folder:
        Path(folder).chmod(0o711)
        for number, store in enumerate(stores):
            share = asked.faults // len(stores) + (number < asked.faults % len(stores))
            outcomes += campaign(
                store, share, asked.seed, Path(folder), told=_told, only=asked.kind
            )
    print(table(outcomes))
    if asked.json is not None:
        report = {
            "faults": len(outcomes),
            "seed": asked.seed,
            "seconds": round(time.monotonic() - began),
            "python": platform.python_version(),
        }
        lines = ",\n".join(json.dumps(asdict(each)) for each in outcomes)  # one fault a line
        asked.json.write_text(f'{json.dumps(report)[:-1]}, "outcomes": [\n{lines}\n]}}\n')


def _told(*words) -> None:
    print(*words, flush=True)


if __name__ == "__main__":
    main()
