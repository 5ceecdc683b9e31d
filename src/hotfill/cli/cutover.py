"""`hotfill cutover`."""

from __future__ import annotations

from hotfill.cli.arguments import DEFAULT_CONFIG, Config, Json
from hotfill.cli.output import reporting


def cutover(config: Config = DEFAULT_CONFIG, as_json: Json = False) -> None:
    """Read the new side only from now on; the old vectors are kept for `rollback`.

    Happens completely or not at all. Needs a fresh `verify`.
    """
    with reporting(config, as_json) as report:
        from hotfill.config import open_upgrade

        with open_upgrade(config) as up:
            report.status(up.cutover())
