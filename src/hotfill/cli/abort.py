"""`hotfill abort`."""

from __future__ import annotations

from hotfill.cli.arguments import DEFAULT_CONFIG, Config, Json, Yes
from hotfill.cli.output import reporting
from hotfill.cli.running import running


def abort(config: Config = DEFAULT_CONFIG, yes: Yes = False, as_json: Json = False) -> None:
    """Go back to the old model before the cutover.

    Items written since the start keep their content. A process at work is told to let go first. Asks
    first; where nobody can answer it needs --yes.
    """
    with reporting(config, as_json) as report:
        from hotfill.config import open_upgrade
        from hotfill.upgrade.phases import Step

        with open_upgrade(config) as up:
            up.check(Step.ABORT)
            if not yes:
                report.confirm("Move all items back to the old model and drop the new vectors?")
            with running(up, report):
                report.status(up.abort())
