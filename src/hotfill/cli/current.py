"""`hotfill current`."""

from __future__ import annotations

from hotfill.cli.arguments import DEFAULT_CONFIG, Config, Json
from hotfill.cli.output import reporting


def current(config: Config = DEFAULT_CONFIG, as_json: Json = False) -> None:
    """Say which models the gallery holds, and how much of it each covers.

    Counts in the store; while another process has it open, the journal tells.
    """
    with reporting(config, as_json) as report:
        from hotfill.config import open_upgrade

        with open_upgrade(config) as up:
            now = up.current()
            status = up.status()
        lines = []
        for each in now.models:
            mapped = each.items - each.embedded
            note = f", {mapped:,} of them mapped by a transform" if mapped else ""
            lines.append(f"{each.share:7.1%}  {each.model}  {each.items:,} items{note}")
        if now.recorded_by == "journal":
            lines.append("as the process at work last wrote to the journal: it has the store open")
        report.add(now.to_dict(), lines)
        report.next(status.next_steps)
