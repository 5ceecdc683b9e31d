"""`hotfill postpone`."""

from __future__ import annotations

from contextlib import closing

from hotfill.cli.arguments import DEFAULT_CONFIG, By, Config, Json, user
from hotfill.cli.output import reporting


def postpone(config: Config = DEFAULT_CONFIG, by: By = "", as_json: Json = False) -> None:
    """Hold the cutover, not the backfill, until `unpostpone`."""
    with reporting(config, as_json) as report:
        from hotfill.config import read
        from hotfill.upgrade import control

        project = read(config)
        with closing(project.journal()) as journal:
            control.postpone(journal, by=by or user())
        report.status(project.status())
