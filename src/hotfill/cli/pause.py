"""`hotfill pause`."""

from __future__ import annotations

from hotfill.cli.arguments import DEFAULT_CONFIG, By, Config, Json, user
from hotfill.cli.output import reporting


def pause(config: Config = DEFAULT_CONFIG, by: By = "", as_json: Json = False) -> None:
    """Let the process at work finish the batches in hand, then wait until `resume`.

    Searches and writes go on. May be called from anywhere, also before the upgrade is started.
    """
    with reporting(config, as_json) as report:
        from hotfill.config import open_upgrade

        with open_upgrade(config) as up:
            up.pause(by or user())
            report.status(up.status())
