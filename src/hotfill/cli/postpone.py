"""`hotfill postpone`."""

from __future__ import annotations

from hotfill.cli.arguments import DEFAULT_CONFIG, By, Config, Json, user
from hotfill.cli.output import reporting


def postpone(config: Config = DEFAULT_CONFIG, by: By = "", as_json: Json = False) -> None:
    """Hold the cutover, not the backfill, until `unpostpone`."""
    with reporting(config, as_json) as report:
        from hotfill.config import open_upgrade

        with open_upgrade(config) as up:
            up.postpone(by or user())
            report.status(up.status())
