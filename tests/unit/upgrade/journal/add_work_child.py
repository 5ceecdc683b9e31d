"""A process that adds work and is killed in the middle of it.

Run as: python -m tests.unit.upgrade.journal.add_work_child JOURNAL FOLDER
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tests.unit.upgrade.journal.journals import JOURNALS


def main(name: str, folder: str) -> None:
    """Add three pages, saying so before each; the last one never comes."""
    journal = JOURNALS[name](Path(folder))

    def pages():
        for number in range(3):
            ids = [f"late-{number}-{i:04}" for i in range(2000)]
            yield ids, [0.0] * len(ids)
            print(number, flush=True)
        time.sleep(600)

    journal.add_work("embed", pages(), 10)


if __name__ == "__main__":
    main(*sys.argv[1:])
