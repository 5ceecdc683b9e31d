"""`hotfill unpostpone`."""

from __future__ import annotations

from contextlib import closing

from hotfill.cli.arguments import DEFAULT_CONFIG, Config, Json
from hotfill.cli.output import reporting


def unpostpone(config: Config = DEFAULT_CONFIG, as_json: Json = False) -> None:
    """Let the cutover happen again after `postpone`."""
    with reporting(config, as_json) as report:
        from hotfill.config import read
        from hotfill.upgrade import control

        project = read(config)
        with closing(project.journal()) as journal:
            was_postponed = control.unpostpone(journal)
        report.add(
            {"was_postponed": was_postponed}, [] if was_postponed else ["it was not postponed"]
        )
        report.status(project.status())
