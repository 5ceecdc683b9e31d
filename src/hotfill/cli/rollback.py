"""`hotfill rollback`."""

from __future__ import annotations

from hotfill.cli.arguments import DEFAULT_CONFIG, Config, Json
from hotfill.cli.output import reporting
from hotfill.cli.running import running


def rollback(config: Config = DEFAULT_CONFIG, as_json: Json = False) -> None:
    """Go back to the old model after the cutover. Items written since keep their content."""
    with reporting(config, as_json) as report:
        from hotfill.config import open_upgrade

        with open_upgrade(config) as up, running(up, report):
            report.status(up.rollback())
