"""`hotfill unpostpone`."""

from __future__ import annotations

from hotfill.cli.arguments import DEFAULT_CONFIG, Config, Json
from hotfill.cli.output import reporting


def unpostpone(config: Config = DEFAULT_CONFIG, as_json: Json = False) -> None:
    """Let the cutover happen again after `postpone`."""
    with reporting(config, as_json) as report:
        from hotfill.config import open_upgrade

        with open_upgrade(config) as up:
            was_postponed = up.unpostpone()
            told = [] if was_postponed else ["it was not postponed"]
            report.add({"was_postponed": was_postponed}, told)
            report.status(up.status())
