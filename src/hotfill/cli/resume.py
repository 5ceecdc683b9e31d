"""`hotfill resume`."""

from __future__ import annotations

from contextlib import closing

from hotfill.cli.arguments import DEFAULT_CONFIG, Config, Json
from hotfill.cli.output import reporting


def resume(config: Config = DEFAULT_CONFIG, as_json: Json = False) -> None:
    """End all pauses.

    A process that waits goes on by itself. (An upgrade that was killed or stopped goes on by
    `start`.)
    """
    with reporting(config, as_json) as report:
        from hotfill.config import read
        from hotfill.upgrade import control

        project = read(config)
        with closing(project.journal()) as journal:
            was_paused = control.resume(journal)
        report.add({"was_paused": was_paused}, [] if was_paused else ["it was not paused"])
        report.status(project.status())
